"""The page that a run leaves behind, and the short table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import yaml
from rich import box
from rich.table import Table as TerminalTable

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.cost import rows as cost_rows
from hwsim.experiments.device_run.results import (
    REFERENCE,
    Record,
    Run,
    accuracy_of,
    middle_level,
    read_run,
    summarise,
    summary_of,
)
from hwsim.reports import device_run_figures as figures
from hwsim.reports.page import (
    Bullets,
    Caveat,
    Cell,
    Column,
    Files,
    Fold,
    Item,
    Page,
    Section,
    Status,
    Table,
    number,
    reproduce,
    write_page,
)
from hwsim.reports.plotting import STYLE, Figure
from hwsim.stats.interval import Interval, percent

Level = tuple[str, float, str]
"""Condition, level and its unit."""


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
    columns = _columns(summary)
    table = TerminalTable("case", title=_title(summary), caption=_basis(summary), box=box.SIMPLE_HEAD, show_lines=True)
    table.title_justify = table.caption_justify = "left"
    for condition, level, unit in columns:
        heading = condition.replace("-", " ")  # so that it wraps
        table.add_column(f"{heading}\n{unit} {level:g}" if unit else heading, justify="right", min_width=9)
    for case in summary["cases"]:
        rows = [accuracy_of(summary, case, condition, level) for condition, level, _ in columns]
        table.add_row(case, *(f"{percent(c['mean'])}\n{_of(c).percent_range}" if c else "-" for c in rows))
    warnings = sum(caveat["level"] == "warning" for caveat in summary["warnings"])
    if warnings:
        table.caption = f"{table.caption}\n{warnings} warning{'s' * (warnings > 1)}, see the report"
    return table


def _page(run: Run, summary: Record, drawn: dict[str, list[Figure]]) -> Page:
    flagged = Counter(caveat["case"] for caveat in summary["warnings"] if caveat["level"] == "warning")
    config = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    method = Fold("How the intervals are made", [INTERVALS])
    done = summary["evaluations"]
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
            Section("Accuracy", [*_accuracy_tables(summary, flagged), *drawn["accuracy"], *_all_accuracies(summary)]),
            Section("Attacks", [ATTACKS, *drawn["attacks"], *_attack_tables(summary)]),
            Section("Learning", [*(_learning(summary) or ["No training is recorded yet."]), *drawn["learning"]]),
            Section("Diagnostics", [*_diagnostics(summary), *drawn["diagnostics"]]),
            Section("Cost", _cost(summary) or ["Not counted yet."]),
            Section("Arrays", [*_weights(run), *drawn["arrays"]]),
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
    return (
        f"How do accuracy and robustness of {model}, trained by equilibrium propagation on {data}, change on "
        f"{summary['device'] or 'the device'}{what}?"
    )


def _of(row: Record) -> Interval:
    return Interval.from_record(row)


def _difference(row: Record | None) -> Interval | None:
    return Interval.from_record(row["difference"]) if row and row["difference"] else None


def _perturbed(summary: Record, case: str) -> list[tuple[str, Interval]]:
    """Each perturbation of a case at its middle level, with the difference to the reference."""
    columns = [(name, level, unit) for name, level, unit in _columns(summary) if unit]
    found = [(described(*each), _difference(accuracy_of(summary, case, *each[:2]))) for each in columns]
    return [(name, difference) for name, difference in found if difference]


def _answer(summary: Record) -> Iterator[str]:
    """The clean accuracy, and the largest loss and gain under perturbations, against the reference."""
    reference = summary["reference"]
    clean = {row["case"]: _of(row) for row in summary["accuracy"] if row["condition"] == "clean"}
    apart = {r["case"]: d for r in summary["accuracy"] if r["condition"] == "clean" and (d := _difference(r))}
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
    difference, reference = _difference(row), summary["reference"]
    if difference is None:
        yield f"{_of(row).percent_with_range} of the clean test images."
        return
    resolved = "" if difference.excludes_zero else " (not resolved)"
    apart = f"{difference.points} points to {reference}{resolved}"
    yield f"{_of(row).percent_with_range} of the clean test images, {apart}."
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


def _columns(summary: Record) -> list[Level]:
    """The columns of the main table: each condition at its middle level."""
    return [(c["name"], middle_level(c), c["level_unit"]) for c in summary["conditions"]]


def _accuracy_tables(summary: Record, flagged: Counter[str]) -> list[Item]:
    columns = _columns(summary)
    if not summary["accuracy"]:
        return []

    def named(case: str) -> Cell:
        count = flagged[case]
        return case, f"{count} warning{'s' * (count > 1)}" if count else ""

    def head(kind: Literal["number", "points"]) -> list[Column | str]:
        below = [f"{unit} {level:g}" if unit else "test images" for _, level, unit in columns]
        return ["case", *(Column(name, kind, small) for (name, _, _), small in zip(columns, below, strict=True))]

    found = {case: [accuracy_of(summary, case, name, level) for name, level, _ in columns] for case in summary["cases"]}
    guessing = f" Guessing gives {percent(summary['chance'])}." if summary["chance"] else ""
    caption = f"Test accuracy, with its 95 % interval below; each perturbation at its middle level.{guessing}"
    rows = [[named(case), *(row and _of(row) for row in own)] for case, own in found.items()]
    tables: list[Item] = [Table("accuracy", caption, head("number"), rows)]
    others = [[case, *map(_difference, own)] for case, own in found.items() if case != summary["reference"]]
    if others:
        caption = f"Difference to {summary['reference']} on the same images, in points, with its 95 % interval below."
        tables.append(Table("difference", caption, head("points"), others))
    return tables


def _all_accuracies(summary: Record) -> list[Item]:
    if not summary["accuracy"]:
        return []
    caption = (
        "Every case and condition, over its repeats. Unsettled: share of images still moving when read; at the noise "
        "floor: moving by what read noise moves them."
    )
    columns = ["case", Column("condition", "words"), "accuracy", "repeats", "draws", "unsettled", "at the noise floor"]
    rows = [
        [
            row["case"],
            described(row["condition"], row["level"], row["level_unit"]),
            _of(row),
            *(str(row[key]) for key in ("repeats", "draws")),
            *(percent(row[key]) for key in ("unsettled_share", "noise_floor_share")),
        ]
        for row in summary["accuracy"]
    ]
    return [Fold(f"All {len(rows)} accuracies", [Table("accuracies", caption, columns, rows)])]


def _attack_tables(summary: Record) -> list[Item]:
    attacked = summary["attacks"]
    if not attacked:
        return []
    rows = [
        [
            row["case"],
            str(row["repeat"] + 1),
            row["condition"],
            *(_of(row[key]) for key in ("clean", "worst", "reported")),
            ", ".join(row["flags"]) or ("none" if row["checked"] else "not checked"),
        ]
        for row in attacked
    ]
    caption = (
        "Accuracy over all images, with its 95 % interval below. Report the last: the lowest of attacks and checks."
    )
    head: list[Column | str] = ["case", "repeat", "budget", "clean", "worst over attacks", "to report"]
    one = attacked[0]
    return [
        Table("attacks", caption, [*head, Column("failed checks", "words")], rows),
        Bullets(list(dict.fromkeys(caveat for row in attacked for caveat in row["caveats"]))),
        f"Attacks of the card's evaluation.attack ({one['attack']}, {one['images']} images). The result of each image "
        "and every check in words are in attacks/.",
    ]


def _learning(summary: Record) -> list[Item]:
    if not summary["learning"]:
        return []
    columns = [
        *("case", "repeats", "epochs", "training accuracy", "validation accuracy"),
        *("cost", "unsettled", "seconds a repeat"),
    ]
    rows = [
        [
            row["case"],
            *(str(row[key]) for key in ("repeats", "epochs")),
            *(percent(row[key]) for key in ("accuracy_train", "accuracy_validation")),
            number(row["cost"]),
            percent(row["unsettled_share"]),
            number(row["seconds_per_repeat"]),
        ]
        for row in summary["learning"]
    ]
    return [Table("learning", "Last epoch of each training, means over its repeats.", columns, rows)]


def _diagnostics(summary: Record) -> list[Item]:
    made: list[Item] = []
    if summary["diagnostics"]:
        caption = (
            "Every array. Tiles: physical arrays that hold it, and the share of their cross-points in use; float has "
            "none. Pulses: expected number for a cross-point and sample in the epoch with most of them, and the length "
            "of one train. Clipped: cross-points within 1 % of their bound. Saturated: conversions at the converter's "
            "bound."
        )
        columns = [
            *("case", Column("array", "words"), "outputs × inputs", "tiles", "in use", "pulses, mean"),
            *("pulses, largest", "train length", "clipped", "saturated"),
        ]
        made.append(Table("diagnostics", caption, columns, [_array(row) for row in summary["diagnostics"]]))
    if summary["relaxation"]:
        caption = (
            "Relaxation from rest. Settled: no unit moves by more than the tolerance in a step. Noise floor: units "
            "move by no more than read noise moves them. Steps: until the last larger move, mean over settled examples."
        )
        columns = [
            *("case", "steps to settle", "not settled", "at the noise floor"),
            *("tolerance", "mean residual at the end"),
        ]
        rows = [
            [
                row["case"],
                number(row["steps_mean"]),
                *(percent(row[key]) for key in ("unsettled_share", "noise_floor_share")),
                *(number(row[key]) for key in ("tolerance", "residual_end")),
            ]
            for row in summary["relaxation"]
        ]
        made.append(Table("relaxation", caption, columns, rows))
    return made


def _array(row: Record) -> Sequence[Cell]:
    held = [None, None] if row["case"] == REFERENCE else [str(row["tiles"] or 1), percent(row["utilisation"] or 1)]
    pulses = [None] * 3 if row["k_limit"] is None else [number(row[key]) for key in ("k_mean", "k_max", "k_limit")]
    shape = " × ".join(map(str, row["shape"])) if row["shape"] else None
    return [row["case"], row["layer"], shape, *held, *pulses, *(percent(row[f"{k}_share"]) for k in ENDS)]


ENDS = ("clipped", "saturated")


def _cost(summary: Record) -> list[Item]:
    cost = summary["cost"]
    if not cost:
        return []
    caption = (
        f"What the device's arrays do, counted, and its price. Training: the first step, a batch of {cost['batch']}; "
        "it has the most pulses, later errors are smaller."
    )
    columns = ["of all arrays", *(activity["title"] for activity in cost["activities"])]
    rows = [[title, *values] for title, values in cost_rows(cost)]
    assumptions = Fold(f"Assumptions of the prices ({cost['table']})", [Bullets(cost["assumptions"])])
    return [Table("cost", caption, columns, rows), assumptions]


def _weights(run: Run) -> list[Item]:
    names = sorted(path.name for path in (run.folder / "weights").glob("*.safetensors"))
    if not names:
        return ["No weights are saved yet."]
    return ["Weights and conductances of every case and repeat:", Files([(f"weights/{name}", "") for name in names])]
