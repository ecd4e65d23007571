"""``hwsim corrupt``: accuracy by type and severity of natural corruptions, of a model and of a baseline beside it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim.cards.device import DeviceCard
from hwsim.cards.yamlfile import did_you_mean
from hwsim.data.dataset import Dataset, Split, load_corrupted
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.errors import InputError
from hwsim.experiments.ageing import ages_of
from hwsim.experiments.subject import Subject, at_least_one, chips, counted, read_judged, read_source, seeded
from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Progress
from hwsim.jobs.job_receipt import write_receipt
from hwsim.jobs.store import append_line, read_lines
from hwsim.rng import Streams
from hwsim.robustness.corruptions.corruptions import (
    COMMON,
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    input_noise,
    salt_and_pepper,
)
from hwsim.robustness.stochastic import judge_on_fresh_draws

SETS = {"common": tuple(COMMON), "all": tuple(CORRUPTIONS)}
FILES = {"elastic": "elastic_transform", "jpeg": "jpeg_compression"}
"""Names of the published files, where they are not ours with underscores."""


@dataclass(frozen=True)
class Condition:
    """``kind`` is clean, corruption, input-noise (sigma, pixel units) or salt-and-pepper (share of values)."""

    kind: str
    name: str
    level: float


@dataclass(frozen=True)
class CorruptJob:
    """A resolved measurement; fields are those of the command."""

    subject: Subject
    device: DeviceCard | None
    data: Dataset
    types: tuple[str, ...]
    severities: tuple[int, ...]
    noise: tuple[float, ...]
    salt: tuple[float, ...]
    baseline: Subject | None
    corrupted_dir: Path | None
    instances: int
    draws: int
    examples: int
    seed: int
    folder: Path
    command: str
    age: float | None = None
    """Seconds after programming at which drifting chips are judged; None: right after it."""

    @property
    def conditions(self) -> list[Condition]:
        found = [Condition("clean", "clean", 0)]
        found += [Condition("corruption", name, severity) for name in self.types for severity in self.severities]
        found += [Condition("input-noise", "input-noise", sigma) for sigma in self.noise]
        return found + [Condition("salt-and-pepper", "salt-and-pepper", share) for share in self.salt]

    @property
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        device = {"name": self.device.name, "resolved": self.device.resolved} if self.device else {"name": "float"}
        plain = {name: getattr(self, name) for name in ("instances", "draws", "examples", "seed")}
        lists = {name: list(getattr(self, name)) for name in ("types", "severities", "noise", "salt")}
        return {
            "model": self.subject.identity,
            "baseline": self.baseline.identity if self.baseline else None,
            "device": device,
            "data": {"name": self.data.name, "test": len(self.data.test)},
            "age_s": self.age,
            "corrupted": "files" if self.corrupted_dir else "computed",
            **lists,
            **plain,
        }

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]

    def images(self, condition: Condition) -> Split:
        """Images and labels; equal for all models and devices, one stream a condition."""
        clean = self.data.test[: self.examples]
        x, y = clean
        rng = Streams(self.seed).child(condition.name, condition.level).generator("corruption")
        if condition.kind == "input-noise":
            return Split(input_noise(x, condition.level, rng), y)
        if condition.kind == "salt-and-pepper":
            return Split(salt_and_pepper(x, condition.level, rng), y)
        if condition.kind == "clean":
            return clean
        if self.corrupted_dir is None:
            return Split(corrupt(condition.name, x, int(condition.level), rng), y)
        name = FILES.get(condition.name, condition.name.replace("-", "_"))
        classes = len(self.data.classes)
        return load_corrupted(self.corrupted_dir, name, int(condition.level), classes=classes, count=self.examples)


def plan_corrupt(
    *,
    model: str,
    weights: Path | None = None,
    device: str | None = None,
    types: str = "common",
    severities: str = "1,2,3,4,5",
    noise: str = "",
    salt_pepper: str = "",
    baseline: str | None = None,
    corrupted_dir: Path | None = None,
    instances: int | None = None,
    draws: int = 20,
    examples: int | None = None,
    seed: int = 0,
    age: str | None = None,
    data_name: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    command: str = "",
) -> CorruptJob:
    """Resolve a measurement. Raises InputError for the first mistake."""
    names, levels = tuple(_types(types)), tuple(int(level) for level in _numbers("--severities", severities))
    if not levels or any(level not in SEVERITIES for level in levels):
        raise InputError(f"--severities: expected numbers from 1 to 5, got {severities!r}")
    at_least_one("--draws", draws)
    subject, dataset, card, count = read_judged(model, weights, device, instances, data_name, data_dir)
    if corrupted_dir is not None and dataset.shape != (3, 32, 32):
        raise InputError(f"--corrupted-dir: holds images of CIFAR, and {dataset.name} has images of {dataset.shape}")
    ages = ages_of(age, card)
    if len(ages) > 1:
        raise InputError(f"--age: expected one time after programming, got {age!r}")
    job = CorruptJob(
        subject=subject,
        device=card,
        data=dataset,
        types=names,
        severities=levels,
        noise=tuple(_numbers("--noise", noise)),
        salt=tuple(_numbers("--salt-and-pepper", salt_pepper)),
        baseline=read_source(baseline, dataset.name, data_dir) if baseline else None,
        corrupted_dir=corrupted_dir,
        instances=count,
        draws=draws,
        examples=counted(examples, dataset),
        seed=seeded(seed),
        folder=Path("."),
        command=command,
        age=ages[0] if ages else None,
    )
    for condition in job.conditions:  # what cannot be made is told before anything is measured
        if condition.level == (levels[0] if condition.kind == "corruption" else condition.level):
            replace(job, examples=1).images(condition)
    where = card.name if card else "float"
    label = f"corrupt-{subject.name.replace(':', '-')}-{where}-seed{seed}-{job.config_hash[:8]}"
    return replace(job, folder=out or Path("runs") / label)


def run_corrupt(job: CorruptJob, progress: Progress) -> list[dict[str, Any]]:
    """Measure what is not measured yet; the records of everything. ``hits`` are (chips, images), over draws."""
    with claimed(job.folder, job.config_hash, job.resolved):
        log, started = job.folder / "metrics.jsonl", time.time()
        found = {_key(record): record for record in read_lines(log)}
        cases = ["model", *(["baseline"] if job.baseline else [])]
        progress.total(len(job.conditions) * len(cases))
        nets: list[LayeredHopfield] = []
        if job.device is not None:
            streams = Streams(job.seed).child("programmed")
            nets = chips(job.subject, job.device.device, job.instances, streams, job.folder / "states")
        for net in nets:
            if job.age is not None:
                net.age(job.age)
        for condition in job.conditions:
            for case in cases:
                if (case, condition.name, condition.level) not in found:
                    record = _measured(job, nets, case, condition)
                    append_line(log, record)
                    found[_key(record)] = record
                progress.done(f"{case}: {condition.name} {condition.level:g}")
        write_receipt(job, started)
        return list(found.values())


def _measured(job: CorruptJob, nets: list[LayeredHopfield], case: str, condition: Condition) -> dict[str, Any]:
    x, y = job.images(condition)
    subject = job.subject if case == "model" or job.baseline is None else job.baseline
    judged = nets if case == "model" else []
    streams = Streams(job.seed).child("judged", case, condition.name, condition.level)
    for i, net in enumerate(judged):
        net.reseed_reads(streams.child("chip", i))
    verdict = judge_on_fresh_draws([subject.judge(net) for net in judged] or [subject.judge()], x, y, job.draws)
    return {
        "kind": condition.kind,
        "case": case,
        "name": condition.name,
        "level": condition.level,
        "draws": verdict.hits.shape[1],
        "hits": verdict.hits.sum(1).tolist(),
    }


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["case"], record["name"], record["level"]


def _types(text: str) -> Iterator[str]:
    if text in SETS:
        yield from SETS[text]
        return
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"--types: expected {' or '.join(SETS)}, or names, got {text!r}")
    for name in dict.fromkeys(names):
        if name not in CORRUPTIONS:
            near = did_you_mean(name, CORRUPTIONS)
            raise InputError(f"--types: unknown corruption {name!r}{near} Known: {', '.join(CORRUPTIONS)}")
        yield name


def _numbers(option: str, text: str) -> Sequence[float]:
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InputError(f"{option}: expected numbers with commas between them, got {text!r}") from None
