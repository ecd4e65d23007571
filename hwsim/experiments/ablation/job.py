"""What each non-ideality of a device costs: all switched off but one, and all but one, each trained and measured."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.nonidealities import AGEING_ONLY, TRAINING_ONLY, Property, properties, switched_off
from hwsim.cards.read import check_no_run, parted
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.yamlfile import did_you_mean
from hwsim.ebm.network import Network
from hwsim.errors import InputError, WorkError
from hwsim.experiments.ageing import check_ages
from hwsim.experiments.device_run.job import RunJob, plan_run
from hwsim.experiments.evaluation import measure
from hwsim.experiments.requests import AblationRequest, RunRequest
from hwsim.experiments.trained import deployed, float_device, programmed, trained
from hwsim.jobs.engine import Log, working
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Job, Progress
from hwsim.jobs.records import Record, check_hits
from hwsim.jobs.request import TrainingRequest
from hwsim.jobs.tasks import Task, do_tasks
from hwsim.rng import Streams

LOG = "ablation.jsonl"
CASES = ("in-situ", "programmed")
ALL_ON, ALL_OFF = "all on", "all off"


def only(name: str) -> str:
    """The variant with one property left."""
    return f"only {name}"


def without(name: str) -> str:
    """The variant with one property switched off."""
    return f"all but {name}"


@dataclass(frozen=True, kw_only=True)
class VariantRecord(Record):
    """One training of a variant: hits of every test image in ``draws`` draws.

    ``diverged`` says why nothing is classified, where the training did not end.
    """

    variant: str
    repeat: int
    draws: int
    hits: list[int]
    unsettled_share: float | None = None
    diverged: str | None = None

    def __post_init__(self) -> None:
        check_hits([self.hits], self.draws)

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.variant, self.repeat


@dataclass(frozen=True)
class Variant:
    """A device with something of it off, and the recipe that it learns by."""

    card: DeviceCard
    recipe: LearningConfig


@dataclass(frozen=True, kw_only=True)
class Ablation(Job):
    """A resolved and validated ablation; ``device`` is as it is, nothing switched off.

    Args:
        run: the run that every variant is a change of; its ``repeats`` are the trainings a variant.
        properties: what is switched; ``kept_on``: names of those that the command left out, on in every variant.
        variants: by name; equal ones are the same object.
        case: ``in-situ``: every variant is trained on its own device; ``programmed``: weights trained in float are
            written into it.
        age_s: seconds since programming at which devices that drift are measured.
        updates: what is switched is how updates are written (``hwsim.experiments.ablation.updates``) and whether
            reads are exact, where ``properties`` are those of the reads.
    """

    kind = "ablate"
    device: DeviceCard
    run: RunJob
    properties: tuple[Property, ...]
    kept_on: tuple[str, ...] = ()
    variants: dict[str, Variant]
    case: str
    age_s: float
    updates: bool = False

    @property
    def resolved(self) -> dict[str, Any]:
        off = {item.name: dict(item.off) for item in self.properties}
        what = {"updates": True} if self.updates else {}
        return {**self.run.resolved, "ablation": {"case": self.case, "age_s": self.age_s, "off": off, **what}}

    @property
    def label(self) -> str:
        what = "updates" if self.updates else self.case
        return f"ablate-{self.run.model.name}-{self.device.name}-{what}-seed{self.seed}"

    def work(self) -> list[tuple[str, Variant]]:
        """Each different variant once, under the first name it has."""
        different: list[tuple[str, Variant]] = []
        for name, variant in self.variants.items():
            if all(variant is not other for _, other in different):
                different.append((name, variant))
        return different


def plan_ablation(request: AblationRequest) -> Ablation:
    """Resolve an ablation and read every variant. Raises InputError for the first mistake.

    Its ``properties`` limit it; the others stay as they are in every variant.
    """
    case, age_s, device = request.case, request.age, request.device
    if case not in CASES:
        raise InputError(f"--case: expected one of {', '.join(CASES)}, got {case!r}")
    if not 0 <= age_s < float("inf"):
        raise InputError(f"--age: expected seconds >= 0, got {age_s:g}")
    own, for_model = parted(request.settings)
    check_no_run(for_model)
    common = {each.name: getattr(request, each.name) for each in fields(TrainingRequest)}
    run = plan_run(RunRequest(**common, device=device, repeats=request.seeds))
    card = run.device
    if age_s:
        check_ages([age_s], card)
    ignored = {*(AGEING_ONLY if not age_s else ()), *(TRAINING_ONLY if case == "programmed" else ())}
    own_properties = [item for item in properties(card) if item.name not in ignored]
    known = [item.name for item in own_properties]
    for name in request.properties:
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f"--property {name!r}: {card.name} has none{near} Known: {', '.join(known) or 'none'}")
    chosen = [item for item in own_properties if not request.properties or item.name in request.properties]
    if not chosen:
        raise InputError(f"--device {device}: {card.name} has nothing that could be switched off")

    cards: dict[str, Variant] = {"[]": Variant(card, run.in_situ)}

    def built(off: list[Property]) -> Variant:
        changes = switched_off(off)
        key = json.dumps(changes)
        if key not in cards:
            cards[key] = Variant(read_device(device, [*own, *changes]), run.in_situ)
        return cards[key]

    variants = {ALL_ON: cards["[]"], ALL_OFF: built(chosen)}
    for item in chosen:
        variants[without(item.name)] = built([item])
        variants[only(item.name)] = built([other for other in chosen if other is not item])
    return Ablation(
        run=run,
        device=card,
        properties=tuple(chosen),
        kept_on=tuple(item.name for item in own_properties if item not in chosen),
        variants=variants,
        case=case,
        age_s=age_s,
        seed=run.seed,
        out=request.out,
        command=request.command,
        again=partial(plan_ablation, request),
    )


def run_ablation(ablation: Ablation, progress: Progress, pool: Pool | None = None) -> None:
    """Do what is not done yet, by default in this process; every finished training is a line of ``ablation.jsonl``.

    Raises InputError where the folder holds another job and WorkError where work fails. A training that diverges is a
    result: it classifies nothing.
    """
    repeats, names = range(ablation.run.repeats), [name for name, _ in ablation.work()]
    with working(ablation, VariantRecord, log=LOG, repeats=list(repeats)) as log:
        progress.total(len(repeats) * len(names))
        do_tasks(ablation, log, list(_tasks(ablation)), progress, pool, lambda r: (r.repeat, names.index(r.variant)))


def _tasks(ablation: Ablation) -> Iterator[Task]:
    """Every variant of every repeat; those that are programmed take the weights of one training in float."""
    for repeat in range(ablation.run.repeats):
        source = ()
        if ablation.case == "programmed":
            source = (f"float, repeat {repeat + 1}",)
            yield Task(*source, _train_in_float, (repeat,))
        for name, _ in ablation.work():
            yield Task(f"{name}, repeat {repeat + 1}", _measure, (name, repeat), after=source)


def _measure(ablation: Ablation, log: Log[VariantRecord], progress: Progress, name: str, repeat: int) -> None:
    variant = dict(ablation.work())[name]
    log.once((name, repeat), partial(_measured, ablation, name, variant, repeat))
    _checkpoint(ablation, name, repeat).unlink(missing_ok=True)
    progress.done(f"{name}, repeat {repeat + 1}")


def _train_in_float(ablation: Ablation, log: Log[VariantRecord], progress: Progress, repeat: int) -> None:
    """Where one that diverges is told by the variants."""
    with suppress(WorkError):
        _in_float(ablation, repeat, Streams(ablation.run.seed).child("repeat", repeat))


def _measured(ablation: Ablation, name: str, variant: Variant, repeat: int) -> VariantRecord:
    run, of = ablation.run, {"variant": name, "repeat": repeat}
    streams = Streams(run.seed).child("repeat", repeat)
    x, labels = run.data.test[: run.model.evaluation.examples]
    try:
        net = _ready(ablation, name, variant, repeat, streams)
    except WorkError as error:
        return VariantRecord(**of, draws=1, hits=[0] * len(x), diverged=str(error))
    if ablation.age_s:
        net.age(ablation.age_s)
    # All variants see the same images and the same draws of noise, so that they can be compared in pairs.
    read = streams.child("ablation", "read")
    measured = measure(net, x, labels, run.model.inference, run.model.evaluation.draws, read)
    return VariantRecord(**of, draws=measured.draws, hits=measured.hits, unsettled_share=measured.unsettled_share)


def _ready(ablation: Ablation, name: str, variant: Variant, repeat: int, streams: Streams) -> Network:
    """The network of a variant, trained and programmed. Devices are drawn alike in all variants."""
    model, data, device = ablation.run.model, ablation.run.data, variant.card.device
    own, new = streams.child("ablation"), streams.child("ablation", "deployed")
    if ablation.case == "in-situ":
        state = _checkpoint(ablation, name, repeat)
        source = trained(model, device, variant.recipe, data, streams, instance=own, checkpoint=state)
        return deployed(model.energy, device, source, new)
    return programmed(model.energy, device, _in_float(ablation, repeat, streams), new)


def _in_float(ablation: Ablation, repeat: int, streams: Streams) -> Network:
    """The weights that are programmed: trained now, or before."""
    model, state = ablation.run.model, _checkpoint(ablation, "float", repeat)
    on, recipe, own = float_device(model), model.settled_learning, streams.child("ablation")
    return trained(model, on, recipe, ablation.run.data, streams, instance=own, checkpoint=state)


def _checkpoint(ablation: Ablation, name: str, repeat: int) -> Path:
    return ablation.folder / "states" / f"{name.replace(' ', '-').replace('/', '-')}-{repeat}.safetensors"
