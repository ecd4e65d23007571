"""Sweeps: finished points are never run twice, lost ones are run again, and the folder survives whatever happens."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from job_progress import HUNG_S, Silent, wait_for

from hwsim.errors import InputError
from hwsim.experiments.sweep import work
from hwsim.experiments.sweep.measurements import key_of
from hwsim.experiments.sweep.study import read_study

# A measurement that squares a number, logs that it ran, and fails, dies or waits where asked to.
MEASUREMENT = """
import os, signal, time
from pathlib import Path
from hwsim.experiments.sweep.measurement import Measurement

def resolve(spec):
    return {"settings": [pair for pair in spec.settings if pair[0] == "x"], "seed": spec.seed}

def compute(spec):
    folder, x, options = Path(spec.folder), dict(spec.settings)["x"], spec.options()
    with (folder / "log").open("a") as log:
        log.write(f"{x}\\n")
    time.sleep(options.get("sleep", 0))
    healed = (folder / "healed").exists()
    if x == options.get("fails") and not healed:
        raise ValueError("asked to fail")
    if x == options.get("dies") and not healed:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"columns": {"square": x**2}}

squares = Measurement(resolve, compute, (("sleep", 0), ("fails", None), ("dies", None)))
"""


class Threads:
    """The seam's other side: any executor will do."""

    remote = False

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers

    def executor(self) -> Executor:
        return ThreadPoolExecutor(self.workers)

    def stop(self) -> None:
        pass


def study(folder: Path, options: str = "", values: str = "[1, 2, 3, 4, 5]") -> Path:
    (folder / "kind.py").write_text(MEASUREMENT)
    path = folder / "study.yaml"
    path.write_text(
        f"name: squares\nmeasurement: ./kind.py:squares\nset: {{{options}}}\n"
        f"blocks:\n  one: {{axes: {{x: {values}}}}}\n  two: {{axes: {{x: [1, 7]}}}}\n"
    )
    return path


def ran(folder: Path) -> Counter[int]:
    log = folder / "log"
    return Counter(int(line) for line in log.read_text().split()) if log.exists() else Counter()


def swept(path: Path, out: Path, pool: Threads | None = None) -> tuple[list[work.Failure], Silent]:
    progress = Silent()
    planned, folder = work.plan(read_study(path)), work.Folder(out)
    folder.write_plan(planned, "hwsim sweep")
    failures = work.sweep(planned, folder, pool or Threads(), progress)
    work.write_results(planned, folder)
    return failures, progress


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_equal_points_are_computed_once_and_never_again(tmp_path: Path) -> None:
    """The two blocks share a point; a second sweep has nothing to do."""
    path, out = study(tmp_path), tmp_path / "out"
    for left in (6, 0):
        failures, progress = swept(path, out)
        assert failures == []
        assert progress.count == progress.units == left
    assert ran(tmp_path) == Counter([1, 2, 3, 4, 5, 7])
    found = [(row["block"], row["x"], row["square"]) for row in rows(out)]
    assert found == [("one", str(x), str(x * x)) for x in (1, 2, 3, 4, 5)] + [("two", "1", "1"), ("two", "7", "49")]


def test_a_failed_point_keeps_the_others_and_is_run_again(tmp_path: Path) -> None:
    path, out = study(tmp_path, "measurement.fails: 2"), tmp_path / "out"
    failures, progress = swept(path, out)
    assert [(f.point.axes, f.reason) for f in failures] == [({"x": 2}, "ValueError: asked to fail")]
    assert progress.count == progress.units
    assert [row["status"] for row in rows(out)].count("failed") == 1
    (tmp_path / "healed").touch()
    assert swept(path, out)[0] == []
    assert ran(tmp_path) == Counter([1, 2, 2, 3, 4, 5, 7])
    assert not list((out / "points").glob("*.failed.json"))


