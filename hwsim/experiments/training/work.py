"""``hwsim train``: one model trained on its data, choices made on validation images, and a card of what came out."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hwsim.cards.build import hardware
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.data.dataset import Dataset
from hwsim.errors import WorkError
from hwsim.experiments.evaluation import Measured, measure
from hwsim.experiments.training.job import TrainJob
from hwsim.experiments.training.learners import EquilibriumModel, Model, model_of
from hwsim.experiments.training.resume import EpochRecord, train
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


def run_training(job: TrainJob, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train, or go on, and write ``weights.safetensors`` and ``card.json`` from the best epoch by validation.

    ``tell`` gets every finished epoch's record. Raises WorkError where the training diverges.
    """
    streams, revision = Streams(job.seed), receipt.git_revision()  # of the code that trains, not of what it became
    model = model_of(job.model, job.recipe, _device(job), streams, job.place)
    data = job.data.to(job.place)
    folder, log = job.folder, job.folder / "metrics.jsonl"
    state, best = folder / "state.safetensors", folder / "best.safetensors"
    x, labels = data.validation[: job.recipe.validation_examples]

    def judged(epoch: EpochRecord) -> None:
        own = streams.child("validation", epoch["epoch"])
        measured = model.measure(x, labels, 1, own)
        validation = sum(measured.hits) / (measured.draws * len(x))
        so_far = max((r["accuracy_validation"] for r in read_lines(log) if r["epoch"] < epoch["epoch"]), default=-1.0)
        record = {"kind": "training", "case": "train", "repeat": 0, **epoch}
        record |= {"accuracy_validation": validation, "unsettled_validation": measured.unsettled_share}
        record |= model.figures(x, own.child("watched"))
        if validation > so_far:
            model.save_weights(best)
        append_line(log, record)
        tell(record)
        if measured.unsettled_share > MOST_UNSETTLED:
            raise WorkError(
                f"training stopped after epoch {epoch['epoch']}: {measured.unsettled_share:.0%} of the validation "
                f"examples had not settled after {job.model.inference.steps} steps; try a smaller network.init_gain, "
                "smaller learning.rates, more weight_decay, or more inference.steps"
            )

    with claimed(folder, job.config_hash, job.resolved):
        train(model, job.recipe, data.train.x, data.train.y, streams, state, judged)
        if not best.exists():
            model.save_weights(best)
        weights = folder / "weights.safetensors"
        with written_aside(weights) as aside:
            shutil.copyfile(best, aside)
        return _card(job, model, data, weights, log, revision)


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

    parts = {"validation": data.validation, "test": data.test}
    card: dict[str, Any] = {"command": job.command, "model": job.model.name, "data": job.data.name, "seed": job.seed}
    card["device"] = job.device.name if job.device else "float"
    for part, (x, labels) in parts.items():
        measured = model.measure(x, labels, job.model.evaluation.draws, streams.child(part))
        found = accuracy(shares(measured))
        card[f"accuracy_{part}"] = {"mean": found.mean, "low": found.low, "high": found.high, "images": len(x)}
        if isinstance(model, EquilibriumModel):
            card[f"unsettled_share_{part}"] = measured.unsettled_share
    if isinstance(model, EquilibriumModel):
        x, labels = parts["validation"][:SHORTENED_ON]
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
