"""The figures of the paper study: security curves by both protocols, what each correction changes, and corruptions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from hwsim.experiments.sweep.results import Place
from hwsim.reports.plotting import (
    COLOURS,
    PERCENT,
    Figure,
    LineStyle,
    LineStyles,
    accuracy_axis,
    curve,
    heat_map,
    legend,
    line_style,
    panels,
)
from hwsim.robustness.corruptions.corruptions import SEVERITIES

from .findings import ATTACKS, MENDED, PUBLISHED, Findings, StudyModel
from .findings import published as published_figures

SIDES: LineStyles = {
    "published protocol": {**line_style(0), "linestyle": "-"},
    "mended protocol": {**line_style(1), "linestyle": "-"},
}
PROTOCOLS = {"published protocol": PUBLISHED, "mended protocol": MENDED}
PAPER: LineStyle = {"color": "black", "marker": "x", "linestyle": ""}
REFERENCE: LineStyle = {"color": "#777777", "marker": "", "linestyle": ":"}


def draw(found: Findings) -> list[Figure]:
    """All figures that there is something for; call it under the style of ``plotting.STYLE``."""
    made: list[Figure | None] = []
    for i, (data, title) in enumerate(found.data.items()):
        models, name = found.of(data), f"-{data}" if i else ""
        made += [_curves(found, models, block, name, title) for block in ATTACKS]
        made += [_ladder(found, models, name, title), _heat_maps(found, models, name, title)]
    return [figure for figure in made if figure is not None]


def _curves(found: Findings, models: Sequence[StudyModel], block: str, name: str, title: str) -> Figure | None:
    """Accuracy against the budget of one attack: a panel a model, both protocols in each, EP's mended curve in all."""
    shown = [model for model in models if any(found.curve(block, model.name, side) for side in PROTOCOLS.values())]
    if not shown:
        return None
    measure, norm, attack = ATTACKS[block]
    levels = found.levels(block)
    canvas, axes = panels(len(shown), 3, 2.2)
    words, reference = [], _with_clean(found, models[0], block, MENDED)
    for i, (ax, model) in enumerate(zip(axes, shown, strict=True)):
        for side, protocol in PROTOCOLS.items():
            places = _with_clean(found, model, block, protocol)
            names = ["clean" if level < levels[0] else f"{level:.3g}" for level in places]
            if places:
                intervals = [place.interval() for place in places.values()]
                numbers = curve(ax, list(places), intervals, SIDES[side], names=names)
                words.append(f"{model.name}, {side}, by budget: {numbers}.")
        if model is not models[0]:
            ax.plot(list(reference), [place.interval().mean for place in reference.values()], **REFERENCE)
        there = published_figures(model.data, model.published, measure, norm)
        inside = [level for level in there if levels[0] * 0.99 <= level <= levels[-1] * 1.01]
        ax.plot(inside, [there[level].mean for level in inside], **PAPER, zorder=3)
        _finish(ax, levels)
        ax.set_title(model.name, fontsize=9)
        if i % 3 == 0:
            ax.set_ylabel("test accuracy", fontsize=9)
        if i >= len(shown) - 3:
            ax.set_xlabel(f"budget ε, {'L∞' if norm == 'linf' else 'L2'}, pixels in [0, 1]", fontsize=8)
    styles = {**SIDES, "published figures": PAPER, f"{models[0].name}, mended": REFERENCE}
    legend(canvas, styles, list(styles))
    caption = (
        "A panel for each of our networks, with 95 % bands, from clean images on the left. Crosses are published "
        "means of larger networks by the published protocol; by the mended one nothing was published. The dotted "
        f"grey line is {models[0].name}'s mended curve, for comparison."
    )
    return Figure(f"{block}{name}", f"{title}, {attack}: accuracy against attack budget", caption, words, canvas)


def _with_clean(found: Findings, model: StudyModel, block: str, protocol: str) -> dict[float, Place]:
    """A security curve by budget, clean images a step below the smallest one."""
    places = dict(found.curve(block, model.name, protocol))
    clean = found.clean(model.name)
    return {_below(found.levels(block)): clean, **places} if places and clean is not None else places


