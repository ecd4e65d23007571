"""The page that a run leaves behind, and the short table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import yaml
from rich import box
from rich.table import Table as TerminalTable

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.results import Record, Run, accuracy_of, read_run, summarise, summary_of
from hwsim.reports import device_run_figures as figures
from hwsim.reports import device_run_tables as tables
from hwsim.reports.device_run_tables import difference_of, interval_of, shown_levels
from hwsim.reports.page import Caveat, Fold, Page, Section, Status, reproduce, write_page
from hwsim.reports.plotting import STYLE, Figure
from hwsim.stats.interval import Interval, percent


def write_report(folder: Path) -> Path:
    """Summarise a run folder, draw its figures and write ``report.html`` into it.

    A run that is not finished gets a page of what is there, and the page says so. Raises InputError where
    the folder is none of a run, WorkError where the disk refuses.
    """
    run, summary = read_run(folder), summarise(folder)
    with matplotlib.rc_context(STYLE):
        return write_page(_page(run, summary, figures.draw(run, summary)), folder / "report.html")


def terminal_table(folder: Path) -> TerminalTable:
    """The short table for the end of a run: each case on clean images and at every condition's middle level, in %."""
    summary = summary_of(read_run(folder))
    columns = shown_levels(summary)
    table = TerminalTable("case", title=_title(summary), caption=_basis(summary), box=box.SIMPLE_HEAD, show_lines=True)
    table.title_justify = table.caption_justify = "left"
    for condition, level, unit in columns:
        heading = condition.replace("-", " ")  # so that it wraps
        table.add_column(f"{heading}\n{unit} {level:g}" if unit else heading, justify="right", min_width=9)
    for case in summary["cases"]:
        rows = [accuracy_of(summary, case, condition, level) for condition, level, _ in columns]
        table.add_row(case, *(f"{percent(c['mean'])}\n{interval_of(c).percent_range}" if c else "-" for c in rows))
    warnings = sum(caveat["level"] == "warning" for caveat in summary["warnings"])
    if warnings:
        table.caption = f"{table.caption}\n{warnings} warning{'s' * (warnings > 1)}, see the report"
    return table


def _page(run: Run, summary: Record, drawn: dict[str, list[Figure]]) -> Page:
    flagged = Counter(caveat["case"] for caveat in summary["warnings"] if caveat["level"] == "warning")
    config = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    method = Fold("How the intervals are made", [INTERVALS])
    done = summary["evaluations"]
    accuracies = [*tables.accuracies(summary, flagged), *drawn["accuracy"], *tables.every_accuracy(summary)]
    attacks = [*drawn["attacks"], *tables.attacks(summary)]
    return Page(
        title=_title(summary),
        lead=f"hwsim run on {summary['data'] or 'unknown data'}",
        status=Status(done["done"], done["expected"], "evaluation", bool(summary["damage"])),
        question=_question(run, summary),
        answer=" ".join(_answer(summary)),
        details=[" ".join([f"{case}:", *_case(summary, case)]) for case in summary["cases"]],
        certainty=f"{_basis(summary)} Differences are paired: they compare the same repeats and images.",
        caveats=[Caveat(each["text"], each["level"], each["section"]) for each in summary["warnings"]],
        sections=[
            Section("Accuracy", accuracies),
            *([Section("Attacks", [ATTACKS, *attacks])] if attacks else []),
            Section("Learning", [*(tables.learning(summary) or ["No training is recorded yet."]), *drawn["learning"]]),
            Section("Diagnostics", [*tables.diagnostics(summary), *drawn["diagnostics"]]),
            *([Section("Circuit", [*tables.circuit(summary), *drawn["circuit"]])] if "circuit" in summary else []),
            Section("Cost", tables.cost(summary) or ["Not counted yet."]),
            Section("Arrays", [*tables.weights(run), *drawn["arrays"]]),
            reproduce(run.folder, run.receipt or {}, config, method),
        ],
    )


ATTACKS = (
    "White-box attacks: the programmed weights are known, and gradients are those of the noise-free network at "
    "equilibrium. Predictions on the attacked images are read from the arrays with their noise. As the budget grows, "
    "accuracy must fall to zero; where it does not, the attack failed, and the network need not be robust."
)

INTERVALS = (
    "Repeats and test images are both samples. The share of correct draws of each image enters a two-way crossed "
    "random-effects model. The variance between repeats and the one between images get a t quantile each (Banerjee "
    "1960). Accuracies use the score interval at the effective number of images (Wilson; Franco et al. 2019), which "
    "has a width even at 100 %. With one repeat an interval covers the choice of images only."
)


