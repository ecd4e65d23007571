"""The page of the tolerance study: curves and thresholds, and whether averaging over N reads only divides the noise.

If it does, accuracies at read noise sigma averaged over N reads lie on one curve of sigma / sqrt(N).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.experiments.sweep.results import Line, Results
from hwsim.reports.page import Page, Section
from hwsim.reports.plotting import Figure, legend, line_style, panels
from hwsim.reports.sweep import curves_page
from hwsim.reports.sweep_figures import draw_curve
from hwsim.stats.threshold import falling

Floats = NDArray[np.float64]

AVERAGED = {"averaging": "reads N", "state-averaging": "states N"}
"""Block of the study -> its axis N; the other axis is the read noise."""


@dataclass(frozen=True)
class Collapse:
    """Do accuracies at read noise sigma, averaged over N reads, lie on one falling curve of sigma / sqrt(N)?

    Root mean squares of the distance to the best falling curve, in shares of accuracy.

    Args:
        scaled: to one of sigma / sqrt(N).
        unscaled: to one of sigma alone, whatever N.
        scatter: standard error of an accuracy, from seeds and images.
    """

    scaled: float
    unscaled: float
    scatter: float


def collapse(sigma: Floats, reads: Floats, shares: Sequence[Floats]) -> Collapse:
    """sigma, reads (M,): read noise and reads averaged at each of M places with its shares (seeds, images)."""
    means = np.array([s.mean() for s in shares])
    errors = [np.sqrt(s.mean(0).var(ddof=1) / s.shape[1]) for s in shares]
    scatter = float(np.sqrt(np.mean(np.square(errors))))
    return Collapse(_distance(sigma / np.sqrt(reads), means), _distance(sigma, means), scatter)


def _distance(x: Floats, y: Floats) -> float:
    """Root mean square distance of points to their nearest falling curve; points of equal x share a place."""
    places, which = np.unique(np.round(x, 9), return_inverse=True)
    counts = np.bincount(which)
    averages = np.bincount(which, y) / counts
    # A place with several points counts as often.
    fitted = falling(np.repeat(averages, counts))
    curve = np.bincount(np.repeat(np.arange(len(places)), counts), fitted) / counts
    return float(np.sqrt(np.mean((y - curve[which]) ** 2)))


def tolerance_page(results: Results) -> Page:
    """The page of curves, with every averaged block as a collapse in place of a family of curves."""
    averaged = [name for name in AVERAGED if name in results.blocks]
    others = {name: block for name, block in results.blocks.items() if name not in averaged}
    page = curves_page(dataclasses.replace(results, blocks=others))
    found = {name: collapse_of(results, name) for name in averaged}
    verdicts = [_verdict(results.blocks[name].title or name, each) for name, each in found.items() if each]
    drawn = [_figure(results, name, each) for name, each in found.items() if results.lines(name, _noise(results, name))]
    limit = (
        "One property is worse at a time, all others are good: a real device has several at once and needs reserves."
    )
    return dataclasses.replace(
        page,
        details=[*page.details, *verdicts],
        limits=[*page.limits, limit],
        sections=[*page.sections, *([Section("Averaging", drawn)] if drawn else [])],
    )


def _verdict(title: str, found: Collapse) -> str:
    near = "holds only roughly" if found.scaled < found.unscaled else "does not hold"
    law = "holds" if found.scaled < min(2 * found.scatter, found.unscaled) else near
    return (
        f"{title}: the law σ/√N {law}. Accuracies lie {100 * found.scaled:.1f} points from one curve of σ/√N and "
        f"{100 * found.unscaled:.1f} from one of σ alone; their own standard error is {100 * found.scatter:.1f} points."
    )


def _noise(results: Results, name: str) -> str:
    """The axis of the read noise, along which the block is drawn."""
    figure = results.blocks[name].figure
    assert figure is not None
    return figure.x


def collapse_of(results: Results, name: str) -> Collapse | None:
    """The collapse of a block; None where too little is measured."""
    places = [place for place in results.places[name] if place.records]
    if len(places) < 3:
        return None
    axes = _noise(results, name), AVERAGED[name]
    sigma, reads = (np.array([float(place.axes[axis]) for place in places]) for axis in axes)
    return collapse(sigma, reads, [place.shares() for place in places])


def _figure(results: Results, name: str, found: Collapse | None) -> Figure:
    block = results.blocks[name]
    canvas, (left, right) = panels(2, 2, 3.2)
    lines = results.lines(name, _noise(results, name))
    styles = {line.name: line_style(i) for i, line in enumerate(lines)}
    words = [f"{line.name}: {draw_curve(left, line, block, styles[line.name])}." for line in lines]
    for line in lines:
        scaled = Line(line.fixed, [x / np.sqrt(line.fixed[AVERAGED[name]]) for x in line.x], line.places)
        draw_curve(right, scaled, block, styles[line.name])
    left.set(title="As measured", ylabel="test accuracy")
    right.set(title="Divided by the root of N")
    right.set_xlabel("standard deviation / √N", fontsize=9)
    legend(canvas, styles, list(styles))
    apart = (
        f": {100 * found.scaled:.1f} points from one curve of σ/√N, {100 * found.unscaled:.1f} from one of σ"
        if found
        else ""
    )
    caption = f"{block.note} If only the noise of an average mattered, all lines on the right would be one."
    return Figure(name, f"{block.title or name}{apart}", caption.strip(), words, canvas)
