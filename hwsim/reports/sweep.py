"""The page of a study: its own or one of ours, framed by what hwsim knows of the sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import matplotlib

from hwsim.cards.plugins import place_of, plugin
from hwsim.cards.shelf import summary_of
from hwsim.cards.yamlfile import Document
from hwsim.errors import InputError, WorkError
from hwsim.experiments.sweep import work as sweep
from hwsim.experiments.sweep.results import Results, read_results
from hwsim.experiments.sweep.study import folder_of
from hwsim.reports.page import Caveat, Cell, Column, Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import STYLE
from hwsim.reports.sweep_figures import Requirement, draw, requirements, shown_value
from hwsim.stats.interval import percent
from hwsim.stats.threshold import Threshold

PageFunction = Callable[[Results], Page]
"""Makes a study's page, see ``reports.page``; it is called while ``plotting.STYLE`` holds."""


def write_study_page(folder: Path) -> Path:
    """Draw a sweep's figures and write its ``report.html``, finished or not.

    A page of the study's own is run from where the study lay. Raises InputError where the folder is none of a sweep or
    the study's page is not there, WorkError where it fails or the disk refuses.
    """
    results = read_results(folder)
    home = None if results.config.page in PAGES else folder_of(results.plan["study"])
    if home and home.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: results run no code, and the page {results.config.page} lies among them")
    make = page_named(results.config.page, home, Document({}, str(folder / sweep.STUDY)))
    with matplotlib.rc_context(STYLE):
        try:
            page = _framed(results, make(results))
        except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's page
            if home is None or isinstance(error, OSError | WorkError):
                raise
            place = place_of(error, home)
            raise WorkError(f"{place}page {results.config.page}: {summary_of(error)}; the results are kept") from error
        return write_page(page, folder / "report.html")


def page_named(name: str, folder: Path | None, document: Document) -> PageFunction:
    """The page that a study names, or `./file.py:function` beside it. Raises InputError at its place in the study."""
    if name in PAGES:
        return PAGES[name]
    if ":" not in name:
        raise document.unknown(("page",), [*PAGES, "./file.py:function"], f"{name!r} is no page", name)
    page = plugin(name, folder, "hwsim.pages", document, ("page",))
    if not callable(page):
        raise document.error(("page",), f"{name}: expected a function of results, got {type(page).__name__}")
    return cast(PageFunction, page)


def _framed(results: Results, page: Page) -> Page:
    """A study's page with the sweep's title, question, status, failures and how to reproduce it."""
    if not isinstance(page, Page):
        raise TypeError(f"expected a hwsim.reports.page.Page, got {type(page).__name__}")
    done, of = results.finished
    plan, failures = results.plan, sweep.grouped(results.failures)
    frame, caveats = [], list(page.caveats)
    if failures:
        frame.append(Section("Failures", [_failures(failures)]))
        failed = counted(len(results.failures), "point")
        caveats.append(Caveat(f"{failed} failed and are left out.", "warning", "failures"))
    receipt = {key: plan[key] for key in ("command", "versions", "git")}
    frame.append(reproduce(results.folder, receipt, (results.folder / sweep.STUDY).read_text(encoding="utf-8")))
    return dataclasses.replace(
        page,
        title=page.title or f"{results.config.name}, {plan['form']} form",
        question=page.question or results.config.question,
        lead="hwsim sweep",
        status=Status(done, of, "point"),
        caveats=caveats,
        sections=[*page.sections, *frame],
    )


def _failures(rows: list[tuple[str, str, str, str]]) -> Table:
    caption = "Points that failed. The same command runs them again and leaves the others alone."
    columns = ["block", Column("at", "words"), "seed", Column("reason", "prose")]
    return Table("failures", caption, columns, rows)


def table_page(results: Results) -> Page:
    """Nothing but where the table of results is."""
    done, of = results.finished
    return Page(f"{done} of {counted(of, 'point')} are finished; their results are in {sweep.RESULTS}.")


def curves_page(results: Results) -> Page:
    """Accuracy along the axis that each block's figure names, and the values at which one and five points are lost."""
    sheet = requirements(results)
    seeds = sorted({row.seeds for row in sheet}) or [0]
    several = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    caption = "The value of each property at which accuracy is lost, with its 95 % interval below."
    columns = [
        *("property", Column("counted as", "words"), "at its best"),
        *("one point lost at", "five points lost at", "tried up to"),
    ]
    answer, *details = _answers(sheet)
    return Page(
        answer=answer,
        details=details,
        certainty=(
            f"{several} seeds a value, each with its own draws of all that is random. Thresholds are interpolated on "
            "the falling curve nearest to the means; their 95 % intervals resample seeds and test images together. Few "
            "seeds say little about their own spread, so the intervals are rather too narrow; none covers what happens "
            "between two neighbouring values."
        ),
        sections=[
            Section("Requirements", [Table("requirements", caption, columns, [_row(row) for row in sheet])]),
            Section("Figures", draw(results, sheet)),
        ],
    )


def _limit(row: Requirement) -> float | None:
    """Where the most accuracy that a requirement may cost is lost."""
    return row.thresholds[-1].value


def _answers(sheet: Sequence[Requirement]) -> list[str]:
    reached = [f"{_named(row)} {shown_value(row.thresholds[-1])}" for row in sheet if _limit(row) is not None]
    never = [row for row in sheet if _limit(row) is None]
    answers = [f"Five points of accuracy are lost at: {'; '.join(reached)}."] if reached else []
    if never:
        ranges = "; ".join(f"{_named(row)} (tried up to {row.line.x[-1]:g})" for row in never)
        answers.append(f"Five points are not lost anywhere in the range tried of: {ranges}.")
    return answers or ["Nothing is measured yet."]


def _named(row: Requirement) -> str:
    name = row.title[0].lower() + row.title[1:]
    return f"{name}, {row.line.name}:" if row.line.name else f"{name}"


def _row(row: Requirement) -> list[Cell]:
    best, last = (percent(row.reference), f"at {row.line.x[0]:g}"), row.line.x[-1]
    limits = [(shown_value(limit), _interval(limit, last)) for limit in row.thresholds]
    return [(row.title, row.line.name), row.label, best, *limits, f"{last:g}"]


def _interval(limit: Threshold, last: float) -> str:
    if limit.early is None:
        return "" if limit.value is None else "uncertain"
    if limit.late is None:
        return f"{limit.early:.2g} to beyond {last:g}"
    low, high = sorted((limit.early, limit.late))
    return f"{low:.2g} to {high:.2g}"


PAGES: dict[str, PageFunction] = {"table": table_page, "curves": curves_page}
