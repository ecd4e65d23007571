"""``hwsim train``: one model trained on its data, choices made on validation images, and a card of what came out."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hwsim.cards.build import Epoch, as_record, hardware, train
from hwsim.cards.device import DeviceCard
from hwsim.cards.model import ModelConfig
from hwsim.cards.recipe import LearningConfig, LearningSection
from hwsim.crossbar.synapse import Device, FloatDevice
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError, WorkError
from hwsim.experiments.evaluation import Measured, measure
from hwsim.experiments.training.learners import EquilibriumModel, Model, model_of
from hwsim.jobs import receipt
from hwsim.jobs.folder import claimed
from hwsim.jobs.store import append_line, read_lines, write_json, written_aside
from hwsim.rng import Streams
from hwsim.stats.interval import accuracy

MOST_UNSETTLED = 0.5
"""Share of validation examples still moving at the end of inference above which a training is given up: its
predictions are no equilibria, and EP's contrasts compare nothing."""

STEPS_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)
"""Relaxation lengths at which a card gives the accuracy, as far as inference goes."""

SHORTENED_ON = 1000
"""Validation images, the first ones, that these accuracies are taken on."""


@dataclass(frozen=True)
class TrainJob:
    """A resolved training. ``device`` None: exact arithmetic with the recipe's momentum and weight decay.

    ``place`` is the torch device that computes; it is no part of the configuration, a training may go on elsewhere.
    """

    model: ModelConfig
    recipe: LearningSection
    device: DeviceCard | None
    data: Dataset
    seed: int
    folder: Path
    command: str
    place: str = "cpu"

    @property
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        device = {"name": self.device.name, "resolved": self.device.resolved} if self.device else {"name": "float"}
        sizes = {part: len(getattr(self.data, f"x_{part}")) for part in ("train", "validation", "test")}
        model = self.model.model_dump(include={"name", "network", "inference"})
        data = {"name": self.data.name, **sizes}
        return {"model": model, "learning": self.recipe.model_dump(), "device": device, "data": data, "seed": self.seed}

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]


def run_training(job: TrainJob, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train, or go on, and write ``weights.safetensors`` and ``card.json`` from the best epoch by validation.

    ``tell`` gets every finished epoch's record. Raises WorkError where the training diverges.
    """
    streams, revision = Streams(job.seed), receipt.git_revision()  # of the code that trains, not of what it became
    model = model_of(job.model, job.recipe, _device(job), streams, job.place)
    data = job.data.to(job.place)
    folder, log = job.folder, job.folder / "metrics.jsonl"
    state, best = folder / "state.safetensors", folder / "best.safetensors"
    x, labels = (t[: job.recipe.validation_examples] for t in (data.x_validation, data.y_validation))

    def judged(epoch: Epoch) -> None:
        own = streams.child("validation", epoch.epoch)
        measured = model.measure(x, labels, 1, own)
        validation = sum(measured.hits) / (measured.draws * len(x))
        so_far = max((r["accuracy_validation"] for r in read_lines(log) if r["epoch"] < epoch.epoch), default=-1.0)
        record = {"kind": "training", "case": "train", "repeat": 0, **as_record(epoch)}
        record |= {"accuracy_validation": validation, "unsettled_validation": measured.unsettled_share}
        record |= model.figures(x, own.child("watched"))
        if validation > so_far:
            model.save_weights(best)
        append_line(log, record)
        tell(record)
        if measured.unsettled_share > MOST_UNSETTLED:
            raise WorkError(
                f"training stopped after epoch {epoch.epoch}: {measured.unsettled_share:.0%} of the validation "
                f"examples had not settled after {job.model.inference.steps} steps; try a smaller network.init_gain, "
                "smaller learning.rates, more weight_decay, or more inference.steps"
            )

    with claimed(folder, job.config_hash, job.resolved):
        train(model, job.recipe, data.x_train, data.y_train, streams, state, judged)
        if not best.exists():
            model.save_weights(best)
        weights = folder / "weights.safetensors"
        with written_aside(weights) as aside:
            shutil.copyfile(best, aside)
        return _card(job, model, data, weights, log, revision)


def check_place(place: str, on_device: bool) -> None:
    """InputError unless torch computes at ``place``, "cpu" or "cuda", and what is trained can be there."""
    if place not in ("cpu", "cuda"):
        raise InputError(f"--accelerator: expected cpu or cuda, got {place!r}")
    if place == "cuda" and on_device:
        raise InputError("--accelerator cuda: simulated devices are computed on the CPU; leave out one of the two")
    if place == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--accelerator cuda: torch finds no CUDA device here; use --accelerator cpu, or install the CUDA build of "
            "torch on a machine with an NVIDIA GPU"
        )


def _device(job: TrainJob) -> Device:
    if job.device is not None:
        assert isinstance(job.recipe, LearningConfig)
        return hardware(job.device.device, job.recipe)
    device = FloatDevice(job.recipe.momentum, job.recipe.weight_decay, place=job.place)
    return hardware(device, job.recipe) if isinstance(job.recipe, LearningConfig) else device


def _card(job: TrainJob, model: Model, data: Dataset, weights: Path, log: Path, revision: str | None) -> dict[str, Any]:
    """What the best weights reach, on validation and on test images; a network's, at equilibrium."""
    model.load_weights(weights)
    records = {r["epoch"]: r for r in read_lines(log) if r.get("kind") == "training"}
    streams = Streams(job.seed).child("card")

    def shares(measured: Measured) -> list[list[float]]:
        return [[hit / measured.draws for hit in measured.hits]]

    parts = {"validation": (data.x_validation, data.y_validation), "test": (data.x_test, data.y_test)}
    card: dict[str, Any] = {"command": job.command, "model": job.model.name, "data": job.data.name, "seed": job.seed}
    card["device"] = job.device.name if job.device else "float"
    for part, (x, labels) in parts.items():
        measured = model.measure(x, labels, job.model.evaluation.draws, streams.child(part))
        found = accuracy(shares(measured))
        card[f"accuracy_{part}"] = {"mean": found.mean, "low": found.low, "high": found.high, "images": len(x)}
        if isinstance(model, EquilibriumModel):
            card[f"unsettled_share_{part}"] = measured.unsettled_share
    if isinstance(model, EquilibriumModel):
        x, labels = (t[:SHORTENED_ON] for t in parts["validation"])
        card["accuracy_validation_by_steps"] = _by_steps(model, x, labels, streams)
    card["best_epoch"] = max(records.values(), key=lambda r: r["accuracy_validation"])["epoch"] if records else 0
    card["epochs"], card["seconds"] = len(records), round(sum(r["seconds"] for r in records.values()), 1)
    card["weights"] = model.weights
    card["curve"] = [records[epoch]["accuracy_validation"] for epoch in sorted(records)]
    card["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    card["versions"], card["git"] = receipt.versions(), revision
    card["streams"] = receipt.streams(job.device.device if job.device else FloatDevice())
    card["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(job.folder / "card.json", card)
    return card


def _by_steps(model: EquilibriumModel, x: torch.Tensor, labels: torch.Tensor, streams: Streams) -> dict[str, float]:
    """Accuracy after fewer steps than inference takes: what is an equilibrium's, and what was there before it."""
    found, inference = {}, model.inference
    for steps in (s for s in STEPS_SHOWN if s < inference.steps):
        shorter = {"steps": steps, "average_last": min(steps, inference.average_last), "stop_early": False}
        measured = measure(model.net, x, labels, inference.model_copy(update=shorter), 1, streams.child("steps", steps))
        found[str(steps)] = sum(measured.hits) / len(measured.hits)
    return found
