"""The page of a comparison: what differs in configuration and in result, in one file that stands alone."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from hwsim.experiments.compare import Comparison, Row
from hwsim.jobs.store import write_text
from hwsim.reports.page import inline, percent, points, render
from hwsim.reports.plotting import COLOURS, STYLE, Drawn, panels, write_figure

SHOWN = 40
"""Figures in the drawing and its table; where there are more, those furthest apart."""

NAMED = 6
"""Keys, and figures that one alone has, that a sentence names."""

Table = dict[str, Any]


def write_compare_page(found: Comparison, path: Path, command: str) -> Path:
    """Write the page of ``found`` to ``path``. WorkError where the disk refuses."""
    shown = _furthest(found.rows)
    figures = []
    if shown:
        # The page is one file, wherever it is wanted, so its figure has none of its own.
        with matplotlib.rc_context(STYLE), tempfile.TemporaryDirectory() as folder:
            drawn = write_figure(_differences(found, shown), Path(folder))
            figures = [(drawn, inline(drawn))]
    rest = [_results(found, found.rows, "all")] if len(shown) < len(found.rows) else []
    tables = [_results(found, shown, "results")] if shown else []
    settings = [("configuration", found.configuration), ("software", found.software)]
    text = render(
        "compare.html.j2",
        title=f"{found.names[0]} against {found.names[1]}",
        kind=found.first.kind,
        question=f"In what do two folders of hwsim {found.first.kind} differ, in configuration and in result?",
        answers=_answers(found),
        certainty=_certainty(found),
        warnings=_warnings(found),
        figures=figures,
        tables=tables,
        rest=rest,
        settings=[_settings(found, name, pairs) for name, pairs in settings if pairs],
        command=command,
        commands=[
            (name, str(folder.receipt.get("command") or "unknown"))
            for name, folder in zip(found.names, (found.first, found.second), strict=True)
        ],
    )
    write_text(path, text)
    return path


def _answers(found: Comparison) -> list[str]:
    keys = list(found.configuration)
    told = [f"The configurations differ in {len(keys)} key{'s' * (len(keys) > 1)}: {_some(keys)}."]
    if not keys:
        told = ["The configurations are equal."]
    if not found.rows:
        return [*told, "No figure is in both folders, so results cannot be compared."]
    apart = [row for row in found.rows if row.apart]
    chance = 0.05 * len(found.rows)
    told.append(
        f"{len(apart)} of {len(found.rows)} figures differ: their interval leaves out zero. Where nothing differs, "
        f"about {chance:.1f} would by chance."
    )
    if apart:
        most = max(apart, key=lambda row: abs(row.difference))
        told.append(f"Furthest apart is {most.name}: {_in_words(most)}.")
    return told


def _certainty(found: Comparison) -> str:
    paired = sum(row.paired for row in found.rows)
    one, other = found.names
    text = f"Differences are {one} minus {other}, in points of accuracy, with 95 % intervals. "
    if paired:
        text += (
            f"{paired} of {len(found.rows)} are paired, image by image, with McNemar's exact test of the votes; "
            "they are surer than the gap between two intervals. "
        )
    if paired < len(found.rows):
        text += f"{len(found.rows) - paired} are unpaired (Newcombe 1998, method 10) and say why. "
    return (
        text + "An interval with one repeat covers the choice of images only, and none corrects for many comparisons."
    )


def _warnings(found: Comparison) -> list[str]:
    told = []
    if found.software:
        told.append(f"The software differs, too, and may be the cause: {_some(list(found.software))}.")
    for name, folder in zip(found.names, (found.first, found.second), strict=True):
        if not folder.receipt:
            told.append(f"{name} has no receipt: it is not finished, or its software is unknown.")
    told += [
        f"{len(only)} figures are only in {name}, so they are not compared: {_some(only)}."
        for name, only in zip(found.names, found.only, strict=True)
        if only
    ]
    return told


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _furthest(rows: Sequence[Row]) -> list[Row]:
    """The rows furthest from zero, in the order they have."""
    kept = sorted(range(len(rows)), key=lambda i: -abs(rows[i].difference))[:SHOWN]
    return [rows[i] for i in sorted(kept)]


def _in_words(row: Row) -> str:
    gap = {"mean": row.difference, "low": row.low, "high": row.high}
    return f"{percent(row.first)} against {percent(row.second)}, {points(gap)}"


def _results(found: Comparison, rows: Sequence[Row], name: str) -> Table:
    lines = []
    for row in rows:
        gap = points({"mean": row.difference, "low": row.low, "high": row.high}).split(" points, ")
        verdict = "differs" if row.apart else ""
        p = "" if row.p is None else f"{row.p:.2g}"
        cells = [(percent(row.first), ""), (percent(row.second), ""), (gap[0], gap[1]), (verdict, ""), (p, "")]
        lines.append([(row.name, ""), *cells, (row.how, "")])
    caption = "Accuracy of both and their difference in points, with its 95 % interval below."
    if len(rows) < len(found.rows):
        caption += f" The {len(rows)} of {len(found.rows)} figures that are furthest apart."
    header = ["figure", *found.names, "difference", "verdict", "McNemar p", "rests on"]
    return {"name": name, "caption": caption, "header": header, "rows": lines, "text": 1, "wide": True}


def _settings(found: Comparison, name: str, pairs: dict[str, tuple[Any, Any]]) -> Table:
    rows = [[(path, ""), *((_value(value), "") for value in values)] for path, values in pairs.items()]
    caption = "Keys whose values differ; – where one has none." if name == "configuration" else "What ran them."
    return {"name": name, "caption": caption, "header": ["key", *found.names], "rows": rows, "words": True}


def _value(value: Any) -> str:
    return "–" if value is None else str(value)


def _differences(found: Comparison, rows: Sequence[Row]) -> Drawn:
    """A line a figure: the difference with its interval, filled where it leaves out zero."""
    canvas, (ax,) = panels(1, 1, 0.7 + 0.27 * len(rows))
    for place, row in zip(range(len(rows))[::-1], rows, strict=True):
        colour = COLOURS[0] if row.apart else "#777777"
        ax.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=1.5)
        ax.plot(100 * row.difference, place, "o", color=colour, markerfacecolor=colour if row.apart else "white")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(np.arange(len(rows))[::-1], [textwrap.shorten(row.name, 54, placeholder=" …") for row in rows])
    ax.tick_params(axis="y", labelsize=8)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.grid(False, axis="y")
    ax.set_xlabel(textwrap.fill(f"points of accuracy, {' minus '.join(found.names)}", 80), fontsize=9)
    apart = sum(row.apart for row in rows)
    title = f"Differences: {apart} of {len(rows)} leave out zero"
    caption = "Lines are 95 % intervals; filled where they leave out zero, hollow where nothing can be told."
    told = tuple(f"{row.name}: {_in_words(row)}{', differs' if row.apart else ''}." for row in rows)
    return Drawn("differences", "results", title, caption, told, canvas)
