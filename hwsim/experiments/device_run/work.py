"""The main job: train in float and on the device, then measure both, case by case, in a folder that can go on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from hwsim.cards.build import layer_names
from hwsim.crossbar.composite import layout
from hwsim.ebm.network import Network
from hwsim.experiments.ageing import usual_ages
from hwsim.experiments.device_run.attacks import attack_case, forecast
from hwsim.experiments.device_run.circuit import circuit_records
from hwsim.experiments.device_run.cost import cost_section
from hwsim.experiments.device_run.gallery import keep_attacked
from hwsim.experiments.device_run.job import COPIED, TUNED, RunJob
from hwsim.experiments.device_run.records import (
    RUN_RECORDS,
    AttackRecord,
    CircuitRecord,
    DiagnosticsRecord,
    EvaluationRecord,
    LayerHealth,
    RelaxationRecord,
)
from hwsim.experiments.evaluation import conditions, measure, perturbed, relaxed, saturation
from hwsim.experiments.gallery import file_stem
from hwsim.experiments.trained import deployed, float_device, programmed, trained
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.update_quality import as_records, kept_records, lines
from hwsim.jobs.engine import Log, working
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Progress, Quiet
from hwsim.jobs.store import write_json, written_aside
from hwsim.jobs.tasks import Task, do_tasks
from hwsim.jobs.weights import named_conductances, named_weights
from hwsim.learning.train import Epoch
from hwsim.rng import Streams
from hwsim.robustness.corruptions.condition import Condition
from hwsim.robustness.threat import parse

RELAXED_IMAGES = 64
"""Test images behind the picture of a relaxation."""


def run(job: RunJob, progress: Progress, pool: Pool | None = None) -> None:
    """Do what of the job is not done yet and leave a complete run folder; ``pool``: where, by default in this process.

    Raises InputError where the folder holds another job's results or another process is at it, and
    WorkError where work fails; whatever was finished stays and is not done again.
    """
    with working(job, *RUN_RECORDS, repeats=list(range(job.repeats)), data_split=0) as log:
        columns = conditions(job.model.evaluation)
        epochs = job.model.learning.epochs + job.in_situ.epochs + job.in_situ.tune_epochs
        attacks = job.model.evaluation.attack is not None
        progress.total(job.repeats * (epochs + len(job.cases()) * (len(columns) + 1 + attacks)))
        device = job.device.device
        quality = partial(as_records, job.model, device, job.in_situ, job.data.train, job.seed)
        for line in lines(kept_records(job.folder, quality)):
            progress.note(line)
        if attacks and not any(isinstance(record, AttackRecord) for record in log):
            progress.note(forecast(job, pool.workers if pool else 1))
        places = {case: place for place, case in enumerate(job.cases())}
        do_tasks(job, log, list(_tasks(job)), progress, pool, lambda record: (record.repeat, places[record.case]))
        if not (job.folder / "cost.json").exists():
            learned = _learnt(job, "float", job.repeats - 1, log, Quiet()).weights()
            write_json(job.folder / "cost.json", cost_section(job, weights=learned))


def _tasks(job: RunJob) -> Iterator[Task]:
    """Of each repeat, what needs nothing of each other: what is programmed and attacked knows the float weights."""
    attacks = job.model.evaluation.attack is not None
    for repeat in range(job.repeats):
        in_float = f"float, repeat {repeat + 1}"
        yield Task(in_float, _float, (repeat,))
        yield Task(f"programmed, repeat {repeat + 1}", _programmed, (repeat,), after=(in_float,))
        if TUNED in job.cases():
            yield Task(f"{TUNED}, repeat {repeat + 1}", _tuned, (repeat,), after=(in_float,))
        yield Task(f"in-situ, repeat {repeat + 1}", _in_situ, (repeat,), after=(in_float,) if attacks else ())


def _float(job: RunJob, log: Log[Any], progress: Progress, repeat: int) -> None:
    net = _learnt(job, "float", repeat, log, progress)
    _measure_case(job, "float", repeat, net, net, log, progress)


def _programmed(job: RunJob, log: Log[Any], progress: Progress, repeat: int) -> None:
    """The float weights on a device instance, as it is and at every age of one that drifts."""
    in_float, streams = _learnt(job, "float", repeat, log, Quiet()), Streams(job.seed).child("repeat", repeat)
    state, device = job.folder / "states" / f"programmed-{repeat}.safetensors", job.device.device
    net = programmed(job.model.energy, device, in_float, streams.child("programmed"), state=state)
    _measure_case(job, "programmed", repeat, net, in_float, log, progress)
    for age, seconds in usual_ages(device).items():
        net.age(seconds)
        _measure_case(job, f"programmed, {age}", repeat, net, in_float, log, progress)


def _in_situ(job: RunJob, log: Log[Any], progress: Progress, repeat: int) -> None:
    source, streams = _learnt(job, "in-situ", repeat, log, progress), Streams(job.seed).child("repeat", repeat)
    state, own = job.folder / "states" / f"in-situ-deployed-{repeat}.safetensors", streams.child("in-situ", "deployed")
    net = deployed(job.model.energy, job.device.device, source, own, state=state)
    attacks = job.model.evaluation.attack is not None
    in_float = _learnt(job, "float", repeat, log, Quiet()) if attacks else None
    _measure_case(job, "in-situ", repeat, net, in_float, log, progress)
    if job.copies:
        state = job.folder / "states" / f"in-situ-copied-{repeat}.safetensors"
        copy = programmed(job.model.energy, job.device.device, net, streams.child(COPIED), state=state)
        _measure_case(job, COPIED, repeat, copy, in_float, log, progress)


def _tuned(job: RunJob, log: Log[Any], progress: Progress, repeat: int) -> None:
    """The device instance that was programmed with the float weights, trained on in situ."""
    in_float = _learnt(job, "float", repeat, log, Quiet())
    source = _learnt(job, TUNED, repeat, log, progress, in_float)
    streams = Streams(job.seed).child("repeat", repeat)
    state, own = job.folder / "states" / f"tuned-deployed-{repeat}.safetensors", streams.child(TUNED, "deployed")
    net = deployed(job.model.energy, job.device.device, source, own, state=state)
    _measure_case(job, TUNED, repeat, net, in_float, log, progress)


def _learnt(
    job: RunJob, case: str, repeat: int, log: Log[Any], progress: Progress, source: Network | None = None
) -> Network:
    """The network that was trained for a case, or is now: in float or in situ, from ``source``'s weights if given."""
    streams = Streams(job.seed).child("repeat", repeat)
    in_float = case == "float"
    on = float_device(job.model) if in_float else job.device.device
    recipe = job.model.settled_learning if in_float else job.in_situ
    if case == TUNED:
        recipe = recipe.model_copy(update={"epochs": recipe.tune_epochs})
    told = [0]

    def keep(epoch: Epoch, seconds: float) -> None:
        told[0] += 1
        log.add(EpochRecord.of(epoch, seconds, case=case, repeat=repeat))
        progress.done(f"{case}, repeat {repeat + 1}: epoch {epoch.epoch}, accuracy {epoch.accuracy_train:.3f}")

    # The same initial weights and the same order of examples for all cases: the difference is the device's.
    state = job.folder / "states" / f"{file_stem(case)}-{repeat}.safetensors"
    kept: Any = {"checkpoint": state, "on_epoch": keep, "ratios": True}
    instance = streams.child("programmed" if case == TUNED else case)
    net = trained(job.model, on, recipe, job.data, streams, instance=instance, source=source, **kept)
    progress.done(f"{case}, repeat {repeat + 1}: trained", recipe.epochs - told[0])
    return net


