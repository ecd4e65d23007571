"""The page of an ablation: which property limits the device, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml
from rich.table import Table

from hwsim.experiments.ablation.job import Ablation
from hwsim.experiments.ablation.results import Results, verdict
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import write_text
from hwsim.reports.page import inline, render
from hwsim.reports.plotting import COLOURS, PERCENT, STYLE, Drawn, panels, write_figure
from hwsim.stats.interval import Interval

FILES = {
    "ablation.csv": "a property a row, with all intervals",
    "ablation.jsonl": "the raw records, hits of every test image included",
    "config.yaml": "the resolved configuration",
    "receipt.json": "versions, seeds and streams",
}


def write_ablation_page(ablation: Ablation, found: Results) -> Path:
    """Draw the bars and write ``report.html`` into the ablation's folder. WorkError where the disk refuses."""
    run, folder = ablation.run, ablation.folder
    receipt = read_json(folder / "receipt.json")
    with matplotlib.rc_context(STYLE):
        figure = write_figure(chart(found, run.device.name), folder / "figures")
    cells = found.repeats * len(ablation.work())
    trained = "trained on its own devices" if ablation.case == "in-situ" else "programmed with weights trained in float"
    text = render(
        "study.html.j2",
        job="ablate",
        title=f"{run.model.name} on {run.device.name}: ablation, {ablation.case}",
        question=f"Which property of {run.device.name} limits {run.model.name}, {trained}, and what does each cost?",
        answers=[verdict(found)],
        certainty=(
            f"95 % intervals over {found.repeats} training{'s' * (found.repeats > 1)} a variant and {found.images} "
            "test images. Variants are paired: the same images, initial weights, devices and noise. Where properties "
            "act on each other a cost alone differs from that among the others, and costs need not add up."
        ),
        warnings=[
            f"{cost.name}: {cost.diverged} trainings of its variants diverged and count as classifying nothing."
            for cost in found.costs
            if cost.diverged
        ],
        tables=[_table(found)],
        figures=[(figure, inline(figure))],
        failures=[],
        done=cells,
        of=cells,
        scope="",
        figures_first=False,
        command=ablation.command,
        versions=receipt.get("versions", {}),
        git=receipt.get("git"),
        study=yaml.safe_dump(ablation.resolved, sort_keys=False, allow_unicode=True),
        files=[(name, what) for name, what in FILES.items() if (folder / name).exists()],
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _table(found: Results) -> dict[str, Any]:
    rows = []
    for cost in found.costs:
        accuracies = ((span.percent, span.percent_range) for span in (cost.accuracy_only, cost.accuracy_without))
        rows.append([(cost.name, ""), _change(cost.alone), _change(cost.gained), *accuracies])
    caption = (
        f"Points of accuracy, with the 95 % interval below; {found.all_on.percent} as it is, "
        f"{found.all_off.percent} with everything off. Alone: lost to this property with all others off. Gained: "
        "by leaving it out with all others on."
    )
    header = ["property", "costs alone", "gained without it", "accuracy with it alone", "accuracy without it"]
    return {"name": "costs", "caption": caption, "header": header, "rows": rows, "text": 1}


def _change(change: Interval) -> tuple[str, str]:
    return change.points, change.points_range


def table(found: Results) -> Table:
    """The costs for the terminal, in points of accuracy."""
    title = f"{found.repeats} trainings a variant, {found.images} test images, 95 % intervals"
    shown = Table("property", "costs alone", "gained without it", title=title, box=None, pad_edge=False)
    for cost in found.costs:
        note = f" ({cost.diverged} diverged)" if cost.diverged else ""
        shown.add_row(cost.name + note, _told(cost.alone), _told(cost.gained))
    shown.add_section()
    shown.add_row("as it is", found.all_on.percent, "")
    shown.add_row("everything off", found.all_off.percent, "")
    return shown


def _told(change: Interval) -> str:
    return f"{change.points} ({change.points_range})"


def chart(found: Results, name: str) -> Drawn:
    """A pair of bars a property: what it costs alone, and what leaving it out gains; call it under ``STYLE``."""
    canvas, (ax,) = panels(1, 1, 0.9 + 0.36 * len(found.costs))
    places = np.arange(len(found.costs))[::-1]
    bars: Sequence[tuple[str, float, str, list[Interval]]] = (
        ("costs alone, all others off", 0.18, "///", [cost.alone for cost in found.costs]),
        ("gained without it, all others on", -0.18, "", [cost.gained for cost in found.costs]),
    )
    for (label, shift, hatch, spans), colour in zip(bars, COLOURS, strict=False):
        means = np.array([span.mean for span in spans])
        errors = np.abs(np.array([[s.low for s in spans], [s.high for s in spans]]) - means)
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
        ax.barh(places + shift, means, 0.34, xerr=errors, error_kw={"capsize": 2, "elinewidth": 1.2}, **style)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, [cost.name for cost in found.costs])
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("accuracy lost to the property (95 % intervals)")
    ax.grid(False, axis="y")
    canvas.legend(loc="outside lower center", ncols=2)
    title = f"{name}: {found.all_on.percent} as it is, {found.all_off.percent} with everything off"
    told = tuple(
        f"{cost.name}: costs {_told(cost.alone)} points alone; without it {_told(cost.gained)} are gained."
        for cost in found.costs
    )
    caption = "To the right: accuracy that the property costs, by itself and among the others; lines are intervals."
    return Drawn("ablation", "costs", title, caption, told, canvas)
