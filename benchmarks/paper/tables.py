"""The tables of the paper study: models, our figures beside the published ones, corrections, corruptions, protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.robustness.corruptions.corruptions import SEVERITIES
from hwsim.stats.interval import Interval, difference

from .findings import ATTACKS, CAREFUL, PUBLISHED, Findings, StudyModel, apart, common, ends, interval, percent
from .findings import published as published_figures

Cell = tuple[str, str]
Table = dict[str, Any]
NONE: Cell = ("–", "")

SIDES = (PUBLISHED, CAREFUL)

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
        "beside it a matched one, and EP's own network trained by exact gradients",
    ),
    ("Input scaling differs between models", "one normalisation for all of a data set", "the same"),
    ("AdvCNN trained in L2 only, judged in L∞", "AdvCNN trained in L2", "one trained in L∞ beside it"),
    ("Square's scores: softmax for EP, logits for the controls", "scores before any softmax, for all", "the same"),
)
"""The published protocol's weaknesses, and what this study's two protocols do about each."""


def tables(found: Findings) -> list[Table]:
    """All tables that there is something for."""
    made = [_models(found), *_changes(found)]
    for data in found.data:
        for block in ATTACKS:
            made += _attack(found, block, data)
    made += _corruptions(found)
    made += _devices(found)
    rows = [[(a, ""), (b, ""), (c, "")] for a, b, c in WEAKNESSES]
    caption = (
        "The published protocol's weaknesses (from its code) and what the two protocols of this page do about each."
    )
    header = ["weakness", "here, published protocol", "here, careful"]
    made.append({"name": "protocols", "caption": caption, "header": header, "rows": rows, "words": True})
    return made


def _models(found: Findings) -> Table:
    rows: list[list[Cell]] = []
    for data, title in found.data.items():
        for model in found.of(data):
            clean = found.clean(model.name)
            there = published_figures(data, model.published, "clean").get(0.0)
            record = next(iter(clean.records.values()))["columns"] if clean else {}
            ours = clean.interval() if clean else None
            rows.append(
                [
                    (model.name, title),
                    (
                        model.published or "no published counterpart",
                        "published model beside it" if model.published else "",
                    ),
                    (f"{record['weights']:,}", f"sha256 {record['weights_sha256'][:8]}") if record else NONE,
                    (percent(ours.mean), ends(ours)) if ours else NONE,
                    (percent(there.mean), there.basis) if there else ("–", "not stored" if model.published else ""),
                ]
            )
    caption = (
        "The models, each trained once here, and clean test accuracy with its 95 % interval below (over images: no "
        "interval on this page covers another training). The published networks have 3.8 million weights."
    )
    header = ["model", "published model", "weights", "clean, ours", "clean, published"]
    return {"name": "models", "caption": caption, "header": header, "rows": rows}


def _attack(found: Findings, block: str, data: str) -> list[Table]:
    """One attack on the models of one data set: every row says whose figure it is and by which protocol."""
    measure, norm, title = ATTACKS[block]
    levels = _chosen(found, block, data)
    rows: list[list[Cell]] = []
    for model in found.of(data):
        there = published_figures(data, model.published, measure, norm)
        if any(level in there for level in levels):
            rows.append(
                [
                    (model.name, ""),
                    (f"published: {model.published}", "published protocol"),
                    *((percent(there[v].mean), there[v].basis) if v in there else NONE for v in levels),
                ]
            )
        for protocol, by in ((PUBLISHED, "published protocol"), (CAREFUL, "careful protocol")):
            places = [found.place(block, model.name, protocol, level) for level in levels]
            if any(places):
                cells = [_shown(place.interval()) if place else NONE for place in places]
                rows.append([(model.name, ""), ("ours", by), *cells])
        if block == "pgd-linf":
            rows += _worst_row(found, model, levels)
    if not rows:
        return []
    caption = (
        f"{title}, {found.data[data]}: accuracy under attack, with 95 % intervals below ours, runs and images below "
        "published figures. Only rows of the same protocol can be compared, and published networks are larger."
    )
    header = ["model", "whose, by which protocol", *(f"ε = {level:.3g}" for level in levels)]
    return [{"name": f"{block}-{data}", "caption": caption, "header": header, "rows": rows}]


def _worst_row(found: Findings, model: StudyModel, levels: Sequence[float]) -> list[list[Cell]]:
    worst = [found.worst(model.name, level) for level in levels]
    if not any(worst):
        return []
    cells: list[Cell] = []
    for one in worst:
        mean, ends_of = _shown(interval(one[0])) if one else NONE
        cells.append((mean, f"{ends_of}, {one[0].shape[1]} images" if one else ""))
    return [[(model.name, ""), ("ours", "careful: worst of PGD, ensemble, Square"), *cells]]


def _chosen(found: Findings, block: str, data: str) -> list[float]:
    names = [model.name for model in found.of(data)]
    every = [v for v in found.levels(block) if any(found.place(block, n, p, v) for n in names for p in SIDES)]
    if len(every) <= MOST_LEVELS:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, MOST_LEVELS).round().astype(int)]


def _shown(found: Interval) -> Cell:
    return percent(found.mean), ends(found)


def _changes(found: Findings) -> list[Table]:
    """What care changes: paired differences, careful less published protocol, at each attack's middle budget."""
    rows: list[list[Cell]] = []
    levels = {block: middle(found, block) for block in ATTACKS}
    shown = [block for block, level in levels.items() if level is not None]
    for data in found.data:
        for model in found.of(data):
            cells: list[Cell] = []
            for block in shown:
                pair = [found.place(block, model.name, protocol, levels[block]) for protocol in (CAREFUL, PUBLISHED)]
                cells.append(_signed(apart(pair[0], pair[1])) if pair[0] and pair[1] else NONE)
            if any(cell is not NONE for cell in cells):
                rows.append([(model.name, ""), (found.data[data], ""), *cells])
    if not rows:
        return []
    caption = (
        "What care changes: accuracy by the careful protocol less accuracy by the published one, in points, on the "
        "same images, with 95 % intervals below."
    )
    header = ["model", "images", *(f"{ATTACKS[block][2]}, ε = {levels[block]:.3g}" for block in shown)]
    return [{"name": "changes", "caption": caption, "header": header, "rows": rows}]


