"""``--accelerator cuda`` on a pretended GPU: trainings, attacks, corruptions and studies end as on the CPU."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pretended import pretended
from safetensors.torch import load_file
from torch.testing import assert_close

from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.attack.results import write_results as write_attack
from hwsim.experiments.attack.work import run_attack
from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt
from hwsim.experiments.corruption.results import write_results as write_corruption
from hwsim.experiments.requests import AttackRequest, CorruptRequest, TrainRequest
from hwsim.experiments.training.job import plan_training
from hwsim.experiments.training.work import run_training
from hwsim.jobs.job import Quiet

PLACES = ("cpu", "cuda")


def at(place: str) -> Any:
    return pretended() if place == "cuda" else nullcontext()


def test_a_training_ends_as_on_the_cpu_and_goes_on_there(tmp_path: Path) -> None:
    model, settings = "digits-mlp", ["learning.epochs=1", "learning.batch_size=200"]
    cards = {}
    for place in PLACES:
        with at(place):
            out = tmp_path / place
            request = TrainRequest(model=model, settings=settings, accelerator=place, out=out)
            cards[place] = run_training(plan_training(request), lambda record: None)
    assert cards["cuda"]["accuracy_test"] == cards["cpu"]["accuracy_test"]
    here, there = (load_file(tmp_path / place / "weights.safetensors") for place in PLACES)
    assert_close(there, here, rtol=1e-4, atol=1e-5)
    # Where torch computes is no part of a configuration: the folder of one place is gone on with at the other.
    request = TrainRequest(model=model, settings=settings, accelerator="cpu", out=tmp_path / "cuda")
    again = run_training(plan_training(request), lambda record: None)
    assert again["accuracy_test"] == cards["cuda"]["accuracy_test"]


def test_an_attack_ends_as_on_the_cpu(tmp_path: Path) -> None:
    found = {}
    for place in PLACES:
        with at(place):
            request = AttackRequest(
                model="digits-mlp", examples=6, attack="pgd-2", accelerator=place, out=tmp_path / place, checks=False,
                threats=["linf:0.1"], seeds="2",
            )  # fmt: skip
            job = plan_attack(request)
            write_attack(job, run_attack(job, Quiet()))
        found[place] = json.loads((tmp_path / place / "results.json").read_text())["threats"][0]
    for name in ("clean", "worst"):
        assert found["cuda"][name]["mean"] == pytest.approx(found["cpu"][name]["mean"], abs=1 / 6)


def test_corruptions_end_as_on_the_cpu(tmp_path: Path) -> None:
    means = {}
    for place in PLACES:
        with at(place):
            request = CorruptRequest(
                model="digits-mlp", examples=60, types="contrast,gaussian-noise", severities="3,5", accelerator=place,
                out=tmp_path / place,
            )  # fmt: skip
            job = plan_corrupt(request)
            means[place] = [row.mean for row in write_corruption(job, run_corrupt(job, Quiet())).rows]
    assert means["cuda"] == means["cpu"]
