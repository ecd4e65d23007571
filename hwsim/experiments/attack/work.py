"""Attacks in slices of images, measured on fresh draws, then the checks that unmask.

A slice of images under one attack seed, on one device instance where the attacker knows it, is a unit of work: it has
random streams of its own and its record is kept, so an evaluation that was interrupted goes on and ends as if it had
not been. Where there are several attack seeds, the worst image over them is measured once more, on draws of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hwsim.ebm.network import Network
from hwsim.experiments.ageing import told_age
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.records import (
    ATTACK_RECORDS,
    CheckRecord,
    ChecksRecord,
    EqualInstances,
    SliceRecord,
    WorstSeedRecord,
)
from hwsim.experiments.subject import reseed
from hwsim.jobs.engine import Log, working
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Progress
from hwsim.jobs.place import products_in
from hwsim.jobs.records import Record
from hwsim.jobs.store import written_aside
from hwsim.jobs.tasks import Task, do_tasks
from hwsim.rng import Streams
from hwsim.robustness.attacker import Ways, other_ways, over_draws
from hwsim.robustness.checks.strength import main_table, probe_of
from hwsim.robustness.checks.unmask import unmask
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.measure import measure
from hwsim.robustness.stochastic import attacked_net
from hwsim.robustness.threat import Threat
from hwsim.robustness.warm import warmed


def run_attack(job: AttackJob, progress: Progress, pool: Pool | None = None) -> list[Record]:
    """Do what is not done yet, by default in this process; the records of everything, in order.

    ``attack.results`` sums them up. Raises InputError where the folder holds another evaluation, and WorkError where
    work fails.
    """
    with working(job, *ATTACK_RECORDS) as log, products_in():
        return _attack(job, log, progress, job.pool(pool))


def attack_within(job: AttackJob, progress: Progress) -> list[Record]:
    """The same in a folder that another job has claimed, of which this one is a part."""
    return _attack(job, Log(job.folder / "metrics.jsonl", *ATTACK_RECORDS), progress)


def _attack(job: AttackJob, log: Log[Any], progress: Progress, pool: Pool | None = None) -> list[Record]:
    tasks = list(_tasks(job))
    slices, checks = (sum(task.work is work for task in tasks) for work in (_attack_slice, _check))
    progress.total(slices * len(job.attacks) + checks)
    if len(job.nets) > 1:  # which programs them, before any worker loads them
        log.once(("chips",), partial(_equal, job.nets))
    places = {_key_of(task): place for place, task in enumerate(tasks)}
    do_tasks(job, log, tasks, progress, pool, lambda record: places.get(record.key, -1))
    return list(log)


def _tasks(job: AttackJob) -> Iterator[Task]:
    """Slices and seeds need nothing of each other; the worst over seeds and the checks see what they left."""
    parts, several = range(-(-job.examples // job.slice_images)), len(job.seeds) > 1
    for threat, age in job.conditions:
        attacked = []
        for unit in (Unit(threat, age, target, part) for target in job.targets for part in parts):
            own = [Task(unit.name(job, seed), _attack_slice, (unit, seed)) for seed in job.seeds]
            attacked += [task.name for task in own]
            yield from own
            if several:
                yield Task(unit.name(job), _find_worst, (unit,), after=tuple(task.name for task in own))
        if job.checks and job.white_box:
            name = f"{threat}{_old(age)}: checks"
            yield Task(name, _check, (threat, age), after=tuple(attacked))


def _key_of(task: Task) -> tuple[Hashable, ...]:
    """Of the record that a task leaves."""
    if task.work is _check:
        threat, age = task.args
        return "checks", str(threat), age
    unit, *seed = task.args
    return unit.key("attack" if seed else "worst", *seed)


def _attack_slice(job: AttackJob, log: Log[Any], progress: Progress, unit: Unit, seed: int) -> None:
    if unit.key("attack", seed) in log:
        progress.done(f"{unit.threat}: kept", len(job.attacks))
    log.once(unit.key("attack", seed), partial(_slice, job, _nets(job, unit), unit, seed, progress))


def _find_worst(job: AttackJob, log: Log[Any], progress: Progress, unit: Unit) -> None:
    of_seeds = [log[unit.key("attack", seed)] for seed in job.seeds]
    log.once(unit.key("worst"), partial(_worst_seed, job, _nets(job, unit), unit, of_seeds))


def _check(job: AttackJob, log: Log[Any], progress: Progress, threat: Threat, age: float | None) -> None:
    own = [r for r in log if isinstance(r, SliceRecord) and (r.threat, r.age_s) == (str(threat), age)]
    nets = _nets(job, Unit(threat, age, 0, 0))
    log.once(("checks", str(threat), age), partial(_checks, job, nets, threat, age, own))
    progress.done(f"{threat}: checks")


def _nets(job: AttackJob, unit: Unit) -> list[Network]:
    """The device instances, those of a unit at its age."""
    for number, net in enumerate(job.nets):
        if unit.age is not None and unit.target in (None, number):
            net.age(unit.age)
    return job.nets


def _old(age: float | None) -> str:
    return "" if age is None else f", {told_age(age)} old"


def _equal(nets: Sequence[Network]) -> EqualInstances:
    held = [torch.cat([weight.flatten() for weight in net.weights()]) for net in nets]
    return EqualInstances(equal=all(weights.equal(held[0]) for weights in held))


@dataclass(frozen=True)
class Unit:
    """Some images under a threat, on one device instance (None: on all) of an age (None: as programmed)."""

    threat: Threat
    age: float | None
    target: int | None
    part: int

    def key(self, kind: str, *seed: int) -> tuple[Hashable, ...]:
        """Of its records."""
        return kind, str(self.threat), self.age, self.target, self.part, *seed

    def name(self, job: AttackJob, seed: int | None = None) -> str:
        """In words."""
        where = "" if self.target is None or not job.device else f", chip {self.target + 1}"
        which = "" if len(job.seeds) == 1 else ", worst seed" if seed is None else f", attack seed {seed}"
        rows, _, _ = self.images(job)
        return f"{self.threat}{where}{_old(self.age)}{which}, images {rows.start} to {rows.stop - 1}"

    def path(self, job: AttackJob, seed: int | None = None) -> Path:
        """The file of its adversarial images, those of one attack seed or the worst over all."""
        of = "all" if self.target is None else f"chip{self.target}"
        name = f"{str(self.threat).replace(':', '-').replace('/', '_')}-{of}-{self.part}"
        name += "" if self.age is None else f"-age{self.age:g}s"
        name += "" if seed is None or len(job.seeds) == 1 else f"-seed{seed}"
        return job.folder / "adversarial" / f"{name}.safetensors"

    def images(self, job: AttackJob) -> tuple[slice, Tensor, Tensor]:
        """(rows of the test set, images, labels)."""
        first = self.part * job.slice_images
        rows = slice(first, min(first + job.slice_images, job.examples))
        x, y = job.images(rows)
        return rows, x, y

    def streams(self, job: AttackJob, seed: int) -> Streams:
        """An instance is attacked with the same random starts at every age, so that ages are compared in pairs."""
        own = Streams(job.seed).child("attack", str(self.threat), self.target, self.part)
        return own.child("seed", seed) if seed else own


def _slice(job: AttackJob, nets: list[Network], unit: Unit, seed: int, progress: Progress) -> SliceRecord:
    """Attack one slice of the images and keep the worst of each."""
    threat, target = unit.threat, unit.target
    _, x, y = unit.images(job)
    measured_on = nets if target is None else [nets[target]]
    streams = unit.streams(job, seed)
    _reseed(job, measured_on, streams.child("attacked"))

    def tell(name: str, done: int, total: int) -> None:
        progress.done(f"{unit.name(job, seed)}: {name or 'measured'}", min(done, 1))

    rng, classifiers = streams.generator("attack"), job.subject.classifiers(measured_on)
    how: Any = {"draws": job.draws, "progress": tell, "cascade": job.cascade}
    attacked = warmed(attacker(job, nets, target), x)
    result = evaluate(attacked, classifiers, x, y, threat, job.attacks, rng, **how)
    return SliceRecord(
        seed=seed,
        clean=result.clean.tolist(),
        attacked={attack: share.tolist() for attack, share in result.attacked.items()},
        least=result.worst.tolist(),
        distance=result.distance.tolist(),
        strayed=result.strayed,
        **_frozen(job, nets, unit, streams, result.worst_images, unit.path(job, seed)),
    )


def _worst_seed(job: AttackJob, nets: list[Network], unit: Unit, own: list[SliceRecord]) -> WorstSeedRecord:
    """Of every image, the attack seed whose worst left the least share of draws, measured on draws of its own."""
    chosen = torch.tensor([record.least for record in own]).argmin(0)
    images = torch.stack([load_file(unit.path(job, record.seed))["images"] for record in own])
    each = torch.arange(images.shape[1])
    return WorstSeedRecord(
        clean=torch.tensor([record.clean for record in own]).mean(0).tolist(),
        seeds=[own[i].seed for i in chosen.tolist()],
        distance=torch.tensor([record.distance for record in own])[chosen, each].tolist(),
        **_frozen(job, nets, unit, unit.streams(job, 0).child("over seeds"), images[chosen, each], unit.path(job)),
    )


def _frozen(
    job: AttackJob, nets: list[Network], unit: Unit, streams: Streams, images: Tensor, path: Path
) -> dict[str, Any]:
    """Keep adversarial images and measure them on fresh draws: what every record of a slice says."""
    measured_on = nets if unit.target is None else [nets[unit.target]]
    rows, _, y = unit.images(job)
    _reseed(job, measured_on, streams.child("verdict"))
    measured = measure(job.subject.classifiers(measured_on), images.to(job.place), y, job.draws)
    with written_aside(path) as aside:
        save_file({"images": images.contiguous(), "labels": y.contiguous()}, aside)
    return {
        "threat": str(unit.threat),
        "age_s": unit.age,
        "chip": unit.target,
        "slice": unit.part,
        "first": rows.start,
        "labels": y.tolist(),
        "draws": measured.draws,
        "hits": measured.hits_by_instance,
        "hits_by_draw": measured.hits_by_draw,
        "unsettled_share": measured.unsettled_share,
    }


def attacker(job: AttackJob, nets: list[Network], target: int | None) -> Classifier:
    """What the attacker climbs or queries."""
    subject = job.subject
    if subject.net is None:
        return over_draws(subject.classifier(), job.eot)
    if job.knows == "nothing":
        return over_draws(subject.classifier(None if target is None else nets[target]), job.eot)
    if target is None:
        return subject.surrogate(job.gradient)
    return over_draws(subject.surrogate(job.gradient, attacked_net(job.knows, nets[target], subject.net)), job.eot)


def _reseed(job: AttackJob, nets: list[Network], streams: Streams) -> None:
    """Start the noise of device instances, or of a torch module, anew."""
    reseed(nets, streams)
    if job.subject.module is not None:
        job.subject.module.reseed(streams)


def _main_table(job: AttackJob, own: list[SliceRecord]) -> tuple[Tensor, dict[str, Tensor], float]:
    """(clean shares, shares by attack, noise of a mean over draws), all seeds, instances and images in one row."""
    clean = torch.tensor([share for record in own for share in record.clean], dtype=torch.double)
    left = {
        attack.name: torch.tensor([share for record in own for share in record.attacked[attack.name]]).double()
        for attack in job.attacks
    }
    by_draw = torch.tensor([[sum(hits) for hits in zip(*r.hits_by_draw, strict=True)] for r in own]).double()
    by_draw = by_draw.sum(0) / sum(len(r.labels) * len(r.hits_by_draw) for r in own)
    noise = by_draw.std().item() / len(by_draw) ** 0.5 if len(by_draw) > 1 else 0.0
    return clean, left, noise


def _checks(
    job: AttackJob, nets: list[Network], threat: Threat, age: float | None, own: list[SliceRecord]
) -> ChecksRecord:
    """The checks that unmask, on the first images and the first device instance; ``own``: what the attacks left."""
    subject, first = job.subject, nets[0] if nets else None
    count = min(job.checked, job.examples)
    x, y = job.images(slice(count))
    streams = Streams(job.seed).child("checks", str(threat))
    _reseed(job, nets, streams)
    table = _main_table(job, own)
    ways = Ways({}, {})
    sources: dict[str, Classifier] = {source.name: source.surrogate("implicit") for source in job.sources}
    if subject.net is not None:
        known = attacked_net(job.knows, first, subject.net) if first is not None else subject.net
        classifier = subject.classifier()
        assert isinstance(classifier, EquilibriumClassifier)
        ways = other_ways(classifier, known, job.gradient, job.eot)
        if first is not None and job.knows != "float-weights":
            sources = {"the float network": subject.surrogate("implicit"), **sources}
    result = unmask(
        warmed(attacker(job, nets, None if first is None or job.knows == "float-weights" else 0), x),
        subject.classifier(first),
        x,
        y,
        threat,
        streams.generator("attack"),
        probe=probe_of(job.attacks, table[1]),
        reference=ways.reference,
        alternatives={name: warmed(way, x) for name, way in ways.alternatives.items()},
        transfer_from={name: warmed(source, x) for name, source in sources.items()},
        queries=job.effort[1],
        draws=min(job.draws, 10),
    )
    return ChecksRecord(
        threat=str(threat),
        age_s=age,
        images=count,
        checks=[
            CheckRecord(**asdict(check), told=str(check))
            for check in (*main_table(table[0], table[1], job.attacks, table[2]), *result.checks)
        ],
        accuracies=result.accuracies,
        lowest=result.lowest,
    )
