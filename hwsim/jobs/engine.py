"""How every job is done: claim its folder, leave out what is finished, append what comes, write the receipt."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Job
from hwsim.jobs.receipt import RECEIPT, write_receipt
from hwsim.jobs.records import R, Record, read_records
from hwsim.jobs.store import append_line

S = TypeVar("S", bound=Record)


class Log(Generic[R]):
    """The records of a job, one a line, each known by its key."""

    def __init__(self, path: Path, *kinds: type[R]) -> None:
        self.path = path
        self.grown = False
        self._records = {record.key: record for record in read_records(path, *kinds)}

    def __contains__(self, key: tuple[Hashable, ...]) -> bool:
        return key in self._records

    def __getitem__(self, key: tuple[Hashable, ...]) -> R:
        return self._records[key]

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def add(self, record: R) -> None:
        """Keep a record; it replaces the one of its key."""
        append_line(self.path, record.plain())
        self.grown = True
        self._records[record.key] = record

    def once(self, key: tuple[Hashable, ...], measure: Callable[[], R]) -> None:
        """Measure what is not there yet and keep it, with the seconds that it took."""
        if key in self._records:
            return
        started = time.perf_counter()
        record = measure()
        assert record.key == key, f"a record of {record.key} where one of {key} was expected"
        self.add(replace(record, seconds=round(time.perf_counter() - started, 3)))


@contextmanager
def working(job: Job, *kinds: type[R], log: str = "metrics.jsonl", **seeds: Any) -> Iterator[Log[R]]:
    """The job's log, while its folder is this process's alone; its receipt is written when work ends well.

    Args:
        kinds: of the log's records.
        seeds: what the receipt says beside the root seed.

    Raises InputError where the folder holds another job, or another process is at it.
    """
    with claimed(job):
        started = time.time()
        records = Log(job.folder / log, *kinds)
        yield records
        if records.grown or not (job.folder / RECEIPT).exists():
            write_receipt(job, started, seeds)
