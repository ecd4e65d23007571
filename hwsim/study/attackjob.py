"""``hwsim attack``: attacks in slices of images, every verdict on fresh draws, then the checks that unmask.

A slice of images, on one chip where the attacker knows the chip, is a unit of work: it has random streams of its own
and its record is kept, so an evaluation that was interrupted goes on and ends as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hwsim.errors import InputError
from hwsim.hopfield import LayeredHopfield
from hwsim.rng import Streams
from hwsim.robust.attacks import Attack
from hwsim.robust.checks import unmask
from hwsim.robust.classifier import Classifier, EquilibriumClassifier
from hwsim.robust.evaluate import evaluate
from hwsim.robust.stochastic import OverDraws, attacked_net, judge_on_fresh_draws
from hwsim.robust.suite import PRESETS, Pgd, Transfer, attacks_named
from hwsim.robust.threat import Threat
from hwsim.study.data import Dataset
from hwsim.study.devicecard import DeviceCard
from hwsim.study.folder import claimed
from hwsim.study.jobreceipt import write_receipt
from hwsim.study.run import Progress
from hwsim.study.store import append_line, read_lines, written_aside
from hwsim.study.subject import Subject, chips

CHECKED_IMAGES = 100
CHECK_EFFORT = {"smoke": (10, 100)}
"""(PGD steps, Square queries) of the checks by the attack that was asked for."""
FULL_EFFORT = (40, 500)


@dataclass(frozen=True)
class AttackJob:
    """A resolved evaluation; fields are those of the command.

    Attributes:
        knows: what the attacker knows of the device, see ``hwsim.robust.stochastic.KNOWLEDGE``. Who knows the chip
            or may query it attacks every chip apart; images made from the float weights are judged on all chips.
        eot: noise draws behind a gradient or a query, where the attacked copy is noisy.
        sources: other models, whose adversarial images are tried as well.
        slice_images: images attacked at once.
    """

    subject: Subject
    device: DeviceCard | None
    data: Dataset
    threats: tuple[Threat, ...]
    attack: str
    gradient: str
    knows: str
    eot: int
    instances: int
    draws: int
    sources: tuple[Subject, ...]
    examples: int
    seed: int
    checks: bool
    folder: Path
    command: str
    slice_images: int = 100

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks asked for, and PGD on every other model.

        Where verdicts are noisy or another chip's, PGD for the largest margin joins in: the ensemble's attacks stop
        just over the boundary, and half of the reads bring such images back.
        """
        asked = attacks_named(self.attack)
        if self.uncertain and self.knows != "nothing" and "pgd-margin" not in {attack.name for attack in asked}:
            asked = (*asked, Pgd(self.effort[0], loss="margin"))
        moved = [Transfer(s.surrogate("implicit"), Pgd(40), f"transfer from {s.name}") for s in self.sources]
        return (*asked, *moved)

    @property
    def uncertain(self) -> bool:
        """May a verdict differ from what the attacker saw?"""
        module = self.subject.module
        return module.noisy if module is not None else self.device is not None and not self.device.device.ideal

    @property
    def effort(self) -> tuple[int, int]:
        """PGD steps and Square queries beside the attacks that were asked for."""
        return CHECK_EFFORT.get(self.attack, FULL_EFFORT)

    @property
    def white_box(self) -> bool:
        return self.knows != "nothing" and any(attack.white_box for attack in self.attacks)

    @property
    def targets(self) -> list[int | None]:
        """The chips that are attacked apart; None for all at once."""
        return [None] if self.device is None or self.knows == "float-weights" else list(range(self.instances))

    @property
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        device = {"name": self.device.name, "resolved": self.device.resolved} if self.device else {"name": "float"}
        plain = {name: getattr(self, name) for name in ("gradient", "knows", "eot", "instances", "draws", "examples")}
        return {
            "model": self.subject.identity,
            "device": device,
            "data": {"name": self.data.name, "test": len(self.data.x_test)},
            "threats": [str(threat) for threat in self.threats],
            "attack": {
                "name": self.attack,
                "parts": [repr(attack) for attack in self.attacks if not isinstance(attack, Transfer)],
            },
            **plain,
            "transfer_from": [source.identity for source in self.sources],
            "seed": self.seed,
            "slice_images": self.slice_images,
            "checks": self.checks,
        }

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]


Key = tuple[str, str, int | None, int | None]


