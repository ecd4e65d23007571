"""The tables of the paper study: models, our figures beside the published ones, corrections, corruptions, protocols."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.reports.page import Cell, Column, Table
from hwsim.stats.interval import accuracy, percent

from .findings import ATTACKS, MENDED, PUBLISHED, Findings, StudyModel, apart, corruption_mean, middle
from .findings import published as published_figures

SIDES = (PUBLISHED, MENDED)

MOST_LEVELS = 5
"""Budgets that a table shows; all of them are in results.csv."""

WEAKNESSES = (
    ("Images leave [0, 1] under PGD", "as published", "images stay in [0, 1]"),
    ("Attacks go away from predicted labels, and may repair mistakes", "as published", "true labels"),
    (
        "Gradients through fewer steps than a prediction takes",
        "as published (there 70 steps against 250; here measurement.truncated against the card's steps)",
        "the exact (implicit) gradient where the relaxation settles; unsettled shares are counted",
    ),
    ("PGD's last iterate counts; no restarts", "as published", "the best iterate counts; restarts from random points"),
    (
        "AutoAttack without FAB and targeted APGD, five restarts, first step .1",
        "APGD-CE, APGD-DLR, Square; one restart",
        "APGD-CE, targeted APGD, Square, each on what is left; FAB with effort “standard” only",
    ),
    (
        "AutoAttack and Square on one batch of 200 images",
        "a subset, smaller for energy-based models",
        "the same images for all attacks, so that differences are paired; intervals tell what few images cost",
    ),
    ("No test for masked gradients", "–", "queries and the ensemble beside PGD, zero-gradient shares, large budgets"),
    ("EP's checkpoint chosen on test images, the controls' not", "all chosen on validation images", "the same"),
    (
        "Controls differ in BatchNorm, ReLU, epochs and rates",
        "the published control: BatchNorm, ReLU",
        "beside it feed-forward ones of EP's layers with either loss, one that learns by EP and predicts without "
        "feedback, and EP's own network trained by exact gradients",
    ),
    ("Input scaling differs between models", "one normalisation for all of a data set", "the same"),
    ("AdvCNN trained in L2 only, judged in L∞", "AdvCNN trained in L2", "one trained in L∞ beside it"),
    ("Square's scores: softmax for EP, logits for the controls", "scores before any softmax, for all", "the same"),
)
"""The published protocol's weaknesses, and what this study's two protocols do about each."""


def tables(found: Findings) -> list[Table]:
    """All tables that there is something for."""
    attacks = [table for data in found.data for block in ATTACKS for table in _attack(found, block, data)]
    caption = (
        "The published protocol's weaknesses (from its code) and what the two protocols of this page do about each."
    )
    columns = [Column(title, "prose") for title in ("weakness", "here, published protocol", "here, mended")]
    protocols = Table("protocols", caption, columns, WEAKNESSES)
    return [_models(found), *_changes(found), *attacks, *_corruptions(found), *_devices(found), protocols]


def _models(found: Findings) -> Table:
    rows: list[list[Cell]] = []
    for data, title in found.data.items():
        for model in found.of(data):
            clean = found.clean(model.name)
            there = published_figures(data, model.published, "clean").get(0.0)
            record = next(iter(clean.records.values()))["columns"] if clean else {}
            rows.append(
                [
                    (model.name, title),
                    (model.published, "published model beside it") if model.published else "no published counterpart",
                    (f"{record['weights']:,}", f"sha256 {record['weights_sha256'][:8]}") if record else None,
                    clean.interval() if clean else None,
                    (percent(there.mean), there.basis) if there else ("–", "not stored" if model.published else ""),
                ]
            )
    caption = (
        "The models, each trained once here, and clean test accuracy with its 95 % interval below (over images: no "
        "interval on this page covers another training). The published networks have 3.8 million weights."
    )
    columns = ["model", Column("published model", "words"), "weights", "clean, ours", "clean, published"]
    return Table("models", caption, columns, rows)


def _attack(found: Findings, block: str, data: str) -> list[Table]:
    """One attack on the models of one data set: every row says whose figure it is and by which protocol."""
    measure, norm, title = ATTACKS[block]
    levels = _chosen(found, block, data)
    rows: list[list[Cell]] = []
    for model in found.of(data):
        there = published_figures(data, model.published, measure, norm)
        if any(level in there for level in levels):
            beside = [(percent(there[v].mean), there[v].basis) if v in there else None for v in levels]
            rows.append([model.name, (f"published: {model.published}", "published protocol"), *beside])
        for protocol in SIDES:
            places = [found.place(block, model.name, protocol, level) for level in levels]
            if any(places):
                shown = [place.interval() if place else None for place in places]
                rows.append([model.name, ("ours", f"{protocol} protocol"), *shown])
        if block == "pgd-linf":
            rows += _worst_row(found, model, levels)
    if not rows:
        return []
    caption = (
        f"{title}, {found.data[data]}: accuracy under attack, with 95 % intervals below ours, runs and images below "
        "published figures. Only rows of the same protocol can be compared, and published networks are larger."
    )
    columns = ["model", Column("whose, by which protocol", "words"), *(f"ε = {level:.3g}" for level in levels)]
    return [Table(f"{block}-{data}", caption, columns, rows)]


def _worst_row(found: Findings, model: StudyModel, levels: Sequence[float]) -> list[list[Cell]]:
    worst = [found.worst(model.name, level) for level in levels]
    if not any(worst):
        return []
    intervals = [(accuracy(each[0]), each[0].shape[1]) if each else None for each in worst]
    cells = [(i[0].percent, f"{i[0].percent_range}, {i[1]} images") if i else None for i in intervals]
    return [[model.name, ("ours", "mended: worst of PGD, ensemble, Square"), *cells]]


def _chosen(found: Findings, block: str, data: str) -> list[float]:
    names = [model.name for model in found.of(data)]
    every = [v for v in found.levels(block) if any(found.place(block, n, p, v) for n in names for p in SIDES)]
    if len(every) <= MOST_LEVELS:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, MOST_LEVELS).round().astype(int)]


def _changes(found: Findings) -> list[Table]:
    """Paired differences, mended less published protocol, at each attack's middle budget."""
    rows: list[list[Cell]] = []
    levels = {block: middle(found, block) for block in ATTACKS}
    shown = [block for block, level in levels.items() if level is not None]
    for data in found.data:
        for model in found.of(data):
            cells: list[Cell] = []
            for block in shown:
                pair = [found.place(block, model.name, protocol, levels[block]) for protocol in (MENDED, PUBLISHED)]
                cells.append(apart(pair[0], pair[1]) if pair[0] and pair[1] else None)
            if any(cells):
                rows.append([model.name, found.data[data], *cells])
    if not rows:
        return []
    caption = (
        "What mending the protocol changes: accuracy by the mended protocol less that by the published one, in points, "
        "on the same images, with 95 % intervals below."
    )
    columns = [Column(f"{ATTACKS[block][2]}, ε = {levels[block]:.3g}", "points") for block in shown]
    return [Table("changes", caption, ["model", Column("images", "words"), *columns], rows)]


