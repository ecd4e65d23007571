"""A sweep's folder read back: its study, the records of its points, and the accuracies of a block along its axes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.cards.layers import Layer, build
from hwsim.errors import InputError
from hwsim.experiments.sweep import work as sweep
from hwsim.experiments.sweep.card import BlockConfig, StudyConfig
from hwsim.experiments.sweep.study import read_config
from hwsim.jobs.folder import read_json
from hwsim.jobs.records import read_file
from hwsim.stats.frames import data_frame
from hwsim.stats.interval import Interval, accuracy

Record = dict[str, Any]
CLEAN = "accuracy_share"


@dataclass(frozen=True)
class PlannedPoint:
    """A point of ``sweep.json``."""

    block: str
    axes: Record
    seed: int
    key: str


@dataclass(frozen=True)
class PlanFile:
    """What ``sweep.json`` has to say."""

    name: str
    form: str
    points: list[PlannedPoint]


@dataclass(frozen=True)
class Place:
    """One combination of a block's axes: what its seeds measured, those that failed left out."""

    axes: Record
    records: dict[int, Record]
    missing: int

    def shares(self, column: str = CLEAN, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """(seeds, images) shares of draws in which each image was right."""
        chosen = [self.records[seed]["hits"][column] for seed in (self.records if seeds is None else seeds)]
        return np.array([np.array(each["hits"]) / each["draws"] for each in chosen])

    def interval(self, column: str = CLEAN) -> Interval:
        return accuracy(self.shares(column))


@dataclass(frozen=True)
class Line:
    """The places along one axis, the others held: ``fixed`` says at what. In the order of the study."""

    fixed: Record
    x: list[Any]
    places: list[Place]

    @property
    def name(self) -> str:
        return ", ".join(f"{axis} {value:g}" if _number(value) else f"{value}" for axis, value in self.fixed.items())

    def common_seeds(self) -> list[int]:
        """Seeds that every place has."""
        return sorted(set.intersection(*(set(place.records) for place in self.places)))


@dataclass(frozen=True)
class Results:
    """What a sweep's folder holds."""

    folder: Path
    plan: Record
    config: StudyConfig
    blocks: dict[str, BlockConfig]
    places: dict[str, list[Place]]
    failures: list[tuple[str, Record, int, str]]

    @property
    def finished(self) -> tuple[int, int]:
        """How many points are finished, of how many; those of one key count once."""
        keys = {point["key"] for point in self.plan["points"]}
        return sum((self.folder / sweep.POINTS / f"{key}.json").exists() for key in keys), len(keys)

    @property
    def rows(self) -> list[Record]:
        """A row a point, in the study's order: block, axes, seed, what it measured, seconds, status, reason, key."""
        return sweep.table_rows(self.plan["points"], self.config.units, sweep.Folder(self.folder))

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` of the rows. InputError without pandas."""
        return data_frame(self.rows)

    def lines(self, block: str, x: str) -> list[Line]:
        """A block's places along the axis ``x``, a line for each combination of the others; empty places left out."""
        lines: dict[str, Line] = {}
        for place in self.places[block]:
            fixed = {axis: value for axis, value in place.axes.items() if axis != x}
            line = lines.setdefault(json.dumps(fixed), Line(fixed, [], []))
            if place.records:
                line.x.append(place.axes[x])
                line.places.append(place)
        return [line for line in lines.values() if line.places]


def read_results(folder: Path) -> Results:
    """Read a sweep's folder, finished or not. Raises InputError where it is none."""
    plan_file, study_file = folder / sweep.SWEEP, folder / sweep.STUDY
    if not plan_file.exists() or not study_file.exists():
        raise InputError(f"{folder}: not the folder of a sweep ({sweep.SWEEP} or {sweep.STUDY} is not in it)")
    read_file(plan_file, PlanFile)  # is it whole?
    plan = read_json(plan_file)
    document, config = read_config(study_file)
    used = dict.fromkeys(point["block"] for point in plan["points"])
    blocks = {name: build(BlockConfig, [Layer(document, ("blocks", name))]) for name in used}
    kept = sweep.Folder(folder)
    places: dict[str, dict[str, Place]] = {name: {} for name in blocks}
    failures = []
    for point in plan["points"]:
        block, axes = point["block"], point["axes"]
        place = places[block].get(key := json.dumps(axes)) or Place(axes, {}, 0)
        record = kept.record(point["key"])
        if record is None:
            place = Place(axes, place.records, place.missing + 1)
            if reason := kept.reason(point["key"]):
                failures.append((block, axes, point["seed"], reason))
        else:
            place.records[point["seed"]] = record
            _check_images(folder, place)
        places[block][key] = place
    return Results(folder, plan, config, blocks, {n: list(found.values()) for n, found in places.items()}, failures)


def _check_images(folder: Path, place: Place) -> None:
    """InputError where the seeds of a place were measured on different numbers of images."""
    images: dict[str, set[int]] = {}
    for record in place.records.values():
        for column, measured in record.get("hits", {}).items():
            images.setdefault(column, set()).add(len(measured["hits"]))
    if uneven := [column for column, counts in images.items() if len(counts) > 1]:
        where = ", ".join(f"{axis} {value}" for axis, value in place.axes.items()) or "no axes"
        raise InputError(f"{folder / sweep.POINTS}: {uneven[0]} at {where}: seeds have different numbers of images")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
