"""The page of an ablation: which property limits the device, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml
from rich.table import Table as TerminalTable

from hwsim.experiments.ablation.job import Ablation
from hwsim.experiments.ablation.results import Results, verdict
from hwsim.jobs.folder import read_json
from hwsim.reports.page import Caveat, Column, Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import COLOURS, PERCENT, STYLE, Figure, panels
from hwsim.stats.interval import Interval


def write_ablation_page(ablation: Ablation, results: Results) -> Path:
    """Draw the bars and write ``report.html`` into the ablation's folder. WorkError where the disk refuses."""
    with matplotlib.rc_context(STYLE):
        return write_page(_page(ablation, results), ablation.folder / "report.html")


def _page(ablation: Ablation, results: Results) -> Page:
    run, trainings = ablation.run, counted(results.repeats, "training")
    count = results.repeats * len(ablation.work())
    case = "trained in situ" if ablation.case == "in-situ" else "programmed with weights trained in float"
    config = yaml.safe_dump(ablation.resolved, sort_keys=False, allow_unicode=True)
    return Page(
        title=f"{run.model.name} on {run.device.name}: ablation, {ablation.case}",
        lead=f"hwsim ablate on {run.data.name}",
        status=Status(count, count, "training"),
        question=f"Which property of {run.device.name} limits {run.model.name}, {case}, and what does each cost?",
        answer=conclusion(results),
        details=[*_kept(ablation)],
        certainty=(
            f"95 % intervals over {trainings} a variant and {counted(results.images, 'test image')}. Variants are "
            "paired: the same images, initial weights, devices and noise. A limiting property is named only where its "
            f"interval holds among all {len(results.costs)} (Bonferroni). Properties interact: costs need not add up."
        ),
        caveats=[*_warnings(results)],
        sections=[
            Section("Costs", [chart(results, run.device.name), _table(results)]),
            reproduce(ablation.folder, read_json(ablation.folder / "receipt.json"), config),
        ],
    )


def conclusion(results: Results) -> str:
    """The verdict in a sentence or two."""
    found, lost = verdict(results), results.lost
    cost = found.cost
    together = f"all {len(results.costs)} properties together cost {_cost(lost)}"
    if found.kind == "limits":
        return (
            f"The limiting property is {cost.name}: without it the accuracy rises from {results.all_on.percent} to "
            f"{cost.accuracy_without.percent}, by {_cost(cost.gained)}; {together}."
        )
    if found.kind == "none":
        return f"No limiting property can be resolved: {together}, an interval that includes zero."
    if found.kind == "several":
        return (
            f"No single property limits: {together}, but removing any one of them gains nothing that can be resolved. "
            f"Alone, {cost.name} costs most, {_cost(cost.alone)}."
        )
    return (
        f"Which property limits cannot be resolved: {together}; removing {cost.name} gained most, "
        f"{_cost(cost.gained)}. More --seeds narrow the intervals."
    )


def _cost(interval: Interval) -> str:
    return interval.points_with_range.removeprefix("+")


def _kept(ablation: Ablation) -> list[str]:
    if not ablation.kept_on:
        return []
    return [f"Not switched in any variant, by --property: {', '.join(ablation.kept_on)}."]


def _warnings(results: Results) -> list[Caveat]:
    warnings = [
        Caveat(f"{cost.name}: {counted(cost.diverged, 'training')} of its variants diverged, which counts as 0 %.")
        for cost in results.costs
        if cost.diverged
    ]
    if results.repeats == 1:
        warnings.append(Caveat("One training a variant: no interval covers the spread between trainings (--seeds)."))
    return warnings


def _table(results: Results) -> Table:
    rows = [[cost.name, cost.alone, cost.gained, cost.accuracy_only, cost.accuracy_without] for cost in results.costs]
    caption = (
        f"Accuracy is {results.all_on.percent} with all listed properties on and {results.all_off.percent} with all "
        "off. Costs alone: points lost to a property with the other listed ones off. Gained without it: points gained "
        "by switching it off with the others on. 95 % intervals below."
    )
    points = [Column(title, "points") for title in ("costs alone", "gained without it")]
    return Table("costs", caption, ["property", *points, "accuracy with it alone", "accuracy without it"], rows)


def table(results: Results) -> TerminalTable:
    """The costs for the terminal, in points of accuracy."""
    title = f"{counted(results.repeats, 'training')} a variant, {results.images} test images, 95 % intervals"
    shown = TerminalTable("property", "costs alone", "gained without it", title=title, box=None, pad_edge=False)
    for cost in results.costs:
        note = f" ({cost.diverged} diverged)" if cost.diverged else ""
        shown.add_row(cost.name + note, *(f"{i.points} ({i.points_range})" for i in (cost.alone, cost.gained)))
    shown.add_section()
    shown.add_row("all of these on", results.all_on.percent, "")
    shown.add_row("all of these off", results.all_off.percent, "")
    return shown


def chart(results: Results, device: str) -> Figure:
    """Two bars for each property: what it costs alone, and what leaving it out gains; call it under ``STYLE``."""
    canvas, (ax,) = panels(1, 1, 0.9 + 0.36 * len(results.costs))
    places = np.arange(len(results.costs))[::-1]
    bars: Sequence[tuple[str, float, str, list[Interval]]] = (
        ("costs alone", 0.18, "///", [cost.alone for cost in results.costs]),
        ("gained without it", -0.18, "", [cost.gained for cost in results.costs]),
    )
    for (label, shift, hatch, spans), colour in zip(bars, COLOURS, strict=False):
        means = np.array([span.mean for span in spans])
        errors = np.abs(np.array([[s.low for s in spans], [s.high for s in spans]]) - means)
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
        ax.barh(places + shift, means, 0.34, xerr=errors, error_kw={"capsize": 2, "elinewidth": 1.2}, **style)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, [cost.name for cost in results.costs])
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("accuracy lost to the property")
    ax.grid(visible=False, axis="y")
    canvas.legend(loc="outside lower center", ncols=2)
    title = f"{device}: {results.all_on.percent} with all on, {results.all_off.percent} with all off"
    words = [
        f"{cost.name}: costs {_cost(cost.alone)} alone; {_cost(cost.gained)} gained without it."
        for cost in results.costs
    ]
    caption = "To the right: accuracy that the property costs, alone and among the others; lines are 95 % intervals."
    return Figure("ablation", title, caption, words, canvas)
