"""Resistive networks through the commands: all that a run, an attack and an ablation of any other network have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_settings import small
from htmlpage import Page
from job_progress import Silent
from torch.testing import assert_close

from hwsim.experiments.corruption.job import plan_corrupt
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.device_run.work import run
from hwsim.experiments.requests import CorruptRequest, RunRequest
from hwsim.experiments.subject import read_subject
from hwsim.reports.device_run import write_report
from hwsim.robustness.warm import Warm, warmed

Call = Callable[..., tuple[int, str, str]]

TINY = small("network.layers=[64, 6, 10]")
MODEL = ("--model", "drn-digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("resistive") / "run"
    settings = [setting for setting in TINY if setting != "--set"]
    settings += ["network.diode={saturation_A: 1e-9, ideality: 1.5}", "inference.steps=300"]
    run(
        plan_run(RunRequest(model="drn-digits", device="pcm-inference", repeats=1, out=out, settings=settings)),
        Silent(),
    )
    return out


def test_a_run_records_the_settled_circuit_of_every_case(folder: Path) -> None:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    circuits = {record["case"]: record for record in records if record["kind"] == "circuit"}
    assert list(circuits) == [
        "float",
        "programmed",
        *(f"programmed, {age}" for age in ("1 s", "1 h", "1 day", "1 month")),
        "in-situ",
    ]
    for record in circuits.values():
        power = record["power"]
        assert power["total_W"] == pytest.approx(power["sources_W"] + power["amplifiers_W"], rel=1e-3)
        assert power["diodes_W"] > 0
        assert [len(layer[0]) for layer in record["node_voltages_V"]] == [6, 20]
    powers = [circuits[f"programmed, {age}"]["power"]["total_W"] for age in ("1 s", "1 h", "1 month")]
    assert powers[0] > powers[1] > powers[2]  # conductances fall with age
    section = json.loads((folder / "cost.json").read_text())
    assert section["power"]["total_W"] > 0


def test_its_report_shows_power_and_voltages(folder: Path) -> None:
    page = Page(write_report(folder).read_text())
    text = page.text
    assert "Static power of the settled circuit" in text
    assert "Node voltages at rest" in text
    assert (folder / "figures" / "node-voltages.svg").exists()


def test_an_attacker_who_remembers_sees_the_same_gradient() -> None:
    """A relaxation from a warm start records nothing, and the gradient behind it is the whole one all the same."""
    subject, data = read_subject("drn-digits", None, None, None)
    cold = subject.surrogate("implicit")
    warm = warmed(cold, data.test.x[:16])
    assert isinstance(warm, Warm)
    x, rng = data.test.x[:4], torch.Generator().manual_seed(0)
    for _ in range(3):
        x = (x + 0.02 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
        gradients = []
        for classifier in (cold, warm):
            at = x.clone().requires_grad_(True)
            gradients += torch.autograd.grad(classifier.differentiable(at)[:, 0].sum(), at)
        assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-3 * float(gradients[0].abs().max()))


def test_it_is_attacked_and_corrupted_as_any_model(hwsim_here: Call, tmp_path: Path) -> None:
    out = tmp_path / "attack"
    code, text, _ = hwsim_here(
        "attack", *MODEL, "--attack", "smoke", "--examples", "20", "--threat", "linf:0.3", "--out", str(out)
    )
    assert code == 0, text
    results = json.loads((out / "results.json").read_text())
    (threat,) = results["threats"]
    assert threat["reported"]["mean"] < threat["clean"]["mean"]
    out = tmp_path / "corrupt"
    given = ("--types", "contrast", "--severities", "5", "--device", "ecram", "--examples", "20", "--instances", "1")
    code, text, _ = hwsim_here("corrupt", *MODEL, *given, "--out", str(out))
    assert code == 0, text


def test_no_drift_is_said_to_be_compensated(tmp_path: Path) -> None:
    """pcm-inference multiplies its reads by a factor; a circuit that relaxes by itself has none."""
    said = {
        model: plan_corrupt(CorruptRequest(model=model, device="pcm-inference", out=tmp_path, types="contrast"))
        for model in ("drn-digits", "digits-mlp")
    }
    assert said["drn-digits"].compensation == "not compensated"
    assert said["digits-mlp"].compensation.startswith("compensated by one factor")
