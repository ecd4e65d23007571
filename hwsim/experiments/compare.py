"""Two jobs' folders side by side: where their configurations differ, and their results, with intervals.

Where both were measured on the same test images the difference is the paired one, image by image, which is surer than
the gap between two intervals; else it is unpaired, by Newcombe's (1998, Stat Med 17:873, method 10) combination of
the two intervals. Every row says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwsim.cards.differences import differences
from hwsim.errors import InputError
from hwsim.experiments.ablation.job import LOG, VariantRecord
from hwsim.experiments.attack.shares import read_shares
from hwsim.experiments.corruption.records import CorruptionRecord
from hwsim.experiments.device_run.records import RUN_RECORDS, AttackRecord, EvaluationRecord
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.experiments.sweep.results import read_results
from hwsim.jobs.folder import read_json
from hwsim.jobs.records import read_records
from hwsim.robustness.corruptions.condition import Condition
from hwsim.stats.interval import Interval, accuracy, difference
from hwsim.stats.paired import mcnemar, unpaired

Shares = NDArray[np.float64]
"""(repeats, images), of draws that were right."""


@dataclass(frozen=True)
class Row:
    """One figure of both; shares in [0, 1]. ``p`` is McNemar's exact two-sided p-value of the votes, if paired.

    ``how``: on what the difference rests.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float | None
    how: str

    @property
    def interval(self) -> Interval:
        """The difference with its interval."""
        return Interval(self.difference, self.low, self.high, self.how)

    @property
    def apart(self) -> bool:
        """Does the interval exclude zero?"""
        return self.interval.excludes_zero

    @property
    def paired(self) -> bool:
        """Does the difference rest on the same images?"""
        return self.how.startswith("paired")


@dataclass(frozen=True)
class Comparison:
    """``configuration`` and ``software``: key path -> both values, None where one has none.

    ``difference`` of every row is first minus second; ``only`` names the figures that one alone has.
    """

    first: JobFolder
    second: JobFolder
    configuration: dict[str, tuple[Any, Any]]
    software: dict[str, tuple[Any, Any]]
    rows: list[Row]
    only: tuple[list[str], list[str]]

    @property
    def names(self) -> tuple[str, str]:
        """The folders' names, or their paths where the names are the same."""
        first, second = (folder.path.resolve().name for folder in (self.first, self.second))
        return (first, second) if first != second else (str(self.first.path), str(self.second.path))

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "kind": self.first.kind,
            "folders": [str(self.first.path), str(self.second.path)],
            "configuration": {path: list(values) for path, values in self.configuration.items()},
            "software": {path: list(values) for path, values in self.software.items()},
            "results": [{**asdict(row), "apart": row.apart} for row in self.rows],
            "only_in": {"first": self.only[0], "second": self.only[1]},
        }


def compare(first: Path, second: Path) -> Comparison:
    """Compare two folders of one kind. InputError where they are not, or one is no job's folder."""
    a, b = read_folder(first), read_folder(second)
    if a.kind != b.kind:
        raise InputError(f"{first} is of hwsim {a.kind} and {second} of hwsim {b.kind}; expected two of one kind")
    same = same_images(a, b)
    figures, others = dict(FIGURES[a.kind](a)), dict(FIGURES[b.kind](b))
    rows = [_row(name, own, others[name], same) for name, own in figures.items() if name in others]
    return Comparison(
        a,
        b,
        differences(_settings(a.config), _settings(b.config)),
        differences(_software(a), _software(b)),
        rows,
        ([name for name in figures if name not in others], [name for name in others if name not in figures]),
    )


def same_images(a: JobFolder, b: JobFolder) -> bool:
    """Were both measured on images of one test set?"""
    if a.kind == "sweep":
        return _sources(a.config) == _sources(b.config)
    first, second = a.config.get("data"), b.config.get("data")
    if not isinstance(first, dict) or not isinstance(second, dict):
        return False
    return first.get("name") == second.get("name") and first.get("test") == second.get("test")


def _sources(study: dict[str, Any]) -> Any:
    """What decides a study's images: its data, or where it names none its models' own."""
    if data := study.get("data"):
        return data
    blocks = study.get("blocks")
    blocks = blocks if isinstance(blocks, dict) else {}
    return study.get("model"), {name: block.get("model") for name, block in blocks.items() if isinstance(block, dict)}


