"""The page of a study that compares devices: accuracy clean and perturbed, and robustness at equal clean accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.experiments.sweep.results import CLEAN, Place, Results
from hwsim.reports.page import Cell, Column, Page, Section, Table, counted
from hwsim.reports.plotting import (
    POINTS,
    Figure,
    accuracy_axis,
    curve,
    forest,
    label_values,
    legend,
    line_style,
    panels,
)
from hwsim.stats.interval import Interval, difference

MATCHED, TRANSFER = "matched_", "transfer_"


@dataclass(frozen=True)
class Row:
    """One device and case."""

    device: str
    case: str
    place: Place

    @property
    def name(self) -> str:
        return self.device if self.case == "float" else f"{self.device}, {self.case}"

    def level(self, column: str) -> float:
        return float(column.removesuffix("_share").rpartition("_epsilon")[2])

    def attacked(self, column: str) -> str:
        """The column of the stronger of two attacks: on the network's own weights, or transferred from float."""
        return min(column, TRANSFER + column, key=lambda name: float(self.place.shares(name).mean()))

    def beyond(self, column: str) -> Interval:
        """What is kept under attack beyond the float network of the same clean accuracy, paired.

        Float with output noise is attacked on its own weights; here the stronger attack counts.
        """
        return difference(self.place.shares(self.attacked(column)), self.place.shares(MATCHED + column))


def devices_page(results: Results) -> Page:
    """Answers, tables and figures; call it under the style of ``plotting.STYLE``."""
    rows = [
        Row(str(place.axes.get("device", "?")), str(place.axes.get("case", "?")), place)
        for places in results.places.values()
        for place in places
        if place.records
    ]
    if not rows:
        return Page("Nothing is measured yet.")
    seeds = max(len(row.place.records) for row in rows)
    images = rows[0].place.shares().shape[1]
    several = f"{counted(seeds, 'seed')} and " if seeds > 1 else ""
    one = "" if seeds > 1 else "; one seed, so the spread between trainings and devices is not in them"
    answer, *details = _answers(rows)
    attacked = bool(_attacks(rows[0]))
    return Page(
        answer=answer,
        details=details,
        certainty=f"Means and 95 % intervals over {several}{images} test images{one}. Differences are paired.",
        limits=[
            "Attacks know the weights in the arrays but not their noise, and take no expectation over it; hwsim attack "
            "does, and attacks by queries, too."
        ],
        sections=[
            Section("Accuracy", [_accuracies(rows), *([_curves(rows)] if attacked else [])]),
            *([Section("At equal clean accuracy", [_equal(rows), _matched(rows)])] if attacked else []),
        ],
    )


def _attacks(row: Row) -> list[str]:
    found = [name for name in next(iter(row.place.records.values()))["hits"] if name.startswith("accuracy_pgd")]
    return sorted(found, key=row.level)


