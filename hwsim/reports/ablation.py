"""The page of an ablation: which property limits the device, and what each of them costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import yaml

from hwsim.experiments.ablation.job import Ablation
from hwsim.experiments.ablation.results import Results, chart, verdict
from hwsim.experiments.kinds import read_json
from hwsim.jobs.store import write_text
from hwsim.reports.device_run_figures import write_figure
from hwsim.reports.page import inline, render
from hwsim.reports.plotting import STYLE
from hwsim.stats.interval import Interval

FILES = {
    "ablation.csv": "a property a row, with all intervals",
    "ablation.jsonl": "the raw records, hits of every test image included",
    "config.yaml": "the resolved configuration",
    "receipt.json": "versions, seeds and streams",
}


def write_ablation_page(ablation: Ablation, found: Results) -> Path:
    """Draw the bars and write ``report.html`` into the ablation's folder. WorkError where the disk refuses."""
    job, folder = ablation.job, ablation.folder
    receipt = read_json(folder / "receipt.json")
    with matplotlib.rc_context(STYLE):
        figure = write_figure(chart(found, job.device.name), folder / "figures")
    cells = found.repeats * len(ablation.work())
    trained = "trained on its own devices" if ablation.case == "in-situ" else "programmed with weights trained in float"
    text = render(
        "study.html.j2",
        job="ablate",
        title=f"{job.model.name} on {job.device.name}: ablation, {ablation.case}",
        question=f"Which property of {job.device.name} limits {job.model.name}, {trained}, and what does each cost?",
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
        command=job.command,
        versions=receipt.get("versions", {}),
        git=receipt.get("git"),
        study=yaml.safe_dump(ablation.config, sort_keys=False, allow_unicode=True),
        files=[(name, what) for name, what in FILES.items() if (folder / name).exists()],
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _table(found: Results) -> dict[str, Any]:
    rows = []
    for cost in found.costs:
        accuracies = (_percent(span) for span in (cost.accuracy_only, cost.accuracy_without))
        rows.append([(cost.name, ""), _points(cost.alone), _points(cost.gained), *accuracies])
    caption = (
        f"Points of accuracy, with the 95 % interval below; {_percent(found.all_on)[0]} as it is, "
        f"{_percent(found.all_off)[0]} with everything off. Alone: lost to this property with all others off. Gained: "
        "by leaving it out with all others on."
    )
    header = ["property", "costs alone", "gained without it", "accuracy with it alone", "accuracy without it"]
    return {"name": "costs", "caption": caption, "header": header, "rows": rows, "text": 1}


def _points(span: Interval) -> tuple[str, str]:
    return f"{100 * span.mean:+.1f}", f"{100 * span.low:+.1f} to {100 * span.high:+.1f}"


def _percent(span: Interval) -> tuple[str, str]:
    return f"{100 * span.mean:.1f} %", f"{100 * span.low:.1f} to {100 * span.high:.1f} %"