def _measure_case(
    job: RunJob,
    case: str,
    repeat: int,
    net: Network,
    in_float: Network | None,
    log: Log[Any],
    progress: Progress,
) -> None:
    """All that is measured on a network; ``in_float``: the weights that an attacker may know beside it."""
    streams = Streams(job.seed).child("repeat", repeat, case)
    evaluation, inference, columns = job.model.evaluation, job.model.inference, conditions(job.model.evaluation)
    x, labels = job.data.test[: evaluation.examples]

    def evaluated(condition: Condition) -> EvaluationRecord:
        # Noise and corruptions are the same for every case and repeat, so cases can be compared in pairs.
        own = Streams(job.seed).child(condition.name, condition.level)
        images = perturbed(net, condition, x, labels, evaluation, own)
        read = streams.child(condition.name, condition.level)
        if condition.kind == "attack" and repeat == 0:
            kept = (condition, net, x, images, labels, job.data.classes, inference, read.child("gallery"))
            keep_attacked(job.folder, case, *kept)
        measured = measure(net, images, labels, inference, evaluation.draws, read)
        return EvaluationRecord(
            case=case,
            repeat=repeat,
            condition=condition.name,
            level=condition.level,
            level_unit=condition.unit,
            draws=measured.draws,
            hits=measured.hits,
            unsettled_share=measured.unsettled_share,
            noise_floor_share=measured.noise_floor_share,
        )

    for condition in columns:
        key = ("evaluation", case, repeat, condition.name, condition.level)
        log.once(key, partial(evaluated, condition))
        progress.done(f"{case}, repeat {repeat + 1}: {condition}")
    if ("relaxation", case, repeat) not in log:
        for record in _examined(job, case, repeat, net, log, streams):
            log.add(record)
    _keep_weights(job.folder / "weights" / f"{file_stem(case)}-{repeat}.safetensors", net)
    progress.done(f"{case}, repeat {repeat + 1}: diagnostics")
    if evaluation.attack is not None and in_float is not None:
        _attack_case(job, case, repeat, net, in_float, log, progress)


