"""From an ablation's records to what each property costs: intervals, a table, a bar chart and a sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from hwsim.errors import WorkError
from hwsim.experiments.ablation.job import ALL_OFF, ALL_ON, Ablation, only, without
from hwsim.jobs.store import read_lines, write_text
from hwsim.reports.plotting import COLOURS, PERCENT, Drawn, panels
from hwsim.stats.interval import Interval, accuracy, difference


@dataclass(frozen=True)
class Cost:
    """What one property costs in accuracy, in shares; positive: accuracy lost.

    Args:
        alone: accuracy with everything off, less that with this property alone.
        gained: accuracy without this property, less that of the device as it is.
        accuracy_only, accuracy_without: the two accuracies behind them.
        diverged: trainings of the two variants that diverged.
    """

    name: str
    alone: Interval
    gained: Interval
    accuracy_only: Interval
    accuracy_without: Interval
    diverged: int


@dataclass(frozen=True)
class Results:
    """An ablation, judged: accuracies of the device as it is and with everything off, and the costs, largest first."""

    all_on: Interval
    all_off: Interval
    lost: Interval
    costs: tuple[Cost, ...]
    repeats: int
    images: int


def results(ablation: Ablation) -> Results:
    """The costs, from the records in the ablation's folder. Raises WorkError where one is missing."""
    records = {(r["variant"], r["repeat"]): r for r in read_lines(ablation.folder / "ablation.jsonl")}
    first = {id(card): name for name, card in ablation.work()}

    def found(variant: str) -> list[dict[str, Any]]:
        name = first[id(ablation.variants[variant])]
        try:
            return [records[name, repeat] for repeat in range(ablation.job.repeats)]
        except KeyError as error:
            raise WorkError(f"{ablation.folder}: {name} is not measured yet; the same command goes on") from error

    def shares(variant: str) -> NDArray[np.float64]:
        return np.array([np.array(r["hits"]) / r["draws"] for r in found(variant)])

    on, off, costs = shares(ALL_ON), shares(ALL_OFF), []
    for item in ablation.properties:
        left, removed = only(item.name), without(item.name)
        costs.append(
            Cost(
                item.name,
                difference(off, shares(left)),
                difference(shares(removed), on),
                accuracy(shares(left)),
                accuracy(shares(removed)),
                sum("diverged" in record for name in (left, removed) for record in found(name)),
            )
        )
    costs.sort(key=lambda cost: -max(cost.gained.mean, cost.alone.mean))
    return Results(accuracy(on), accuracy(off), difference(off, on), tuple(costs), *on.shape)


def verdict(found: Results) -> str:
    """The limiting property, in a sentence: the one whose removal gains most, if that can be told from chance."""
    points = f"{100 * found.lost.mean:.1f} points ({_range(found.lost)})"
    told = [cost for cost in found.costs if cost.gained.low > 0]
    if told:
        best = max(told, key=lambda cost: cost.gained.mean)
        return (
            f"The limiting property is {best.name}: without it the accuracy rises from {_percent(found.all_on)} to "
            f"{_percent(best.accuracy_without)}, by {100 * best.gained.mean:.1f} points ({_range(best.gained)}); all "
            f"properties together cost {points}."
        )
    if found.lost.low <= 0:
        return f"No property limits: all together cost {points}, no more than chance."
    alone = max(found.costs, key=lambda cost: cost.alone.mean)
    if alone.alone.low > 0:
        return (
            f"No single property limits: together they cost {points}, but removing any one alone gains no more than "
            f"chance. Alone, {alone.name} costs most, {100 * alone.alone.mean:.1f} points ({_range(alone.alone)})."
        )
    first = max(found.costs, key=lambda cost: cost.gained.mean)
    return (
        f"Together the properties cost {points}; which of them cannot be told from chance. Removing {first.name} "
        f"gained most, {_points(first.gained)}. Try more --seeds."
    )


def table(found: Results) -> Table:
    """The costs for the terminal, in points of accuracy."""
    title = f"{found.repeats} trainings a variant, {found.images} test images, 95 % intervals"
    shown = Table("property", "costs alone", "gained without it", title=title, box=None, pad_edge=False)
    for cost in found.costs:
        note = f" ({cost.diverged} diverged)" if cost.diverged else ""
        shown.add_row(cost.name + note, _points(cost.alone), _points(cost.gained))
    shown.add_section()
    shown.add_row("as it is", _percent(found.all_on), "")
    shown.add_row("everything off", _percent(found.all_off), "")
    return shown


def write_table(folder: Path, found: Results) -> Path:
    """``ablation.csv``, a row a property."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    kinds = ("cost_alone", "gained_without", "accuracy_only", "accuracy_without")
    writer.writerow(["property", *(f"{k}_{part}_share" for k in kinds for part in ("mean", "low95", "high95"))])
    for cost in found.costs:
        spans = (cost.alone, cost.gained, cost.accuracy_only, cost.accuracy_without)
        writer.writerow([cost.name, *(f"{v:.6f}" for span in spans for v in (span.mean, span.low, span.high))])
    write_text(folder / "ablation.csv", rows.getvalue())
    return folder / "ablation.csv"


def chart(found: Results, name: str) -> Drawn:
    """A pair of bars a property: what it costs alone, and what leaving it out gains; call it under ``STYLE``."""
    canvas, (ax,) = panels(1, 1, 0.9 + 0.36 * len(found.costs))
    places = np.arange(len(found.costs))[::-1]
    bars: Sequence[tuple[str, float, str, list[Interval]]] = (
        ("costs alone, all others off", 0.18, "///", [cost.alone for cost in found.costs]),
        ("gained without it, all others on", -0.18, "", [cost.gained for cost in found.costs]),
    )
    for (label, shift, hatch, spans), colour in zip(bars, COLOURS, strict=False):
        means = np.array([span.mean for span in spans])
        errors = np.abs(np.array([[s.low for s in spans], [s.high for s in spans]]) - means)
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
        ax.barh(places + shift, means, 0.34, xerr=errors, error_kw={"capsize": 2, "elinewidth": 1.2}, **style)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, [cost.name for cost in found.costs])
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("accuracy lost to the property (95 % intervals)")
    ax.grid(False, axis="y")
    canvas.legend(loc="outside lower center", ncols=2)
    title = f"{name}: {_percent(found.all_on)} as it is, {_percent(found.all_off)} with everything off"
    told = tuple(
        f"{cost.name}: costs {_points(cost.alone)} points alone; without it {_points(cost.gained)} are gained."
        for cost in found.costs
    )
    caption = "To the right: accuracy that the property costs, by itself and among the others; lines are intervals."
    return Drawn("ablation", "costs", title, caption, told, canvas)


def _percent(span: Interval) -> str:
    return f"{100 * span.mean:.1f} %"


def _range(span: Interval) -> str:
    return f"{100 * span.low:.1f} to {100 * span.high:.1f}"


def _points(span: Interval) -> str:
    return f"{100 * span.mean:+.1f} ({100 * span.low:+.1f} to {100 * span.high:+.1f})"