def middle(found: Findings, block: str) -> float | None:
    """The measured budget at which the published EP-CNN keeps nearest to half of the images."""
    measure, norm, _ = ATTACKS[block]
    levels = found.levels(block)
    there = published_figures("cifar10", "EP-CNN", measure, norm)
    known = [level for level in levels if level in there]
    if known:
        return min(known, key=lambda level: abs(there[level].mean - 0.5))
    return levels[len(levels) // 2] if levels else None


def _signed(found: Interval) -> Cell:
    low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in (found.low, found.high))
    return f"{100 * found.mean:+.1f}".replace("-", "−"), f"{low} to {high}"


def corruption_mean(found: Findings, model: str) -> tuple[Interval, Interval | None, float | None, int] | None:
    """(accuracy over types and severities, loss against clean, the published mean over the same types, types)."""
    kinds = found.levels("corruptions")
    places = {kind: p for kind in kinds if (p := found.place("corruptions", model, None, kind)) is not None}
    if not places or len(places) < len(kinds):
        return None
    clean = found.clean(model)
    shares = common(list(places.values()))
    mean = np.mean(shares, axis=0)
    loss = None
    if clean is not None:
        both = common([clean, next(iter(places.values()))])[0]
        images = min(both.shape[1], mean.shape[1])
        loss = difference(mean[:1, :images], both[:1, :images])
    known = found.models[model]
    there = [published_figures(known.data, known.published, "corruption", kind) for kind in kinds]
    complete = all(len(figures) == len(SEVERITIES) for figures in there)
    beside = float(np.mean([f.mean for figures in there for f in figures.values()])) if complete else None
    return interval(mean), loss, beside, len(kinds)


def _corruptions(found: Findings) -> list[Table]:
    rows: list[list[Cell]] = []
    count = 0
    for data in found.data:
        for model in found.of(data):
            known = corruption_mean(found, model.name)
            if known is None:
                continue
            ours, loss, beside, count = known
            rows.append(
                [
                    (model.name, ""),
                    (found.data[data], ""),
                    _shown(ours),
                    _signed(loss) if loss else NONE,
                    (percent(beside), "published") if beside is not None else NONE,
                ]
            )
    if not rows:
        return []
    caption = (
        f"Natural corruptions: mean accuracy over {count} types and 5 severities, with 95 % intervals over images; "
        "what they cost against the clean images; and the published mean over the same types. They know no attacker: "
        "both protocols are one here, and the published images are CIFAR-10-C's own."
    )
    header = ["model", "images", "corrupted, ours", "less clean, points", "corrupted, published"]
    return [{"name": "corruptions", "caption": caption, "header": header, "rows": rows}]


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
                cells.append(_shown(place.interval(column)))
                if place is exact or exact is None:
                    cells.append(NONE)
                else:
                    cells.append(_signed(apart(place, exact, column)))
            rows.append([("float" if device == "ideal" else str(device), ""), (name, ""), *cells])
    if not rows:
        return []
    caption = (
        "Devices and models: weights trained in float, programmed onto arrays of devices of the shelf, judged clean "
        "and under PGD that knows what the arrays hold but not their read noise (careful; L∞, ε = 0.01). Differences "
        "to float are paired, in points. What is lost clean is lost under attack, too: see the study ideal-vs-analog."
    )
    header = ["device", "model", "clean", "clean, less float", "attacked", "attacked, less float"]
    return [{"name": "devices", "caption": caption, "header": header, "rows": rows}]