def _below(levels: Sequence[float]) -> float:
    """Where clean images stand on a logarithmic axis: a step below the smallest budget."""
    ratio = levels[1] / levels[0] if len(levels) > 1 else 3.0
    return levels[0] / min(max(ratio, 1.6), 3.0)


def _finish(ax: Axes, levels: Sequence[float]) -> None:
    ax.set_xscale("log")
    shown = levels if len(levels) <= 4 else levels[:: -(-len(levels) // 4)]
    ticks = {_below(levels): "clean", **{level: f"{level:.2g}" for level in shown}}
    ax.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    ax.minorticks_off()
    accuracy_axis(ax)


def _ladder(found: Findings, models: Sequence[StudyModel], name: str, title: str) -> Figure | None:
    """Accuracy from rung to rung of the protocols, a panel a model."""
    places = found.results.places.get("ladder", [])
    rungs = list(dict.fromkeys(str(place.axes["protocol"]) for place in places))
    rungs = [rung for rung in rungs if any(found.place("ladder", model.name, rung) for model in models)]
    shown = [model for model in models if any(found.place("ladder", model.name, rung) for rung in rungs)]
    if len(rungs) < 2:
        return None
    canvas, axes = panels(len(shown), 3, 2.2)
    words = []
    for i, (ax, model) in enumerate(zip(axes, shown, strict=True)):
        own = {x: place for x, rung in enumerate(rungs) if (place := found.place("ladder", model.name, rung))}
        names, intervals = [rungs[x] for x in own], [place.interval() for place in own.values()]
        style = {**line_style(0), "color": COLOURS[0]}
        words.append(f"{model.name}: {curve(ax, list(own), intervals, style, bars=True, names=names)}.")
        ax.set_title(model.name, fontsize=9)
        ax.set_xticks(range(len(rungs)), [str(x + 1) for x in range(len(rungs))])
        accuracy_axis(ax)
        if i % 3 == 0:
            ax.set_ylabel("test accuracy", fontsize=9)
    steps = "; ".join(f"{x + 1} {rung.replace('-', ' ')}" for x, rung in enumerate(rungs))
    caption = (
        f"PGD at one budget. From left to right every step mends one weakness and keeps those mended before: {steps}. "
        "Bars are 95 % intervals of each alone; steps are paired, so they are surer than the bars."
    )
    return Figure(f"corrections{name}", f"{title}: what each correction changes", caption, words, canvas)


def _heat_maps(found: Findings, models: Sequence[StudyModel], name: str, title: str) -> Figure | None:
    """Corruption against severity, a map a model."""
    types = found.levels("corruptions")
    shown = [model for model in models if any(found.place("corruptions", model.name, None, kind) for kind in types)]
    if not types or not shown:
        return None
    canvas, axes = panels(len(shown), 4, 0.24 * len(types) + 0.7)
    words, image = [], None
    for i, (ax, model) in enumerate(zip(axes, shown, strict=True)):
        values = np.full((len(types), len(SEVERITIES)), np.nan)
        for row, kind in enumerate(types):
            place = found.place("corruptions", model.name, None, kind)
            if place is not None:
                values[row] = [place.shares(f"accuracy_severity{s}_share").mean() for s in SEVERITIES]
        labels = types if i % 4 == 0 else [""] * len(types)
        image = heat_map(ax, values, labels, [str(s) for s in SEVERITIES], size_pt=6.5)
        ax.set_title(model.name, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.set_xlabel("severity", fontsize=8)
        for row, kind in enumerate(types):
            numbers = ", ".join(f"{100 * value:.0f}" for value in values[row])
            words.append(f"{model.name}, {kind}, severities 1 to 5: {numbers} %.")
    if image is not None:
        bar = canvas.colorbar(image, ax=axes, shrink=0.7, aspect=30, pad=0.01, format=PERCENT)
        bar.ax.tick_params(labelsize=7)
    caption = (
        "Accuracy in per cent of corrupted images (constants of CIFAR-10-C, our implementation; frost left out, as in "
        "the published figures). Rows are corruptions, columns severities."
    )
    return Figure(f"corruptions{name}", f"{title}: natural corruptions", caption, words, canvas)
