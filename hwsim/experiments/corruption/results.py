"""What corruptions left: accuracies with intervals, their means and ratios."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.experiments.ageing import compensation, told_age
from hwsim.experiments.corruption.job import CorruptJob
from hwsim.jobs.store import write_json, written_aside
from hwsim.robustness.corruptions.corruptions import COMMON
from hwsim.robustness.scores import mce, mean_corruption_accuracy, relative_mce
from hwsim.stats.interval import accuracy

Record = dict[str, Any]


def write_results(job: CorruptJob, records: Sequence[Record]) -> Record:
    """Write ``results.json`` and ``corruptions.csv``; returns the results."""
    rows = [_row(record) for record in records]
    tables = {
        case: {name: [_mean(rows, case, name, severity) for severity in job.severities] for name in job.types}
        for case in ("model", "baseline")
        if case == "model" or job.baseline
    }
    clean = {case: _mean(rows, case, "clean", 0) for case in tables}
    results: Record = {
        "model": job.subject.name,
        "baseline": job.baseline.name if job.baseline else None,
        "device": job.device.name if job.device else "float",
        "data": job.data.name,
        "images": job.examples,
        "chips": job.instances if job.device else 0,
        "severities": list(job.severities),
        "rows": rows,
        "means": _means(job, tables, clean),
        "caveats": list(_caveats(job)),
        "config_hash": job.config_hash,
    }
    with written_aside(job.folder / "corruptions.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(job.folder / "results.json", results)
    return results


def _row(record: Record) -> Record:
    found = accuracy(np.array(record["hits"]) / record["draws"])
    head = {key: record[key] for key in ("case", "kind", "name", "level")}
    return {**head, "mean": found.mean, "low": found.low, "high": found.high, "over": found.over}


def _mean(rows: Sequence[Record], case: str, name: str, level: float) -> float:
    return next(row["mean"] for row in rows if (row["case"], row["name"], row["level"]) == (case, name, level))


def _means(job: CorruptJob, tables: dict[str, dict[str, list[float]]], clean: dict[str, float]) -> list[Record]:
    """The 15 common types and the four extra ones apart, as is the custom; ratios where there is a baseline."""
    found = []
    for title, wanted in (("common types", True), ("extra types", False)):
        own = {case: {n: r for n, r in table.items() if (n in COMMON) == wanted} for case, table in tables.items()}
        if not own["model"]:
            continue
        row: Record = {"over": title, "types": len(own["model"]), "accuracy": mean_corruption_accuracy(own["model"])}
        if job.baseline:
            row["baseline_accuracy"] = mean_corruption_accuracy(own["baseline"])
            row["mce"] = _or_told(lambda own=own: mce(own["model"], own["baseline"]))
            row["relative_mce"] = _or_told(
                lambda own=own: relative_mce(own["model"], clean["model"], own["baseline"], clean["baseline"])
            )
        found.append(row)
    return found


def _or_told(score: Callable[[], float]) -> float | str:
    """The score, or why there is none: a baseline that loses nothing under a type divides by zero."""
    try:
        return score()
    except InputError as error:
        return str(error)


def _caveats(job: CorruptJob) -> list[str]:
    told = []
    if job.examples < len(job.data.test):
        told.append(f"On the first {job.examples} of {len(job.data.test)} test images.")
    if job.corrupted_dir is None:
        told.append(
            "Corruptions computed here with the constants of CIFAR-10-C; the ice of `frost` is drawn, not photographs. "
            "For published figures use the published files (--corrupted-dir)."
        )
    side = job.data.shape[1]
    if side != 32:
        told.append(f"Lengths are those for 32 x 32 pixels; on images of {side} x {side} a blur weighs differently.")
    if job.device and job.age is not None:
        how = compensation(job.device.device)
        told.append(f"At {told_age(job.age)} after programming; the drift is {how}.")
    elif job.device and job.device.device.drifts:
        told.append("Right after programming: this device drifts, and ageing is not part of the figure (--age 1h).")
    if job.baseline:
        told.append(f"mCE and relative mCE are ratios to {job.baseline.name}; there is no canonical baseline.")
    return told
