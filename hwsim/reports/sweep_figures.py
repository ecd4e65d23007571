"""The figures of curves: accuracy along each property with its thresholds, and categories."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hwsim.experiments.sweep.card import BlockConfig
from hwsim.experiments.sweep.results import Line, Results
from hwsim.reports.plotting import PERCENT, WIDTH_IN, Drawn, legend, line_style, panels
from hwsim.stats.threshold import Threshold, threshold

LOSSES = (0.01, 0.05)
"""Points of accuracy that a requirement may cost, as shares."""

LOSS_COLOUR = "#555555"

TICK_SIZE_PT = 8
TICK_GAP = 0.7
"""Room between two labels of an axis, in widths of a digit."""


@dataclass(frozen=True)
class Requirement:
    """A line of the requirements sheet: one property, with what is lost along it."""

    block: str
    title: str
    label: str
    line: Line
    reference: float
    seeds: int
    thresholds: tuple[Threshold, ...]


def requirements(results: Results) -> list[Requirement]:
    """Every line of every block whose thresholds are asked for and that has a range to find them in."""
    found = []
    for name, block in results.blocks.items():
        figure = block.figure
        if figure is None or figure.scale == "categories" or not figure.thresholds:
            continue
        for line in results.lines(name, figure.x):
            seeds = line.common_seeds()
            if len(line.x) < 2 or not seeds:
                continue
            shares = [place.shares(seeds=seeds) for place in line.places]
            limits = tuple(threshold(line.x, shares, loss, figure.scale) for loss in LOSSES)
            title, label = block.title or name, figure.label or figure.x
            found.append(Requirement(name, title, label, line, float(shares[0].mean()), len(seeds), limits))
    return found


def draw(results: Results, sheet: Sequence[Requirement]) -> Iterator[Drawn]:
    """All figures, the single scans side by side; call it under the style of ``plotting.STYLE``."""
    blocks = {name: block for name, block in results.blocks.items() if block.figure and results.lines(name, _x(block))}
    categories = {n: b for n, b in blocks.items() if b.figure and b.figure.scale == "categories"}
    scans = {n: b for n, b in blocks.items() if n not in categories}
    single = {n: b for n, b in scans.items() if len(results.lines(n, _x(b))) == 1}
    if single:
        yield _scans(results, single, sheet)
    for name, block in scans.items():
        if name not in single:
            yield _family(results, name, block, sheet)
    for name, block in categories.items():
        yield _categories(results, name, block)


def _x(block: BlockConfig) -> str:
    assert block.figure is not None
    return block.figure.x


def _scans(results: Results, blocks: dict[str, BlockConfig], sheet: Sequence[Requirement]) -> Drawn:
    canvas, axes = panels(len(blocks), 3, 2.35)
    told = []
    for ax, (name, block) in zip(axes, blocks.items(), strict=True):
        line = results.lines(name, _x(block))[0]
        draw_curve(ax, line, block, line_style(0))
        _mark(ax, [r for r in sheet if r.block == name])
        ax.set_title(textwrap.fill(block.title or name, 24), fontsize=9)
        ax.set_xlabel(textwrap.fill(ax.get_xlabel(), 32), fontsize=8)
        told.append(f"{block.title or name}: {in_words(line)}.")
    for ax in axes[::3]:
        ax.set_ylabel("test accuracy")
    limits = [t for r in sheet if r.block in blocks for t in r.thresholds if t.loss == LOSSES[-1]]
    reached = sum(t.value is not None for t in limits)
    title = (
        f"Accuracy along {len(blocks)} propert{'ies' if len(blocks) > 1 else 'y'}: five points are lost within the "
        f"range of {reached}"
    )
    caption = "Each panel makes one property worse from left to right; bars are 95 % intervals. Vertical lines: where "
    caption += "one point (dotted) and five points (dashed) of accuracy are lost, bands are the values' intervals."
    return Drawn("scans", "requirements", title, caption, told, canvas)


def _family(results: Results, name: str, block: BlockConfig, sheet: Sequence[Requirement]) -> Drawn:
    canvas, (ax,) = panels(1, 1, 3.4)
    lines = results.lines(name, _x(block))
    styles = {line.name: line_style(i) for i, line in enumerate(lines)}
    for line in lines:
        draw_curve(ax, line, block, styles[line.name])
    ax.set_ylabel("test accuracy")
    legend(canvas, styles, list(styles))
    rows = [r for r in sheet if r.block == name]
    ends = [f"{r.line.name}: {shown_value(r.thresholds[-1])}" for r in rows]
    title = f"{block.title or name}: five points are lost at {'; '.join(ends)}" if ends else block.title or name
    told = tuple(f"{line.name}: {in_words(line)}." for line in lines)
    return Drawn(name, "requirements", title, f"{block.note} Bars are 95 % intervals.".strip(), told, canvas)


def draw_curve(ax: Axes, line: Line, block: BlockConfig, style: dict[str, Any]) -> None:
    """Accuracies along a line with their intervals, on the scale of the block's figure."""
    figure = block.figure
    assert figure is not None
    x = np.array(line.x, dtype=float)
    intervals = [place.interval() for place in line.places]
    mean = np.array([i.mean for i in intervals])
    low, high = mean - [i.low for i in intervals], np.array([i.high for i in intervals]) - mean
    ax.errorbar(x, mean, yerr=(low, high), elinewidth=1, **style)
    _scale(ax, x, figure.scale)
    if x[0] > x[-1]:
        ax.invert_xaxis()
    ax.set_xlabel(figure.label or figure.x, fontsize=9)
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PERCENT)