def _title(summary: Record) -> str:
    return f"{summary['model'] or 'model'} on {summary['device'] or 'device'}"


def _question(run: Run, summary: Record) -> str:
    device = run.config.get("device") or {}
    what = f" ({device['summary'].rstrip('.')})" if device.get("summary") else ""
    model, data = summary["model"] or "the model", summary["data"] or "its data"
    clean = {row["condition"] for row in summary["accuracy"]} <= {"clean"}
    measured = f"does the accuracy of {model}" if clean else f"do accuracy and robustness of {model}"
    return (
        f"How {measured}, trained by equilibrium propagation on {data}, change on "
        f"{summary['device'] or 'the device'}{what}?"
    )


def _perturbed(summary: Record, case: str) -> list[tuple[str, Interval]]:
    """Each perturbation of a case at its middle level, with the difference to the reference."""
    columns = [(name, level, unit) for name, level, unit in shown_levels(summary) if unit]
    found = [(described(*each), difference_of(accuracy_of(summary, case, *each[:2]))) for each in columns]
    return [(name, difference) for name, difference in found if difference]


def _answer(summary: Record) -> Iterator[str]:
    """The clean accuracy, and the largest loss and gain under perturbations, against the reference."""
    reference = summary["reference"]
    clean = {row["case"]: interval_of(row) for row in summary["accuracy"] if row["condition"] == "clean"}
    apart = {r["case"]: d for r in summary["accuracy"] if r["condition"] == "clean" and (d := difference_of(r))}
    if not apart:
        yield "There is nothing to compare yet."
        return
    if len(apart) == 1:
        ((case, difference),) = apart.items()
        word = "" if difference.excludes_zero else ", a difference that is not resolved"
        yield (
            f"On clean images {case} reaches {clean[case].percent} and {reference} {clean[reference].percent}: "
            f"{difference.points_with_range}{word}."
        )
    else:
        lost = sorted((c for c, d in apart.items() if d.high < 0), key=lambda c: apart[c].mean)
        least = lost[0] if lost else min(apart, key=lambda c: apart[c].mean)
        count = (
            f"{len(lost)} of {len(apart)} cases are less accurate than {reference}"
            if lost
            else (f"no case is measurably less accurate than {reference}")
        )
        yield f"On clean images {count}; the largest difference is {least}, {apart[least].points_with_range}."
    moved = [(case, name, d) for case in apart for name, d in _perturbed(summary, case) if d.excludes_zero]
    if not moved:
        if any(_perturbed(summary, case) for case in apart):
            yield f"Under perturbations no difference to {reference} is resolved."
        return
    worst, best = (choose(moved, key=lambda each: each[2].mean) for choose in (min, max))
    ends = [
        f"the largest {what} is {d.points_with_range} ({case}, {name})"
        for what, (case, name, d), there in (("loss", worst, worst[2].mean < 0), ("gain", best, best[2].mean > 0))
        if there
    ]
    yield f"Under perturbations at their middle level {' and '.join(ends)}."


def _case(summary: Record, case: str) -> Iterator[str]:
    """A case in words: how accurate when clean, and where above or below the reference under perturbations."""
    row = accuracy_of(summary, case, "clean", 0.0)
    if row is None:
        yield "not measured on clean images yet."
        return
    difference, reference = difference_of(row), summary["reference"]
    if difference is None:
        yield f"{interval_of(row).percent_with_range} of the clean test images."
        return
    resolved = "" if difference.excludes_zero else " (not resolved)"
    apart = f"{difference.points} points to {reference}{resolved}"
    yield f"{interval_of(row).percent_with_range} of the clean test images, {apart}."
    perturbed = _perturbed(summary, case)
    groups = {
        "Above": [(name, d) for name, d in perturbed if d.low > 0],
        "Below": [(name, d) for name, d in perturbed if d.high < 0],
    }
    for where, those in groups.items():
        if those:
            yield f"{where} {reference} under {'; '.join(f'{name} ({d.points})' for name, d in those)}."
    open_ = [name for name, d in perturbed if not d.excludes_zero]
    if open_:
        yield f"Not resolved: {'; '.join(open_)}."


def _basis(summary: Record) -> str:
    rows = summary["accuracy"]
    if not rows:
        return "Nothing is measured yet."
    repeats, draws = max(r["repeats"] for r in rows), max(r["draws"] for r in rows)
    several = f"{repeats} repeats (own training, devices and read noise)" if repeats > 1 else "images only, one repeat"
    noise = f", {draws} draws of read noise each" if draws > 1 else ""
    return f"Means and 95 % intervals over {several}, {max(r['images'] for r in rows)} test images{noise}."
