"""The page of an ablation of updates: what reads cost, and what each way to write does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from rich.table import Table as TerminalTable

from hwsim.experiments.ablation.job import Ablation
from hwsim.experiments.ablation.updates import UPDATES, UpdateResults
from hwsim.jobs.folder import read_json
from hwsim.reports.page import Caveat, Column, Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import COLOURS, STYLE, Figure, accuracy_axis, panels

READS = ("exact", "noisy")


def write_updates_page(ablation: Ablation, results: UpdateResults) -> Path:
    """Draw the bars and write ``report.html`` into the ablation's folder. WorkError where the disk refuses."""
    with matplotlib.rc_context(STYLE):
        return write_page(_page(ablation, results), ablation.folder / "report.html")


def _page(ablation: Ablation, results: UpdateResults) -> Page:
    run, count = ablation.run, results.repeats * len(ablation.work())
    config = yaml.safe_dump(ablation.resolved, sort_keys=False, allow_unicode=True)
    return Page(
        title=f"{run.model.name} on {run.device.name}: ablation, updates and reads",
        lead=f"hwsim ablate --updates on {run.data.name}",
        status=Status(count, count, "training"),
        question=f"What does {run.model.name} lose on {run.device.name} to its reads, and what to how it is written?",
        answer=updates_conclusion(results),
        details=[
            "Exact updates: cross-points that take any update and have no bounds, behind the device's own reads. "
            "Accumulated: whole pulses of a digital sum after every step. Per-sample: a train of pulses for every row. "
            "Exact reads: the device's converters and read noise off."
        ],
        certainty=(
            f"95 % intervals over {counted(results.repeats, 'training')} a variant and "
            f"{counted(results.images, 'test image')}. Variants are paired; the intervals of all steps hold at once "
            "(Bonferroni)."
        ),
        caveats=[*_warnings(results)],
        sections=[
            Section("Accuracy", [_chart(results, run.device.name), _table(results), _steps(results)]),
            reproduce(ablation.folder, read_json(ablation.folder / "receipt.json"), config),
        ],
    )


def updates_conclusion(results: UpdateResults) -> str:
    """What every step from exact arithmetic to the device costs, the largest last."""
    first, last = next(iter(results.accuracy.values())), results.accuracy["per-sample", "noisy"]
    if ("exact", "exact") in results.accuracy:
        first = results.accuracy["exact", "exact"]
    each = "; ".join(f"{name}: {cost.points_with_range.removeprefix('+')}" for name, cost in results.steps)
    most, cost = max(results.steps, key=lambda step: step[1].mean)
    resolved = f"Most is lost to {most}" if cost.low > 0 else "No single step can be resolved"
    return f"{resolved}. From {first.percent} with exact updates to {last.percent}, lost step by step: {each}."


def _warnings(results: UpdateResults) -> Iterator[Caveat]:
    for name, count in results.diverged.items():
        yield Caveat(f"{name}: {counted(count, 'training')} diverged, which counts as 0 %.")
    if results.repeats == 1:
        yield Caveat("One training a variant: no interval covers the spread between trainings (--seeds).")


def _reads(results: UpdateResults) -> list[str]:
    return [reads for reads in READS if ("exact", reads) in results.accuracy]


def _table(results: UpdateResults) -> Table:
    reads = _reads(results)
    rows = [[mode, *(results.accuracy[mode, name] for name in reads)] for mode in UPDATES]
    return Table("accuracy", "Test accuracy, 95 % intervals below.", ["updates", *(f"{r} reads" for r in reads)], rows)


def _steps(results: UpdateResults) -> Table:
    caption = "Points lost when one thing more is the device's own, from exact updates and reads on."
    return Table("steps", caption, ["added", Column("lost", "points")], [[*step] for step in results.steps])


def updates_table(results: UpdateResults) -> TerminalTable:
    """The accuracies for the terminal."""
    title = f"{counted(results.repeats, 'training')} a variant, {results.images} test images, 95 % intervals"
    reads = _reads(results)
    shown = TerminalTable("updates", *(f"{name} reads" for name in reads), title=title, box=None, pad_edge=False)
    for mode in UPDATES:
        spans = [results.accuracy[mode, name] for name in reads]
        shown.add_row(mode, *(f"{span.percent} ({span.percent_range})" for span in spans))
    return shown


def _chart(results: UpdateResults, device: str) -> Figure:
    canvas, (ax,) = panels(1, 1, 3.0)
    reads, places = _reads(results), np.arange(len(UPDATES))
    words = []
    for index, name in enumerate(reads):
        spans = [results.accuracy[mode, name] for mode in UPDATES]
        means = np.array([span.mean for span in spans])
        errors = np.abs(np.array([[s.low for s in spans], [s.high for s in spans]]) - means)
        shift = 0.19 * (2 * index - len(reads) + 1)
        ax.bar(
            places + shift, means, 0.36, yerr=errors, color=COLOURS[index], hatch="///" if index else "",
            edgecolor="white", label=f"{name} reads", error_kw={"capsize": 2, "elinewidth": 1.2},
        )  # fmt: skip
        words += [f"{mode} updates, {name} reads: {span.percent}." for mode, span in zip(UPDATES, spans, strict=True)]
    ax.set_xticks(places, [f"{mode} updates" for mode in UPDATES])
    accuracy_axis(ax)
    ax.set_ylabel("test accuracy")
    canvas.legend(loc="outside lower center", ncols=2)
    caption = "Bars are means, lines 95 % intervals."
    return Figure("updates", f"{device}: accuracy by how it is written and read", caption, words, canvas)