def _scale(ax: Axes, x: np.ndarray[Any, Any], scale: str) -> None:
    if scale == "symlog" and (x > 0).any():
        ax.set_xscale("symlog", linthresh=float(x[x > 0].min()), linscale=0.6)
        ax.set_xlim(left=-float(x[x > 0].min()) / 5)
    elif scale == "log":
        ax.set_xscale("log")
    ax.tick_params(axis="x", labelsize=TICK_SIZE_PT)
    if scale != "linear":
        shown = _apart(ax, x)
        ax.set_xticks(shown, [f"{value:g}" for value in shown])
        ax.minorticks_off()


def _apart(ax: Axes, x: np.ndarray[Any, Any]) -> list[float]:
    """The values whose labels find room beside each other on the axis: both ends, then from the last one down."""
    low, high = ax.get_xaxis().get_transform().transform(np.array(ax.get_xlim()))
    width_pt = 72 * ax.get_position().width * WIDTH_IN
    digit_pt = 0.64 * TICK_SIZE_PT
    kept: dict[float, tuple[float, float]] = {}
    for value in dict.fromkeys([x[-1], x[0], *x[::-1]]):
        middle = width_pt * (float(ax.get_xaxis().get_transform().transform(np.array([value]))[0]) - low) / (high - low)
        half = digit_pt * (len(f"{value:g}") + TICK_GAP) / 2
        if all(middle + half <= left or middle - half >= right for left, right in kept.values()):
            kept[float(value)] = (middle - half, middle + half)
    return sorted(kept)


def _mark(ax: Axes, rows: Sequence[Requirement]) -> None:
    for row in rows:
        for limit, dash in zip(row.thresholds, (":", "--"), strict=True):
            if limit.value is None:
                continue
            ax.axvline(limit.value, color=LOSS_COLOUR, linestyle=dash, linewidth=1.2)
            if limit.early is not None:
                last = limit.late if limit.late is not None else row.line.x[-1]
                ax.axvspan(*sorted((limit.early, last)), color=LOSS_COLOUR, alpha=0.10, linewidth=0)


def _categories(results: Results, name: str, block: BlockConfig) -> Drawn:
    canvas, (ax,) = panels(1, 1, 2.8)
    lines = results.lines(name, _x(block))
    styles = {line.name or _x(block): line_style(i) for i, line in enumerate(lines)}
    order = list(dict.fromkeys(str(x) for line in lines for x in line.x))
    for i, (line, style) in enumerate(zip(lines, styles.values(), strict=True)):
        intervals = [place.interval() for place in line.places]
        x = np.array([order.index(str(v)) for v in line.x]) + 0.12 * (i - (len(lines) - 1) / 2)
        mean = np.array([found.mean for found in intervals])
        bars = mean - [found.low for found in intervals], np.array([found.high for found in intervals]) - mean
        ax.errorbar(x, mean, yerr=bars, elinewidth=1, **{**style, "linestyle": ""})
    ax.set_xticks(range(len(order)), order)
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.set(ylabel="test accuracy", ylim=(0, 1.02), xlabel=block.figure.label if block.figure else "")
    ax.yaxis.set_major_formatter(PERCENT)
    if len(lines) > 1:
        legend(canvas, styles, list(styles))
    places = [(line, x, place) for line in lines for x, place in zip(line.x, line.places, strict=True)]
    best = max(places, key=lambda each: each[2].interval().mean)
    words = ", ".join(part for part in (str(best[1]), best[0].name) if part)
    title = f"{block.title or name}: best with {words}"
    told = tuple(f"{line.name or _x(block)}: {in_words(line)}." for line in lines)
    return Drawn(name, "forms", title, f"{block.note} Bars are 95 % intervals.".strip(), told, canvas)


def shown_value(limit: Threshold) -> str:
    """A threshold in words, to two digits."""
    return "not reached in the range" if limit.value is None else f"{limit.value:.2g}"


def in_words(line: Line) -> str:
    """The numbers of a line, for those who do not see it."""
    intervals = [(x, place.interval()) for x, place in zip(line.x, line.places, strict=True)]
    return "; ".join(f"{x}: {i.mean:.1%} ({i.low:.1%} to {i.high:.1%})" for x, i in intervals)