def _middle(row: Row) -> str | None:
    attacks = _attacks(row)
    return attacks[len(attacks) // 2] if attacks else None


def _answers(rows: Sequence[Row]) -> list[str]:
    """The comparison at equal clean accuracy, then the clean accuracies of each case."""
    exact = next((row for row in rows if row.case == "float"), None)
    reference = f"; float reaches {exact.place.interval().percent}" if exact else ""
    clean = []
    for case in dict.fromkeys(row.case for row in rows if row.case != "float"):
        same = sorted((row for row in rows if row.case == case), key=lambda row: -row.place.interval().mean)
        ends = same if len(same) < 2 else [same[0], same[-1]]
        shown = " down to ".join(f"{row.place.interval().percent} ({row.device})" for row in ends)
        clean.append(f"{case[0].upper()}{case[1:]}: {shown} of clean images{reference}.")
    compared = [(row, row.beyond(column)) for row in rows if row.case != "float" and (column := _middle(row))]
    if not compared:
        return clean or ["Only float is measured yet."]
    above, below = ([r.name for r, d in compared if test(d)] for test in (lambda d: d.low > 0, lambda d: d.high < 0))
    level = compared[0][0].level(_middle(compared[0][0]) or "")
    masked = [row.name for row, _ in compared if _masks(row)]
    return [
        f"At equal clean accuracy, under attacks of budget {level:g}, {len(above)} of {len(compared)} are more robust "
        f"than float with output noise ({', '.join(above) or 'none'}) and {len(below)} less "
        f"({', '.join(below) or 'none'}); for the others no difference is resolved.",
        *clean,
        "The transferred attack is stronger than the white-box one, a sign that gradients mislead the attacker rather "
        f"than that the device is robust: {', '.join(masked)}."
        if masked
        else "On no device is the transferred attack stronger than the white-box one: no sign of masked gradients.",
    ]


def _masks(row: Row) -> bool:
    """Does the attack on its own weights leave surely more than the transferred one, at any budget?"""
    return any(difference(row.place.shares(name), row.place.shares(TRANSFER + name)).low > 0 for name in _attacks(row))


def _accuracies(rows: Sequence[Row]) -> Table:
    columns = [n for n in next(iter(rows[0].place.records.values()))["hits"] if n.startswith("accuracy_")]
    body = [[row.device, row.case, *(row.place.interval(column) for column in columns)] for row in rows]
    caption = "Test accuracy, with its 95 % interval below; white-box attacks on the programmed weights."
    return Table("accuracy", caption, ["device", Column("case", "words"), *map(_heading, columns)], body)


def _matched(rows: Sequence[Row]) -> Table:
    columns = _attacks(rows[0])
    body: list[list[Cell]] = []
    for row in rows:
        if row.case == "float":
            continue
        sigmas = [r["columns"].get("matched_noise_sigma") for r in row.place.records.values()]
        known = [sigma for sigma in sigmas if sigma is not None]
        clean = row.place.interval().percent, f"float {row.place.interval(MATCHED + CLEAN).percent}"
        sigma = f"{np.mean(known):.2g}" if known else None
        body.append([row.device, row.case, clean, sigma, *(row.beyond(column) for column in columns)])
    head: list[Column | str] = ["device", Column("case", "words"), "clean accuracy", "float's noise σ"]
    caption = (
        "Points of accuracy under attack beyond the float network with output noise, with the 95 % interval below. "
        "Both are under white-box attack, a device also under images transferred from float; the stronger attack "
        "counts."
    )
    return Table("matched", caption, [*head, *(Column(_heading(column), "points") for column in columns)], body)


def _curves(rows: Sequence[Row]) -> Figure:
    """Security curves, a panel a device, its cases and float in each."""
    devices = list(dict.fromkeys(row.device for row in rows if row.case != "float"))
    exact = [row for row in rows if row.case == "float"][:1]
    cases = list(dict.fromkeys(row.case for row in rows))
    styles = {case: line_style(i) for i, case in enumerate(cases)}
    canvas, axes = panels(len(devices), 3, 2.3)
    words = []
    for ax, device in zip(axes, devices, strict=True):
        for row in (*exact, *(row for row in rows if row.device == device and row.case != "float")):
            attacks = _attacks(row)
            x = [0.0, *(row.level(name) for name in attacks)]
            numbers = curve(ax, x, [row.place.interval(name) for name in (CLEAN, *attacks)], styles[row.case])
            words.append(f"{device}, {row.case}, by budget: {numbers}.")
            label_values(ax, x)
        ax.set_title(device, fontsize=9)
        accuracy_axis(ax)
    for ax in axes[-3:]:
        ax.set_xlabel("attack budget ε (pixel units)", fontsize=9)
    for ax in axes[::3]:
        ax.set_ylabel("test accuracy")
    legend(canvas, styles, cases)
    caption = "White-box attacks on the programmed weights, predictions read from the arrays; bands are 95 % intervals."
    title = f"Accuracy against attack budget on {counted(len(devices), 'device')}"
    return Figure("attacks", title, caption, list(dict.fromkeys(words)), canvas)


def _equal(rows: Sequence[Row]) -> Figure:
    """What each device and case keeps under attack beyond the float network made as inaccurate."""
    compared = [(row, column) for row in rows if row.case != "float" and (column := _middle(row))]
    gaps = {row.name: row.beyond(column) for row, column in compared}
    canvas, (ax,) = panels(1, 1, 0.7 + 0.27 * len(gaps))
    forest(ax, list(gaps), list(gaps.values()), [gap.excludes_zero for gap in gaps.values()])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.xaxis.set_major_formatter(POINTS)
    ax.set_xlabel("points of accuracy beyond equally accurate float")
    words = []
    for row, column in compared:
        own, other = row.place.interval(row.attacked(column)), row.place.interval(MATCHED + column)
        floats = f"float at the same clean accuracy {other.percent}, {gaps[row.name].points_with_range}"
        words.append(f"{row.name}: {own.percent_with_range}; {floats}.")
    level = compared[0][0].level(compared[0][1])
    title = f"Accuracy under attacks of budget {level:g}, at equal clean accuracy"
    caption = (
        "To the right a device keeps more than its loss of clean accuracy explains. Lines are 95 % intervals; marks "
        "are filled where the interval excludes zero."
    )
    return Figure("matched", title, caption, words, canvas)


def _heading(column: str) -> str:
    """accuracy_pgd-linf_epsilon0.1_share as pgd-linf epsilon 0.1."""
    name = column.removeprefix("accuracy").removesuffix("_share").strip("_").replace("_", " ")
    for unit in ("epsilon", "severity", "sigma"):
        name = name.replace(unit, f"{unit} ")
    return name or "clean"
