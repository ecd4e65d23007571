"""The page that a run leaves behind: one HTML file that needs no network, no scripts and no other file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.table import Table

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.cost import rows as cost_rows
from hwsim.experiments.device_run.results import Record, Run, cell, middle_level, read_run, summarise, summary_of
from hwsim.jobs.store import write_text
from hwsim.reports.device_run_figures import write_figures
from hwsim.reports.page import inline, percent, points, render, span
from hwsim.reports.plotting import Figure

DATA_FILES = {
    "results.csv": "every accuracy, one row a case, condition and level",
    "summary.json": "everything on this page as numbers",
    "metrics.jsonl": "the raw records, hits of every test image included",
    "config.yaml": "the resolved configuration",
    "receipt.json": "versions, seeds and streams",
    "cost.json": "what every array does for an inference and a training step, and its price",
}


def write_report(folder: Path) -> Path:
    """Summarise a run folder, draw its figures and write ``report.html`` into it.

    A run that is not finished gets a page of what is there, and the page says so. Raises InputError where
    the folder is none of a run, WorkError where the disk refuses.
    """
    run, summary = read_run(folder), summarise(folder)
    figures = write_figures(run, summary)
    page = folder / "report.html"
    write_text(page, _page(run, summary, figures))
    return page


def terminal_table(folder: Path) -> Table:
    """The short table for the end of a run: each case on clean images and at every condition's middle level, in %."""
    summary = summary_of(read_run(folder))
    columns = _columns(summary)
    table = Table("case", title=_title(summary), caption=_basis(summary), box=box.SIMPLE_HEAD, show_lines=True)
    table.title_justify = table.caption_justify = "left"
    for condition, level, unit in columns:
        heading = condition.replace("-", " ")  # so that it wraps
        table.add_column(f"{heading}\n{unit} {level:g}" if unit else heading, justify="right", min_width=9)
    for case in summary["cases"]:
        cells = [cell(summary, case, condition, level) for condition, level, _ in columns]
        table.add_row(
            case, *(f"{percent(c['mean'])}\n{100 * c['low']:.1f}–{100 * c['high']:.1f}" if c else "-" for c in cells)
        )
    warnings = sum(found["level"] == "warning" for found in summary["warnings"])
    if warnings:
        table.caption = f"{table.caption}\n{warnings} warning{'s' * (warnings > 1)}, see the report"
    return table


def _page(run: Run, summary: Record, figures: list[Figure]) -> str:
    columns = _columns(summary)
    rows = [(case, [cell(summary, case, name, level) for name, level, _ in columns]) for case in summary["cases"]]
    return render(
        "report.html.j2",
        title=_title(summary),
        question=_question(run, summary),
        verdict=_verdict(summary),
        answers=[_answer(summary, case) for case in summary["cases"]],
        certainty=_basis(summary),
        summary=summary,
        headings=[(name, f"{unit} {level:g}" if unit else "test images") for name, level, unit in columns],
        rows=rows,
        flagged=Counter(found["case"] for found in summary["warnings"] if found["level"] == "warning"),
        described=described,
        costs=cost_rows(summary["cost"]) if summary["cost"] else [],
        figures=[(figure, inline(figure)) for figure in figures],
        receipt=_flat(run.receipt or {}),
        command=(run.receipt or {}).get("command"),
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        files=[(name, what) for name, what in DATA_FILES.items() if (run.folder / name).exists()],
        weights=sorted(path.name for path in (run.folder / "weights").glob("*.safetensors")),
    )


def _title(summary: Record) -> str:
    return f"{summary['model'] or 'model'} on {summary['device'] or 'device'}"


def _question(run: Run, summary: Record) -> str:
    device = run.config.get("device") or {}
    what = f" ({device['summary'].rstrip('.')})" if device.get("summary") else ""
    model, data = summary["model"] or "the model", summary["data"] or "its data"
    text = f"Does {model}, trained by equilibrium propagation on {data}, keep its accuracy and its robustness"
    return f"{text} on {summary['device'] or 'the device'}{what}?"


