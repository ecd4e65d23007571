"""What a page is: a question, its answer, and sections of tables and figures; one template for all of them.

Every page is one HTML file that needs no network, no scripts and no other file. A study's own page is a function
that takes the study's ``Results`` and returns a ``Page``; hwsim adds title, question, failures and "Reproduce":

    def page(results: Results) -> Page:
        rows = [[str(place.axes["device"]), place.interval()] for place in results.places["devices"]]
        table = Table("devices", "Accuracy by device.", ["device", "accuracy"], rows)
        return Page(answer=f"{len(rows)} devices were measured.", sections=[Section("Devices", [table])])

It is called while ``plotting.STYLE`` holds, so that a ``Figure`` it draws looks as all others do.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import matplotlib

from hwsim import __version__
from hwsim.jobs.store import write_text
from hwsim.reports.plotting import STYLE, Figure, write_canvas
from hwsim.stats.interval import Interval

Cell = str | Interval | tuple[str, str] | None
"""Text; an interval, shown as its mean with the ends below; text with a smaller line below; nothing."""


@dataclass(frozen=True)
class Column:
    """A column's heading, with a smaller line ``below``, and what stands in it.

    ``kind``: "number", where an interval is an accuracy; "points", where it is a difference; "words"; "prose",
    sentences that need room.
    """

    title: str
    kind: Literal["number", "points", "words", "prose"] = "number"
    below: str = ""

    @property
    def text(self) -> bool:
        return self.kind in ("words", "prose")


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it. A column given as text holds words if it is the first, else numbers."""

    name: str
    caption: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]

    @property
    def head(self) -> list[Column]:
        return [
            Column(each, "number" if place else "words") if isinstance(each, str) else each
            for place, each in enumerate(self.columns)
        ]

    @property
    def body(self) -> list[list[tuple[str, str]]]:
        """Text and smaller text of every cell."""
        return [[_shown(cell, column) for cell, column in zip(row, self.head, strict=True)] for row in self.rows]


def _shown(cell: Cell, column: Column) -> tuple[str, str]:
    if isinstance(cell, Interval):
        points = column.kind == "points"
        return (cell.points, cell.points_range) if points else (cell.percent, cell.percent_range)
    return cell if isinstance(cell, tuple) else ("–" if cell is None else cell, "")


@dataclass(frozen=True)
class Bullets:
    lines: Sequence[str]


@dataclass(frozen=True)
class Files:
    """Links to files beside the page: path and what it holds."""

    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Fold:
    """What is shown on request."""

    title: str
    items: Sequence[Item]


Item = str | Table | Figure | Bullets | Files | Code | Fold
"""What a section is made of; text is a paragraph."""


