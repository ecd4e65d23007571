"""Sweeps: the points of a study measured side by side in a folder that any number of sweeps may work on.

sweep.json              the study, its points and their keys; points of one key are measured once
points/KEY.json         the record of a finished point, written aside and renamed: whole or not there
points/KEY.failed.json  why a point failed; removed when it succeeds
claims/KEY              locked by the sweep that measures the point; free again when that process ends, however
results.csv             a row a point
seconds.csv             how long each point took
"""

from __future__ import annotations

import csv
import fcntl
import importlib
import io
import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from hwsim.cards.yamlfile import to_yaml
from hwsim.errors import InputError, WorkError
from hwsim.experiments.sweep import measurements
from hwsim.experiments.sweep.shipping import Parcel, packed
from hwsim.experiments.sweep.study import Point, Spec, Study
from hwsim.jobs import receipt
from hwsim.jobs.executors import Pool
from hwsim.jobs.folder import read_json
from hwsim.jobs.job import Progress
from hwsim.jobs.records import read_file
from hwsim.jobs.store import kept_aside, remove_leftovers, write_json, write_text, written_aside

POLL_S = 1.0
"""How often points that another sweep is at are looked at again."""

MOST_CRASHES = 2
"""A point whose worker died so often fails; the second time it runs alone, so that no other is to blame."""

SWEEP, STUDY, RESULTS, PARQUET = "sweep.json", "study.yaml", "results.csv", "results.parquet"
POINTS, SECONDS = "points", "seconds.csv"


@dataclass(frozen=True)
class Plan:
    """A study's points with their keys, and what is measured at each key; all of it resolved and checked."""

    study: Study
    points: list[tuple[Point, str]]
    specs: dict[str, Spec]

    @property
    def form(self) -> str:
        return self.study.form


@dataclass(frozen=True)
class Failure:
    """A point that failed, where it stands in the study, and why."""

    point: Point
    key: str
    reason: str


def grouped(failures: Iterable[tuple[str, Mapping[str, Any], int, str]]) -> list[tuple[str, str, str, str]]:
    """Failures (block, axes, seed, reason) as rows of text, those of one reason together: what they have in common."""
    rows: dict[str, list[tuple[str, Mapping[str, Any], int]]] = {}
    for block, axes, seed, reason in failures:
        rows.setdefault(reason, []).append((block, axes, seed))
    rows_of_text = []
    for reason, points in rows.items():
        blocks = ", ".join(dict.fromkeys(block for block, _, _ in points))
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(seed for _, _, seed in points))
        shared = [item for item in points[0][1].items() if all(item in axes.items() for _, axes, _ in points)]
        at = ", ".join(f"{axis} = {value}" for axis, value in shared)
        if len(points) > 1:
            at = f"{len(points)} points{f' of {at}' if at else ''}"
        rows_of_text.append((blocks, at, seeds, reason))
    return rows_of_text


def plan(study: Study) -> Plan:
    """Expand a study. Raises InputError, at its block, for the first point that cannot be resolved."""
    measurements.measurement_named(study.config.measurement, study.folder, study.document)
    points, specs, keys, code = [], {}, {}, None
    for point in study.points():
        code = code or measurements.code_of(point.spec)
        point = replace(point, spec=replace(point.spec, code=code.digest if code else None))
        spec = repr(point.spec)
        if spec not in keys:
            try:
                keys[spec] = measurements.key_of(point.spec)
            except InputError as error:
                place = ", ".join(f"{axis} = {value}" for axis, value in point.axes.items()) or "no axes"
                raise study.document.error(("blocks", point.block), f"at {place}: {error}") from error
        key = keys[spec]
        points.append((point, key))
        specs.setdefault(key, point.spec)
    return Plan(study, points, specs)


@dataclass(frozen=True)
class Hits:
    """How often each test image was right in so many draws."""

    draws: int
    hits: list[float]

    def __post_init__(self) -> None:
        if not self.hits or self.draws < 1 or not all(0 <= hit <= self.draws for hit in self.hits):
            raise ValueError(f"expected hits of 0 to {self.draws} draws, at least one of each")


@dataclass(frozen=True)
class PointFile:
    """What the record of a finished point has to say at least."""

    columns: dict[str, Any]
    seconds: float
    hits: dict[str, Hits] = field(default_factory=dict)


