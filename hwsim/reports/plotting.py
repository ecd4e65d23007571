"""How all figures look: one colour, marker and dash a case, the same in every figure.

Okabe and Ito's palette is safe for colour-blind readers, and the shapes are for those who print in grey.
The ground is white, on light and dark pages alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from hwsim.jobs.store import written_aside
from hwsim.stats.interval import Interval, signed_points

LineStyle = dict[str, Any]
LineStyles = dict[str, LineStyle]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (8, 2)), (0, (2, 2)))
WIDTH_IN = 7.2
PNG_DPI = 200
TICK_SIZE_PT = 8
TICK_GAP = 0.7
"""Room between two labels of an axis, in widths of a digit."""
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g} %")
POINTS = FuncFormatter(lambda share, _: signed_points(share).removesuffix(".0"))
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "hwsim",  # equal data, equal file
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure; drawing and writing both need ``STYLE`` to hold.

    Attributes:
        name: stem of its files.
        caption: how to read it.
        text: what the data in it are, in words, for those who do not see it.
    """

    name: str
    title: str
    caption: str
    text: Sequence[str]
    canvas: Canvas

    @property
    def share(self) -> float:
        """Its width, of that of the widest figures."""
        return min(1.0, self.canvas.get_figwidth() / WIDTH_IN)


def line_style(index: int) -> LineStyle:
    """Colour, marker and dash of the case at a place in the order of cases."""
    i = index % len(COLOURS)
    return {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": DASHES[i]}


def panels(count: int, across: int, height_in: float) -> tuple[Canvas, list[Axes]]:
    """A canvas of ``count`` panels, at most ``across`` side by side, each so high; unused places stay empty."""
    across = min(across, count)
    down = math.ceil(count / across)
    canvas = Canvas(figsize=(WIDTH_IN, height_in * down + 0.45), layout=ConstrainedLayoutEngine(wspace=0.06))
    axes = canvas.subplots(down, across, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.remove()
    return canvas, list(axes[:count])


def legend(canvas: Canvas, styles: LineStyles, cases: Sequence[str]) -> None:
    """One legend above all panels."""
    handles = [Line2D([], [], label=case, **styles[case]) for case in cases]
    narrow = len(handles) > 4 or sum(map(len, cases)) > 50  # four long labels are wider than the figure
    canvas.legend(handles=handles, loc="outside upper left", ncols=3 if narrow else 4, handlelength=3)


def curve(
    ax: Axes,
    x: Sequence[float],
    intervals: Sequence[Interval],
    style: LineStyle,
    *,
    bars: bool = False,
    names: Sequence[str] | None = None,
) -> str:
    """Draw means over ``x`` with their 95 % intervals, as a band or as ``bars``; return the same in words.

    Up to two values are points with bars: a line between them would show a course that was not measured.
    ``names``: what the words call the values of ``x``, which are numbers by default.
    """
    mean, low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("mean", "low", "high"))
    if bars or len(x) <= 2:
        shown = style if len(x) > 2 else {**style, "linestyle": ""}
        ax.errorbar(x, mean, yerr=(mean - low, high - mean), elinewidth=1, **shown)
    else:
        ax.fill_between(x, low, high, color=style["color"], alpha=0.14, linewidth=0)
        ax.plot(x, mean, **style)
    names = [f"{value:g}" for value in x] if names is None else names
    return "; ".join(f"{name}: {i.percent_with_range}" for name, i in zip(names, intervals, strict=True))


def forest(ax: Axes, names: Sequence[str], intervals: Sequence[Interval], filled: Sequence[bool] | None = None) -> None:
    """One line for each name, from top to bottom: a mean with its interval. ``filled``: which marks are not hollow."""
    places = np.arange(len(names))[::-1]
    for place, each, full in zip(places, intervals, filled or [True] * len(names), strict=True):
        colour = COLOURS[0] if full else "#777777"
        ax.plot([each.low, each.high], [place, place], color=colour, linewidth=1.5)
        ax.plot(each.mean, place, "o", color=colour, markerfacecolor=colour if full else "white")
    ax.set_yticks(places, names)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.grid(visible=False, axis="y")


def accuracy_axis(ax: Axes, chance: float | None = None) -> None:
    """The vertical axis in per cent, with a dotted line at the accuracy of guessing."""
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PERCENT)
    if chance:
        ax.axhline(chance, color="#777777", linewidth=1, linestyle=":")


def label_values(ax: Axes, x: Sequence[float]) -> None:
    """Label the values that were measured, as many as find room: both ends, then from the last one down."""
    ax.tick_params(axis="x", labelsize=TICK_SIZE_PT)
    transform = ax.get_xaxis().get_transform().transform
    low, high = transform(np.array(ax.get_xlim()))
    width_pt = 72 * ax.get_position().width * WIDTH_IN
    digit_pt = 0.64 * TICK_SIZE_PT
    kept: dict[float, tuple[float, float]] = {}
    for value in dict.fromkeys([x[-1], x[0], *x[::-1]]):
        middle = width_pt * (float(transform(np.array([value]))[0]) - low) / (high - low)
        half = digit_pt * (len(f"{value:g}") + TICK_GAP) / 2
        if all(middle + half <= left or middle - half >= right for left, right in kept.values()):
            kept[float(value)] = (middle - half, middle + half)
    ax.set_xticks(sorted(kept), [f"{value:g}" for value in sorted(kept)])
    ax.minorticks_off()


def heat_map(
    ax: Axes, shares: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], *, size_pt: float = 9
) -> AxesImage:
    """Shares (rows, columns) as colours, each with its figure in per cent; NaN stays empty."""
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        if np.isfinite(share):
            ink = "black" if share > 0.55 else "white"
            ax.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=size_pt)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(visible=False)
    return image


def write_canvas(canvas: Canvas, stem: Path, dpi: int = PNG_DPI) -> tuple[Path, Path]:
    """Write ``stem``.svg and ``stem``.png; equal figures give equal files. WorkError where the disk refuses."""
    FigureCanvasAgg(canvas)
    canvas.draw_without_rendering()  # lays it out, once for both files
    canvas.set_layout_engine("none")
    svg, png = (stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png"))
    with written_aside(svg) as aside:
        canvas.savefig(aside, format="svg", metadata={"Date": None})
    with written_aside(png) as aside:
        canvas.savefig(aside, format="png", dpi=dpi)
    return svg, png
