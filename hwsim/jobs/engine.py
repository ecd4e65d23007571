"""How every job is done: claim its folder, leave out what is finished, append what comes, write the receipt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Job
from hwsim.jobs.receipt import RECEIPT, write_receipt
from hwsim.jobs.records import R, Record, damage, read_log
from hwsim.jobs.store import append_line, kept_aside, locked, write_lines

S = TypeVar("S", bound=Record)


class Log(Generic[R]):
    """The records of a job, one a line, each known by its key.

    Several processes may write into it, each the records of other keys; ``refresh`` shows what others wrote.
    """

    def __init__(self, path: Path, *kinds: type[R]) -> None:
        self.path, self.kinds = path, kinds
        self.grown = False
        self._records: dict[tuple[Hashable, ...], R] = {}
        self._others: list[dict[str, Any]] = []
        with locked(path):
            self._read()

    def refresh(self) -> None:
        """Read it again."""
        known = len(self._records)
        with locked(self.path):
            self._read()
        self.grown |= len(self._records) != known

    def _read(self) -> None:
        reading = read_log(self.path, *self.kinds)
        self._records = {record.key: record for record in reading.records}
        self._others = reading.others
        if reading.damaged:
            aside = kept_aside(self.path)
            logging.getLogger("hwsim").warning(
                "%s: %s; it is kept as %s, and what is missing is done again", self.path, damage(reading), aside.name
            )
        if reading.damaged or reading.torn:
            self._write()

    def __contains__(self, key: tuple[Hashable, ...]) -> bool:
        return key in self._records

    def __getitem__(self, key: tuple[Hashable, ...]) -> R:
        return self._records[key]

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def add(self, record: R) -> None:
        """Keep a record; it replaces the one of its key, as where a process died between a record and a checkpoint."""
        with locked(self.path):
            if record.key in self._records:
                self._read()
                self._records[record.key] = record
                self._write()
            else:
                append_line(self.path, record.plain())
                self._records[record.key] = record
        self.grown = True

    def _write(self) -> None:
        """All records anew, each once."""
        write_lines(self.path, [*(record.plain() for record in self), *self._others])

    def arrange(self, order: Callable[[R], Any]) -> None:
        """Put the records in order; those of equal place keep theirs. Readers take what comes as it comes."""
        with locked(self.path):
            self._read()
            arranged = sorted(self, key=order)
            if arranged != list(self):
                self._records = {record.key: record for record in arranged}
                self._write()

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
