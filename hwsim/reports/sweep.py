"""The page of a study: one HTML file that needs no network, summary first.

A page is a function of ``Results`` that gives its content and its figures; it is called under ``plotting.STYLE``. The
content, all of which may be left out: `answers`, sentences of which the first answers the study's question;
`certainty`, how sure they are; `scope` and `warnings`, what limits them; `tables` of `name`, `caption`, `header` and
`rows`, an entry of which is a pair (text, small text below it); `figures_first`, are they shown above the tables?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from hwsim.reports.page import Caveat, Column, Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import STYLE, Drawn
from hwsim.reports.sweep_figures import Requirement, draw, requirements, shown_value
from hwsim.stats.threshold import Threshold

Content = dict[str, Any]
PageFunction = Callable[[Results], tuple[Content, list[Drawn]]]


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
            page = _page(results, *make(results))
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


def _page(results: Results, content: Content, figures: Sequence[Drawn]) -> Page:
    done, of = results.finished
    plan, failures = results.plan, sweep.grouped(results.failures)
    answers = content.get("answers") or ["Nothing is measured yet."]
    tables = [_table(table) for table in content.get("tables", [])]
    parts = [Section("Tables", tables), Section("Figures", figures)]
    caveats = [Caveat(text) for text in content.get("warnings", [])]
    if content.get("figures_first"):
        parts.reverse()
    if failures:
        parts.append(Section("Failures", [_failures(failures)]))
        failed = counted(len(results.failures), "point")
        caveats.append(Caveat(f"{failed} failed and are left out.", "warning", "failures"))
    receipt = {key: plan[key] for key in ("command", "versions", "git")}
    study = (results.folder / sweep.STUDY).read_text(encoding="utf-8")
    return Page(
        title=f"{results.config.name}, {plan['form']} form",
        lead="hwsim sweep",
        status=Status(done, of, "point"),
        question=results.config.question,
        answer=answers[0],
        details=answers[1:],
        certainty=content.get("certainty", ""),
        caveats=caveats,
        scope=content.get("scope", ""),
        sections=[*(part for part in parts if part.items), reproduce(results.folder, receipt, study)],
    )


def _table(content: Content) -> Table:
    words = len(content["header"]) if content.get("words") else content.get("text", 2)
    kinds = [Column(name, "prose" if content.get("words") else "words") for name in content["header"][:words]]
    return Table(content["name"], content["caption"], [*kinds, *content["header"][words:]], content["rows"])


def _failures(rows: list[tuple[str, str, str, str]]) -> Table:
    caption = "Points that failed. The same command runs them again and leaves the others alone."
    columns = ["block", Column("at", "words"), "seed", Column("reason", "prose")]
    return Table("failures", caption, columns, rows)


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


PAGES: dict[str, PageFunction] = {"table": table_page, "curves": curves_page}
