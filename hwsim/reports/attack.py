"""The page of an attack or of a measurement of corruptions: summary first, checks and caveats where they matter."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import yaml

from hwsim.errors import InputError
from hwsim.experiments.gallery import FILE, read_gallery
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import write_text
from hwsim.reports import gallery
from hwsim.reports.corruption import _corrupt
from hwsim.reports.page import Record, in_cell, in_sentence, inline, render
from hwsim.reports.plotting import PERCENT, STYLE, Drawn, Figure, line_style, panels, write_figure
from hwsim.robustness.threat import parse

FILES = {
    "results.json": "everything on this page as numbers",
    "examples.csv": "an image, attack and chip a row",
    "corruptions.csv": "a corruption and severity a row",
    "metrics.jsonl": "the raw records",
    "config.yaml": "the resolved configuration",
    "receipt.json": "versions, seeds and streams",
    FILE: "the images of the gallery, with their predicted labels",
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
            f"{name}: {in_sentence(reported)} of {results['images']} images are left, {in_sentence(clean)} when clean; "
            f"the lowest found, by {reported['of']}."
        )
        for check in one.get("checks", {}).get("checks", []):
            if not check["passed"]:
                warnings.append(f"{name}: a check failed, so the attack may not show all. {check['told']}")
    tables = [_accuracies(threats), *_checks(threats)]
    drawn = [security(results)]
    kept = read_gallery(job.path / FILE)
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
            rows.append([(_named(one), ""), (name, ""), in_cell(row)])
        rows.append([(_named(one), ""), ("to report", f"by {one['reported']['of']}"), in_cell(one["reported"])])
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


def _named(one: Record) -> str:
    return one["threat"] + (f", {one['age']} after programming" if one.get("age") else "")
