"""The page of a study: one HTML file that needs no network, summary first.

A page is a function of ``Results`` that gives its content and its figures; it is called under ``plotting.STYLE``. The
content, all of which may be left out: `answers`, sentences of which the first answers the study's question;
`certainty`, how sure they are; `scope` and `warnings`, what limits them; `tables` of `name`, `caption`, `header` and
`rows`, an entry of which is a pair (text, small text below it); `figures_first`, are they shown above the tables?
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import matplotlib

from hwsim.cards.plugins import place_of, plugin
from hwsim.cards.shelf import summary_of
from hwsim.cards.yamlfile import Document
from hwsim.errors import InputError, WorkError
from hwsim.experiments.sweep import work as sweep
from hwsim.experiments.sweep.results import Results, read_results
from hwsim.experiments.sweep.study import folder_of
from hwsim.jobs.store import write_text
from hwsim.reports.page import inline, render
from hwsim.reports.plotting import STYLE, Drawn, Figure, write_figure
from hwsim.reports.sweep_figures import Requirement, draw, requirements, shown_value
from hwsim.stats.threshold import Threshold

Content = dict[str, Any]
Page = Callable[[Results], tuple[Content, list[Drawn]]]

EMPTY: Content = {
    "answers": [],
    "certainty": "",
    "scope": "",
    "warnings": [],
    "tables": [],
    "figures_first": False,
}

FILES = {
    sweep.RESULTS: "a row a point, with units in the column names",
    sweep.PARQUET: "the same as Parquet",
    sweep.STUDY: "the study",
    sweep.SWEEP: "every point of the study with the key of its record",
}


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
            content, drawn = make(results)
            figures = [write_figure(each, folder / "figures") for each in drawn]
            html = _page(results, content, figures)
        except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's page
            if home is None or isinstance(error, OSError | WorkError):
                raise
            place = place_of(error, home)
            raise WorkError(f"{place}page {results.config.page}: {summary_of(error)}; the results are kept") from error
    page = folder / "report.html"
    write_text(page, html)
    return page


def page_named(name: str, folder: Path | None, document: Document) -> Page:
    """The page that a study names, or `./file.py:function` beside it. Raises InputError at its place in the study."""
    if name in PAGES:
        return PAGES[name]
    if ":" not in name:
        raise document.unknown(("page",), [*PAGES, "./file.py:function"], f"{name!r} is no page", name)
    page = plugin(name, folder, "hwsim.pages", document, ("page",))
    if not callable(page):
        raise document.error(("page",), f"{name}: expected a function of results, got {type(page).__name__}")
    return cast(Page, page)


def _page(results: Results, content: dict[str, Any], figures: list[Figure]) -> str:
    done, of = results.finished
    return render(
        "study.html.j2",
        title=f"{results.config.name}, {results.plan['form']} form",
        question=results.config.question or "What the table says.",
        done=done,
        of=of,
        figures=[(figure, inline(figure)) for figure in figures],
        failures=sweep.grouped(results.failures),
        failed=len(results.failures),
        command=results.plan["command"],
        versions=results.plan["versions"],
        git=results.plan["git"],
        study=(results.folder / sweep.STUDY).read_text(encoding="utf-8"),
        files=[(name, what) for name, what in FILES.items() if (results.folder / name).exists()],
        **{**EMPTY, **content},
    )


def table_page(results: Results) -> tuple[Content, list[Drawn]]:
    """Nothing but where the table of results is."""
    done, of = results.finished
    where = f"{done} of {of} points are finished; their results are in {sweep.RESULTS}."
    return {"answers": [where], "certainty": "See the table.", "tables": []}, []


def curves_page(results: Results) -> tuple[Content, list[Drawn]]:
    """Accuracy along the axis that each block's figure names, and the values at which one and five points are lost."""
    sheet = requirements(results)
    drawn = list(draw(results, sheet))
    seeds = sorted({row.seeds for row in sheet})
    counted = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0] if seeds else 0} seeds"
    certainty = (
        f"{counted} a value, each with its own draws of all that is random. Thresholds are interpolated on the falling "
        "curve nearest to the means; their 95 % intervals resample seeds and test images together. So few seeds say "
        "little about their own spread, so the intervals are rather too narrow; none of them knows what happens "
        "between two neighbouring values."
    )
    answers = _verdicts(sheet)
    header = ["property", "counted as", "at its best", "one point lost at", "five points lost at", "tried up to"]
    table = {
        "name": "requirements",
        "caption": "Requirements: the value of each property at which accuracy is lost, with its 95 % interval below.",
        "header": header,
        "rows": [_row(row) for row in sheet],
    }
    return {"answers": answers, "certainty": certainty, "tables": [table]}, drawn


def _verdicts(sheet: list[Requirement]) -> list[str]:
    reached = [row for row in sheet if row.thresholds[-1].value is not None]
    never = [row for row in sheet if row.thresholds[-1].value is None]
    sentences = []
    if reached:
        limits = "; ".join(f"{_named(row)} {shown_value(row.thresholds[-1])}" for row in reached)
        sentences.append(f"Five points of accuracy are lost at: {limits}.")
    if never:
        ranges = "; ".join(f"{_named(row)} (tried up to {row.line.x[-1]:g})" for row in never)
        sentences.append(f"Five points are not lost anywhere in the range tried of: {ranges}.")
    return sentences


def _named(row: Requirement) -> str:
    name = row.title[0].lower() + row.title[1:]
    return f"{name}, {row.line.name}:" if row.line.name else f"{name}"


def _row(row: Requirement) -> list[tuple[str, str]]:
    name = (row.title, row.line.name)
    cells = [(f"{100 * row.reference:.1f} %", f"at {row.line.x[0]:g}")]
    cells += [(shown_value(limit), _interval(limit, row.line.x[-1])) for limit in row.thresholds]
    return [name, (row.label, ""), *cells, (f"{row.line.x[-1]:g}", "")]


def _interval(limit: Threshold, last: float) -> str:
    if limit.early is None:
        return "" if limit.value is None else "uncertain"
    if limit.late is None:
        return f"{limit.early:.2g} to beyond {last:g}"
    low, high = sorted((limit.early, limit.late))
    return f"{low:.2g} to {high:.2g}"


PAGES: dict[str, Page] = {"table": table_page, "curves": curves_page}
