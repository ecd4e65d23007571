"""The main job: train in float and on the device, then measure both, cell by cell, in a folder that can go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from hwsim.cards.build import hardware, layer_names, network
from hwsim.cards.model import InferenceConfig
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.composite import layout
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.experiments.device_run.attacks import attack_case
from hwsim.experiments.device_run.cost import cost_section
from hwsim.experiments.device_run.gallery import keep_attacked
from hwsim.experiments.device_run.job import DRIFT_TIMES_S, Job
from hwsim.experiments.evaluation import Condition, conditions, measure, perturbed, relaxed, saturation
from hwsim.experiments.gallery import file_stem
from hwsim.experiments.training.learners import EquilibriumModel
from hwsim.experiments.training.resume import EpochRecord, train
from hwsim.jobs.checkpoint import load_state, save_state
from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Progress
from hwsim.jobs.job_receipt import write_receipt
from hwsim.jobs.store import append_line, read_lines, write_json, written_aside
from hwsim.rng import Streams
from hwsim.robustness.threat import parse

RELAXED_IMAGES = 64
"""Test images behind the picture of a relaxation."""


class Log:
    """The records of a run, each with the key of what it is about; a later record replaces an earlier one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = {_key(record): record for record in read_lines(path)}

    def __contains__(self, record: dict[str, Any]) -> bool:
        return _key(record) in self._records

    def add(self, record: dict[str, Any]) -> None:
        append_line(self.path, record)
        self._records[_key(record)] = record

    def last_epoch(self, case: str, repeat: int) -> dict[str, Any] | None:
        epochs = [r for k, r in self._records.items() if k[:3] == ("training", case, repeat)]
        return max(epochs, key=lambda record: record["epoch"], default=None)


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("kind", "case", "repeat", "epoch", "condition", "level"))


def run(job: Job, progress: Progress) -> None:
    """Do what of the job is not done yet and leave a complete run folder.

    Raises InputError where the folder holds another job's results or another process is at it, and
    WorkError where work fails; whatever was finished stays and is not done again.
    """
    cells = job.repeats * len(job.cases()) * len(conditions(job.model.evaluation))
    with claimed(job.folder, job.config_hash, {"cells": cells, **job.resolved}):
        log = Log(job.folder / "metrics.jsonl")
        started = time.time()
        asked = conditions(job.model.evaluation)
        epochs = job.model.learning.epochs + job.in_situ.epochs
        attacks = job.model.evaluation.attack is not None
        progress.total(job.repeats * (epochs + len(job.cases()) * (len(asked) + 1 + attacks)))
        for repeat in range(job.repeats):
            trained: LayeredHopfield | None = None
            for case, net in _networks(job, repeat, log, progress):
                trained = trained or net
                _measure_case(job, case, repeat, net, asked, log, progress)
                if attacks:
                    _attack_case(job, case, repeat, net, trained, log, progress)
        if not (job.folder / "cost.json").exists():
            write_json(job.folder / "cost.json", cost_section(job))
        write_receipt(job, started, {"repeats": list(range(job.repeats)), "data_split": 0})


def _networks(job: Job, repeat: int, log: Log, progress: Progress) -> Iterator[tuple[str, LayeredHopfield]]:
    """Each case of the matrix with its network, trained or programmed, in the order of ``Job.cases``."""
    streams = Streams(job.seed).child("repeat", repeat)
    states = job.folder / "states"

    def trained(case: str, device: Device, recipe: LearningConfig) -> LayeredHopfield:
        own = streams.child(case)
        # The same initial weights and the same order of examples for all cases: the difference is the device's.
        net = network(job.model.energy, hardware(device, recipe), own, momentum=recipe.momentum)

        def tell(epoch: EpochRecord) -> None:
            log.add({"kind": "training", "case": case, "repeat": repeat, **epoch})
            progress.done(
                f"{case}, repeat {repeat + 1}: epoch {epoch['epoch']}, accuracy {epoch['accuracy_train']:.3f}"
            )

        x, labels = job.data.train
        learner = EquilibriumModel(net, job.model.energy, recipe, job.model.inference)
        train(learner, recipe, x, labels, streams, states / f"{case}-{repeat}.safetensors", tell)
        return net

    learning = job.model.settled_learning
    in_float = trained("float", FloatDevice(learning.momentum, learning.weight_decay), learning)
    yield "float", in_float

    device = job.device.device
    programmed = network(job.model.energy, device, streams.child("programmed"))
    _programmed(programmed, in_float, states / f"programmed-{repeat}.safetensors")
    yield "programmed", programmed
    if device.drifts:
        for name, seconds in DRIFT_TIMES_S.items():
            programmed.age(seconds)
            yield f"programmed, {name}", programmed

    in_situ = trained("in-situ", device, job.in_situ)
    if device.trains == "hardware-aware":
        # Its updates were exact and digital; what is deployed are devices programmed with the result.
        deployed = network(job.model.energy, device, streams.child("in-situ", "deployed"))
        _programmed(deployed, in_situ, states / f"in-situ-deployed-{repeat}.safetensors")
        in_situ = deployed
    yield "in-situ", in_situ


