"""``hwsim train``: one model trained on its data, choices made on validation images, and a card of what came out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.cards.build import hardware, layer_names, network
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.errors import WorkError
from hwsim.experiments.device_run.caveats import MIN_CHANGE, NO_UPDATES, of_arrays
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.training.job import TrainJob
from hwsim.experiments.training.learners import EquilibriumModel, Model, model_of
from hwsim.experiments.training.reached import PARTS, Reached, checksum, measured_best
from hwsim.experiments.training.resume import train
from hwsim.experiments.update_quality import as_records, kept_records, lines, with_ratios
from hwsim.jobs import receipt
from hwsim.jobs.engine import Log, working
from hwsim.jobs.executors import Pool
from hwsim.jobs.place import products_in
from hwsim.jobs.store import write_json, written_aside
from hwsim.jobs.weights import CONDUCTANCES, WEIGHTS, load_weights, save_conductances
from hwsim.learning.train import Epoch
from hwsim.rng import Streams
from hwsim.robustness.measure import Measured
from hwsim.stats.interval import accuracy

MOST_UNSETTLED = 0.5
"""Share of validation examples still moving at the end of inference above which a training is given up: its
predictions are no equilibria, and EP's contrasts compare nothing."""


def run_training(
    job: TrainJob,
    on_epoch: Callable[[EpochRecord], None],
    note: Callable[[str], None] | None = None,
    pool: Pool | None = None,
) -> dict[str, Any]:
    """Train, or go on, and write ``weights.safetensors`` and ``card.json`` from the best epoch by validation.

    ``on_epoch`` gets every finished epoch's record, ``note`` what is to be said of a device's updates before; ``pool``:
    where the best weights are measured, by default in this process. Raises WorkError where the training diverges.
    """
    streams, revision = Streams(job.seed), receipt.git_revision()  # of the code that trains, not of what it became
    model = model_of(job.model, job.recipe, _device(job), streams, job.place)
    data, folder = job.data.to(job.place), job.folder
    state, best, weights = (folder / f"{name}.safetensors" for name in ("state", "best", "weights"))
    x, labels = data.validation[: job.recipe.validation_examples]

    def validate(log: Log[EpochRecord], epoch: Epoch, seconds: float) -> None:
        own = streams.child("validation", epoch.epoch)
        if ratios is not None and isinstance(model, EquilibriumModel):
            epoch = ratios(model.net, epoch)
        measured = model.measure(x, labels, 1, own)
        record = EpochRecord.of(
            epoch,
            seconds,
            case="train",
            repeat=0,
            accuracy_validation=measured.accuracy,
            unsettled_validation=measured.unsettled_share,
            **model.figures(x, own.child("watched")),
        )
        before = (r.accuracy_validation or 0.0 for r in log if r.epoch < epoch.epoch)
        if measured.accuracy > max(before, default=-1.0):
            model.save_weights(best)
        log.add(record)
        on_epoch(record)
        if measured.unsettled_share > MOST_UNSETTLED:
            raise WorkError(
                f"training stopped after epoch {epoch.epoch}: {measured.unsettled_share:.0%} of the validation "
                f"examples had not settled after {job.model.inference.steps} steps; try a smaller network.init_gain, "
                "smaller learning.rates, more weight_decay, or more inference.steps"
            )

    ratios = None
    if job.device is not None and isinstance(job.recipe, LearningConfig):
        ratios = with_ratios(job.model, job.device.device, job.recipe, job.data.train, streams)
    with working(job, EpochRecord) as log:
        if job.device is not None and isinstance(job.recipe, LearningConfig):
            quality = partial(as_records, job.model, job.device.device, job.recipe, job.data.train, job.seed)
            for line in lines(kept_records(folder, quality)):
                (note or (lambda line: None))(line)
        with products_in(job.recipe.precision):
            train(model, job.recipe, data.train, streams, checkpoint=state, on_epoch=partial(validate, log))
        if not best.exists():
            model.save_weights(best)
        with written_aside(weights) as aside:
            shutil.copyfile(best, aside)
        doubts = _doubts(model, list(log))
        for doubt in doubts:
            (note or (lambda line: None))(f"warning: {doubt}")
        model.load_weights(weights)
        with products_in():
            return _card(replace(job, given=model), list(log), revision, doubts, pool)


