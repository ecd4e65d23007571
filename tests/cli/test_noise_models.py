"""Every noise model that a device file may name is programmed, aged, drawn and run from its YAML."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from aihwkit.inference import BaseNoiseModel
from cli_settings import SMALL
from job_progress import Silent

from hwsim.cards.device import read_device
from hwsim.characterisation.portrait import portray, write_device_figure
from hwsim.devices.aihw import catalog
from hwsim.errors import InputError
from hwsim.experiments.ageing import usual_ages
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.device_run.work import run
from hwsim.experiments.requests import RunRequest
from hwsim.jobs.store import read_lines
from hwsim.rng import Streams
from hwsim.testing import check_device

Cli = Callable[..., tuple[int, str, str]]
MODELS = sorted(catalog.choices((BaseNoiseModel,)))
MEASURED = "ReRamWan2022NoiseModel"  # at 1 s, 1 day and 2 days
NEEDS = {
    "CustomDriftPCMLikeNoiseModel": "custom_drift_model: {g_lst: [0, 25], nu_mean_lst: [0.1, 0.05], "
    "nu_std_lst: [0.02, 0.01]}"
}
NOTHING = ("input_noise.sigma=[]", "corruptions.types=[]", "pgd.epsilon=[]")
QUICK = [*SMALL, "learning.epochs=1", "in_situ.epochs=1", *(f"evaluation.{setting}" for setting in NOTHING)]


def card(folder: Path, model: str, more: str = "") -> Path:
    path = folder / "device.yaml"
    parameters = "; ".join(part for part in (NEEDS.get(model, ""), more) if part)
    lines = "".join(f"  {part}\n" for part in parameters.split("; ") if part)
    path.write_text(
        "class: InferenceRPUConfig\nforward: {noise_management: NoiseManagementType.NONE, bound_management: NONE}\n"
        f"mapping: {{weight_scaling_omega: 1}}\nnoise_model:\n  class: {model}\n{lines}"
    )
    return path


def test_the_allow_list_has_the_measured_model() -> None:
    assert MEASURED in MODELS
    assert len(MODELS) >= 6


@pytest.mark.parametrize("model", MODELS)
def test_a_noise_model_is_programmed_aged_and_drawn(model: str, tmp_path: Path) -> None:
    device = read_device(card(tmp_path, model)).device
    synapse = device.synapse(8, 12, Streams(0))
    synapse.program(torch.randn(8, 12, generator=torch.Generator().manual_seed(1)) * 0.1)
    seen = []
    for seconds in usual_ages(device).values():
        synapse.age(seconds)
        assert torch.isfinite(synapse.weight()).all()
        assert synapse.read(torch.ones(2, 12)).shape == (2, 8)
        seen.append(synapse.weight())
    assert not seen[0].equal(seen[-1])
    other = device.synapse(8, 12, Streams(1))
    other.load_state_dict(synapse.state_dict())
    assert other.weight().equal(synapse.weight())
    check_device(device)
    portrait = portray(device)
    assert portrait.retention is not None
    assert np.isfinite(portrait.retention).all()
    assert all(path.stat().st_size > 1000 for path in write_device_figure(portrait, model, tmp_path))


@pytest.mark.parametrize("model", MODELS)
def test_a_noise_model_is_run(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    request = RunRequest(
        device=str(card(tmp_path, model)), repeats=1, settings=QUICK, out=out, seed=0, command="hwsim run"
    )
    run(plan_run(request), Silent())
    cases = {record["case"] for record in read_lines(out / "metrics.jsonl") if record["kind"] == "evaluation"}
    aged = {"1 s", "1 day", "2 day"} if model == MEASURED else {"1 s", "1 h", "1 day", "1 month"}
    assert cases == {"float", "programmed", "in-situ", *(f"programmed, {age}" for age in aged)}


def test_a_measured_model_has_a_page(tmp_path: Path, hwsim_here: Cli) -> None:
    out = tmp_path / "run"
    settings = [part for setting in (*QUICK, "evaluation.examples=20") for part in ("--set", setting)]
    code, _, err = hwsim_here(
        "run", "--device", str(card(tmp_path, MEASURED)), "--repeats", "1", "--out", str(out), *settings
    )
    assert code == 0, err
    assert "programmed, 2 day" in (out / "report.html").read_text()


def test_measured_ages_are_the_models_own_polynomials(tmp_path: Path) -> None:
    """The spread around the target at a known age is the published polynomial of the conductance, in uS."""
    config = card(tmp_path, MEASURED, "g_max: 40.0")
    device = read_device(config, [("drift_compensation", None)]).device
    synapse = device.synapse(400, 50, Streams(0))
    synapse.program(torch.full((400, 50), 1.0))
    for seconds, coefficients in device.config.noise_model.coeff_dic.items():
        synapse.age(seconds)
        # At the largest conductance the polynomial is the sum of its coefficients. The other device of a pair is at 0,
        # where half of the noise is cut off.
        other = coefficients[0] * math.sqrt(0.5 - 0.5 / math.pi)
        expected = math.hypot(sum(coefficients), other) / 40
        assert float(synapse.weight().std()) == pytest.approx(expected, rel=0.03)
        assert float(synapse.weight().mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["attack", "--attack", "pgd", "--threat", "linf:0.1"], "1h"),
        (["corrupt"], "1h"),
        (["ablate", "--case", "programmed"], "3600"),
    ],
)
def test_an_unknown_age_is_refused_when_planning(
    command: list[str], option: str, tmp_path: Path, hwsim_here: Cli
) -> None:
    out = tmp_path / "out"
    path = card(tmp_path, MEASURED)
    code, _, error = hwsim_here(*command, "--device", str(path), "--age", option, "--out", str(out))
    assert code == 2
    assert "--age" in error
    assert "1 s, 1 day, 2 day" in error
    assert "got 1 h" in error
    assert not out.exists()


def test_ages_of_ones_own_measurements(tmp_path: Path) -> None:
    device = read_device(card(tmp_path, MEASURED, "coeff_dic: {60: [0.5, 0.1], 3600: [1, 0.2]}")).device
    assert usual_ages(device) == {"1 min": 60.0, "1 h": 3600.0}
    synapse = device.synapse(4, 4, Streams(0))
    synapse.program(torch.eye(4))
    fresh = synapse.weight()
    synapse.age(60.0)
    assert synapse.weight().equal(fresh)
    with pytest.raises(InputError, match="knows 0 and 60, 3600 s, got 1"):
        synapse.age(1.0)


@pytest.mark.parametrize("key", ["tomorrow", "-1", "0"])
def test_ages_that_are_none_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"coeff_dic.*: expected ages in seconds > 0"):
        read_device(card(tmp_path, MEASURED, f"coeff_dic: {{1: [1, 0], {key}: [1, 0]}}"))


def test_single_devices_take_a_matrix_of_equal_weights_and_are_one_matrix(tmp_path: Path) -> None:
    """aihwkit divides by zero there, and takes the rows of a matrix for devices of a weight."""
    synapse = read_device(card(tmp_path, "ReRamCMONoiseModel")).device.synapse(3, 5, Streams(0))
    synapse.program(torch.full((3, 5), 0.2))
    assert torch.isfinite(synapse.weight()).all()
    assert set(synapse.conductances()) == {"weight", "g_0_uS"}
    assert synapse.conductances()["g_0_uS"].shape == (3, 5)
