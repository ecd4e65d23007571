"""The figures of the paper study: security curves by both protocols, what each correction changes, and corruptions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hwsim.reports.plotting import PERCENT, Drawn, LineStyles, legend, line_style, panels
from hwsim.robustness.corruptions.corruptions import SEVERITIES

from .findings import ATTACKS, CAREFUL, PUBLISHED, Findings, StudyModel, ends, percent
from .findings import published as published_figures

SIDES = {PUBLISHED: "published protocol", CAREFUL: "careful protocol"}


def draw(found: Findings) -> Iterator[Drawn]:
    """All figures that there is something for; call it under the style of ``plotting.STYLE``."""
    for i, (data, title) in enumerate(found.data.items()):
        models = found.of(data)
        styles = styles_of(found, data)
        name = f"-{data}" if i else ""
        yield from _curves(found, models, styles, ("pgd-linf", "pgd-l2"), f"white-box{name}", f"{title}, white box")
        yield from _curves(
            found, models, styles, ("autoattack", "square"), f"strong{name}", f"{title}, ensemble, queries"
        )
        yield from _ladder(found, models, styles, name, title)
        yield from _heat_map(found, models, name, title)


def styles_of(found: Findings, data: str) -> LineStyles:
    """A style a model, the same in all figures."""
    return {model.name: line_style(i) for i, model in enumerate(found.of(data))}


def _curves(
    found: Findings, models: Sequence[StudyModel], styles: LineStyles, blocks: Sequence[str], name: str, title: str
) -> Iterator[Drawn]:
    """Security curves: a row an attack, a column a protocol, published means as open markers in the left one."""
    rows = [block for block in blocks if any(found.curve(block, model.name, CAREFUL) for model in models)]
    if not rows:
        return
    canvas, axes = panels(2 * len(rows), 2, 2.7)
    sentences, drawn, beside = [], set(), False
    for row, block in enumerate(rows):
        measure, norm, attack = ATTACKS[block]
        for column, (protocol, side) in enumerate(SIDES.items()):
            ax = axes[2 * row + column]
            for model in models:
                curve = found.curve(block, model.name, protocol)
                if not curve:
                    continue
                drawn.add(model.name)
                sentences.append(_curve(ax, found, model, curve, styles[model.name], f"{attack}, {side}"))
            if protocol == PUBLISHED:
                for model in models:
                    beside |= _markers(ax, model, measure, norm, found.levels(block), styles)
            _finish(ax, found.levels(block), norm)
            ax.set_title(f"{attack}\n{side}", fontsize=9)
        axes[2 * row].set_ylabel("test accuracy")
    legend(canvas, styles, [model.name for model in models if model.name in drawn])
    caption = "Lines are our networks with 95 % bands, from clean images on the left; each row shows one attack. "
    caption += "Left: by the published protocol"
    caption += ", with the published means of larger networks as open markers of the same colour. " if beside else ". "
    caption += "Right: carefully, where published figures are not comparable."
    yield Drawn(name, "curves", f"{title}: accuracy against attack budget", caption, tuple(sentences), canvas)


def _curve(
    ax: Axes, found: Findings, model: StudyModel, curve: Sequence[tuple[float, Any]], style: dict[str, Any], where: str
) -> str:
    clean = found.clean(model.name)
    places = [(_below([level for level, _ in curve]), clean), *curve] if clean is not None else list(curve)
    x = [level for level, _ in places]
    intervals = [place.interval() for _, place in places]
    ax.fill_between(x, [i.low for i in intervals], [i.high for i in intervals], color=style["color"], alpha=0.12, lw=0)
    ax.plot(x, [i.mean for i in intervals], **style)
    names = ["clean" if place is clean else f"{level:.3g}" for level, place in places]
    words = "; ".join(f"{name}: {percent(i.mean)} ({ends(i)})" for name, i in zip(names, intervals, strict=True))
    return f"{where}, {model.name}, by budget: {words}."


def _below(levels: Sequence[float]) -> float:
    """Where clean images stand on a logarithmic axis: a step below the smallest budget."""
    ratio = levels[1] / levels[0] if len(levels) > 1 else 3.0
    return levels[0] / min(max(ratio, 1.6), 3.0)


def _markers(ax: Axes, model: StudyModel, measure: str, norm: str, levels: Sequence[float], styles: LineStyles) -> bool:
    there = published_figures(model.data, model.published, measure, norm)
    shown = [level for level in there if levels and levels[0] * 0.99 <= level <= levels[-1] * 1.01]
    if not shown:
        return False
    style = styles[model.name]
    mean = [there[level].mean for level in shown]
    ax.plot(shown, mean, linestyle="", marker=style["marker"], markerfacecolor="white", color=style["color"], zorder=3)
    return True


def _finish(ax: Axes, levels: Sequence[float], norm: str) -> None:
    ax.set_xscale("log")
    shown = levels if len(levels) <= 5 else levels[:: -(-len(levels) // 5)]
    ticks = {_below(levels): "clean", **{level: f"{level:.2g}" for level in shown}}
    ax.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    ax.minorticks_off()
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set_xlabel(f"budget ε, {'L∞' if norm == 'linf' else 'L2'}, pixels in [0, 1]", fontsize=8)


def _ladder(
    found: Findings, models: Sequence[StudyModel], styles: LineStyles, name: str, title: str
) -> Iterator[Drawn]:
    """Accuracy from rung to rung of the protocols."""
    rungs = [rung for rung in _rungs(found) if any(found.place("ladder", m.name, rung) for m in models)]
    if len(rungs) < 2:
        return
    canvas, (ax,) = panels(1, 1, 3.1)
    sentences, drawn = [], []
    for i, model in enumerate(models):
        places = [(x, place) for x, rung in enumerate(rungs) if (place := found.place("ladder", model.name, rung))]
        if not places:
            continue
        drawn.append(model.name)
        shift = 0.06 * (i - len(models) / 2)
        intervals = [place.interval() for _, place in places]
        mean = np.array([one.mean for one in intervals])
        bars = mean - [one.low for one in intervals], np.array([one.high for one in intervals]) - mean
        x = [place + shift for place, _ in places]
        ax.errorbar(x, mean, yerr=bars, elinewidth=0.8, **styles[model.name])
        words = "; ".join(
            f"{rungs[p]}: {percent(one.mean)} ({ends(one)})" for (p, _), one in zip(places, intervals, strict=True)
        )
        sentences.append(f"{model.name}: {words}.")
    ax.set_xticks(range(len(rungs)), [textwrap.fill(rung.replace("-", " "), 11) for rung in rungs], fontsize=8)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set_ylabel("test accuracy")
    legend(canvas, styles, drawn)
    caption = (
        "PGD at one budget. From left to right every step mends one weakness and keeps those mended before: images "
    )
    caption += "stay in [0, 1]; true labels; gradients at equilibrium; best iterate; restarts on the margin. Bars are "
    caption += "95 % intervals of each alone; steps are paired, so they are surer than the bars."
    yield Drawn(
        f"corrections{name}", "corrections", f"{title}: what each correction changes", caption, tuple(sentences), canvas
    )


def _rungs(found: Findings) -> list[str]:
    places = found.results.places.get("ladder", [])
    return list(dict.fromkeys(str(place.axes["protocol"]) for place in places))


def _heat_map(found: Findings, models: Sequence[StudyModel], name: str, title: str) -> Iterator[Drawn]:
    """Corruption against severity, a map a model."""
    types = found.levels("corruptions")
    shown = [model for model in models if any(found.place("corruptions", model.name, None, kind) for kind in types)]
    if not types or not shown:
        return
    canvas, axes = panels(len(shown), 4, 0.24 * len(types) + 0.7)
    sentences, image = [], None
    for i, (ax, model) in enumerate(zip(axes, shown, strict=True)):
        values = np.full((len(types), len(SEVERITIES)), np.nan)
        for row, kind in enumerate(types):
            place = found.place("corruptions", model.name, None, kind)
            if place is not None:
                values[row] = [place.shares(f"accuracy_severity{s}_share").mean() for s in SEVERITIES]
        image = ax.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                ink = "white" if value < 0.6 else "black"
                ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
        ax.set_title(model.name, fontsize=8)
        ax.grid(visible=False)
        ax.set_xticks(range(len(SEVERITIES)), [str(s) for s in SEVERITIES], fontsize=7)
        ax.set_yticks(range(len(types)), types if i % 4 == 0 else [""] * len(types), fontsize=7)
        ax.set_xlabel("severity", fontsize=8)
        for row, kind in enumerate(types):
            sentences.append(
                f"{model.name}, {kind}, severities 1 to 5: {', '.join(f'{100 * v:.0f}' for v in values[row])} %."
            )
    if image is not None:
        bar = canvas.colorbar(image, ax=axes, shrink=0.7, aspect=30, pad=0.01)
        bar.ax.yaxis.set_major_formatter(PERCENT)
        bar.ax.tick_params(labelsize=7)
    caption = (
        "Accuracy in percent of corrupted images (constants of CIFAR-10-C, our implementation; frost left out, as "
    )
    caption += "in the published figures). Rows are corruptions, columns severities."
    yield Drawn(f"corruptions{name}", "corruptions", f"{title}: natural corruptions", caption, tuple(sentences), canvas)
