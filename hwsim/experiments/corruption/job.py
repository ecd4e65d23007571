"""``hwsim corrupt``: accuracy by type and severity of natural corruptions, of a model and of a baseline beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hwsim.cards.yamlfile import did_you_mean
from hwsim.data.dataset import load_corrupted
from hwsim.data.split import Split
from hwsim.errors import InputError
from hwsim.experiments.ageing import ages_of
from hwsim.experiments.corruption.records import CorruptionRecord
from hwsim.experiments.requests import CorruptRequest
from hwsim.experiments.subject import (
    Subject,
    SubjectJob,
    read_source,
    reseed,
    resolved_subject,
)
from hwsim.jobs.engine import Log, working
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Progress
from hwsim.jobs.place import products_in
from hwsim.jobs.tasks import Task, do_tasks
from hwsim.rng import Streams
from hwsim.robustness.corruptions.condition import Condition, corrupted
from hwsim.robustness.corruptions.corruptions import COMMON, CORRUPTIONS, SEVERITIES, check_corruptible
from hwsim.robustness.measure import measure

SETS = {"common": tuple(COMMON), "all": tuple(CORRUPTIONS), "none": ()}
FILES = {"elastic": "elastic_transform", "jpeg": "jpeg_compression"}
"""Names of the published files, where they are not ours with underscores."""


@dataclass(frozen=True, kw_only=True)
class CorruptJob(SubjectJob):
    """A resolved measurement; fields are those of ``CorruptRequest``.

    ``age``: seconds after programming at which drifting devices are measured; None: right after it.
    """

    kind = "corrupt"
    types: tuple[str, ...]
    severities: tuple[int, ...]
    noise: tuple[float, ...]
    salt: tuple[float, ...]
    baseline: Subject | None
    corrupted_dir: Path | None
    age: float | None = None

    @property
    def conditions(self) -> list[Condition]:
        columns = [Condition("clean", 0)]
        columns += [Condition(name, severity, "severity") for name in self.types for severity in self.severities]
        columns += [Condition("input-noise", sigma, "sigma") for sigma in self.noise]
        return columns + [Condition("salt-and-pepper", share, "share") for share in self.salt]

    @property
    def resolved(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("instances", "draws", "examples", "seed")}
        lists = {name: list(getattr(self, name)) for name in ("types", "severities", "noise", "salt")}
        return {
            "model": self.subject.identity,
            "baseline": self.baseline.identity if self.baseline else None,
            "device": self.resolved_device,
            "data": {"name": self.data.name, "test": len(self.data.test)},
            "age_s": self.age,
            "corrupted": "files" if self.corrupted_dir else "computed",
            **lists,
            **plain,
        }

    def corrupted(self, condition: Condition) -> Split:
        """Images and labels, made on the CPU; equal for all models and devices, one stream a condition."""
        if condition.kind == "corruption" and self.corrupted_dir is not None:
            name = FILES.get(condition.name, condition.name.replace("-", "_"))
            level, classes = int(condition.level), len(self.data.classes)
            return load_corrupted(self.corrupted_dir, name, level, classes=classes, count=self.examples)
        x, y = self.data.test[: self.examples]
        return Split(corrupted(x, condition, Streams(self.seed).child(condition.name, condition.level)), y)


def plan_corrupt(request: CorruptRequest) -> CorruptJob:
    """Resolve a measurement. Raises InputError for the first mistake."""
    levels = _numbers("--severities", request.severities)
    if not levels or any(level not in SEVERITIES for level in levels):
        raise InputError(f"--severities: expected whole numbers from 1 to 5, got {request.severities!r}")
    severities = tuple(int(level) for level in levels)
    types = tuple(_types(request.types))
    common = resolved_subject(request)
    dataset, directory = common["data"], request.corrupted_dir
    if directory is not None and dataset.shape != (3, 32, 32):
        raise InputError(f"--corrupted-dir: holds images of CIFAR, and {dataset.name} has images of {dataset.shape}")
    if types:
        check_corruptible(dataset.shape, f"--types on {dataset.name} (none does without)")
    ages = ages_of(request.age, common["device"])
    if len(ages) > 1:
        raise InputError(f"--age: expected one time after programming, got {request.age!r}")
    job = CorruptJob(
        **common,
        types=types,
        severities=severities,
        noise=tuple(_numbers("--noise", request.noise)),
        salt=tuple(_numbers("--salt-and-pepper", request.salt_and_pepper)),
        baseline=read_source(request.baseline, dataset.name, request.data_dir, request.accelerator)
        if request.baseline
        else None,
        corrupted_dir=directory,
        age=ages[0] if ages else None,
        again=partial(plan_corrupt, request),
    )
    for condition in job.conditions:  # what cannot be made is told before anything is measured
        if condition.kind != "corruption" or condition.level == severities[0]:
            replace(job, examples=1).corrupted(condition)
    return job


def run_corrupt(job: CorruptJob, progress: Progress, pool: Pool | None = None) -> list[CorruptionRecord]:
    """Measure what is not measured yet, by default in this process; the records of everything."""
    with working(job, CorruptionRecord) as log, products_in():
        cases = ["model", *(["baseline"] if job.baseline else [])]
        tasks = [
            Task(f"{case}: {condition}", _measure, (case, condition)) for condition in job.conditions for case in cases
        ]
        progress.total(len(tasks))
        assert len(job.nets) in (0, job.instances)  # programmed before any worker loads them
        columns = [(condition.name, condition.level) for condition in job.conditions]
        do_tasks(
            job, log, tasks, progress, job.pool(pool), lambda r: (columns.index((r.name, r.level)), cases.index(r.case))
        )
        return list(log)


def _measure(job: CorruptJob, log: Log[CorruptionRecord], progress: Progress, case: str, condition: Condition) -> None:
    log.once((case, condition.name, condition.level), partial(_measured, job, case, condition))
    progress.done(f"{case}: {condition}")


def _measured(job: CorruptJob, case: str, condition: Condition) -> CorruptionRecord:
    x, y = job.corrupted(condition).to(job.place)
    subject = job.subject if case == "model" or job.baseline is None else job.baseline
    measured_on = job.nets if case == "model" else []
    for net in measured_on:
        if job.age is not None:
            net.age(job.age)
    reseed(measured_on, Streams(job.seed).child("judged", case, condition.name, condition.level))
    measured = measure(subject.classifiers(measured_on), x, y, job.draws)
    return CorruptionRecord(
        kind=condition.kind,
        case=case,
        name=condition.name,
        level=condition.level,
        draws=measured.draws,
        hits=measured.hits_by_instance,
    )


def _types(text: str) -> Iterator[str]:
    if text in SETS:
        yield from SETS[text]
        return
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"--types: expected {', '.join(SETS)} or names, got {text!r}")
    for name in dict.fromkeys(names):
        if name not in CORRUPTIONS:
            near = did_you_mean(name, CORRUPTIONS)
            raise InputError(f"--types: unknown corruption {name!r}{near} Known: {', '.join(CORRUPTIONS)}")
        yield name


def _numbers(option: str, text: str) -> Sequence[float]:
    try:
        numbers = list(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{option}: expected finite numbers with commas between them, got {text!r}")
    return numbers
