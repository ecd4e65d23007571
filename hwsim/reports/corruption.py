"""The page of a measurement of corruptions: mean accuracies, a heat map by type and severity, and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.experiments.corruption.pictures import read_pictures
from hwsim.experiments.corruption.records import CorruptionResults, Row
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.jobs.records import read_file
from hwsim.reports.page import Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import PERCENT, STYLE, Figure, heat_map, panels
from hwsim.stats.interval import Interval, percent


def write_corruption_page(folder: Path) -> Path:
    """Draw the figures of a folder of ``hwsim corrupt`` and write its ``report.html``.

    Raises InputError where the folder is of something else, or has no results yet; WorkError where the disk refuses.
    """
    job = read_folder(folder)
    results = read_file(folder / "results.json", CorruptionResults)
    if job.kind != "corrupt" or results is None:
        raise InputError(f"{folder}: holds no results of hwsim corrupt; its command goes on with it")
    with matplotlib.rc_context(STYLE):
        return write_page(_page(job, results), folder / "report.html")


def _page(job: JobFolder, results: CorruptionResults) -> Page:
    rows = [row for row in results.rows if row.case == "model"]
    types = list(dict.fromkeys(row.name for row in rows if row.kind == "corruption"))
    pictures = read_pictures(job.path)
    config = yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True)
    answer, *details = _answers(results, rows)
    return Page(
        title=f"{results.model} on {results.device}: corruptions",
        lead=f"hwsim corrupt on {results.data}",
        status=Status(len(results.rows), len(results.rows), "measurement"),
        question=f"Accuracy of {results.model} on {results.device} under natural corruptions.",
        answer=answer,
        details=details,
        certainty=f"Intervals are at 95 %, over {counted(results.images, 'image')}.",
        limits=results.caveats,
        sections=[
            Section("Accuracy", _tables(results, rows, types)),
            *([Section("Images", [picture(pictures, results.severities)])] if pictures else []),
            reproduce(job.path, job.receipt, config),
        ],
    )


def _answers(results: CorruptionResults, rows: Sequence[Row]) -> list[str]:
    clean = next(row for row in rows if row.kind == "clean")
    made = [
        f"mean accuracy over {means.types} {means.over}: {means.interval.percent_with_range}" for means in results.means
    ]
    first = "; ".join([*made, f"on clean images {clean.percent_with_range}"])
    made = [f"{first[0].upper()}{first[1:]}."]
    corrupted = [row for row in rows if row.kind == "corruption"]
    if corrupted:
        worst = min(corrupted, key=lambda row: row.mean)
        where = f"{worst.name}, severity {worst.level:g}"
        made.append(f"Lowest under {where}: {worst.percent_with_range}.")
    others = [row for row in rows if row.kind not in ("clean", "corruption")]
    made += [f"{row.name} {row.level:g}: {row.percent_with_range}." for row in others]
    for means in results.means:
        if means.baseline_accuracy is not None:
            baseline = f"{results.baseline} reaches {percent(means.baseline_accuracy)}"
            made.append(f"{means.over}: {means.ratios}; {baseline}.")
    return made


def _tables(results: CorruptionResults, rows: Sequence[Row], types: Sequence[str]) -> list[Table | Figure]:
    if not types:
        return []
    severities = results.severities
    found = {(row.name, row.level): row for row in rows}
    lines = [[name, *(found[name, level] for level in severities)] for name in types]
    caption = "Accuracy by type and severity, with its 95 % interval below."
    columns = ["corruption", *(f"severity {level}" for level in severities)]
    return [_map(found, types, severities), Table("corruptions", caption, columns, lines)]


def _map(found: Mapping[tuple[str, float], Interval], types: Sequence[str], severities: Sequence[int]) -> Figure:
    canvas, (ax,) = panels(1, 1, 0.3 * len(types) + 0.9)
    shares = np.array([[found[name, level].mean for level in severities] for name in types])
    image = heat_map(ax, shares, types, [str(level) for level in severities])
    ax.set(xlabel="severity")
    canvas.colorbar(image, ax=ax, label="accuracy", format=PERCENT)
    words = [
        f"{name}, by severity: {'; '.join(f'{level}: {found[name, level].percent}' for level in severities)}."
        for name in types
    ]
    (name, level), worst = min(
        ((key, each) for key, each in found.items() if key[0] in types), key=lambda each: each[1].mean
    )
    title = f"Accuracy under corruptions: lowest under {name} {level:g}, {worst.percent}"
    return Figure("heat-map", title, "Accuracy in per cent.", words, canvas)


def picture(pictures: dict[str, NDArray[np.float32]], severities: Sequence[int]) -> Figure:
    """The first test image under every type and severity."""
    heads = ["clean", *map(str, severities)]
    size = (0.62 * len(heads) + 1.7, 0.62 * len(pictures) + 0.4)
    canvas = Canvas(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.01))
    axes = canvas.subplots(len(pictures), len(heads), squeeze=False)
    for row, (name, images) in zip(axes, pictures.items(), strict=True):
        for ax, image in zip(row, images, strict=True):
            shown = image.transpose(1, 2, 0)
            ax.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(visible=False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, head in zip(axes[0], heads, strict=True):
        ax.set_title(head, fontsize=9, loc="center")
    words = []
    for name, images in pictures.items():
        changes = [float(np.abs(image - images[0]).mean()) for image in images[1:]]
        by = "; ".join(f"{severity}: {change:.3f}" for severity, change in zip(severities, changes, strict=True))
        words.append(f"{name}, mean change from the clean image by severity: {by}.")
    caption = "The first test image, clean and at every severity; changes in words are in pixel units."
    return Figure("corruptions", f"The {counted(len(pictures), 'corruption')}", caption, words, canvas)