@dataclass(frozen=True)
class Section:
    title: str
    items: Sequence[Item]

    @property
    def name(self) -> str:
        """What its links lead to."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Caveat:
    """What has to be known before a result is believed. With ``section`` it stands at the head of that one, too."""

    text: str
    level: Literal["warning", "note"] = "warning"
    section: str = ""


@dataclass(frozen=True)
class Status:
    """How much is finished, of how much; ``unit`` in the singular. ``damaged``: are there records not to be read?"""

    done: int
    of: int
    unit: str
    damaged: bool = False

    def __str__(self) -> str:
        what = counted(self.of, self.unit)
        if self.damaged:
            return f"damaged: {self.done} of {what}"
        return f"finished, {what}" if self.done == self.of else f"not finished: {self.done} of {what}"


@dataclass(frozen=True)
class Page:
    """A page of results.

    Attributes:
        answer: the answer to ``question`` in a sentence or two; ``details``: more of it, a sentence an entry.
        certainty: what the intervals cover; ``limits``: what else bounds the result, a sentence an entry.
        scope: what the results must not be taken for, above everything else.
        lead: the command that measured them.
    """

    answer: str
    details: Sequence[str] = ()
    certainty: str = ""
    limits: Sequence[str] = ()
    caveats: Sequence[Caveat] = ()
    sections: Sequence[Section] = ()
    scope: str = ""
    title: str = ""
    question: str = ""
    lead: str = ""
    status: Status | None = None


def write_page(page: Page, path: Path, keep_figures: bool = True) -> Path:
    """Write ``page`` to ``path`` and, unless it is to be one file alone, its figures to ``figures/`` beside it.

    Raises WorkError where the disk refuses.
    """
    drawn = [figure for section in page.sections for figure in _figures(section.items)]
    with matplotlib.rc_context(STYLE), _folder(path, keep_figures) as folder:
        images = {figure.name: _inline(*write_canvas(figure.canvas, Path(folder) / figure.name)) for figure in drawn}
    content = {"page": page, "images": images, "kept": keep_figures, "version": __version__}
    write_text(path, _ENVIRONMENT.get_template("page.html.j2").render(content))
    return path


def _folder(path: Path, keep: bool) -> Any:
    return nullcontext(path.parent / "figures") if keep else tempfile.TemporaryDirectory()


def _figures(items: Sequence[Item]) -> list[Figure]:
    inner = (_figures(item.items) if isinstance(item, Fold) else [item] for item in items)
    return [item for each in inner for item in each if isinstance(item, Figure)]


def _inline(svg: Path, png: Path) -> str:
    """The smaller of the two files as a data address."""
    kinds = {"image/svg+xml": svg.read_bytes(), "image/png": png.read_bytes()}
    kind = min(kinds, key=lambda name: len(kinds[name]))
    return f"data:{kind};base64,{base64.b64encode(kinds[kind]).decode('ascii')}"


def is_current(page: Path, *sources: Path) -> bool:
    """Was the page made by this version, after the last change of every source that is there?"""
    try:
        made = page.stat().st_mtime_ns
        head = page.read_text(encoding="utf-8")[:2000]
    except OSError:
        return False
    by_us = f'content="hwsim {__version__}"' in head
    return by_us and all(source.stat().st_mtime_ns <= made for source in sources if source.exists())


FILES = {
    "results.csv": "the results, a row each, with units in the column names",
    "results.parquet": "the same as Parquet",
    "summary.json": "everything on this page as numbers",
    "results.json": "everything on this page as numbers",
    "examples.csv": "one row for each image, attack and device instance",
    "corruptions.csv": "one row for each corruption and severity",
    "ablation.csv": "one row for each property, or way to write and read, with all intervals",
    "metrics.jsonl": "the raw records, correct draws of every test image included",
    "ablation.jsonl": "the raw records, correct draws of every test image included",
    "cost.json": "what every array does for an inference and a training step, and its price",
    "updates.json": "what of each array's updates reaches the devices, in the first batches",
    "gallery.safetensors": "the images shown, with their predicted labels",
    "pictures.safetensors": "the first test image under every corruption",
    "config.yaml": "the resolved configuration",
    "study.yaml": "the study",
    "sweep.json": "every point of the study with the key of its measurement",
    "receipt.json": "versions, seeds and streams",
}
"""What may lie beside a page."""


def reproduce(folder: Path, receipt: Mapping[str, Any], config: str, *items: Item) -> Section:
    """The command behind a folder's page, its data, its receipt and its configuration, then ``items``."""
    command = receipt.get("command")
    made: list[Item] = []
    if command:
        made += ["The command that leaves this folder, with every table and figure of this page:", Code(str(command))]
    made.append(Files([(name, what) for name, what in FILES.items() if (folder / name).exists()]))
    if rows := [(name, value) for name, value in _flat(receipt) if name != "command"]:
        caption = "What ran, on what, from which seeds; which streams repeat exactly and which only statistically."
        made.append(Fold("Receipt", [Table("receipt", caption, ["entry", Column("value", "prose")], rows)]))
    return Section("Reproduce", [*made, Fold("Configuration", [Code(config)]), *items])


def _flat(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in receipt.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{key}: {name}" if name else key, _words(each)) for name, each in inner]
    return rows


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)


def counted(count: int, noun: str) -> str:
    """``1 threat``, ``2 threats``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float | None) -> str | None:
    """Three digits; nothing where there is none."""
    return None if value is None else f"{value:.3g}"


def _sentence(text: str) -> str:
    """Ends in a full stop, once."""
    return text if text.endswith((".", "?", "!", ":")) else f"{text}."


def _kind(item: Item) -> str:
    """Which of the kinds of items it is."""
    return next(kind.__name__ for kind in (str, Table, Figure, Bullets, Files, Code, Fold) if isinstance(item, kind))


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("hwsim.reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"kind": _kind, "sentence": _sentence}
