"""Tasks in several processes leave what one leaves; errors and deaths of workers end the job in a sentence."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import side_by_side as work
from job_progress import Silent

from hwsim.errors import InputError, WorkError
from hwsim.jobs import tasks
from hwsim.jobs.engine import working
from hwsim.jobs.executors import Here, Pool, Processes
from hwsim.jobs.tasks import Task, do_tasks


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "START_AFTER_S", 0.0)


def done(job: work.Squares, todo: list[Task], pool: Pool) -> tuple[list[Any], Silent]:
    progress = Silent()
    with working(job, work.Square) as log:
        progress.total(len(todo))
        do_tasks(job, log, todo, progress, pool, lambda record: record.number)
        return list(log), progress


def squares(count: int, seconds: float = 0.0) -> list[Task]:
    return [Task(f"{i}", work.square, (i, seconds)) for i in range(count)]


@pytest.mark.usefixtures("at_once")
def test_workers_leave_what_one_process_leaves(tmp_path: Path) -> None:
    """And a task that waits for others sees what they left, whoever did them."""
    todo = [*squares(12, 0.5), Task("total", work.total, (99,), after=tuple(f"{i}" for i in range(12)))]
    (whole, alone), (parts, shared) = (
        done(work.plan(tmp_path / name), todo, pool) for name, pool in (("a", Here()), ("b", Processes(3)))
    )
    assert [(r.number, r.square) for r in whole] == [(r.number, r.square) for r in parts]
    assert next(r.square for r in parts if r.number == 99) == sum(i * i for i in range(12))
    assert len({r.process for r in parts}) > 1, "nothing was done by a worker"
    assert alone.count == shared.count == shared.units == 13
    assert multiprocessing.active_children() == []


def test_short_work_starts_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Processes) -> Any:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(Processes, "executor", never)
    records, _ = done(work.plan(tmp_path), squares(5), Processes(2))
    assert {record.process for record in records} == {os.getpid()}


def test_a_job_that_cannot_be_planned_again_stays_here(tmp_path: Path) -> None:
    job = replace(work.plan(tmp_path), again=None)
    assert {record.process for record in done(job, squares(3), Processes(2))[0]} == {os.getpid()}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (work.fails, "bad.*: Unknown: 1 is not 2; --jobs 1 shows where"),
        (work.dies, "a worker process died at bad.*--jobs 1"),
    ],
)
def test_a_worker_that_fails_or_dies_is_a_sentence(tmp_path: Path, how: Any, words: str) -> None:
    """Also where this process is in the middle of a task; what was finished is kept, and nobody is left."""
    todo = [Task("bad", how, (os.getpid(),)), Task("bad as well", how, (os.getpid(),)), *squares(3)]
    with pytest.raises(WorkError, match=words):
        done(work.plan(tmp_path), todo, Processes(2))
    assert multiprocessing.active_children() == []
    assert len(done(work.plan(tmp_path), squares(3), Here())[0]) == 3


@pytest.mark.usefixtures("at_once")
def test_a_job_that_changes_while_it_runs_is_not_done_by_another_card(tmp_path: Path) -> None:
    job = replace(work.plan(tmp_path), again=partial(work.another, tmp_path))
    with pytest.raises(WorkError, match="changed while the job ran"):
        done(job, squares(400, 0.05), Processes(2))


SUPPORT = Path(__file__).parents[1] / "support"
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {path!r})
import side_by_side as work
from hwsim.jobs import tasks
from hwsim.jobs.engine import working
from hwsim.jobs.executors import Processes
from hwsim.jobs.job import Quiet
from hwsim.jobs.tasks import Task, do_tasks
tasks.START_AFTER_S = 0.0
{guard}
    pool = Processes(2)
    job = work.plan(Path(sys.argv[1]))
    with working(job, work.Square) as log:
        do_tasks(job, log, [Task(str(i), work.square, (i, {seconds})) for i in range(60)], Quiet(), pool, str)
"""


def script(folder: Path, guard: str, seconds: float) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(SCRIPT.format(path=str(SUPPORT), guard=guard, seconds=seconds))
    return subprocess.Popen([sys.executable, path, str(folder / "job")], stderr=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    """Of a process, those that are not gone, without multiprocessing's own helper."""
    kept = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == pid and state != "Z" and b"resource_tracker" not in command:
            kept.append(int(path.parent.name))
    return kept


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_no_worker_outlives_the_job_and_the_rest_goes_on(tmp_path: Path, how: str) -> None:
    process = script(tmp_path, 'if __name__ == "__main__":', 0.2)
    log, workers = tmp_path / "job" / "metrics.jsonl", set()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        workers |= set(children(process.pid))
        if workers and log.exists() and len({line.split("process")[1] for line in log.read_text().splitlines()}) > 1:
            break
        time.sleep(0.05)
    assert workers, process.communicate()
    process.send_signal(9 if how == "kill" else 2)
    process.communicate(timeout=60)
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker was left behind"
        time.sleep(0.05)
    records, _ = done(work.plan(tmp_path / "job"), squares(60), Here())
    assert sorted(record.number for record in records) == list(range(60))
    assert len((tmp_path / "job" / "metrics.jsonl").read_text().splitlines()) == 60


def test_a_script_without_a_guard_ends_in_a_sentence(tmp_path: Path) -> None:
    _, err = script(tmp_path, "if True:", 0.2).communicate(timeout=300)
    assert 'needs `if __name__ == "__main__":`' in err
    assert "a worker process died at" in err


def test_no_pool_is_made_in_a_worker_that_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(InputError, match="__main__"):
        Processes(2)