def _doubts(model: Model, epochs: list[EpochRecord]) -> list[str]:
    """What updates and arrays say against a training: nothing was written, trains saturate, cells are at a bound."""
    if not isinstance(model, EquilibriumModel) or not epochs:
        return []
    changes = [change for record in epochs for change in record.weight_change]
    still = [NO_UPDATES] if changes and max(changes) < MIN_CHANGE else []
    last = max(epochs, key=lambda record: record.epoch)
    arrays = [
        {"case": "train", "layer": name, "k_mean": last.k_mean[i], "k_limit": last.k_limit[i]}
        | {"clipped_share": synapse.clipped_share(), "saturated_share": None}
        for i, (name, synapse) in enumerate(zip(layer_names(model.net), model.synapses, strict=True))
    ]
    return still + [caveat.text for caveat in of_arrays(arrays)]


def _device(job: TrainJob) -> Device | list[Device]:
    if job.device is not None:
        assert isinstance(job.recipe, LearningConfig)
        return hardware(job.device.device, job.recipe)
    device = FloatDevice(job.recipe.momentum, job.recipe.weight_decay, place=job.place)
    return hardware(device, job.recipe) if isinstance(job.recipe, LearningConfig) else device


def _card(
    job: TrainJob, epochs: list[EpochRecord], revision: str | None, doubts: list[str], pool: Pool | None
) -> dict[str, Any]:
    """What the best weights reach, on validation and on test images; a network's, at equilibrium."""
    epochs, reached, model = sorted(epochs, key=lambda record: record.epoch), measured_best(job, pool), job.best
    card: dict[str, Any] = {"command": job.command, "model": job.model.name, "data": job.data.name, "seed": job.seed}
    card["device"], card["settings"] = job.device_name, list(job.settings)
    card["warnings"] = doubts
    for part in PARTS:
        card[f"accuracy_{part}"] = _interval(reached[part, None])
        if isinstance(model, EquilibriumModel):
            card[f"unsettled_share_{part}"] = reached[part, None].unsettled_share
    if job.device is not None and isinstance(model, EquilibriumModel):
        save_conductances(model.net, job.folder / CONDUCTANCES)
        copy, streams = copied(job, job.folder / WEIGHTS), Streams(job.seed).child("card", "copied")
        for part in PARTS:
            x, labels = job.data.splits[part]
            measured = copy.measure(x, labels, job.model.evaluation.draws, streams.child(part))
            card[f"accuracy_{part}_copied"] = _interval(measured)
    if isinstance(model, EquilibriumModel):
        shorter = {str(steps): own.accuracy for (_, steps), own in reached.items() if steps is not None}
        card["accuracy_validation_by_steps"] = shorter
    best = max(epochs, key=lambda record: record.accuracy_validation or 0.0, default=None)
    card["best_epoch"] = best.epoch if best else 0
    card["epochs"], card["seconds"] = len(epochs), round(sum(record.seconds for record in epochs), 1)
    card["weights"] = model.weights
    card["curve"] = [record.accuracy_validation for record in epochs]
    card["sha256"] = checksum(job)
    card["versions"], card["git"] = receipt.versions(), revision
    card["streams"] = receipt.streams(job.device.device if job.device else FloatDevice())
    card["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(job.folder / "card.json", card)
    return card


def copied(job: TrainJob, weights: Path) -> EquilibriumModel:
    """A new instance of the job's device, programmed with weights that were learned on another."""
    assert job.device is not None
    assert isinstance(job.recipe, LearningConfig)
    net = network(job.model.energy, job.device.device, Streams(job.seed).child("copied"))
    load_weights(net, weights)
    return EquilibriumModel(net, job.model.energy, job.recipe, job.model.inference)


def _interval(measured: Reached | Measured) -> dict[str, Any]:
    shares = accuracy(np.array([measured.hits]) / measured.draws)
    return {"mean": shares.mean, "low": shares.low, "high": shares.high, "images": len(measured.hits)}