class Folder:
    """The files of a sweep."""

    def __init__(self, path: Path, make: bool = True) -> None:
        """``make``: with the folders below it; else only what is there is looked at."""
        self.path = path
        if (path / "cells").is_dir() and not (path / POINTS).is_dir():
            raise InputError(f"{path}: holds a sweep of an earlier hwsim, which cannot be gone on with or read")
        try:
            for part in (POINTS, "claims") if make else ():
                (path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {path}: cannot be written ({error.strerror}); give another folder") from error

    def record(self, key: str) -> dict[str, Any] | None:
        """A finished point's record; None where there is none, or it is damaged."""
        try:
            if read_file(self.path / POINTS / f"{key}.json", PointFile) is None:
                return None
            return read_json(self.path / POINTS / f"{key}.json")
        except InputError as error:
            logging.getLogger("hwsim").warning("%s", error)
            return None

    def mend(self, keys: Iterable[str]) -> None:
        """Put damaged records aside, so that their points are measured again."""
        for key in keys:
            path = self.path / POINTS / f"{key}.json"
            if path.exists() and self.record(key) is None:
                kept_aside(path)
                path.unlink()

    def finished(self, key: str) -> bool:
        return (self.path / POINTS / f"{key}.json").exists()

    def reason(self, key: str) -> str | None:
        """Why a point failed the last time; None where it did not."""
        failed = {} if self.finished(key) else read_json(self.path / POINTS / f"{key}.failed.json")
        return str(failed.get("reason", "unknown")) if failed else None

    def keep(self, key: str, record: dict[str, Any]) -> None:
        write_json(self.path / POINTS / f"{key}.json", record)
        (self.path / POINTS / f"{key}.failed.json").unlink(missing_ok=True)

    def keep_failure(self, key: str, reason: str, details: str) -> None:
        write_json(self.path / POINTS / f"{key}.failed.json", {"reason": reason, "traceback": details})

    def claim(self, key: str) -> IO[str] | None:
        """A lock on a point, held until it is closed; None where another sweep has it."""
        lock = (self.path / "claims" / key).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        return lock

    def check(self, planned: Plan) -> None:
        """InputError where the folder is another study's, or the study's own."""
        if self.path.resolve() == planned.study.folder:
            raise InputError(f"--out {self.path}: is the study's own folder; give another one for the results")
        before = read_json(self.path / SWEEP).get("name")
        name = planned.study.config.name
        if before not in (None, name):
            raise InputError(f"--out {self.path}: holds the study {before}; give another folder")

    def write_plan(self, planned: Plan, command: str) -> None:
        """Say what the folder is of. Raises InputError as ``check`` does."""
        self.check(planned)
        name = planned.study.config.name
        write_text(self.path / STUDY, to_yaml(planned.study.document.data))
        whole: dict[str, Any] = {"name": name, "form": planned.form, "command": command}
        whole["study"] = planned.study.home
        whole |= {"versions": receipt.versions(), "git": receipt.git_revision(), "machine": receipt.machine()}
        whole["points"] = [
            {"block": point.block, "axes": _finite(point.axes), "seed": point.seed, "key": key}
            for point, key in planned.points
        ]
        write_json(self.path / SWEEP, whole)


def sweep(planned: Plan, folder: Folder, pool: Pool, progress: Progress) -> list[Failure]:
    """Measure the points that are not finished; the failures, those of other sweeps on the folder included.

    Points that another sweep has claimed are waited for, and taken over if it ends without them.
    """
    remove_leftovers(folder.path)
    folder.mend(planned.specs)
    todo = [key for key in planned.specs if not folder.finished(key)]
    parcel = packed(planned.study.folder) if todo and pool.remote else None
    progress.total(len(todo))
    if todo:
        try:
            _Crew(planned, folder, pool, progress, parcel).work(todo)
        finally:
            pool.stop()
    where: dict[str, Point] = {}
    for point, key in planned.points:
        where.setdefault(key, point)
    reasons = {key: folder.reason(key) for key in planned.specs}
    return [Failure(where[key], key, reason) for key, reason in reasons.items() if reason is not None]


class _Crew:
    """One sweep at work: what waits, what runs under which claim, and who is suspected of killing workers."""

    def __init__(self, planned: Plan, folder: Folder, pool: Pool, progress: Progress, parcel: Parcel | None) -> None:
        self.parcel = parcel
        self.specs, self.folder, self.pool, self.progress = planned.specs, folder, pool, progress
        self.waiting: deque[str] = deque()
        self.elsewhere: deque[str] = deque()
        self.suspects: deque[str] = deque()
        self.running: dict[Future[Any], tuple[str, IO[str]]] = {}
        self.crashes: dict[str, int] = {}

    def work(self, todo: Sequence[str]) -> None:
        self.waiting.extend(todo)
        executor = self.pool.executor()
        try:
            while self.waiting or self.elsewhere or self.suspects or self.running:
                taken = self._fill(executor)
                if not self.running and not taken:
                    executor = self.pool.executor()  # a worker died while nothing ran, and took the pool with it
                elif not self.running:
                    time.sleep(POLL_S)
                elif self._ended(wait(self.running, POLL_S, FIRST_COMPLETED).done):
                    executor = self.pool.executor()
                if len(self.running) < self.pool.workers:
                    self.waiting.extend(self.elsewhere)
                    self.elsewhere.clear()
        finally:
            for _, claim in self.running.values():
                claim.close()

    def _fill(self, executor: Executor) -> bool:
        """Give out as many points as are measured at once; suspects one by one. False where the pool takes no more."""
        while self.suspects and not self.running:
            if not self._start(executor, self.suspects, self.suspects.popleft()):
                return False
        while self.waiting and not self.suspects and len(self.running) < self.pool.workers:
            if any(self.crashes.get(key) for key, _ in self.running.values()):
                return True
            if not self._start(executor, self.waiting, self.waiting.popleft()):
                return False
        return True

    def _start(self, executor: Executor, queue: deque[str], key: str) -> bool:
        """Give out one point of a queue. False where a worker has just died and the pool takes none: it waits on."""
        claim = self.folder.claim(key)
        if claim is None:
            self.elsewhere.append(key)
        elif self.folder.finished(key):
            claim.close()
            self.progress.done("finished by another sweep")
        else:
            try:
                future = executor.submit(measurements.compute, self.specs[key], self.parcel)
            except BrokenExecutor:
                claim.close()
                queue.appendleft(key)
                return False
            self.running[future] = key, claim
        return True

    def _ended(self, futures: set[Future[Any]]) -> bool:
        """Keep what came back; True where a worker died and took the pool, and all that ran in it, with it."""
        broken = False
        for future in futures:
            key, claim = self.running.pop(future)
            with claim:
                error = future.exception()
                if error is None:
                    self._kept(key, future.result())
                elif isinstance(error, BrokenExecutor):
                    broken = True
                    self._crashed(key)
                else:
                    self._failed(key, _reason(error), "".join(traceback.format_exception(error)))
        if broken:
            # Each of those on the way could be the one that did it.
            for key, claim in self.running.values():
                with claim:
                    self._crashed(key)
            self.running.clear()
        return broken

    def _kept(self, key: str, record: dict[str, Any]) -> None:
        try:
            self.folder.keep(key, record)
        except (TypeError, ValueError) as error:  # a record of somebody's own measurement
            self._failed(key, f"its record cannot be written as JSON ({error})", "")
        else:
            self.progress.done("finished")

    def _crashed(self, key: str) -> None:
        self.crashes[key] = self.crashes.get(key, 0) + 1
        if self.crashes[key] < MOST_CRASHES:
            self.suspects.append(key)
        else:
            self._failed(key, "its worker process died twice (killed, out of memory, or a crash in compiled code)", "")

    def _failed(self, key: str, reason: str, details: str) -> None:
        self.folder.keep_failure(key, reason, details)
        self.progress.done("failed")


def write_results(planned: Plan, folder: Folder) -> list[dict[str, Any]]:
    """The tidy table of ``table_rows`` as results.csv; its rows.

    How long each point took stands apart, in seconds.csv: two sweeps of one study leave the same results.
    """
    points = [{"block": p.block, "axes": p.axes, "seed": p.seed, "key": key} for p, key in planned.points]
    table = table_rows(points, planned.study.config.units, folder)
    _write_csv(folder.path / RESULTS, [name for name in table[0] if name != "seconds"], table)
    _write_csv(folder.path / SECONDS, ["key", "seconds"], {row["key"]: row for row in table}.values())
    return table


def _write_csv(path: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def table_rows(points: Sequence[Mapping[str, Any]], units: Mapping[str, str], folder: Folder) -> list[dict[str, Any]]:
    """A row a point, all with the columns block, axes (with their units), seed, what was measured, and the last four.

    ``points``: block, axes, seed and key, as ``sweep.json`` has them.
    """
    axes = dict.fromkeys(axis for point in points for axis in point["axes"])
    rows = []
    for point in points:
        record, reason = folder.record(point["key"]), folder.reason(point["key"])
        row: dict[str, Any] = {"block": point["block"]}
        row |= {f"{axis} [{units[axis]}]" if axis in units else axis: point["axes"].get(axis) for axis in axes}
        row |= {"seed": point["seed"], **(record["columns"] if record else {})}
        status = "finished" if record else "failed" if reason else "not run"
        row |= {"seconds": record and record["seconds"], "status": status, "reason": reason, "key": point["key"]}
        rows.append(row)
    last = ("seconds", "status", "reason", "key")
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in last]
    return [{name: row.get(name) for name in (*columns, *last)} for row in rows]


def write_parquet(table: Sequence[dict[str, Any]], path: Path) -> None:
    """The same table as a Parquet file; axes that mix numbers and texts become texts. InputError without pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError("--parquet: needs pyarrow; run `pip install hwsim[parquet]`") from error
    columns = {}
    for name in table[0]:
        values = [row[name] for row in table]
        kinds = {type(value) for value in values if value is not None}
        plain = kinds <= {int, float} or kinds in ({str}, {bool})
        columns[name] = values if plain else [None if value is None else str(value) for value in values]
    with written_aside(path) as aside:
        parquet.write_table(arrow.table(columns), aside)


def _finite(axes: dict[str, Any]) -> dict[str, Any]:
    """Values of axes as JSON has them: infinity becomes text."""
    return {axis: str(v) if isinstance(v, float) and not math.isfinite(v) else v for axis, v in axes.items()}


def _reason(error: BaseException) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return first if isinstance(error, WorkError) else f"{type(error).__name__}: {first}"
