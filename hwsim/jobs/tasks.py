"""A job's tasks side by side: this process does them one after the other, and worker processes take others meanwhile.

A task is a piece of a job that needs no other's state: it has random streams of its own, keeps its records in the job's
log and goes on where it was interrupted. So it makes no difference to any number which process does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, WorkError
from hwsim.jobs.engine import Log
from hwsim.jobs.executors import Pool, Processes, send
from hwsim.jobs.job import Job, Progress
from hwsim.jobs.records import R

START_AFTER_S = 4.0
"""How long a job has to go on before workers start. Until one of them computes it has loaded torch and the data, which
takes as long: work that is over sooner is done in this process, and no job takes more than twice its processor time."""

POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """A piece of a job.

    Attributes:
        name: which, in words; no other task of the job has it.
        work: a function of a module, called with (job, log, progress, *args).
        args: plain values, which travel to a worker.
        after: names of tasks, earlier ones, that have to be done before.
    """

    name: str
    work: Callable[..., None]
    args: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


def do_tasks(
    job: Job,
    log: Log[R],
    tasks: Sequence[Task],
    progress: Progress,
    pool: Pool | None,
    order: Callable[[R], Any],
) -> None:
    """Do all tasks, ``pool.workers`` at once, and leave the log as one process would have.

    Args:
        tasks: in an order that can be done one by one.
        pool: None, one worker, or a job that cannot be planned again: everything is done here.
        order: where a record stands in the log; records that one task keeps may be of equal place.

    Raises what a task raised, WorkError where a worker died or somebody else's code failed in it. What was finished
    stays, and no worker is left behind.
    """
    if isinstance(pool, Processes) and pool.workers > 1 and len(tasks) > 1 and job.again is not None:
        _side_by_side(job, log, tasks, progress, pool)
    else:
        for task in tasks:
            task.work(job, log, progress, *task.args)
    log.arrange(order)


def _side_by_side(job: Job, log: Log[Any], tasks: Sequence[Task], progress: Progress, pool: Processes) -> None:
    board = _Board(tasks)
    shared = _Shared(progress, board)
    helper = threading.Thread(target=_help, args=(job, log, board, shared, Processes(pool.workers - 1, pool.threads)))
    helper.start()
    try:
        while (task := board.take(wait_for_more=True)) is not None:
            log.refresh()
            task.work(job, log, shared, *task.args)
            board.finished(task)
    finally:
        board.close()
        helper.join()
        log.refresh()
    if board.error is not None:
        raise board.error


class _Board:
    """Which tasks wait and which are done; looked at by this process and by the thread that helps it."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting = list(tasks)
        self._done: set[str] = set()
        self._running = 0
        self._changed = threading.Condition()
        self.closed = False
        self.error: BaseException | None = None

    def take(self, wait_for_more: bool = False) -> Task | None:
        """The next task that can be done. None where there is none now, or with ``wait_for_more`` none any more."""
        with self._changed:
            while not self.closed:
                for task in self._waiting:
                    if self._done.issuperset(task.after):
                        self._waiting.remove(task)
                        self._running += 1
                        return task
                if not wait_for_more or not (self._waiting or self._running):
                    break
                self._changed.wait(POLL_S)
            return None

    def finished(self, task: Task) -> None:
        with self._changed:
            self._done.add(task.name)
            self._running -= 1
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Is there nothing left to take?"""
        return self.closed or not self._waiting

    def close(self, error: BaseException | None = None) -> None:
        """Nothing is given out any more."""
        with self._changed:
            self.closed = True
            self.error = self.error or error
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until something has changed, so long at most."""
        with self._changed:
            self._changed.wait(seconds)


class _Shared:
    """The progress of all processes; where a worker has failed, the next unit of this one ends the job."""

    def __init__(self, progress: Progress, board: _Board) -> None:
        self._progress, self._board = progress, board
        self._lock = threading.Lock()

    def total(self, units: int) -> None:
        with self._lock:
            self._progress.total(units)

    def done(self, what: str, units: int = 1) -> None:
        if self._board.error is not None:
            raise self._board.error
        with self._lock:
            self._progress.done(what, units)

    def note(self, text: str) -> None:
        with self._lock:
            self._progress.note(text)


def _help(job: Job, log: Log[Any], board: _Board, progress: Progress, pool: Processes) -> None:
    """Feed workers until nothing is left; what goes wrong is on the board."""
    running: dict[Future[None], Task] = {}
    try:
        start = time.monotonic() + START_AFTER_S
        while not board.over and (left := start - time.monotonic()) > 0:
            board.wait(left)
        if board.over:
            return
        executor = pool.executor()
        assert job.again is not None
        place = (job.again, job.config_hash, log.path, log.kinds)
        while running or not board.over:
            while len(running) < pool.workers and (task := board.take()) is not None:
                running[executor.submit(_done_by_worker, *place, task)] = task
            ended = wait(running, POLL_S, FIRST_COMPLETED).done
            for name, *values in pool.messages():
                getattr(progress, name)(*values)
            for future in ended:
                future.result()
                board.finished(running.pop(future))
            if board.closed:
                return
            if not running:
                board.wait(POLL_S)
    except BrokenExecutor:
        names = ", ".join(task.name for task in running.values()) or "its start"
        board.close(
            WorkError(
                f"a worker process died at {names} (killed, out of memory, a crash in compiled code, or a script "
                'without `if __name__ == "__main__":`); what was finished is kept, and the same command with --jobs 1 '
                "goes on without workers"
            )
        )
    except BaseException as error:
        board.close(error)
    finally:
        pool.stop()


class _Sent:
    """A worker's progress, told to the process that started it."""

    def total(self, units: int) -> None:
        send(("total", units))

    def done(self, what: str, units: int = 1) -> None:
        send(("done", what, units))

    def note(self, text: str) -> None:
        send(("note", text))


_JOBS: dict[str, Job] = {}
"""In a worker, the jobs that it has planned, by their hash."""


def _done_by_worker(
    again: Callable[[], Job], config_hash: str, path: Path, kinds: tuple[type[Any], ...], task: Task
) -> None:
    """Do a task in a worker. An error that is not ours becomes a sentence: its class may not be known elsewhere."""
    try:
        if config_hash not in _JOBS:
            job = again()
            if job.config_hash != config_hash:
                raise WorkError(
                    "a card or code changed while the job ran; the same command goes on by the old one, or "
                    "starts anew by the new one in another folder"
                )
            _JOBS[config_hash] = job
        task.work(_JOBS[config_hash], Log(path, *kinds), _Sent(), *task.args)
    except (InputError, WorkError, OSError):
        raise
    except (Exception, SystemExit) as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        raise WorkError(f"{task.name}: {type(error).__name__}: {first}; --jobs 1 shows where") from error
