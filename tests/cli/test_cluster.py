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
from hwsim.experiments.sweep import shipping, work
from hwsim.experiments.sweep.study import Spec, read_study
from hwsim.jobs import executors
from hwsim.jobs.executors import Cluster

MEASUREMENT = """
import os, time
from pathlib import Path
from hwsim.cards.device import read_device
from hwsim.experiments.sweep.measurement import Measurement
from .numbers import power

def resolve(spec):
    return {"settings": list(spec.settings)}

def compute(spec):
    with Path(spec.options()["log"]).open("a") as log:
        log.write(f"{os.getpid()} {spec.folder}\\n")
    time.sleep(0.3)
    return {"columns": {"square": power(dict(spec.settings)["x"]), "device": read_device(spec.device).name}}

SQUARES = Measurement(resolve, compute, (("log", None),))
"""
NUMBERS = "def power(x):\n    return x**2\n"
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
    """Takes the study's folder out of the workers' sight, and kills one of them once some points are done."""

    def __init__(self, victim: subprocess.Popen[bytes], study: Path) -> None:
        self.victim, self.study, self.count = victim, study, 0

    def total(self, units: int) -> None:
        self.study.rename(self.study.with_name("moved"))

    def note(self, text: str) -> None:
        pass

    def done(self, what: str, units: int = 1) -> None:
        self.count += units
        if self.count == 4:
            self.victim.kill()


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    study = tmp_path / "squares"
    study.mkdir()
    log, axes = tmp_path / "log", f"{{x: {list(range(POINTS))}}}"
    for name, text in (
        ("measurement.py", MEASUREMENT),
        ("numbers.py", NUMBERS),
        ("device.yaml", "name: own\nfloat: {}\n"),
        (
            "study.yaml",
            f"name: squares\nmeasurement: ./measurement.py:SQUARES\ndevice: ./device.yaml\n"
            f"set: {{measurement.log: {log}}}\nblocks: {{one: {{axes: {axes}}}}}\n",
        ),
    ):
        (study / name).write_text(text)
    where = tmp_path / "scheduler.json"
    options = ("--scheduler-file", str(where), "--no-dashboard")
    with ExitStack() as stack:
        stack.enter_context(process("scheduler", "--host", "127.0.0.1", "--port", "0", *options, folder=tmp_path))
        wait_for(where, 1)
        worker = ("worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", *options)
        workers = [stack.enter_context(process(*worker, folder=tmp_path)) for _ in range(2)]
        cluster = Cluster(json.loads(where.read_text())["address"])
        cluster.wait_for(2)
        progress = KillsOne(workers[0], study)
        planned, folder = work.plan(read_study(study / "study.yaml")), work.Folder(tmp_path / "out")
        failures = work.sweep(planned, folder, cluster, progress)
    assert failures == []
    assert workers[0].returncode < 0
    rows = work.write_results(planned, folder)
    assert [(row["square"], row["device"]) for row in rows] == [(x * x, "own") for x in range(POINTS)]
    used = [line.split() for line in log.read_text().splitlines()]
    assert len({process for process, _ in used}) == 2, "both workers had points"
    assert len(used) <= POINTS + 1, "only what the killed one was at was computed again"
    assert str(study) not in {place for _, place in used}
    assert len({place for _, place in used}) == 2, "each worker unpacked the study once"


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


def test_what_travels_is_a_study_s_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No results, environments, hidden or large files; a worker that sees the same files uses them."""
    small = ("study.yaml", "parts/low.py", "bare/model.yaml")
    for name in (
        *small,
        ".git/x",
        "runs/a.csv",
        "out/sweep.json",
        "out/points/a.json",
        "venv/pyvenv.cfg",
        "a/__pycache__/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "weights.safetensors").write_bytes(bytes(shipping.MOST_BYTES_A_FILE + 1))
    parcel = shipping.packed(tmp_path)
    assert set(parcel.files) == set(small)
    spec = Spec("m", str(tmp_path / "bare"), "ideal", None, 0, (), str(tmp_path))
    assert shipping.arrived(spec, parcel) == spec
    (tmp_path / "study.yaml").write_text("changed")
    elsewhere = shipping.arrived(spec, parcel)
    assert elsewhere.folder != str(tmp_path)
    assert (Path(elsewhere.folder) / "study.yaml").read_text() == "x"
    assert (Path(elsewhere.model) / "model.yaml").read_text() == "x"
    assert elsewhere.device == "ideal"
    monkeypatch.setattr(shipping, "MOST_BYTES", 4)
    with pytest.raises(InputError, match="give the study a folder of its own"):
        shipping.packed(tmp_path)
