"""What corruptions left: accuracies with intervals, their means and ratios, a heat map and a picture of them all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hwsim.characterisation.fit_figure import write_canvas
from hwsim.errors import InputError
from hwsim.experiments.ageing import compensation, told_age
from hwsim.experiments.corruption.job import Condition, CorruptJob
from hwsim.jobs.store import write_json, written_aside
from hwsim.reports.plotting import STYLE, WIDTH_IN
from hwsim.robustness.corruptions.corruptions import COMMON
from hwsim.robustness.scores import mce, mean_corruption_accuracy, relative_mce
from hwsim.stats.interval import accuracy

Record = dict[str, Any]


def write_results(job: CorruptJob, records: Sequence[Record]) -> Record:
    """Write ``results.json``, ``corruptions.csv`` and the figures; returns the results."""
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
    with matplotlib.rc_context(STYLE):
        write_canvas(_heat_map(job, tables["model"], clean["model"]), job.folder / "figures" / "accuracy")
        write_canvas(_picture(job), job.folder / "figures" / "corruptions")
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
    if job.examples < len(job.data.x_test):
        told.append(f"On the first {job.examples} of {len(job.data.x_test)} test images.")
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


def _heat_map(job: CorruptJob, table: dict[str, list[float]], clean: float) -> Canvas:
    shares = np.array(list(table.values()))
    canvas = Canvas(figsize=(WIDTH_IN * 0.75, 0.27 * len(table) + 1.4), layout=ConstrainedLayoutEngine())
    ax = canvas.subplots()
    drawn = ax.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        ax.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color="black" if share > 0.55 else "white")
    ax.set_xticks(range(len(job.severities)), [str(severity) for severity in job.severities])
    ax.set_yticks(range(len(table)), list(table))
    ax.grid(False)
    ax.set(xlabel="severity", title=f"{job.subject.name}: {100 * clean:.1f} % clean")
    canvas.colorbar(drawn, ax=ax, label="accuracy (%)")
    return canvas


def _picture(job: CorruptJob) -> Canvas:
    """The first test image under every type and severity."""
    columns = [0, *job.severities]
    height = 0.62 * len(job.types) + 0.4
    canvas = Canvas(figsize=(0.62 * len(columns) + 1.7, height), layout=ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.01))
    axes = canvas.subplots(len(job.types), len(columns), squeeze=False)
    for row, name in zip(axes, job.types, strict=True):
        for ax, severity in zip(row, columns, strict=True):
            condition = Condition("corruption" if severity else "clean", name, severity)
            image = job.images(condition)[0][0].permute(1, 2, 0).numpy()
            ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, severity in zip(axes[0], columns, strict=True):
        ax.set_title(str(severity) if severity else "clean", fontsize=9, loc="center")
    return canvas