def _verdict(summary: Record) -> str:
    """The answer in two sentences; a loss or gain is one whose interval leaves out zero."""
    reference = summary["reference"]
    clean = [r for r in summary["accuracy"] if r["condition"] == "clean" and r["difference"]]
    if not clean:
        return "There is nothing to compare yet."
    lost = sorted((r for r in clean if r["difference"]["high"] < 0), key=lambda r: -r["difference"]["mean"])
    if lost:
        who = "every other case" if len(lost) == len(clean) else ", ".join(r["case"] for r in lost)
        ends = [f"{-100 * r['difference']['mean']:.1f} ({r['case']})" for r in (lost[0], lost[-1])]
        loss = f"between {ends[0]} and {ends[1]}" if len(lost) > 1 else ends[0]
        text = f"On clean images {who} {'loses' if who.startswith('every') or len(lost) == 1 else 'lose'} accuracy "
        text += f"against {reference}: {loss} points."
    else:
        least = min(clean, key=lambda r: r["difference"]["mean"])
        text = f"On clean images no case can be told to be below {reference}; the lowest, {least['case']}, is at "
        text += f"{points(least['difference'])}."
    levels = {(name, level) for name, level, unit in _columns(summary) if unit}
    perturbed = [
        r["difference"] for r in summary["accuracy"] if (r["condition"], r["level"]) in levels and r["difference"]
    ]
    if perturbed:
        below, above = sum(d["high"] < 0 for d in perturbed), sum(d["low"] > 0 for d in perturbed)
        text += f" Under perturbations at their middle level, {below} of {len(perturbed)} comparisons fall below "
        text += f"{reference}, {above} above, and {len(perturbed) - below - above} are undecided."
    return text


def _answer(summary: Record, case: str) -> str:
    """A case in a sentence or two, from the intervals: how accurate, how far from the reference, and where most."""
    clean = next((r for r in summary["accuracy"] if (r["case"], r["condition"]) == (case, "clean")), None)
    if clean is None:
        return "not measured on clean images yet."
    text = f"{percent(clean['mean'])} of the clean test images ({span(clean)})"
    reference = summary["reference"]
    if clean["difference"] is None:
        return f"{text}."
    text += f", {_apart(clean['difference'], reference)}."
    others = [cell(summary, case, name, level) for name, level, unit in _columns(summary) if unit]
    compared = [c for c in others if c and c["difference"]]
    if compared:
        worst = min(compared, key=lambda c: c["difference"]["mean"])
        where = described(worst["condition"], worst["level"], worst["level_unit"])
        text += f" Its worst middle level is {where}: {points(worst['difference'])}."
    return text


def _apart(difference: Record, reference: str) -> str:
    if difference["low"] <= 0 <= difference["high"]:
        return f"not distinguishable from {reference} ({points(difference)})"
    return f"{'above' if difference['mean'] > 0 else 'below'} {reference} ({points(difference)})"


def _basis(summary: Record) -> str:
    rows = summary["accuracy"]
    if not rows:
        return "Nothing is measured yet."
    repeats, draws = max(r["repeats"] for r in rows), max(r["draws"] for r in rows)
    several = f"{repeats} repeats (own training, devices and read noise)" if repeats > 1 else "images only, one repeat"
    text = f"Means and 95 % intervals over {several}, {max(r['images'] for r in rows)} test images"
    return f"{text}{f', {draws} draws of read noise each' if draws > 1 else ''}."


def _columns(summary: Record) -> list[tuple[str, float, str]]:
    """(condition, level, unit) of the main table: each condition at its middle level."""
    return [(c["name"], middle_level(c), c["level_unit"]) for c in summary["conditions"]]


def _flat(receipt: Record) -> list[tuple[str, str]]:
    rows = []
    for key, value in receipt.items():
        if isinstance(value, dict):
            rows += [(f"{key}: {name}", _words(inner)) for name, inner in value.items()]
        elif key != "command":
            rows.append((key, _words(value)))
    return rows


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)
