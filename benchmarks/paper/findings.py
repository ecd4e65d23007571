"""Published figures, and ours by model, protocol and budget, as the page of the paper study needs them.

``published.csv`` holds those figures of Mansingh et al. (arXiv 2401.11543; results stored with its code, lanl/AdvEP,
commit 259a055) that the page shows: means over runs, in percent, of EP-CNN (gradients through 70 steps), BaselineCNN,
AdvCNN trained at L2 0.5, and ViT (patch 4, augmented).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.experiments.sweep.results import CLEAN, Place, Results
from hwsim.robustness.corruptions.corruptions import SEVERITIES
from hwsim.stats.interval import Interval, accuracy, difference

ATTACKS = {
    "pgd-linf": ("pgd", "linf", "PGD, L∞"),
    "pgd-l2": ("pgd", "l2", "PGD, L2"),
    "autoattack": ("autoattack", "linf", "AutoAttack's ensemble, L∞"),
    "square": ("square", "linf", "Square (queries only), L∞"),
}
"""Block of the study -> measure, norm and title."""

DATA = {"cifar10": "CIFAR\u201110", "cifar100": "CIFAR\u2011100"}  # hyphens that do not break

LINF = ("pgd-linf", "autoattack", "square")
PUBLISHED, MENDED = "published", "mended"


@dataclass(frozen=True)
class Published:
    """A published accuracy, in shares, with the number of runs and the images of each."""

    mean: float
    runs: str
    images: str

    @property
    def basis(self) -> str:
        images = f", {self.images.rstrip('?')} images" if self.images else ""
        return f"{self.runs} run{'s' if self.runs != '1' else ''}{images}"


@functools.lru_cache(maxsize=1)
def _table() -> dict[tuple[str, str, str, str], dict[float, Published]]:
    text = (Path(__file__).parent / "published.csv").read_text(encoding="utf-8")
    found: dict[tuple[str, str, str, str], dict[float, Published]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = row["data"], row["model"], row["measure"], row["norm_or_type"]
        figure = Published(float(row["accuracy_percent"]) / 100, row["runs"], row["images"])
        found.setdefault(key, {})[float(row["level"])] = figure
    return found


def published(data: str, model: str | None, measure: str, norm_or_type: str = "") -> dict[float, Published]:
    """Published accuracies by budget or severity, by 0 for clean images; nothing where none were published."""
    return _table().get((data, model or "", measure, norm_or_type), {})


@dataclass(frozen=True)
class StudyModel:
    """A model of the study: its name there, its data, and the published model that it stands beside."""

    name: str
    data: str
    published: str | None


class Findings:
    """A sweep's places by block, model, protocol and budget; what failed or was not run is not there."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.models: dict[str, StudyModel] = {}
        self._places: dict[tuple[str, str, Any, Any], Place] = {}
        for block, places in results.places.items():
            for place in places:
                if not place.records:
                    continue
                axes, columns = place.axes, next(iter(place.records.values()))["columns"]
                name = str(axes["model"])
                self.models.setdefault(name, StudyModel(name, columns["data"], columns["published"]))
                level = next((axes[axis] for axis in ("epsilon", "type", "device") if axis in axes), None)
                self._places[block, name, axes.get("protocol"), level] = place

    def place(self, block: str, model: str, protocol: str | None = None, level: Any = None) -> Place | None:
        return self._places.get((block, model, protocol, level))

    def levels(self, block: str) -> list[Any]:
        """Budgets, types of corruption or devices that anything was measured at."""
        found = dict.fromkeys(level for name, _, _, level in self._places if name == block)
        return sorted(found) if all(isinstance(level, int | float) for level in found) else list(found)

    @property
    def data(self) -> dict[str, str]:
        """Data sets that models were judged on, with their names as people write them."""
        used = dict.fromkeys(self.models[name].data for name in self._order() if name in self.models)
        return {data: DATA.get(data, data) for data in used}

    def of(self, data: str) -> list[StudyModel]:
        """Models judged on a data set, in the order of the study."""
        order = [name for name in self._order() if name in self.models]
        return [self.models[name] for name in order if self.models[name].data == data]

    def _order(self) -> list[str]:
        names = (str(p.axes["model"]) for places in self.results.places.values() for p in places if "model" in p.axes)
        return list(dict.fromkeys(names))

    @property
    def missing(self) -> list[str]:
        """Models of which nothing was measured."""
        return [name for name in self._order() if name not in self.models]

    def curve(self, block: str, model: str, protocol: str) -> list[tuple[float, Place]]:
        """(budget, place) along the budgets."""
        found = ((level, self.place(block, model, protocol, level)) for level in self.levels(block))
        return [(level, place) for level, place in found if place is not None]

    def clean(self, model: str) -> Place | None:
        return self.place("clean", model)

    def worst(self, model: str, level: float) -> tuple[NDArray[np.float64], list[str]] | None:
        """(shares (seeds, images) of the worst over the mended attacks in L∞ at a budget, the attacks)."""
        there = {block: p for block in LINF if (p := self.place(block, model, MENDED, level)) is not None}
        if len(there) < 2:
            return None
        shares = common(list(there.values()))
        return np.minimum.reduce(shares), [ATTACKS[block][2].removesuffix(", L∞") for block in there]


def common(places: Sequence[Place], columns: Sequence[str] | None = None) -> list[NDArray[np.float64]]:
    """Shares (seeds, images) of several places, on the seeds and the first images that all of them have.

    What draws nothing has one seed, which then stands beside each seed of the others.
    """
    columns = columns or [CLEAN] * len(places)
    several = [set(place.records) for place in places if len(place.records) > 1]
    seeds = sorted(set.intersection(*several)) if several else None
    found = []
    for place, column in zip(places, columns, strict=True):
        one = len(place.records) == 1
        shares = place.shares(column, None if one or seeds is None else seeds)
        found.append(np.repeat(shares, len(seeds), 0) if one and seeds else shares)
    images = min(shares.shape[1] for shares in found)
    return [shares[:, :images] for shares in found]


def apart(a: Place, b: Place, column: str = CLEAN) -> Interval:
    """Paired difference a - b of two places on the seeds and images that they share."""
    first, second = common([a, b], [column, column])
    return difference(first, second)


def middle(found: Findings, block: str) -> float | None:
    """The measured budget at which the published EP-CNN keeps nearest to half of the images."""
    measure, norm, _ = ATTACKS[block]
    levels = found.levels(block)
    there = published("cifar10", "EP-CNN", measure, norm)
    known = [level for level in levels if level in there]
    if known:
        return min(known, key=lambda level: abs(there[level].mean - 0.5))
    return levels[len(levels) // 2] if levels else None


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
    there = [published(known.data, known.published, "corruption", kind) for kind in kinds]
    complete = all(len(figures) == len(SEVERITIES) for figures in there)
    beside = float(np.mean([f.mean for figures in there for f in figures.values()])) if complete else None
    return accuracy(mean), loss, beside, len(kinds)
