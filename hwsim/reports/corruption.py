"""Figures of corruptions: a heat map of accuracies and a picture of all types."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hwsim.experiments.corruption.job import CorruptJob
from hwsim.experiments.kinds import JobFolder
from hwsim.reports.page import Record, in_cell, in_sentence
from hwsim.reports.plotting import PERCENT, STYLE, Drawn, panels, write_canvas
from hwsim.robustness.corruptions.condition import Condition


def write_picture(job: CorruptJob) -> tuple[Path, Path]:
    """Draw ``figures/corruptions`` of the job's folder; WorkError where the disk refuses."""
    with matplotlib.rc_context(STYLE):
        return write_canvas(_picture(job), job.folder / "figures" / "corruptions")


def _picture(job: CorruptJob) -> Canvas:
    """The first test image under every type and severity."""
    columns = [0, *job.severities]
    height = 0.62 * len(job.types) + 0.4
    canvas = Canvas(figsize=(0.62 * len(columns) + 1.7, height), layout=ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.01))
    axes = canvas.subplots(len(job.types), len(columns), squeeze=False)
    for row, name in zip(axes, job.types, strict=True):
        for ax, severity in zip(row, columns, strict=True):
            condition = Condition(name, severity, "severity" if severity else "")
            image = job.images(condition).x[0].permute(1, 2, 0).numpy()
            ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, severity in zip(axes[0], columns, strict=True):
        ax.set_title(str(severity) if severity else "clean", fontsize=9, loc="center")
    return canvas


def _corrupt(job: JobFolder, results: Record) -> tuple[Record, list[Drawn]]:
    rows = [row for row in results["rows"] if row["case"] == "model"]
    clean = next(row for row in rows if row["kind"] == "clean")
    answers = [f"Clean: {in_sentence(clean)}."]
    answers += [
        f"Mean over {means['types']} {means['over']}: {100 * means['accuracy']:.1f} %." for means in results["means"]
    ]
    types = list(dict.fromkeys(row["name"] for row in rows if row["kind"] == "corruption"))
    table_rows = []
    for name in types:
        own = {row["level"]: row for row in rows if row["name"] == name}
        table_rows.append([(name, ""), *(in_cell(own[level]) for level in results["severities"])])
    header = ["corruption", *(f"severity {level}" for level in results["severities"])]
    caption = "Accuracy by type and severity, with its 95 % interval below."
    table = {"name": "corruptions", "caption": caption, "header": header, "rows": table_rows}
    content: Record = {"answers": answers, "warnings": [], "tables": [table], "cells": len(results["rows"])}
    content["question"] = f"What do natural corruptions leave of {results['model']} on {results['device']}?"
    content["certainty"] = " ".join(["95 % intervals.", *results["caveats"]])
    return content, [heat_map(rows, types, results["severities"])]


def heat_map(rows: list[Record], types: list[str], severities: list[int]) -> Drawn:
    """Accuracy by type and severity of corruption, the figure written in every cell."""
    at = {(row["name"], row["level"]): row for row in rows}
    shares = np.array([[at[name, level]["mean"] for level in severities] for name in types])
    canvas, (ax,) = panels(1, 1, 0.3 * len(types) + 0.9)
    drawn = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        ax.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color="black" if share > 0.55 else "white")
    ax.set_xticks(range(len(severities)), [str(level) for level in severities])
    ax.set_yticks(range(len(types)), types)
    ax.grid(False)
    ax.set(xlabel="severity")
    canvas.colorbar(drawn, ax=ax, label="accuracy", format=PERCENT)
    told = tuple(
        f"{name}, by severity: " + "; ".join(f"{level}: {at[name, level]['mean']:.1%}" for level in severities) + "."
        for name in types
    )
    worst = min((row for row in rows if row["kind"] == "corruption"), key=lambda row: row["mean"])
    title = f"Accuracy under corruptions: lowest under {worst['name']} {worst['level']:g}, {100 * worst['mean']:.1f} %"
    return Drawn("heat-map", "accuracy", title, "Accuracy in % in every cell.", told, canvas)