def run_attack(job: AttackJob, progress: Progress) -> list[dict[str, Any]]:
    """Do what is not done yet; the records of everything, in order. ``attackresults`` sums them up.

    Raises InputError where the folder holds another evaluation, and WorkError where work fails.
    """
    with claimed(job.folder, job.config_hash, job.resolved):
        log, started = job.folder / "metrics.jsonl", time.time()
        found: dict[Key, dict[str, Any]] = {_key(record): record for record in read_lines(log)}
        slices = range(-(-job.examples // job.slice_images))
        units = len(job.threats) * len(job.targets) * len(slices)
        asked_checks = len(job.threats) * (job.checks and job.white_box)
        progress.total(units * len(job.attacks) + asked_checks)
        nets: list[LayeredHopfield] = []
        if job.device is not None:
            streams = Streams(job.seed).child("programmed")
            nets = chips(job.subject, job.device.device, job.instances, streams, job.folder / "states")

        def kept(record: dict[str, Any], seconds: float) -> None:
            append_line(log, {**record, "seconds": round(seconds, 3)})
            found[_key(record)] = record

        if len(nets) > 1 and ("chips", "", None, None) not in found:
            held = [torch.cat([weight.flatten() for weight in net.weights()]) for net in nets]
            kept({"kind": "chips", "threat": "", "equal": all(one.equal(held[0]) for one in held)}, 0.0)
        for threat in job.threats:
            for target in job.targets:
                for part in slices:
                    if ("attack", str(threat), target, part) in found:
                        progress.done(f"{threat}: kept", len(job.attacks))
                        continue
                    began = time.perf_counter()
                    kept(_slice(job, nets, threat, target, part, progress), time.perf_counter() - began)
            if job.checks and job.white_box:
                if ("checks", str(threat), None, None) not in found:
                    began = time.perf_counter()
                    kept(_checks(job, nets, threat), time.perf_counter() - began)
                progress.done(f"{threat}: checks")
        write_receipt(job, started)
        return list(found.values())


def _key(record: dict[str, Any]) -> Key:
    return record["kind"], record["threat"], record.get("chip"), record.get("slice")


def _slice(
    job: AttackJob, nets: list[LayeredHopfield], threat: Threat, target: int | None, part: int, progress: Progress
) -> dict[str, Any]:
    """Attack one slice of the images and keep the worst of each; shares are of draws, over the chips judged."""
    first = part * job.slice_images
    rows = slice(first, min(first + job.slice_images, job.examples))
    x, y = job.data.x_test[rows], job.data.y_test[rows]
    judged = nets if target is None else [nets[target]]
    judges = [job.subject.judge(net) for net in judged] or [job.subject.judge()]
    streams = Streams(job.seed).child("attack", str(threat), target, part)
    _reseed(judged, streams.child("attacked"))

    def tell(name: str, done: int, total: int) -> None:
        where = "" if target is None else f", chip {target + 1}"
        progress.done(f"{threat}: {name or 'judged'}{where}, images {rows.start} to {rows.stop - 1}", min(done, 1))

    found = evaluate(
        attacker(job, nets, target),
        judges,
        x,
        y,
        threat,
        job.attacks,
        streams.generator("attack"),
        draws=job.draws,
        progress=tell,
    )
    _reseed(judged, streams.child("verdict"))
    verdict = judge_on_fresh_draws(judges, found.worst_images, y, job.draws)
    name = f"{str(threat).replace(':', '-').replace('/', '_')}-{'all' if target is None else f'chip{target}'}-{part}"
    with written_aside(job.folder / "adversarial" / f"{name}.safetensors") as aside:
        save_file({"images": found.worst_images.contiguous(), "labels": y.contiguous()}, aside)
    judge = judges[0]
    unsettled = (
        judge.relaxed(found.worst_images)[1].unsettled_share if isinstance(judge, EquilibriumClassifier) else 0.0
    )
    return {
        "kind": "attack",
        "threat": str(threat),
        "chip": target,
        "slice": part,
        "first": first,
        "labels": y.tolist(),
        "draws": verdict.hits.shape[1],
        "clean": found.clean.tolist(),
        "attacked": {attack: share.tolist() for attack, share in found.attacked.items()},
        "hits": verdict.hits.sum(1).tolist(),
        "hits_by_draw": verdict.hits.sum(2).tolist(),
        "distance": found.distance.tolist(),
        "strayed": found.strayed,
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


def _checks(job: AttackJob, nets: list[LayeredHopfield], threat: Threat) -> dict[str, Any]:
    """The checks that unmask, on the first images and the first chip."""
    subject, chip = job.subject, nets[0] if nets else None
    count = min(CHECKED_IMAGES, job.examples)
    x, y = job.data.x_test[:count], job.data.y_test[:count]
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
        "images": count,
        "checks": [{**asdict(check), "told": str(check)} for check in result.checks],
        "accuracies": result.accuracies,
        "lowest": result.lowest,
    }


def _reseed(nets: list[LayeredHopfield], streams: Streams) -> None:
    for i, net in enumerate(nets):
        net.reseed_reads(streams.child("chip", i))


def check_knowledge(job: AttackJob) -> None:
    """InputError where the attacks need what the attacker does not know."""
    if job.knows == "nothing" and (blind := [attack.name for attack in job.attacks if attack.white_box]):
        black = [name for name in ("square", "hopskipjump", "random-search")]
        raise InputError(
            f"--knows nothing: {', '.join(blind)} need gradients; expected --attack {' or '.join(black)}, "
            f"or presets ({', '.join(PRESETS)}) with more knowledge"
        )
