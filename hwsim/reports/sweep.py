"""The page of a study: one HTML file that needs no network, summary first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from hwsim.experiments.sweep import work as sweep
from hwsim.experiments.sweep.results import Results, read_results
from hwsim.jobs.store import write_text
from hwsim.reports import sweep_figures as studyfigures
from hwsim.reports.page import inline, render
from hwsim.reports.plotting import STYLE, Drawn, Figure, write_figure
from hwsim.reports.sweep_figures import Requirement, requirements, shown_value
from hwsim.stats.threshold import Threshold
from hwsim.study.paperpage import paper_page
from hwsim.study.studydevices import devices_page

FILES = {
    sweep.RESULTS: "a row a cell, with units in the column names",
    sweep.PARQUET: "the same as Parquet",
    sweep.STUDY: "the study",
    sweep.SWEEP: "every point of the study with the key of its cell",
}


def write_study_page(folder: Path) -> Path:
    """Draw a sweep's figures and write its ``report.html``, finished or not.

    Raises InputError where the folder is none of a sweep, WorkError where the disk refuses.
    """
    results = read_results(folder)
    with matplotlib.rc_context(STYLE):
        make = {"tolerance": _tolerance, "devices": devices_page, "paper": paper_page, "table": _plain}[
            results.config.page
        ]
        content, drawn = make(results)
        figures = [write_figure(each, folder / "figures") for each in drawn]
    page = folder / "report.html"
    write_text(page, _page(results, content, figures))
    return page


def _page(results: Results, content: dict[str, Any], figures: list[Figure]) -> str:
    done, of = results.cells
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
        **{"scope": "", "warnings": [], "figures_first": False, **content},
    )


def _plain(results: Results) -> tuple[dict[str, Any], list[Drawn]]:
    done, of = results.cells
    told = f"{done} of {of} cells are finished; their results are in {sweep.RESULTS}."
    return {"answers": [told], "certainty": "See the table.", "tables": []}, []


def _tolerance(results: Results) -> tuple[dict[str, Any], list[Drawn]]:
    sheet = requirements(results)
    drawn = list(studyfigures.draw(results, sheet))
    seeds = sorted({row.seeds for row in sheet})
    counted = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0] if seeds else 0} seeds"
    certainty = (
        f"{counted} a value, each with its own initial weights, devices, order of examples and noise. Thresholds are "
        "interpolated on the falling curve nearest to the means; their 95 % intervals resample seeds and test images "
        "together. So few seeds say little about their own spread, so the intervals are rather too narrow; none of "
        "them knows what happens between two neighbouring values. "
        "One property is made worse at a time, all others good: a real device has several at once and needs reserves."
    )
    answers = _verdicts(sheet)
    for name, block in results.blocks.items():
        found = studyfigures.collapse_of(results, name, block)
        if found:
            near = "holds only roughly" if found.scaled < found.unscaled else "does not hold"
            law = "holds" if found.scaled < min(2 * found.scatter, found.unscaled) else near
            answers.append(
                f"{block.title or name}: the law σ/√N {law}. Accuracies lie {100 * found.scaled:.1f} points from one "
                f"curve of σ/√N and {100 * found.unscaled:.1f} from one of σ alone; their own standard error is "
                f"{100 * found.scatter:.1f} points."
            )
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
    told = []
    if reached:
        limits = "; ".join(f"{_named(row)} {shown_value(row.thresholds[-1])}" for row in reached)
        told.append(f"Five points of accuracy are lost at: {limits}.")
    if never:
        ranges = "; ".join(f"{_named(row)} (tried up to {row.line.x[-1]:g})" for row in never)
        told.append(f"Five points are not lost anywhere in the range tried of: {ranges}.")
    return told


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