def _row(name: str, a: Shares | Interval, b: Shares | Interval, same: bool) -> Row:
    if isinstance(a, Interval) or isinstance(b, Interval):
        return _unpaired(name, a, b, "no single images are kept")
    if not same:
        return _unpaired(name, a, b, "other test images")
    repeats, images = min(len(a), len(b)), min(a.shape[1], b.shape[1])
    left_out = (a.shape != (repeats, images)) or (b.shape != (repeats, images))
    a, b = a[:repeats, :images], b[:repeats, :images]
    gap = difference(a, b)
    how = f"paired: {images} images" + (f", {repeats} repeats" if repeats > 1 else "")
    how += " that both have" if left_out else ""
    votes = (torch.from_numpy(shares.mean(0) > 0.5) for shares in (a, b))
    return Row(name, float(a.mean()), float(b.mean()), gap.mean, gap.low, gap.high, mcnemar(*votes), how)


def _unpaired(name: str, a: Shares | Interval, b: Shares | Interval, why: str) -> Row:
    first, second = (each if isinstance(each, Interval) else accuracy(each) for each in (a, b))
    return Row(name, first.mean, second.mean, *unpaired(first, second), None, f"unpaired: {why}")


def _of_run(folder: JobFolder) -> Iterator[tuple[str, Shares]]:
    evaluated: dict[str, list[EvaluationRecord]] = {}
    attacked: dict[str, dict[int, Path]] = {}
    for record in read_records(folder.path / "metrics.jsonl", *RUN_RECORDS):
        if isinstance(record, EvaluationRecord):
            condition = Condition(record.condition, record.level, record.level_unit)
            evaluated.setdefault(f"{record.case}, {condition}", []).append(record)
        elif isinstance(record, AttackRecord):
            attacked.setdefault(record.case, {})[record.repeat] = folder.path / record.folder
    for name, records in evaluated.items():
        yield name, _over_repeats(records)
    for case, repeats in attacked.items():
        shares = [read_shares(repeats[repeat]) for repeat in sorted(repeats)]
        for threat, attack in shares[0]:
            # The clean images are among the evaluations above, all of them.
            if attack != "clean" and all((threat, attack) in each for each in shares):
                every = [each[threat, attack] for each in shares]
                yield f"{case}, {threat}, {attack}", np.array([[of[image] for image in sorted(of)] for of in every])


def _of_ablation(folder: JobFolder) -> Iterator[tuple[str, Shares]]:
    variants: dict[str, list[VariantRecord]] = {}
    for record in read_records(folder.path / LOG, VariantRecord):
        variants.setdefault(record.variant, []).append(record)
    for name, records in variants.items():
        yield name, _over_repeats(records)


def _over_repeats(records: Sequence[EvaluationRecord | VariantRecord]) -> Shares:
    images = min(len(record.hits) for record in records)
    own = sorted(records, key=lambda record: record.repeat)
    return np.array([np.array(record.hits[:images]) / record.draws for record in own])


def _of_attack(folder: JobFolder) -> Iterator[tuple[str, Shares]]:
    for (threat, attack), shares in read_shares(folder.path).items():
        yield f"{threat}, {attack}", np.array([[shares[image] for image in sorted(shares)]])


def _of_corrupt(folder: JobFolder) -> Iterator[tuple[str, Shares]]:
    for record in read_records(folder.path / "metrics.jsonl", CorruptionRecord):
        level = "" if record.kind == "clean" else f" {record.level:g}"
        yield f"{record.case}, {record.name}{level}", np.array(record.hits) / record.draws


def _of_train(folder: JobFolder) -> Iterator[tuple[str, Interval]]:
    card = read_json(folder.path / "card.json")
    for part in ("test", "validation"):
        if reached := card.get(f"accuracy_{part}"):
            yield part, Interval(reached["mean"], reached["low"], reached["high"], "images only")


def _of_sweep(folder: JobFolder) -> Iterator[tuple[str, Shares]]:
    results = read_results(folder.path)
    for block, places in results.places.items():
        for place in places:
            columns = dict.fromkeys(name for record in place.records.values() for name in record.get("hits") or {})
            at = "".join(f", {axis} {value}" for axis, value in place.axes.items())
            for column in columns:
                seeds = sorted(seed for seed, record in place.records.items() if column in record.get("hits", {}))
                yield f"{block}{at}: {column.removesuffix('_share')}", place.shares(column, seeds)


FIGURES: dict[str, Callable[[JobFolder], Iterator[tuple[str, Shares | Interval]]]] = {
    "run": _of_run,
    "attack": _of_attack,
    "corrupt": _of_corrupt,
    "train": _of_train,
    "ablate": _of_ablation,
    "sweep": _of_sweep,
}
"""Kind of a job -> its figures by name, image by image where they are kept."""


def _software(folder: JobFolder) -> dict[str, Any]:
    versions = dict(folder.receipt.get("versions") or {})
    return {**versions, "git": folder.receipt.get("git")} if folder.receipt else versions


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "config_hash"}
