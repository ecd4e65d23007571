"""The page of an attack or of a measurement of corruptions: summary first, checks and caveats where they matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml

from hwsim.errors import InputError
from hwsim.experiments.kinds import JobFolder, read_folder, read_json
from hwsim.jobs.store import write_text
from hwsim.reports import gallery
from hwsim.reports.device_run_figures import Figure, write_figure
from hwsim.reports.page import inline, render
from hwsim.reports.plotting import PERCENT, STYLE, Drawn, line_style, panels
from hwsim.robustness.threat import parse

Record = dict[str, Any]
Cell = tuple[str, str]

FILES = {
    "results.json": "everything on this page as numbers",
    "examples.csv": "an image, attack and chip a row",
    "corruptions.csv": "a corruption and severity a row",
    "metrics.jsonl": "the raw records",
    "config.yaml": "the resolved configuration",
    "receipt.json": "versions, seeds and streams",
    gallery.FILE: "the images of the gallery, with their predicted labels",
}


def write_attack_page(folder: Path) -> Path:
    """Draw the figures of a folder of ``hwsim attack`` or ``hwsim corrupt`` and write its ``report.html``.

    Raises InputError where the folder is of something else, or has no results yet; WorkError where the disk refuses.
    """
    job = read_folder(folder)
    results = read_json(folder / "results.json")
    if job.kind not in ("attack", "corrupt") or not results:
        raise InputError(f"{folder}: holds no results of hwsim attack or corrupt; its command goes on with it")
    with matplotlib.rc_context(STYLE):
        content, drawn = (_attack if job.kind == "attack" else _corrupt)(job, results)
        figures = [write_figure(each, folder / "figures") for each in drawn]
    page = folder / "report.html"
    write_text(page, _page(job, results, content, figures))
    return page


def _page(job: JobFolder, results: Record, content: Record, figures: list[Figure]) -> str:
    cells = content.pop("cells")
    return render(
        "study.html.j2",
        job=job.kind,
        title=f"{results['model']} on {results['device']}: {job.kind}",
        done=cells,
        of=cells,
        figures=[(figure, inline(figure)) for figure in figures],
        failures=[],
        command=job.receipt.get("command", "unknown"),
        versions=job.receipt.get("versions", {}),
        git=job.receipt.get("git"),
        study=yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True),
        files=[(name, what) for name, what in FILES.items() if (job.path / name).exists()],
        scope="",
        figures_first=False,
        **content,
    )


def _attack(job: JobFolder, results: Record) -> tuple[Record, list[Drawn]]:
    threats = results["threats"]
    answers, warnings = [], []
    for one in threats:
        name, clean, reported = _named(one), one["clean"], one["reported"]
        answers.append(
            f"{name}: {_percent(reported)} of {results['images']} images are left, {_percent(clean)} when clean; "
            f"the lowest found, by {reported['of']}."
        )
        for check in one.get("checks", {}).get("checks", []):
            if not check["passed"]:
                warnings.append(f"{name}: a check failed, so the attack may not show all. {check['told']}")
    tables = [_accuracies(threats), *_checks(threats)]
    drawn = [security(results)]
    kept = gallery.read_gallery(job.path / gallery.FILE)
    if kept is not None:
        drawn.append(gallery.draw(kept))
    content: Record = {"answers": answers, "warnings": warnings, "tables": tables, "cells": len(threats)}
    content["question"] = (
        f"How many images does {results['model']} on {results['device']} still classify rightly when somebody who "
        f"knows {_KNOWN.get(results['knows'], results['knows'])} changes them within a budget?"
    )
    content["certainty"] = " ".join(["95 % intervals.", *results["caveats"]])
    return content, drawn


_KNOWN = {
    "nothing": "nothing but its answers",
    "conductances": "what its arrays hold",
    "device": "the chip and its noise",
    "float-weights": "the weights before programming",
}


def _accuracies(threats: list[Record]) -> Record:
    rows = []
    for one in threats:
        for name, row in [("clean", one["clean"]), *one["attacks"].items(), ("worst for each image", one["worst"])]:
            rows.append([(_named(one), ""), (name, ""), _cell(row)])
        rows.append([(_named(one), ""), ("to report", f"by {one['reported']['of']}"), _cell(one["reported"])])
    caption = (
        "Accuracy over all images, with its 95 % interval below. Worst: the least over the attacks, image by image."
    )
    return {"name": "accuracies", "caption": caption, "header": ["threat", "attack", "accuracy"], "rows": rows}


def _checks(threats: list[Record]) -> list[Record]:
    rows = [
        [(_named(one), ""), (check["name"], ""), ("ok" if check["passed"] else "FAILED", ""), (check["told"], "")]
        for one in threats
        for check in one.get("checks", {}).get("checks", [])
    ]
    caption = "Checks that unmask an attack which only seems to fail."
    header = ["threat", "check", "verdict", "found"]
    return [{"name": "checks", "caption": caption, "header": header, "rows": rows, "words": True}] if rows else []


def security(results: Record) -> Drawn:
    """The security curve: accuracy against the budget, a panel a norm and age, every line with its 95 % band."""
    parsed = [(parse(one["threat"]), one) for one in results["threats"]]
    threats = [(threat.norm, threat.epsilon, one) for threat, one in parsed]
    kinds = list(dict.fromkeys((norm, one["age"]) for norm, _, one in threats))
    canvas, axes = panels(len(kinds), 2, 3.4)
    told = []
    for ax, (norm, age) in zip(axes, kinds, strict=True):
        ordered = sorted(threats, key=lambda threat: threat[1])
        own = [(budget, one) for n, budget, one in ordered if (n, one["age"]) == (norm, age)]
        budgets = np.array([0.0, *(budget for budget, _ in own)])
        names = list(dict.fromkeys(name for _, one in own for name in one["attacks"]))
        for i, name in enumerate((*names, "worst for each image")):
            rows = [own[0][1]["clean"], *(one["attacks"].get(name, one["worst"]) for _, one in own)]
            mean, low, high = (np.array([row[key] for row in rows]) for key in ("mean", "low", "high"))
            style = line_style(i)
            ax.plot(budgets, mean, label=name, **style)
            ax.fill_between(budgets, low, high, color=style["color"], alpha=0.12, linewidth=0)
            points = "; ".join(
                f"{b:g}: {row['mean']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
                for b, row in zip(budgets, rows, strict=True)
            )
            told.append(f"{norm}{f', {age} old' if age else ''}, {name}, by budget: {points}.")
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(PERCENT)
        unit = "changed pixels" if norm == "l0" else "pixel units"
        ax.set(title=norm + (f", {age} old" if age else ""), xlabel=f"budget ε ({unit})")
    axes[0].set_ylabel("accuracy, all images")
    axes[0].legend(loc="lower left", fontsize=8)
    last = threats[-1][2]
    title = f"Accuracy against the budget: {100 * last['worst']['mean']:.1f} % left at {last['threat']}"
    caption = "Lines are means over all images, bands 95 % intervals; budget 0 is the clean test set."
    return Drawn("security", "attacks", title, caption, tuple(told), canvas)


def _corrupt(job: JobFolder, results: Record) -> tuple[Record, list[Drawn]]:
    rows = [row for row in results["rows"] if row["case"] == "model"]
    clean = next(row for row in rows if row["kind"] == "clean")
    answers = [f"Clean: {_percent(clean)}."]
    answers += [
        f"Mean over {means['types']} {means['over']}: {100 * means['accuracy']:.1f} %." for means in results["means"]
    ]
    types = list(dict.fromkeys(row["name"] for row in rows if row["kind"] == "corruption"))
    table_rows = []
    for name in types:
        own = {row["level"]: row for row in rows if row["name"] == name}
        table_rows.append([(name, ""), *(_cell(own[level]) for level in results["severities"])])
    header = ["corruption", *(f"severity {level}" for level in results["severities"])]
    caption = "Accuracy by type and severity, with its 95 % interval below."
    table = {"name": "corruptions", "caption": caption, "header": header, "rows": table_rows}
    content: Record = {"answers": answers, "warnings": [], "tables": [table], "cells": len(results["rows"])}
    content["question"] = f"What do natural corruptions leave of {results['model']} on {results['device']}?"
    content["certainty"] = " ".join(["95 % intervals.", *results["caveats"]])
    return content, [heat_map(rows, types, results["severities"])]


def heat_map(rows: list[Record], types: list[str], severities: list[int]) -> Drawn:
    """Accuracy by type and severity of corruption, the figure written in every cell."""
    at = {(row["name"], row["level"]): row for row in rows}
    shares = np.array([[at[name, level]["mean"] for level in severities] for name in types])
    canvas, (ax,) = panels(1, 1, 0.3 * len(types) + 0.9)
    drawn = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        ax.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color="black" if share > 0.55 else "white")
    ax.set_xticks(range(len(severities)), [str(level) for level in severities])
    ax.set_yticks(range(len(types)), types)
    ax.grid(False)
    ax.set(xlabel="severity")
    canvas.colorbar(drawn, ax=ax, label="accuracy", format=PERCENT)
    told = tuple(
        f"{name}, by severity: " + "; ".join(f"{level}: {at[name, level]['mean']:.1%}" for level in severities) + "."
        for name in types
    )
    worst = min((row for row in rows if row["kind"] == "corruption"), key=lambda row: row["mean"])
    title = f"Accuracy under corruptions: lowest under {worst['name']} {worst['level']:g}, {100 * worst['mean']:.1f} %"
    return Drawn("heat-map", "accuracy", title, "Accuracy in % in every cell.", told, canvas)


def _named(one: Record) -> str:
    return one["threat"] + (f", {one['age']} after programming" if one.get("age") else "")


def _percent(row: Record) -> str:
    return f"{100 * row['mean']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _cell(row: Record) -> Cell:
    return f"{100 * row['mean']:.1f} %", f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