def _corruptions(found: Findings) -> list[Table]:
    known = {
        (model.name, title): mean
        for data, title in found.data.items()
        for model in found.of(data)
        if (mean := corruption_mean(found, model.name))
    }
    if not known:
        return []
    rows = [
        [name, title, ours, loss, None if beside is None else (percent(beside), "published")]
        for (name, title), (ours, loss, beside, _) in known.items()
    ]
    count = next(iter(known.values()))[3]
    caption = (
        f"Natural corruptions: mean accuracy over {count} types and 5 severities, with 95 % intervals over images; "
        "what they cost against the clean images; and the published mean over the same types. They know no attacker: "
        "both protocols are one here, and the published images are CIFAR-10-C's own."
    )
    columns = [
        *("model", Column("images", "words"), "corrupted, ours"),
        *(Column("less clean, points", "points"), "corrupted, published"),
    ]
    return [Table("corruptions", caption, columns, rows)]


def _devices(found: Findings) -> list[Table]:
    """Device and model: clean and attacked on programmed arrays, paired with float."""
    rows: list[list[Cell]] = []
    for name in found.models:
        exact = found.place("programmed", name, None, "ideal")
        for device in found.levels("programmed"):
            place = found.place("programmed", name, None, device)
            if place is None:
                continue
            cells: list[Cell] = []
            for column in ("accuracy_clean_share", "accuracy_share"):
                cells += [place.interval(column), apart(place, exact, column) if exact and exact is not place else None]
            rows.append(["float" if device == "ideal" else str(device), name, *cells])
    if not rows:
        return []
    caption = (
        "Devices and models: weights trained in float, programmed onto arrays of devices of the shelf, evaluated clean "
        "and under white-box PGD (programmed weights known, read noise not; mended; L∞, ε = 0.01). Differences to "
        "float are paired, in points. What is lost clean is lost under attack, too: see the study ideal-vs-analog."
    )
    columns = [
        *("device", Column("model", "words"), "clean", Column("clean, less float", "points")),
        *("attacked", Column("attacked, less float", "points")),
    ]
    return [Table("devices", caption, columns, rows)]
