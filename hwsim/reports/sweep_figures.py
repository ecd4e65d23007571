"""The figures of curves: accuracy along each property with its thresholds, and categories."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from hwsim.experiments.sweep.card import BlockConfig
from hwsim.experiments.sweep.results import Line, Results
from hwsim.reports.plotting import (
    TICK_SIZE_PT,
    Figure,
    LineStyle,
    accuracy_axis,
    curve,
    label_values,
    legend,
    line_style,
    panels,
)
from hwsim.stats.threshold import Threshold, threshold

LOSSES = (0.01, 0.05)
"""Points of accuracy that a requirement may cost, as shares."""

LOSS_COLOUR = "#555555"


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


def draw(results: Results, sheet: Sequence[Requirement]) -> list[Figure]:
    """All figures, the single scans side by side; call it under the style of ``plotting.STYLE``."""
    blocks = {name: block for name, block in results.blocks.items() if block.figure and results.lines(name, _x(block))}
    categories = {n: b for n, b in blocks.items() if b.figure and b.figure.scale == "categories"}
    scans = {n: b for n, b in blocks.items() if n not in categories}
    single = {n: b for n, b in scans.items() if len(results.lines(n, _x(b))) == 1}
    return [
        *([_scans(results, single, sheet)] if single else []),
        *(_family(results, name, block, sheet) for name, block in scans.items() if name not in single),
        *(_categories(results, name, block) for name, block in categories.items()),
    ]


def _x(block: BlockConfig) -> str:
    assert block.figure is not None
    return block.figure.x


def _scans(results: Results, blocks: dict[str, BlockConfig], sheet: Sequence[Requirement]) -> Figure:
    canvas, axes = panels(len(blocks), 3, 2.35)
    words = []
    for ax, (name, block) in zip(axes, blocks.items(), strict=True):
        line = results.lines(name, _x(block))[0]
        numbers = draw_curve(ax, line, block, line_style(0))
        _mark(ax, [r for r in sheet if r.block == name])
        ax.set_title(textwrap.fill(block.title or name, 24), fontsize=9)
        ax.set_xlabel(textwrap.fill(ax.get_xlabel(), 32), fontsize=8)
        words.append(f"{block.title or name}: {numbers}.")
    for ax in axes[::3]:
        ax.set_ylabel("test accuracy")
    limits = [t for r in sheet if r.block in blocks for t in r.thresholds if t.loss == LOSSES[-1]]
    reached = sum(t.value is not None for t in limits)
    title = (
        f"Accuracy along {len(blocks)} propert{'ies' if len(blocks) > 1 else 'y'}: five points are lost within the "
        f"range of {reached}"
    )
    caption = (
        "Each panel makes one property worse from left to right; bars are 95 % intervals. Vertical lines: where one "
        "point (dotted) and five points (dashed) of accuracy are lost, bands are the values' intervals."
    )
    return Figure("scans", title, caption, words, canvas)


def _family(results: Results, name: str, block: BlockConfig, sheet: Sequence[Requirement]) -> Figure:
    canvas, (ax,) = panels(1, 1, 3.4)
    lines = results.lines(name, _x(block))
    styles = {line.name: line_style(i) for i, line in enumerate(lines)}
    words = [f"{line.name}: {draw_curve(ax, line, block, styles[line.name])}." for line in lines]
    ax.set_ylabel("test accuracy")
    legend(canvas, styles, list(styles))
    rows = [r for r in sheet if r.block == name]
    ends = [f"{r.line.name}: {shown_value(r.thresholds[-1])}" for r in rows]
    title = f"{block.title or name}: five points are lost at {'; '.join(ends)}" if ends else block.title or name
    return Figure(name, title, f"{block.note} Bars are 95 % intervals.".strip(), words, canvas)


def draw_curve(ax: Axes, line: Line, block: BlockConfig, style: LineStyle) -> str:
    """Accuracies along a line with their intervals, on the scale of the block's figure; the same in words."""
    figure = block.figure
    assert figure is not None
    x = [float(value) for value in line.x]
    words = curve(ax, x, [place.interval() for place in line.places], style, bars=True)
    _scale(ax, x, figure.scale)
    if x[0] > x[-1]:
        ax.invert_xaxis()
    ax.set_xlabel(figure.label or figure.x, fontsize=9)
    accuracy_axis(ax)
    return words


def _scale(ax: Axes, x: Sequence[float], scale: str) -> None:
    if scale == "symlog" and max(x) > 0:
        least = min(value for value in x if value > 0)
        ax.set_xscale("symlog", linthresh=least, linscale=0.6)
        ax.set_xlim(left=-least / 5)
    elif scale == "log":
        ax.set_xscale("log")
    ax.tick_params(axis="x", labelsize=TICK_SIZE_PT)
    if scale != "linear":
        label_values(ax, x)


def _mark(ax: Axes, rows: Sequence[Requirement]) -> None:
    for row in rows:
        for limit, dash in zip(row.thresholds, (":", "--"), strict=True):
            if limit.value is None:
                continue
            ax.axvline(limit.value, color=LOSS_COLOUR, linestyle=dash, linewidth=1.2)
            if limit.early is not None:
                last = limit.late if limit.late is not None else row.line.x[-1]
                ax.axvspan(*sorted((limit.early, last)), color=LOSS_COLOUR, alpha=0.10, linewidth=0)


def _categories(results: Results, name: str, block: BlockConfig) -> Figure:
    canvas, (ax,) = panels(1, 1, 2.8)
    lines = results.lines(name, _x(block))
    styles = {line.name or _x(block): line_style(i) for i, line in enumerate(lines)}
    order = list(dict.fromkeys(str(x) for line in lines for x in line.x))
    words = []
    for i, (line, style) in enumerate(zip(lines, styles.values(), strict=True)):
        x = [order.index(str(value)) + 0.12 * (i - (len(lines) - 1) / 2) for value in line.x]
        intervals, names = [place.interval() for place in line.places], [str(value) for value in line.x]
        numbers = curve(ax, x, intervals, {**style, "linestyle": ""}, bars=True, names=names)
        words.append(f"{line.name or _x(block)}: {numbers}.")
    ax.set_xticks(range(len(order)), order)
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.set(ylabel="test accuracy", xlabel=block.figure.label if block.figure else "")
    accuracy_axis(ax)
    if len(lines) > 1:
        legend(canvas, styles, list(styles))
    places = [(line, x, place) for line in lines for x, place in zip(line.x, line.places, strict=True)]
    best = max(places, key=lambda each: each[2].interval().mean)
    title = f"{block.title or name}: best with {', '.join(part for part in (str(best[1]), best[0].name) if part)}"
    return Figure(name, title, f"{block.note} Bars are 95 % intervals.".strip(), words, canvas)


def shown_value(limit: Threshold) -> str:
    """A threshold in words, to two digits."""
    return "not reached in the range" if limit.value is None else f"{limit.value:.2g}"
