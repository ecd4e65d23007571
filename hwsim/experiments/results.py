"""The results of any job's folder, typed: accuracies with their intervals, a row each; of a sweep, its points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.experiments.device_run.results import read_run, summary_of
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.experiments.sweep.results import Results as SweepResults
from hwsim.experiments.sweep.results import read_results as read_sweep
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import read_lines
from hwsim.robustness.threat import parse
from hwsim.stats.frames import data_frame
from hwsim.stats.interval import Interval, accuracy


@dataclass(frozen=True)
class Row:
    """One accuracy of a job.

    Attributes:
        case: what was measured: "float", "programmed" or "in-situ" of a run, "model" or "baseline", an ablation's
            variant.
        condition: "clean", a corruption, an attack, "worst" or "reported"; "test" or "validation" of a training.
        level: a severity, a noise's sigma or a budget in pixel units; 0 where there is none.
        unit: of the level.
        age_s: seconds after programming, of devices that were aged.
    """

    case: str
    condition: str
    level: float
    unit: str
    accuracy: Interval
    age_s: float | None = None


@dataclass(frozen=True)
class JobResults:
    """What a folder of a run, a training, an attack, corruptions or an ablation holds; ``rows`` in its own order.

    >>> import hwsim as hw
    >>> hw.read_results("no-such-folder")
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: no-such-folder: no such folder; ...
    """

    folder: Path
    kind: str
    model: str
    device: str
    data: str
    config: dict[str, Any]
    rows: tuple[Row, ...]

    def accuracy(self, case: str, condition: str = "clean", level: float = 0.0, age_s: float | None = None) -> Interval:
        """One of the rows. InputError, with those that there are, where it was not measured."""
        for row in self.rows:
            if (row.case, row.condition, row.age_s) == (case, condition, age_s) and np.isclose(row.level, level):
                return row.accuracy
        there = ", ".join(f"({row.case}, {row.condition}, {row.level:g})" for row in self.rows[:20])
        raise InputError(f"{self.folder}: no accuracy of ({case}, {condition}, {level:g}); there are {there or 'none'}")

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, a row an accuracy, shares in [0, 1]. InputError without pandas."""
        return data_frame(
            [
                {**{key: value for key, value in vars(row).items() if key != "accuracy"}, **vars(row.accuracy)}
                for row in self.rows
            ]
        )


def read_results(folder: str | Path) -> JobResults | SweepResults:
    """The results of a folder that a job left, or is still writing, whatever its kind.

    Of a sweep, ``SweepResults``: its points, blocks and failures; of any other job ``JobResults``: its accuracies.
    Both have ``to_pandas()``.

    Raises InputError where the folder is none of a job, or what it holds cannot be read.

    >>> import hwsim as hw
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = hw.sweep("tolerance", quick=True, out=folder, plan_only=True)
    ...     hw.read_results(folder).finished[0]
    0
    """
    folder = Path(folder)
    job = read_folder(folder)
    if job.kind == "sweep":
        return read_sweep(folder)
    try:
        rows = tuple(_ROWS[job.kind](job))
    except (KeyError, TypeError) as error:
        by = f"written by hwsim {job.version or 'of an unknown version'}"
        raise InputError(f"{folder}: results lack {error}; {by}; the command that made them goes on") from error
    return JobResults(folder, job.kind, job.model, job.device, job.data, job.config, rows)


def _run(job: JobFolder) -> Iterator[Row]:
    for row in summary_of(read_run(job.path))["accuracy"]:
        yield Row(row["case"], row["condition"], row["level"], row["level_unit"], Interval.from_record(row))


def _attack(job: JobFolder) -> Iterator[Row]:
    for result in read_json(job.path / "results.json").get("threats") or []:
        threat = parse(result["threat"])
        named = {"clean": result["clean"], **result["attacks"], "worst": result["worst"]}
        for name, row in {**named, "reported": result["reported"]}.items():
            clean = name == "clean"
            budget, unit = (0.0, "") if clean else (threat.epsilon, threat.norm)
            yield Row("model", name, budget, unit, Interval.from_record(row), result["age_s"])


def _corrupt(job: JobFolder) -> Iterator[Row]:
    units = {"corruption": "severity", "input-noise": "sigma", "salt-and-pepper": "share"}
    for row in read_json(job.path / "results.json").get("rows") or []:
        unit = units.get(row["kind"], "")
        yield Row(row["case"], row["name"], row["level"], unit, Interval.from_record(row), job.config.get("age_s"))


def _train(job: JobFolder) -> Iterator[Row]:
    card = read_json(job.path / "card.json")
    for part in ("validation", "test"):
        if f"accuracy_{part}" in card:
            interval = Interval.from_record({"over": "images only", **card[f"accuracy_{part}"]})
            yield Row("model", part, 0.0, "", interval)


def _ablate(job: JobFolder) -> Iterator[Row]:
    shares: dict[str, list[list[float]]] = {}
    for line in read_lines(job.path / "ablation.jsonl"):
        shares.setdefault(line["variant"], []).append([hits / line["draws"] for hits in line["hits"]])
    for variant, own in shares.items():
        yield Row(variant, "clean", 0.0, "", accuracy(own))


_ROWS = {"run": _run, "attack": _attack, "corrupt": _corrupt, "train": _train, "ablate": _ablate}
