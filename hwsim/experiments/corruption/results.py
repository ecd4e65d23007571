"""What corruptions left: accuracies with intervals, their means and ratios."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.experiments.ageing import told_age
from hwsim.experiments.corruption.job import CorruptJob
from hwsim.experiments.corruption.records import CorruptionRecord, CorruptionResults, Means, Row
from hwsim.jobs.records import write_file
from hwsim.jobs.store import written_aside
from hwsim.robustness.corruptions.corruptions import COMMON
from hwsim.robustness.scores import (
    mce,
    mean_corruption_accuracy,
    mean_corruption_interval,
    ratio_intervals,
    relative_mce,
)
from hwsim.stats.interval import accuracy

COLUMNS = ("case", "kind", "name", "level", "mean", "low", "high", "over")


def write_results(job: CorruptJob, records: Sequence[CorruptionRecord]) -> CorruptionResults:
    """Write ``results.json`` and ``corruptions.csv``; returns the results."""
    rows = [_row(record) for record in records]
    results = CorruptionResults(
        model=job.subject.name,
        baseline=job.baseline.name if job.baseline else None,
        device=job.device_name,
        data=job.data.name,
        images=job.examples,
        chips=job.instances if job.device else 0,
        severities=list(job.severities),
        rows=rows,
        means=list(_means(job, rows, records)),
        caveats=_caveats(job),
        config_hash=job.config_hash,
    )
    with written_aside(job.folder / "corruptions.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: getattr(row, name) for name in COLUMNS} for row in rows)
    write_file(job.folder / "results.json", results)
    return results


def _row(record: CorruptionRecord) -> Row:
    interval = accuracy(np.array(record.hits) / record.draws)
    return Row(case=record.case, kind=record.kind, name=record.name, level=record.level, **asdict(interval))


def _means(job: CorruptJob, rows: Sequence[Row], records: Sequence[CorruptionRecord]) -> Iterator[Means]:
    """The 15 common types and the four extra ones apart, as is the custom; ratios where there is a baseline."""
    at = {(row.case, row.name, row.level): row.mean for row in rows}
    shares = {(r.case, r.name, r.level): np.array(r.hits) / r.draws for r in records}
    for title, common in (("common types", True), ("extra types", False)):
        types = [name for name in job.types if (name in COMMON) == common]
        if not types:
            continue

        def table(case: str, types: Sequence[str] = types) -> dict[str, list[float]]:
            return {name: [at[case, name, severity] for severity in job.severities] for name in types}

        def by_image(case: str, types: Sequence[str] = types) -> dict[str, list[Any]]:
            return {name: [shares[case, name, severity] for severity in job.severities] for name in types}

        own, ratios = table("model"), {}
        if job.baseline:
            other, clean = table("baseline"), [at[case, "clean", 0] for case in ("model", "baseline")]
            cleans = [shares[case, "clean", 0] for case in ("model", "baseline")]
            rng = np.random.default_rng(job.seed)
            ends = ratio_intervals(by_image("model"), cleans[0], by_image("baseline"), cleans[1], rng)
            ratios: dict[str, Any] = {
                "baseline_accuracy": mean_corruption_accuracy(other),
                "mce": _or_why(partial(mce, own, other)),
                "relative_mce": _or_why(partial(relative_mce, own, clean[0], other, clean[1])),
            }
            ratios |= {
                f"{name}_ends": tuple(end if np.isfinite(end) else None for end in pair)
                for name, pair in zip(("mce", "relative_mce"), ends, strict=True)
                if isinstance(ratios[name], float)
            }
        mean = mean_corruption_interval(by_image("model"))
        yield Means(over=title, types=len(types), accuracy=mean_corruption_accuracy(own), interval=mean, **ratios)


def _or_why(score: Callable[[], float]) -> float | str:
    """The score, or why there is none."""
    try:
        return score()
    except InputError as error:
        return str(error)


def _caveats(job: CorruptJob) -> list[str]:
    caveats = []
    if job.examples < len(job.data.test):
        caveats.append(f"On the first {job.examples} of {len(job.data.test)} test images.")
    if job.corrupted_dir is None:
        caveats.append(
            "Corruptions computed here with the constants of CIFAR-10-C; the ice of `frost` is drawn, not photographs. "
            "For published figures use the published files (--corrupted-dir)."
        )
    side = job.data.shape[1]
    if side != 32:
        caveats.append(f"Lengths are those for 32 x 32 pixels; on images of {side} x {side} a blur weighs differently.")
    if job.device and job.age is not None:
        how = job.compensation
        caveats.append(f"At {told_age(job.age)} after programming; the drift is {how}.")
    elif job.device and job.device.device.drifts:
        caveats.append("Right after programming: this device drifts, and ageing is not part of the figure (--age 1h).")
    if job.baseline:
        caveats.append(f"mCE and relative mCE are ratios to {job.baseline.name}; there is no canonical baseline.")
    return caveats