def _attack_case(
    job: RunJob,
    case: str,
    repeat: int,
    net: Network,
    in_float: Network,
    log: Log[Any],
    progress: Progress,
) -> None:
    """The card's ``evaluation.attack``; what an interrupted attack has measured is kept in the case's own folder."""
    section = job.model.evaluation.attack
    assert section is not None
    if any(("attack", case, repeat, str(parse(threat))) not in log for threat in section.threat):
        for record in attack_case(job, case, repeat, net, in_float):
            log.add(record)
    progress.done(f"{case}, repeat {repeat + 1}: attacks")


def _examined(
    job: RunJob, case: str, repeat: int, net: Network, log: Log[Any], streams: Streams
) -> list[DiagnosticsRecord | RelaxationRecord | CircuitRecord]:
    """The health of every array, a relaxation step by step, and a circuit at rest where the network is one."""
    x, inference = job.data.test.x[:RELAXED_IMAGES], job.model.inference
    way = relaxed(net, x, inference, streams.child("relaxation"))
    shares = list(saturation(net, x, inference, streams.child("saturation")))
    epochs = [r for r in log if isinstance(r, EpochRecord) and (r.case, r.repeat) == (case, repeat)]
    last = max(epochs, key=lambda record: record.epoch, default=None)
    layers = [
        LayerHealth(
            layer=name,
            shape=list(synapse.shape),
            **layout(synapse)._asdict(),
            **{key: getattr(last, key)[i] if last else None for key in ("k_mean", "k_max", "k_limit")},
            clipped_share=synapse.clipped_share(),
            saturated_share=shares[i],
        )
        for i, (name, synapse) in enumerate(zip(layer_names(net), net.synapses, strict=True))
    ]
    of: Any = {"case": case, "repeat": repeat}
    ends: Any = {"unsettled_share": way.unsettled_share, "noise_floor_share": way.noise_floor_share}
    return [
        *circuit_records(case, repeat, net, x, inference),
        DiagnosticsRecord(**of, layers=layers, steps_mean=way.steps_mean, **ends),
        RelaxationRecord(**of, energy=[*way.energy], residual=[*way.residual]),
    ]


def _keep_weights(path: Path, net: Network) -> None:
    """The weights and conductances of every array, and the pulses that a log counted, once."""
    if not path.exists():
        with written_aside(path) as aside:
            save_file(named_weights(net) | named_conductances(net), aside)
