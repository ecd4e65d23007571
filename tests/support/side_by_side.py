"""A job whose tasks count, fail, die or wait, for worker processes that import it from here."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwsim.jobs.engine import Log
from hwsim.jobs.job import Job, Progress
from hwsim.jobs.records import Record


@dataclass(frozen=True, kw_only=True)
class Square(Record):
    number: int
    square: int
    process: int

    @property
    def key(self) -> tuple[Hashable, ...]:
        return (self.number,)


@dataclass(frozen=True, kw_only=True)
class Squares(Job):
    kind = "run"

    @property
    def resolved(self) -> dict[str, Any]:
        return {"seed": self.seed}

    @property
    def label(self) -> str:
        return "squares"


def plan(out: Path) -> Squares:
    return Squares(device=None, seed=0, out=out, again=partial(plan, out))


def another(out: Path) -> Squares:
    return Squares(device=None, seed=1, out=out)


def square(job: Squares, log: Log[Square], progress: Progress, number: int, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    if (number,) not in log:
        log.add(Square(number=number, square=number**2, process=os.getpid()))
    progress.note(f"{number}")
    progress.done(f"{number}")


def total(job: Squares, log: Log[Square], progress: Progress, number: int) -> None:
    """The sum of all squares so far, as the square of ``number``."""
    log.add(Square(number=number, square=sum(record.square for record in log), process=os.getpid()))
    progress.done("total")


class Unknown(Exception):
    """Cannot be made from its message alone, so it does not travel."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} is not {right}")


def fails(job: Squares, log: Log[Square], progress: Progress, parent: int) -> None:
    """In a worker; this process goes on until it hears of it."""
    while os.getpid() == parent:
        time.sleep(0.01)
        progress.done("waiting", 0)
    raise Unknown(1, 2)


def dies(job: Squares, log: Log[Square], progress: Progress, parent: int) -> None:
    while os.getpid() == parent:
        time.sleep(0.01)
        progress.done("waiting", 0)
    os.kill(os.getpid(), signal.SIGKILL)
