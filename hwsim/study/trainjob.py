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

from safetensors.torch import save_file

from hwsim.errors import WorkError
from hwsim.hopfield import LayeredHopfield
from hwsim.rng import Streams
from hwsim.study import receipt
from hwsim.study.config import LearningConfig, ModelConfig
from hwsim.study.data import Dataset
from hwsim.study.devicecard import DeviceCard
from hwsim.study.evaluation import Measured, measure
from hwsim.study.folder import claimed
from hwsim.study.interval import accuracy
from hwsim.study.store import append_line, read_lines, write_json, written_aside
from hwsim.study.training import Epoch, as_record, hardware, layer_names, network, train
from hwsim.study.weights import load_weights
from hwsim.synapse import Device, FloatDevice

MOST_UNSETTLED = 0.5
"""Share of validation examples still moving at the end of inference above which a training is given up: its
predictions are no equilibria, and EP's contrasts compare nothing."""

STEPS_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)
"""Relaxation lengths at which a card gives the accuracy, as far as inference goes."""


@dataclass(frozen=True)
class TrainJob:
    """A resolved training. ``device`` None: exact arithmetic with the recipe's momentum and weight decay."""

    model: ModelConfig
    recipe: LearningConfig
    device: DeviceCard | None
    data: Dataset
    seed: int
    folder: Path
    command: str

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
    device: Device = job.device.device if job.device else FloatDevice(job.recipe.momentum, job.recipe.weight_decay)
    streams = Streams(job.seed)
    net = network(job.model.network, hardware(device, job.recipe), streams, momentum=job.recipe.momentum)
    folder, log = job.folder, job.folder / "metrics.jsonl"
    state, best = folder / "state.safetensors", folder / "best.safetensors"
    x, labels = (t[: job.recipe.validation_examples] for t in (job.data.x_validation, job.data.y_validation))

    def judged(epoch: Epoch) -> None:
        measured = measure(net, x, labels, job.model.inference, 1, streams.child("validation", epoch.epoch))
        validation = sum(measured.hits) / (measured.draws * len(x))
        so_far = max((r["accuracy_validation"] for r in read_lines(log) if r["epoch"] < epoch.epoch), default=-1.0)
        record = {"kind": "training", "case": "train", "repeat": 0, **as_record(epoch)}
        record |= {"accuracy_validation": validation, "unsettled_validation": measured.unsettled_share}
        if validation > so_far:
            _save_weights(net, best)
        append_line(log, record)
        tell(record)
        if measured.unsettled_share > MOST_UNSETTLED:
            raise WorkError(
                f"training stopped after epoch {epoch.epoch}: {measured.unsettled_share:.0%} of the validation "
                f"examples had not settled after {job.model.inference.steps} steps; try a smaller network.init_gain, "
                "smaller learning.rates, more weight_decay, or more inference.steps"
            )

    with claimed(folder, job.config_hash, job.resolved):
        train(net, job.model.network, job.recipe, job.data.x_train, job.data.y_train, streams, state, judged)
        if not best.exists():
            _save_weights(net, best)
        weights = folder / "weights.safetensors"
        with written_aside(weights) as aside:
            shutil.copyfile(best, aside)
        return _card(job, net, weights, log)


def _save_weights(net: LayeredHopfield, path: Path) -> None:
    tensors = {name: w.contiguous() for name, w in zip(layer_names(net), net.weights(), strict=True)}
    with written_aside(path) as aside:
        save_file(tensors, aside)


def _card(job: TrainJob, net: LayeredHopfield, weights: Path, log: Path) -> dict[str, Any]:
    """What the best weights reach at equilibrium, on validation and on test images."""
    load_weights(net, weights)
    records = {r["epoch"]: r for r in read_lines(log) if r.get("kind") == "training"}
    streams = Streams(job.seed).child("card")

    def shares(measured: Measured) -> list[list[float]]:
        return [[hit / measured.draws for hit in measured.hits]]

    inference = job.model.inference
    parts = {"validation": (job.data.x_validation, job.data.y_validation), "test": (job.data.x_test, job.data.y_test)}
    card: dict[str, Any] = {"command": job.command, "model": job.model.name, "data": job.data.name, "seed": job.seed}
    card["device"] = job.device.name if job.device else "float"
    for part, (x, labels) in parts.items():
        measured = measure(net, x, labels, inference, job.model.evaluation.draws, streams.child(part))
        found = accuracy(shares(measured))
        card[f"accuracy_{part}"] = {"mean": found.mean, "low": found.low, "high": found.high, "images": len(x)}
        card[f"unsettled_share_{part}"] = measured.unsettled_share
    by_steps = {}
    x, labels = parts["validation"]
    for steps in (s for s in STEPS_SHOWN if s < inference.steps):
        shorter = inference.model_copy(update={"steps": steps, "average_last": min(steps, inference.average_last)})
        measured = measure(net, x[:1000], labels[:1000], shorter, 1, streams.child("steps", steps))
        by_steps[str(steps)] = sum(measured.hits) / len(measured.hits)
    card["accuracy_validation_by_steps"] = by_steps
    card["best_epoch"] = max(records.values(), key=lambda r: r["accuracy_validation"])["epoch"] if records else 0
    card["epochs"], card["seconds"] = len(records), round(sum(r["seconds"] for r in records.values()), 1)
    card["weights"] = sum(w.numel() for w in net.weights())
    card["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    card["versions"], card["git"] = receipt.versions(), receipt.git_revision()
    card["streams"] = receipt.streams(job.device.device if job.device else FloatDevice())
    card["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(job.folder / "card.json", card)
    return card
