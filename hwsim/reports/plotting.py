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

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from hwsim.jobs.store import written_aside

LineStyles = dict[str, dict[str, Any]]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (8, 2)), (0, (2, 2)))
WIDTH_IN = 7.2
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g} %")
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
class Drawn:
    """A figure before it is written; the fields are those of ``figures.Figure``."""

    name: str
    section: str
    title: str
    caption: str
    text: tuple[str, ...]
    canvas: Canvas


def line_style(index: int) -> dict[str, Any]:
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
    canvas.legend(handles=handles, loc="outside upper left", ncols=3 if len(handles) > 4 else 4, handlelength=3)


PNG_DPI = 200


@dataclass(frozen=True)
class Figure:
    """A drawn figure: ``name`` is its files' stem, ``section`` the part of a report it belongs to.

    ``caption`` says how to read it, ``text`` states what the data in it are, for those who do not see it.
    """

    name: str
    section: str
    title: str
    caption: str
    text: tuple[str, ...]
    svg: Path
    png: Path


def write_figure(drawn: Drawn, folder: Path) -> Figure:
    """Write a drawn figure's two files. The caller sets the style, which has to hold while it is drawn, too."""
    svg, png = folder / f"{drawn.name}.svg", folder / f"{drawn.name}.png"
    FigureCanvasAgg(drawn.canvas)
    drawn.canvas.draw_without_rendering()  # lays it out, once for both files
    drawn.canvas.set_layout_engine("none")
    with written_aside(svg) as aside:
        drawn.canvas.savefig(aside, format="svg", metadata={"Date": None})
    with written_aside(png) as aside:
        drawn.canvas.savefig(aside, format="png", dpi=PNG_DPI)
    return Figure(drawn.name, drawn.section, drawn.title, drawn.caption, drawn.text, svg, png)


def write_canvas(canvas: Canvas, stem: Path, dpi: int = PNG_DPI) -> tuple[Path, Path]:
    """Write ``stem``.svg and ``stem``.png; equal figures give equal files."""
    FigureCanvasAgg(canvas)
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    with written_aside(svg) as aside:
        canvas.savefig(aside, format="svg", metadata={"Date": None})
    with written_aside(png) as aside:
        canvas.savefig(aside, format="png", dpi=dpi)
    return svg, png
