"""What a run says beforehand of a device's updates: its lines, its warning and cure, its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hwsim.cards.build import hardware, network
from hwsim.cards.device import read_device
from hwsim.cli.app import app
from hwsim.errors import InputError
from hwsim.experiments.device_run import caveats
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.requests import RunRequest
from hwsim.experiments.update_quality import as_records, kept_records, lines, with_ratios
from hwsim.learning.train import Epoch
from hwsim.rng import Streams

CONVOLUTIONAL = (
    "network={type: conv-hopfield, image: [1, 8, 8], convolutions: [{channels: 4, kernel: 3, padding: 1}], "
    "dense: [10], init_gain: 1.5, start: feed-forward}"
)


def records(device: str, *settings: str) -> list[dict[str, Any]]:
    job = plan_run(RunRequest(device=device, settings=list(settings)))
    return as_records(job.model, job.device.device, job.in_situ, job.data.train, job.seed)


def test_a_convolution_on_an_asymmetric_device_is_warned_of_with_its_cure() -> None:
    made = records("soft-bounds-cell", CONVOLUTIONAL)
    assert [record["mode"] for record in made] == ["per-sample"] * 2
    assert made[0]["rho"] > 5 > made[0]["rho_accumulated"]
    shown = lines(made)
    assert shown[0].startswith("updates of layer0.weight (per-sample): ")
    warning = next(line for line in shown if line.startswith("warning: layer0.weight is sent "))
    assert "pulses for each that counts and cannot hold weights above" in warning
    assert "in_situ.update=accumulate would send" in warning
    (caveat, *_) = caveats._updates({"updates": made})
    assert (caveat.code, caveat.level, caveat.case) == ("update-traffic", "warning", "in-situ")


def test_a_digital_sum_is_not_warned_of() -> None:
    made = records("soft-bounds-cell", CONVOLUTIONAL, "in_situ.update=accumulate")
    assert [record["warning"] for record in made] == [None, None]
    assert all(record["cosine"] > 0.5 for record in made)


def test_a_sum_that_is_written_rarely_is_measured_over_a_whole_period() -> None:
    made = records("soft-bounds-cell", CONVOLUTIONAL, "in_situ.update=['accumulate: 12', accumulate]")
    assert all(record["sent_pulses"] > 0 and record["cosine"] > 0.5 for record in made)


@pytest.mark.parametrize("device", ["ideal", "pcm-inference", "mixed-precision-pcm"])
def test_devices_without_pulses_of_their_own_say_nothing(device: str) -> None:
    assert records(device) == []


def test_a_folder_keeps_what_was_measured(tmp_path: Path) -> None:
    made = kept_records(tmp_path, lambda: [{"layer": "a", "rho": None}])
    assert kept_records(tmp_path, lambda: pytest.fail("measured again")) == made
    (tmp_path / "updates.json").write_text("{")
    with pytest.raises(InputError, match=r"updates\.json: not valid JSON"):
        kept_records(tmp_path, list)


def test_a_device_is_validated_for_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    app(["device", "validate", "soft-bounds-cell", "--model", "digits-mlp"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "soft-bounds-cell: valid" in out
    assert "updates of layer1.weight (per-sample): " in out
    app(["device", "validate", "ideal", "--model", "digits-mlp"], standalone_mode=False)
    assert "ideal: no pulses move the weights that are read" in capsys.readouterr().out
    with pytest.raises(InputError, match="--set: goes over a model card; give --model as well"):
        app(["device", "validate", "ideal", "--set", "in_situ.epochs=1"], standalone_mode=False)


@pytest.mark.parametrize("update", ["per-sample", "accumulate"])
def test_an_epochs_ratio_is_measured_on_a_copy(update: str) -> None:
    """The network that learns goes on as if nothing had been measured, and the same state gives the same ratio."""
    settings = [CONVOLUTIONAL, f"in_situ.update={update}"]
    job = plan_run(RunRequest(device="soft-bounds-cell", settings=settings))
    net = network(job.model.energy, hardware(job.device.device, job.in_situ), Streams(0))
    net.program(net.initial_weights(1.5, Streams(0)))
    before = net.state_dict()
    measured = with_ratios(job.model, job.device.device, job.in_situ, job.data.train, Streams(0))
    epoch = Epoch(1, 0.0, 0.0, 0.0, 0.0, [], [], [], [])
    seen, again = measured(net, epoch), measured(net, epoch)
    assert seen == again
    assert seen.rho is not None
    assert [rho is None for rho in seen.rho] == [False, True, False, True]
    assert (seen.rho[0] > 5) == (update == "per-sample")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    ideal = with_ratios(job.model, read_device("ideal").device, job.in_situ, job.data.train, Streams(0))
    assert ideal(network(job.model.energy, read_device("ideal").device, Streams(0)), epoch).rho is None
