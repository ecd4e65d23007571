"""The page of a comparison: what differs in configuration and in result, in one file that stands alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from hwsim.experiments.compare import Comparison, Row
from hwsim.reports.page import Caveat, Code, Column, Fold, Item, Page, Section, Table, counted, write_page
from hwsim.reports.plotting import POINTS, STYLE, Figure, forest, panels
from hwsim.stats.interval import percent

SHOWN = 40
"""Results in the drawing and its table; where there are more, those with the largest differences."""

NAMED = 6
"""Keys, and results that only one folder has, that a sentence names."""


def write_compare_page(comparison: Comparison, path: Path, command: str) -> Path:
    """Write the page of ``comparison`` to ``path``. WorkError where the disk refuses."""
    with matplotlib.rc_context(STYLE):
        return write_page(_page(comparison, command), path, keep_figures=False)


def _page(comparison: Comparison, command: str) -> Page:
    kind, names = comparison.first.kind, comparison.names
    answer, *details = _answers(comparison)
    folders = zip(names, (comparison.first, comparison.second), strict=True)
    commands = [(name, str(folder.receipt.get("command") or "unknown")) for name, folder in folders]
    made: list[Item] = ["This page:", Code(command)]
    made += [item for name, line in commands for item in (f"{name}:", Code(line))]
    return Page(
        title=f"{names[0]} against {names[1]}",
        lead=f"hwsim compare, two folders of hwsim {kind}",
        question=f"How do {names[0]} and {names[1]} differ in configuration and in result?",
        answer=answer,
        details=details,
        certainty=" ".join(_certainty(comparison)),
        caveats=[Caveat(text) for text in _warnings(comparison)],
        sections=[
            *([Section("Results", _results(comparison))] if comparison.rows else []),
            Section("Configuration", _settings(comparison) or ["No difference in configuration or software."]),
            Section("Reproduce", made),
        ],
    )


def _answers(comparison: Comparison) -> Iterator[str]:
    keys = list(comparison.configuration)
    settings = (
        f"The configurations differ in {counted(len(keys), 'key')}: {_some(keys)}."
        if keys
        else "The configurations are equal."
    )
    if not comparison.rows:
        yield "No result is in both folders, so results cannot be compared."
        yield settings
        return
    apart = [row for row in comparison.rows if row.apart]
    yield f"{len(apart)} of {counted(len(comparison.rows), 'result')} differ: the 95 % interval excludes zero."
    if len(comparison.rows) > 1:
        yield f"Without any true difference, about {0.05 * len(comparison.rows):.1f} would by chance."
    if apart:
        most = max(apart, key=lambda row: abs(row.difference))
        yield f"The largest difference is {most.name}: {_in_words(most)}."
    yield settings


def _certainty(comparison: Comparison) -> Iterator[str]:
    paired, count = sum(row.paired for row in comparison.rows), len(comparison.rows)
    first, second = comparison.names
    yield f"Differences are {first} minus {second}, in points of accuracy, with 95 % intervals."
    if paired:
        yield (
            f"{paired} of {count} are paired image by image, with McNemar's exact test of the votes: narrower than the "
            "gap between two intervals."
        )
    if paired < count:
        yield f"{count - paired} are unpaired (Newcombe 1998, method 10), for the reason in their row."
    yield "With one repeat an interval covers the choice of images only. None is corrected for many comparisons."


def _warnings(comparison: Comparison) -> Iterator[str]:
    if comparison.software:
        yield f"The software differs, too, and may be the cause: {_some(list(comparison.software))}."
    for name, folder in zip(comparison.names, (comparison.first, comparison.second), strict=True):
        if not folder.receipt:
            yield f"{name} has no receipt: it is not finished, or its software is unknown."
    for name, only in zip(comparison.names, comparison.only, strict=True):
        if only:
            yield f"Not compared, because only {name} has them: {counted(len(only), 'result')}, {_some(only)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _in_words(row: Row) -> str:
    return f"{percent(row.first)} against {percent(row.second)}, {row.interval.points_with_range}"


def _results(comparison: Comparison) -> list[Item]:
    """The rows of the largest differences, drawn and as a table, in the order they have; all of them on request."""
    rows = comparison.rows
    kept = sorted(range(len(rows)), key=lambda i: -abs(rows[i].difference))[:SHOWN]
    shown = [rows[i] for i in sorted(kept)]
    caption = "Accuracy of both and their difference in points, with its 95 % interval below."
    if len(shown) == len(rows):
        return [_differences(comparison, shown), _table(comparison, shown, "results", caption)]
    some = f"{caption} The {len(shown)} of {len(rows)} results with the largest differences."
    every = Fold(f"All {len(rows)} results", [_table(comparison, rows, "all", caption)])
    return [_differences(comparison, shown), _table(comparison, shown, "results", some), every]


def _table(comparison: Comparison, rows: Sequence[Row], name: str, caption: str) -> Table:
    columns = [
        *("result", *comparison.names, Column("difference", "points"), "verdict", "McNemar p"),
        Column("basis", "words"),
    ]
    lines = [
        [
            *(row.name, percent(row.first), percent(row.second), row.interval),
            *("differs" if row.apart else "", "" if row.p is None else f"{row.p:.2g}", row.how),
        ]
        for row in rows
    ]
    return Table(name, caption, columns, lines)


def _settings(comparison: Comparison) -> list[Item]:
    tables = {
        "configuration": (comparison.configuration, "Keys whose values differ; – where a folder has none."),
        "software": (comparison.software, "Software whose versions differ."),
    }
    columns: list[Column | str] = ["key", *(Column(name, "prose") for name in comparison.names)]
    return [
        Table(name, caption, columns, [[key, *map(_value, values)] for key, values in pairs.items()])
        for name, (pairs, caption) in tables.items()
        if pairs
    ]


def _value(value: Any) -> str | None:
    return None if value is None else str(value)


def _differences(comparison: Comparison, rows: Sequence[Row]) -> Figure:
    """A line for each result: the difference with its interval, filled where it excludes zero."""
    canvas, (ax,) = panels(1, 1, 0.7 + 0.27 * len(rows))
    names = [textwrap.shorten(row.name, 54, placeholder=" …") for row in rows]
    forest(ax, names, [row.interval for row in rows], [row.apart for row in rows])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.tick_params(axis="y", labelsize=8)
    ax.xaxis.set_major_formatter(POINTS)
    ax.set_xlabel(textwrap.fill(f"points of accuracy, {' minus '.join(comparison.names)}", 80), fontsize=9)
    title = f"Differences: {sum(row.apart for row in rows)} of {len(rows)} exclude zero"
    caption = "Lines are 95 % intervals; marks are filled where the interval excludes zero."
    words = [f"{row.name}: {_in_words(row)}{', differs' if row.apart else ''}." for row in rows]
    return Figure("differences", title, caption, words, canvas)