def _programmed(net: LayeredHopfield, source: LayeredHopfield, path: Path) -> None:
    """Program ``net`` with the source's weights, or take over what was programmed before."""
    if path.exists():
        load_state(net, path)
    else:
        net.program(source.weights())
        save_state(net, path, 0)


def _measure_case(
    job: Job, case: str, repeat: int, net: LayeredHopfield, asked: list[Condition], log: Log, progress: Progress
) -> None:
    streams = Streams(job.seed).child("repeat", repeat, case)
    evaluation, inference = job.model.evaluation, job.model.inference
    x, labels = job.data.test[: evaluation.examples]
    for condition in asked:
        record: dict[str, Any] = {"kind": "evaluation", "case": case, "repeat": repeat}
        record |= {"condition": condition.name, "level": condition.level, "level_unit": condition.unit}
        if record not in log:
            started = time.perf_counter()
            # Noise and corruptions are the same for every case and repeat, so cases can be compared in pairs.
            cell = Streams(job.seed).child(condition.name, condition.level)
            images = perturbed(net, condition, x, labels, evaluation, cell)
            read = streams.child(condition.name, condition.level)
            if condition.unit == "epsilon" and repeat == 0:
                kept = (condition, net, x, images, labels, job.data.classes, inference, read.child("gallery"))
                keep_attacked(job.folder, case, *kept)
            measured = measure(net, images, labels, inference, evaluation.draws, read)
            record |= {"draws": measured.draws, "hits": measured.hits}
            record |= {"unsettled_share": measured.unsettled_share, "noise_floor_share": measured.noise_floor_share}
            log.add({**record, "seconds": time.perf_counter() - started})
        level = f" {condition.level:g}" if condition.unit else ""
        progress.done(f"{case}, repeat {repeat + 1}: {condition.name}{level}")
    _examine(job, case, repeat, net, log, inference, streams)
    progress.done(f"{case}, repeat {repeat + 1}: diagnostics")


def _attack_case(
    job: Job, case: str, repeat: int, net: LayeredHopfield, trained: LayeredHopfield, log: Log, progress: Progress
) -> None:
    """The card's ``evaluation.attack``; what an interrupted attack has found is kept in the case's own folder."""
    head = {"kind": "attack", "case": case, "repeat": repeat}
    section = job.model.evaluation.attack
    assert section is not None
    if any({**head, "condition": str(parse(threat))} not in log for threat in section.threat):
        for record in attack_case(job, case, repeat, net, trained):
            log.add(record)
    progress.done(f"{case}, repeat {repeat + 1}: attacks")


def _examine(
    job: Job, case: str, repeat: int, net: LayeredHopfield, log: Log, inference: InferenceConfig, streams: Streams
) -> None:
    """Health of every array, a relaxation, and the weights and conductances as files."""
    head: dict[str, Any] = {"case": case, "repeat": repeat}
    x = job.data.test.x[:RELAXED_IMAGES]
    if {"kind": "relaxation", **head} not in log:
        way = relaxed(net, x, inference, streams.child("relaxation"))
        pulses = log.last_epoch(case, repeat) or {}
        shares = list(saturation(net, x, inference, streams.child("saturation")))
        layers = []
        for i, (name, synapse) in enumerate(zip(layer_names(net), net.synapses, strict=True)):
            layer: dict[str, Any] = {"layer": name, "shape": list(synapse.shape)}
            layer |= layout(synapse)._asdict()
            layer |= {k: pulses[k][i] if k in pulses else None for k in ("k_mean", "k_max", "k_limit")}
            layers.append({**layer, "clipped_share": synapse.clipped_share(), "saturated_share": shares[i]})
        ends = {"steps_mean": way.steps_mean, "unsettled_share": way.unsettled_share}
        ends |= {"noise_floor_share": way.noise_floor_share}
        log.add({"kind": "diagnostics", **head, "layers": layers, **ends})
        log.add({"kind": "relaxation", **head, "energy": way.energy, "residual": way.residual})
    path = job.folder / "weights" / f"{file_stem(case)}-{repeat}.safetensors"
    if not path.exists():
        tensors = {}
        for name, synapse in zip(layer_names(net), net.synapses, strict=True):
            tensors[name] = synapse.weight().contiguous()
            layer_name = name.partition(".")[0]
            if name.endswith(".weight"):
                parts = synapse.conductances().items()
                tensors |= {f"{layer_name}.conductance.{part}": g.detach().clone().contiguous() for part, g in parts}
        with written_aside(path) as aside:
            save_file(tensors, aside)
