"""A sweep on a Dask cluster: a real scheduler and two workers on loopback, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from hwsim.errors import InputError
from hwsim.experiments.sweep import work
from hwsim.experiments.sweep.study import read_study
from hwsim.jobs import executors
from hwsim.jobs.executors import Cluster

MEASUREMENT = """
import os, time
from pathlib import Path
from hwsim.experiments.sweep.measurement import Measurement

def resolve(spec):
    return {"settings": list(spec.settings)}

def compute(spec):
    with (Path(spec.folder) / "log").open("a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(0.3)
    return {"columns": {"square": dict(spec.settings)["x"] ** 2}}

squares = Measurement(resolve, compute)
"""
POINTS = 12


@contextmanager
def process(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's command line, killed at the end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    started = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait_for(path: Path, lines: int) -> None:
    deadline = time.monotonic() + 90
    while not (path.exists() and path.read_bytes().count(b"\n") >= lines):
        assert time.monotonic() < deadline, f"no {lines} lines in {path.name} in time"
        time.sleep(0.05)


class KillsOne:
    """Kills a worker once some points are done."""

    def __init__(self, victim: subprocess.Popen[bytes]) -> None:
        self.victim, self.count = victim, 0

    def total(self, units: int) -> None:
        pass

    def done(self, what: str, units: int = 1) -> None:
        self.count += units
        if self.count == 4:
            self.victim.kill()


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "kind.py").write_text(MEASUREMENT)
    study = tmp_path / "study.yaml"
    axes = f"{{x: {list(range(POINTS))}}}"
    study.write_text(f"name: squares\nmeasurement: ./kind.py:squares\nblocks: {{one: {{axes: {axes}}}}}\n")
    where = tmp_path / "scheduler.json"
    options = ("--scheduler-file", str(where), "--no-dashboard")
    with ExitStack() as stack:
        stack.enter_context(process("scheduler", "--host", "127.0.0.1", "--port", "0", *options, folder=tmp_path))
        wait_for(where, 1)
        worker = ("worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", *options)
        workers = [stack.enter_context(process(*worker, folder=tmp_path)) for _ in range(2)]
        cluster = Cluster(json.loads(where.read_text())["address"])
        cluster.wait_for(2)
        progress = KillsOne(workers[0])
        planned, folder = work.plan(read_study(study)), work.Folder(tmp_path / "out")
        failures = work.sweep(planned, folder, cluster, progress)
    assert failures == []
    assert workers[0].returncode < 0
    squares = [row["square"] for row in work.write_results(planned, folder)]
    assert squares == [x * x for x in range(POINTS)]
    used = (tmp_path / "log").read_text().split()
    assert len(set(used)) == 2, "both workers had points"
    assert len(used) <= POINTS + 1, "only what the killed one was at was computed again"


def test_no_scheduler_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_S", 1)
    with pytest.raises(InputError, match=r"--cluster tcp://127\.0\.0\.1:9: no scheduler answers there"):
        Cluster("tcp://127.0.0.1:9")


def test_missing_packages_are_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("distributed", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"--cluster: needs Dask; run `pip install hwsim\[cluster\]`"):
        Cluster("tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"--parquet: needs pyarrow; run `pip install hwsim\[parquet\]`"):
        work.write_parquet([{"a": 1}], tmp_path / "table.parquet")


def test_parquet_is_the_table(tmp_path: Path) -> None:
    table = [
        {"x": 1, "form": "plain", "sigma": 0.5, "none": None},
        {"x": "inf", "form": None, "sigma": 1, "none": None},
    ]
    work.write_parquet(table, tmp_path / "table.parquet")
    found = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert found == [
        {"x": "1", "form": "plain", "sigma": 0.5, "none": None},
        {"x": "inf", "form": None, "sigma": 1.0, "none": None},
    ]
