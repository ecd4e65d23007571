"""The page of a study that compares devices: accuracy clean and perturbed, and robustness at equal clean accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.experiments.sweep.results import CLEAN, Place, Results
from hwsim.reports.plotting import PERCENT, Drawn, legend, line_style, panels
from hwsim.stats.interval import Interval, difference

MATCHED, TRANSFER = "matched_", "transfer_"

CROWDED = 0.025
"""Points of a figure that are nearer to each other, in shares, get no name in it."""


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


def devices_page(results: Results) -> tuple[dict[str, Any], list[Drawn]]:
    """Answers, tables and figures; call it under the style of ``plotting.STYLE``."""
    rows = [
        Row(str(place.axes.get("device", "?")), str(place.axes.get("case", "?")), place)
        for places in results.places.values()
        for place in places
        if place.records
    ]
    if not rows:
        return {"answers": ["Nothing is measured yet."], "certainty": "", "tables": []}, []
    seeds = max(len(row.place.records) for row in rows)
    images = rows[0].place.shares().shape[1]
    certainty = (
        f"Means and 95 % intervals over {f'{seeds} seeds and ' if seeds > 1 else ''}{images} test images"
        f"{'' if seeds > 1 else '; one seed, so the spread between trainings and devices is not in them'}. "
        "Differences are paired. Attacks know the weights in the arrays but not their noise, and take no expectation "
        "over it; `hwsim attack` does, and asks by queries too."
    )
    tables = [_accuracies(rows), _matched(rows)]
    return {"answers": _answers(rows), "certainty": certainty, "tables": tables}, list(_draw(rows))


def _attacks(row: Row) -> list[str]:
    found = [name for name in next(iter(row.place.records.values()))["hits"] if name.startswith("accuracy_pgd")]
    return sorted(found, key=row.level)


def _middle(row: Row) -> str | None:
    attacks = _attacks(row)
    return attacks[len(attacks) // 2] if attacks else None


def _answers(rows: Sequence[Row]) -> list[str]:
    sentences = []
    exact = next((row for row in rows if row.case == "float"), None)
    for case in dict.fromkeys(row.case for row in rows):
        same = sorted((row for row in rows if row.case == case), key=lambda row: -row.place.interval().mean)
        if case != "float" and len(same) > 1:
            best, worst = same[0], same[-1]
            sentences.append(
                f"{case[0].upper()}{case[1:]}: from {_percent(best.place.interval())} ({best.device}) down to "
                f"{_percent(worst.place.interval())} ({worst.device}) of clean images"
                + (f"; float reaches {_percent(exact.place.interval())}." if exact else ".")
            )
    compared = [(row, row.beyond(column)) for row in rows if row.case != "float" and (column := _middle(row))]
    if compared:
        above, below = (
            [r.name for r, d in compared if test(d)] for test in (lambda d: d.low > 0, lambda d: d.high < 0)
        )
        level = compared[0][0].level(_middle(compared[0][0]) or "")
        text = f"At equal clean accuracy, under attacks of budget {level:g}: "
        text += f"{len(above)} of {len(compared)} are more robust than noisy float ({', '.join(above) or 'none'}), "
        text += f"{len(below)} less ({', '.join(below) or 'none'}), the others cannot be told apart."
        sentences.append(text)
        masked = [row.name for row, _ in compared if _masks(row)]
        sentences.append(
            "The transferred attack is stronger than the one on their own weights, a sign that their own gradients "
            f"mislead the attacker rather than that they are robust: {', '.join(masked)}."
            if masked
            else "On no device is the transferred attack stronger than the one on its own weights: nothing is masked."
        )
    return sentences


def _masks(row: Row) -> bool:
    """Does the attack on its own weights leave surely more than the transferred one, at any budget?"""
    return any(difference(row.place.shares(name), row.place.shares(TRANSFER + name)).low > 0 for name in _attacks(row))


def _accuracies(rows: Sequence[Row]) -> dict[str, Any]:
    columns = [n for n in next(iter(rows[0].place.records.values()))["hits"] if n.startswith("accuracy_")]
    body = [
        [
            (row.device, ""),
            (row.case, ""),
            *((_percent(found := row.place.interval(c)), _range(found)) for c in columns),
        ]
        for row in rows
    ]
    caption = "Test accuracy, with its 95 % interval below; attacks know the weights that the arrays hold."
    return {"name": "accuracy", "caption": caption, "header": ["device", "case", *map(_heading, columns)], "rows": body}


def _matched(rows: Sequence[Row]) -> dict[str, Any]:
    columns = _attacks(rows[0])
    body = []
    for row in rows:
        if row.case == "float":
            continue
        sigmas = [r["columns"].get("matched_noise_sigma") for r in row.place.records.values()]
        known = [sigma for sigma in sigmas if sigma is not None]
        cells: list[tuple[str, str]] = [(row.device, ""), (row.case, "")]
        cells.append((_percent(row.place.interval()), f"float {_percent(row.place.interval(MATCHED + CLEAN))}"))
        cells.append((f"{np.mean(known):.2g}" if known else "–", ""))
        for column in columns:
            apart = row.beyond(column)
            ends = f"{100 * apart.low:+.1f} to {100 * apart.high:+.1f}"
            cells.append((f"{100 * apart.mean:+.1f}".replace("-", "−"), ends.replace("-", "−")))
        body.append(cells)
    header = ["device", "case", "clean accuracy", "float's noise σ", *map(_heading, columns)]
    caption = (
        "Robustness at equal clean accuracy: points that are kept beyond the float network with output noise, with the "
        "95 % interval below. Each is attacked on its own weights, a device also by the float network's images: there "
        "the stronger attack counts."
    )
    return {"name": "matched", "caption": caption, "header": header, "rows": body}


def _draw(rows: Sequence[Row]) -> Iterator[Drawn]:
    if not _attacks(rows[0]):
        return
    yield _curves(rows)
    yield _equal(rows)


def _curves(rows: Sequence[Row]) -> Drawn:
    """Security curves, a panel a device, its cases and float in each."""
    devices = [d for d in dict.fromkeys(row.device for row in rows if row.case != "float")]
    exact = [row for row in rows if row.case == "float"][:1]
    cases = list(dict.fromkeys(row.case for row in rows))
    styles = {case: line_style(i) for i, case in enumerate(cases)}
    canvas, axes = panels(len(devices), 3, 2.3)
    sentences = []
    for ax, device in zip(axes, devices, strict=True):
        for row in (*exact, *(row for row in rows if row.device == device and row.case != "float")):
            attacks = _attacks(row)
            x = [0.0, *(row.level(name) for name in attacks)]
            found = [row.place.interval(name) for name in (CLEAN, *attacks)]
            ax.fill_between(
                x, [i.low for i in found], [i.high for i in found], color=styles[row.case]["color"], alpha=0.12, lw=0
            )
            ax.plot(x, [i.mean for i in found], **styles[row.case])
            points = "; ".join(f"{level:g}: {i.mean:.1%} ({_range(i)})" for level, i in zip(x, found, strict=True))
            sentences.append(f"{device}, {row.case}, by budget: {points}.")
        ax.set_title(device, fontsize=9)
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(PERCENT)
    for ax in axes[-3:]:
        ax.set_xlabel("attack budget ε (pixel units)", fontsize=9)
    for ax in axes[::3]:
        ax.set_ylabel("test accuracy")
    legend(canvas, styles, cases)
    caption = "Attacks on the weights that the arrays hold, judged on the arrays; bands are 95 % intervals."
    title = f"Accuracy against attack budget on {len(devices)} devices"
    return Drawn("attacks", "devices", title, caption, tuple(dict.fromkeys(sentences)), canvas)


def _equal(rows: Sequence[Row]) -> Drawn:
    """Accuracy under attack, of each device and case against the float network made as inaccurate."""
    compared = [(row, column) for row in rows if row.case != "float" and (column := _middle(row))]
    cases = list(dict.fromkeys(row.case for row, _ in compared))
    styles = {case: {**line_style(i), "linestyle": ""} for i, case in enumerate(cases)}
    canvas, (ax,) = panels(1, 1, 4.2)
    ax.plot([0, 1], [0, 1], color="#777777", linewidth=1, linestyle=":")
    sentences = []
    for row, column in compared:
        own, other = (row.place.interval(name) for name in (row.attacked(column), MATCHED + column))
        ends = np.abs(np.array([[own.low], [own.high]]) - own.mean)
        ax.errorbar(other.mean, own.mean, yerr=ends, elinewidth=1, **styles[row.case])
        near = [r for r, c in compared if r is not row and _distance(r, c, own.mean, other.mean) < CROWDED]
        if not near:
            ax.annotate(row.device, (other.mean, own.mean), xytext=(5, -9), textcoords="offset points", fontsize=7)
        sentences.append(
            f"{row.name}: {own.mean:.1%} ({_range(own)}); float at the same clean accuracy {other.mean:.1%}."
        )
    values = [row.place.interval(n).mean for row, c in compared for n in (row.attacked(c), MATCHED + c)]
    room = (max(min(values) - 0.08, 0), min(max(values) + 0.08, 1))
    ax.set(xlim=room, ylim=room, xlabel="float with output noise, as inaccurate as the device", ylabel="device")
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set_major_formatter(PERCENT)
    legend(canvas, styles, cases)
    level = compared[0][0].level(compared[0][1])
    title = f"Accuracy under attacks of budget {level:g}, at equal clean accuracy"
    caption = "Above the dotted line a device keeps more than its loss of clean accuracy explains. "
    caption += "Bars are 95 % intervals; points that crowd together are named in the numbers below only."
    return Drawn("matched", "devices", title, caption, tuple(sentences), canvas)


def _distance(row: Row, column: str, own: float, other: float) -> float:
    """Between a row's point in the figure above and another, as shares."""
    mine, matched = (row.place.interval(name).mean for name in (row.attacked(column), MATCHED + column))
    return max(abs(mine - own), abs(matched - other))


def _heading(column: str) -> str:
    """accuracy_pgd-linf_epsilon0.1_share as pgd-linf epsilon 0.1."""
    name = column.removeprefix("accuracy").removesuffix("_share").strip("_").replace("_", " ")
    for unit in ("epsilon", "severity", "sigma"):
        name = name.replace(unit, f"{unit} ")
    return name or "clean"


def _percent(found: Interval) -> str:
    return f"{100 * found.mean:.1f} %"


def _range(found: Interval) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
