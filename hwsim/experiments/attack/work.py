"""Attacks in slices of images, every verdict on fresh draws, then the checks that unmask.

A slice of images under one attack seed, on one chip where the attacker knows the chip, is a unit of work: it has
random streams of its own and its record is kept, so an evaluation that was interrupted goes on and ends as if it had
not been. Where there are several attack seeds, the worst image over them is judged once more, on draws of its own.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.experiments.ageing import told_age
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.subject import chips
from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Progress
from hwsim.jobs.job_receipt import write_receipt
from hwsim.jobs.store import append_line, read_lines, written_aside
from hwsim.rng import Streams
from hwsim.robustness.checks import unmask
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.stochastic import OverDraws, attacked_net, judge_on_fresh_draws
from hwsim.robustness.threat import Threat

Key = tuple[Any, ...]


def run_attack(job: AttackJob, progress: Progress) -> list[dict[str, Any]]:
    """Do what is not done yet; the records of everything, in order. ``attackresults`` sums them up.

    Raises InputError where the folder holds another evaluation, and WorkError where work fails.
    """
    with claimed(job.folder, job.config_hash, job.resolved):
        started = time.time()
        nets: list[LayeredHopfield] = []
        if job.device is not None:
            streams = Streams(job.seed).child("programmed")
            nets = chips(job.subject, job.device.device, job.instances, streams, job.folder / "states")

        records = attack_nets(job, nets, progress)
        write_receipt(job, started)
        return records


def attack_nets(job: AttackJob, nets: list[LayeredHopfield], progress: Progress) -> list[dict[str, Any]]:
    """Attack these chips (none: the float network) as far as the records in the job's folder do not say already."""
    log = job.folder / "metrics.jsonl"
    found: dict[Key, dict[str, Any]] = {_key(record): record for record in read_lines(log)}
    slices = range(-(-job.examples // job.slice_images))
    units = len(job.conditions) * len(job.targets) * len(slices) * len(job.seeds)
    asked_checks = len(job.conditions) * (job.checks and job.white_box)
    progress.total(units * len(job.attacks) + asked_checks)

    def kept(record: dict[str, Any], seconds: float) -> None:
        append_line(log, {**record, "seconds": round(seconds, 3)})
        found[_key(record)] = record

    if len(nets) > 1 and _key({"kind": "chips", "threat": ""}) not in found:
        held = [torch.cat([weight.flatten() for weight in net.weights()]) for net in nets]
        kept({"kind": "chips", "threat": "", "equal": all(one.equal(held[0]) for one in held)}, 0.0)
    for threat, age in job.conditions:
        for net in nets:
            if age is not None:
                net.age(age)
        for unit in (Unit(threat, age, target, part) for target in job.targets for part in slices):
            for seed in job.seeds:
                if _key(unit.head("attack", seed)) in found:
                    progress.done(f"{threat}: kept", len(job.attacks))
                    continue
                began = time.perf_counter()
                kept(_slice(job, nets, unit, seed, progress), time.perf_counter() - began)
            if len(job.seeds) > 1 and _key(unit.head("worst")) not in found:
                began = time.perf_counter()
                own = [found[_key(unit.head("attack", seed))] for seed in job.seeds]
                kept(_worst_seed(job, nets, unit, own), time.perf_counter() - began)
        if job.checks and job.white_box:
            if _key({"kind": "checks", "threat": str(threat), "age_s": age}) not in found:
                began = time.perf_counter()
                kept(_checks(job, nets, threat, age), time.perf_counter() - began)
            progress.done(f"{threat}: checks")
    return list(found.values())


def _key(record: dict[str, Any]) -> Key:
    return tuple(record.get(name) for name in ("kind", "threat", "age_s", "chip", "slice", "seed"))


@dataclass(frozen=True)
class Unit:
    """Some images under a threat, on one chip (None: on all) of an age (None: as programmed)."""

    threat: Threat
    age: float | None
    target: int | None
    part: int

    def head(self, kind: str, seed: int | None = None) -> dict[str, Any]:
        """What a record of it begins with."""
        head = {"kind": kind, "threat": str(self.threat), "age_s": self.age, "chip": self.target, "slice": self.part}
        return head if seed is None else {**head, "seed": seed}

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
        x, y = job.data.test[rows]
        return rows, x, y

    def streams(self, job: AttackJob, seed: int) -> Streams:
        """Chips are attacked with the same random starts at every age, so that ages are compared in pairs."""
        own = Streams(job.seed).child("attack", str(self.threat), self.target, self.part)
        return own.child("seed", seed) if seed else own


def _slice(job: AttackJob, nets: list[LayeredHopfield], unit: Unit, seed: int, progress: Progress) -> dict[str, Any]:
    """Attack one slice of the images and keep the worst of each; shares are of draws, over the chips judged."""
    threat, target = unit.threat, unit.target
    rows, x, y = unit.images(job)
    judged = nets if target is None else [nets[target]]
    judges = [job.subject.judge(net) for net in judged] or [job.subject.judge()]
    streams = unit.streams(job, seed)
    _reseed(judged, streams.child("attacked"))

    def tell(name: str, done: int, total: int) -> None:
        where = "" if target is None else f", chip {target + 1}"
        where += "" if unit.age is None else f", {told_age(unit.age)} old"
        where += "" if len(job.seeds) == 1 else f", attack seed {seed}"
        progress.done(f"{threat}: {name or 'judged'}{where}, images {rows.start} to {rows.stop - 1}", min(done, 1))

    rng = streams.generator("attack")
    attacked = attacker(job, nets, target)
    how = {"draws": job.draws, "progress": tell, "cascade": job.cascade}
    found = evaluate(attacked, judges, x, y, threat, job.attacks, rng, **how)
    verdict = _judged(job, nets, unit, streams, found.worst_images, unit.path(job, seed))
    return {
        **unit.head("attack", seed),
        "first": rows.start,
        "labels": y.tolist(),
        "clean": found.clean.tolist(),
        "attacked": {attack: share.tolist() for attack, share in found.attacked.items()},
        "least": found.worst.tolist(),
        "distance": found.distance.tolist(),
        "strayed": found.strayed,
        **verdict,
    }


def _worst_seed(job: AttackJob, nets: list[LayeredHopfield], unit: Unit, own: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every image, the attack seed whose worst left the least share of draws, judged on draws of its own."""
    shares = torch.tensor([record["least"] for record in own])
    chosen = shares.argmin(0)
    images = torch.stack([load_file(unit.path(job, record["seed"]))["images"] for record in own])
    worst = images[chosen, torch.arange(images.shape[1])]
    rows, _, y = unit.images(job)
    distances = torch.tensor([record["distance"] for record in own])
    return {
        **unit.head("worst"),
        "first": rows.start,
        "labels": y.tolist(),
        "clean": torch.tensor([record["clean"] for record in own]).mean(0).tolist(),
        "seeds": [own[i]["seed"] for i in chosen.tolist()],
        "distance": distances[chosen, torch.arange(len(y))].tolist(),
        **_judged(job, nets, unit, unit.streams(job, 0).child("over seeds"), worst, unit.path(job)),
    }


def _judged(
    job: AttackJob, nets: list[LayeredHopfield], unit: Unit, streams: Streams, images: Tensor, path: Path
) -> dict[str, Any]:
    """Keep adversarial images and judge them on fresh draws."""
    judged = nets if unit.target is None else [nets[unit.target]]
    judges = [job.subject.judge(net) for net in judged] or [job.subject.judge()]
    y = unit.images(job)[2]
    _reseed(judged, streams.child("verdict"))
    verdict = judge_on_fresh_draws(judges, images, y, job.draws)
    with written_aside(path) as aside:
        save_file({"images": images.contiguous(), "labels": y.contiguous()}, aside)
    judge = judges[0]
    unsettled = judge.relaxed(images)[1].unsettled_share if isinstance(judge, EquilibriumClassifier) else 0.0
    return {
        "draws": verdict.hits.shape[1],
        "hits": verdict.hits.sum(1).tolist(),
        "hits_by_draw": verdict.hits.sum(2).tolist(),
        "unsettled_share": unsettled,
    }


def attacker(job: AttackJob, nets: list[LayeredHopfield], target: int | None) -> Classifier:
    """What the attacker climbs or queries."""
    subject = job.subject
    if subject.net is None:
        return _averaged(subject.judge(), job.eot)
    if job.knows == "nothing":
        return _averaged(subject.judge(None if target is None else nets[target]), job.eot)
    if target is None:
        return subject.surrogate(job.gradient)
    return _averaged(subject.surrogate(job.gradient, attacked_net(job.knows, nets[target], subject.net)), job.eot)


def _averaged(classifier: Classifier, eot: int) -> Classifier:
    return OverDraws((classifier,), eot) if classifier.noisy else classifier


def _checks(job: AttackJob, nets: list[LayeredHopfield], threat: Threat, age: float | None) -> dict[str, Any]:
    """The checks that unmask, on the first images and the first chip."""
    subject, chip = job.subject, nets[0] if nets else None
    count = min(job.checked, job.examples)
    x, y = job.data.test[:count]
    streams = Streams(job.seed).child("checks", str(threat))
    _reseed(nets, streams)
    alternatives: dict[str, Classifier] = {}
    sources: dict[str, Classifier] = {source.name: source.surrogate("implicit") for source in job.sources}
    if subject.net is not None:
        known = attacked_net(job.knows, chip, subject.net) if chip is not None else subject.net
        if known.noisy and chip is not None:
            alternatives["implicit, noise-free"] = subject.surrogate("implicit", chip.float_twin())
            alternatives["nudged-1, on the chip"] = _averaged(subject.surrogate("nudged-1", chip), job.eot)
        else:
            ways = [way for way in ("implicit", "unrolled-50", "nudged-0.2") if way != job.gradient][-2:]
            alternatives = {way: subject.surrogate(way, known) for way in ways}
        if chip is not None and job.knows != "float-weights":
            sources = {"the float network": subject.surrogate("implicit"), **sources}
    steps, queries = job.effort
    result = unmask(
        attacker(job, nets, None if chip is None or job.knows == "float-weights" else 0),
        subject.judge(chip),
        x,
        y,
        threat,
        streams.generator("attack"),
        alternatives=alternatives,
        transfer_from=sources,
        steps=steps,
        queries=queries,
        draws=min(job.draws, 10),
    )
    return {
        "kind": "checks",
        "threat": str(threat),
        "age_s": age,
        "images": count,
        "checks": [{**asdict(check), "told": str(check)} for check in result.checks],
        "accuracies": result.accuracies,
        "lowest": result.lowest,
    }


def _reseed(nets: list[LayeredHopfield], streams: Streams) -> None:
    for i, net in enumerate(nets):
        net.reseed_reads(streams.child("chip", i))