def test_two_sweeps_at_once_share_the_points(tmp_path: Path) -> None:
    path, out = study(tmp_path, "measurement.sleep: 0.05", str(list(range(20)))), tmp_path / "out"
    ends: list[tuple[list[work.Failure], Silent]] = []
    both = [threading.Thread(target=lambda: ends.append(swept(path, out))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert [failures for failures, _ in ends] == [[], []]
    assert all(progress.count == progress.units for _, progress in ends)
    assert ran(tmp_path) == Counter(range(20))


def test_without_claims_points_would_be_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(work.Folder, "claim", lambda self, key: (self.path / "claims" / key).open("w"))
    path, out = study(tmp_path, "measurement.sleep: 0.05", str(list(range(20)))), tmp_path / "out"
    both = [threading.Thread(target=swept, args=(path, out)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert ran(tmp_path).total() > 20


def test_keys_depend_on_what_is_computed_and_on_nothing_else(tmp_path: Path) -> None:
    path = study(tmp_path, "measurement.sleep: 0")
    keys = [key for _, key in work.plan(read_study(path)).points]
    assert keys == [key for _, key in work.plan(read_study(path)).points]
    assert len(set(keys)) == 6
    assert set(keys).isdisjoint(key for _, key in work.plan(read_study(study(tmp_path, "measurement.sleep: 1"))).points)
    (tmp_path / "kind.py").write_text(MEASUREMENT + "\n# another source\n")
    assert set(keys).isdisjoint(key for _, key in work.plan(read_study(path)).points)


def test_code_that_changes_while_a_sweep_runs_is_not_taken_for_the_planned_one(tmp_path: Path) -> None:
    path, folder = study(tmp_path), work.Folder(tmp_path / "out")
    planned = work.plan(read_study(path))
    (tmp_path / "kind.py").write_text(MEASUREMENT.replace("x**2", "x**3"))
    failures = work.sweep(planned, folder, Threads(), Silent())
    assert {failure.reason.partition(";")[0] for failure in failures} == {
        "the code of the measurement changed while the sweep ran"
    }
    assert not swept(path, tmp_path / "out")[0]


def test_keys_of_trainings_follow_model_device_recipe_seed_and_data(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: keys\nmeasurement: in-situ-accuracy\ndevice: soft-bounds-cell\nset: {in_situ.epochs: 2}\nblocks:\n"
        "  base: {}\n  same: {axes: {in_situ.epochs: [2]}}\n  seed: {seeds: [1]}\n"
        "  recipe: {axes: {in_situ.beta: [0.7]}}\n  device: {axes: {device: [ideal]}}\n"
        "  parameter: {axes: {device.forward.out_noise: [0.2]}}\n  model: {axes: {inference.steps: [50]}}\n"
    )
    points = work.plan(read_study(path)).points
    keys = {point.block: key for point, key in points}
    assert keys.pop("same") == keys["base"]
    assert len(set(keys.values())) == 6
    assert keys["base"] == key_of(points[0][0].spec)


def test_a_folder_is_one_study_s(tmp_path: Path) -> None:
    swept(study(tmp_path), tmp_path / "out")
    path = study(tmp_path)
    path.write_text(path.read_text().replace("name: squares", "name: others"))
    with pytest.raises(InputError, match="holds the study squares"):
        swept(path, tmp_path / "out")


def test_killed_sweep_goes_on_and_leaves_no_workers(
    hwsim_process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path, out = study(tmp_path, "measurement.sleep: 0.4"), tmp_path / "out"
    process = hwsim_process("sweep", str(path), "--jobs", "1", "--out", str(out))
    wait_for(tmp_path / "log", 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HUNG_S)  # returns only when the workers, which hold the pipes, are gone
    before = ran(tmp_path)
    finished = {json.loads(file.read_text())["columns"]["square"] for file in (out / "points").glob("*.json")}
    assert 1 <= len(finished) < 6
    failures, _ = swept(path, out)
    assert failures == []
    again = ran(tmp_path) - before
    assert not {x * x for x in again} & finished
    assert {x * x for x in again} | finished == {1, 4, 9, 16, 25, 49}


def test_dying_worker_costs_its_own_point_only(hwsim_here: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path, out = study(tmp_path, "measurement.dies: 3", "[1, 2, 3]"), tmp_path / "out"
    code, told, err = hwsim_here("sweep", str(path), "--jobs", "2", "--out", str(out))
    assert code == 1
    assert "1 of 4 points failed" in err
    assert "worker process died" in told
    assert [row["status"] for row in rows(out)] == ["finished", "finished", "failed", "finished", "finished"]
    (tmp_path / "healed").touch()
    assert swept(path, out)[0] == []


class Refusing(ThreadPoolExecutor):
    """A pool whose workers died while it was idle."""

    def submit(self, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        raise BrokenProcessPool("a worker died")


class FirstRefuses(Threads):
    made = 0

    def executor(self) -> Executor:
        self.made += 1
        return Refusing() if self.made == 1 else super().executor()


def test_a_pool_that_broke_while_nothing_ran_is_replaced(tmp_path: Path) -> None:
    path, out = study(tmp_path), tmp_path / "out"
    pool = FirstRefuses()
    assert swept(path, out, pool)[0] == []
    assert pool.made == 2
    assert {row["status"] for row in rows(out)} == {"finished"}


def test_a_real_point_through_the_command_line(hwsim_here: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: real\nmeasurement: in-situ-accuracy\ndevice: soft-bounds-cell\nunits: {device.forward.out_noise: w}\n"
        "set: {'network.layers': [64, 12, 10], in_situ.epochs: 1, inference.steps: 8, inference.average_last: 2,\n"
        "  evaluation.draws: 2, evaluation.examples: 60, evaluation.input_noise.sigma: [0.1],\n"
        "  evaluation.corruptions.types: [], evaluation.pgd.epsilon: []}\n"
        "blocks: {noise: {axes: {device.forward.out_noise: [0.0, 0.1]}}}\n"
    )
    out = tmp_path / "out"
    code, told, err = hwsim_here("sweep", str(path), "--jobs", "1", "--out", str(out))
    assert (code, err) == (0, ""), told
    found = rows(out)
    assert [row["device.forward.out_noise [w]"] for row in found] == ["0.0", "0.1"]
    assert all(0 < float(row["accuracy_share"]) < 1 for row in found)
    assert all(row["accuracy_input-noise_sigma0.1_share"] for row in found)
    with (out / "seconds.csv").open() as file:
        assert all(float(row["seconds"]) > 0 for row in csv.DictReader(file)), "times stand apart from results"
    assert (out / "report.html").stat().st_size > 0
