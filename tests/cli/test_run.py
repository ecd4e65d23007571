"""The main job: what it leaves behind, that it goes on where it was, and that nothing half-written is read."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_settings import SMALL, small
from job_progress import HUNG_S, DiesAfter, Silent, wait_for
from safetensors.torch import load_file

from hwsim.experiments.device_run.job import RunJob, plan_run
from hwsim.experiments.device_run.work import run
from hwsim.experiments.gallery import read_gallery
from hwsim.experiments.requests import RunRequest
from hwsim.jobs.store import read_lines
from hwsim.reports.device_run import write_report

CELLS = "soft-bounds-cell"


def job(folder: Path, device: str = CELLS, repeats: int = 1, seed: int = 0) -> RunJob:
    where = {"out": folder, "settings": SMALL, "command": "hwsim run"}
    return plan_run(RunRequest(device=device, seed=seed, repeats=repeats, **where))


def results(folder: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The records of a run by what they are about, without the seconds they took."""
    found = {}
    for record in read_lines(folder / "metrics.jsonl"):
        record.pop("seconds", None)
        found[tuple(record.get(k) for k in ("kind", "case", "repeat", "epoch", "condition", "level"))] = record
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(job(folder, repeats=2), Silent())
    return folder


def test_units_announced_are_units_done(tmp_path: Path) -> None:
    progress = Silent()
    run(job(tmp_path / "run"), progress)
    assert progress.count == progress.units


@pytest.mark.parametrize("after", [1, 3, 6, 11, 17])
def test_interrupted_run_goes_on_bit_for_bit(uninterrupted: Path, tmp_path: Path, after: int) -> None:
    """Float and python cells are exact under their seeds, wherever the run was stopped."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(job(folder, repeats=2), DiesAfter(after))
    run(job(folder, repeats=2), Silent())
    assert results(folder) == results(uninterrupted)
    for file in sorted([*(uninterrupted / "weights").iterdir(), *(uninterrupted / "gallery").iterdir()]):
        expected, found = load_file(file), load_file(folder / file.relative_to(uninterrupted))
        assert expected.keys() == found.keys()
        assert all(expected[name].equal(found[name]) for name in expected), file.name


def test_attacked_images_are_kept_and_shown(uninterrupted: Path) -> None:
    """The first images of the first repeat, as they were judged, beside the clean ones and within their budget."""
    judged = results(uninterrupted)
    for case in ("float", "programmed", "in-situ"):
        kept = read_gallery(uninterrupted / "gallery" / f"{case}-pgd-linf-0.1.safetensors")
        assert kept is not None
        (attacked,) = kept.attacked
        assert attacked.name == "linf:0.1"
        change = np.abs(attacked.images - kept.clean.images)
        assert 0.05 < change.max() <= 0.1 + 1e-6
        if case == "float":  # one read judged, and the same read labelled: without noise they are one
            hits = judged["evaluation", case, 0, None, "pgd-linf", 0.1]["hits"][: len(kept.labels)]
            assert (attacked.predicted == kept.labels).tolist() == [bool(hit) for hit in hits]
    page = write_report(uninterrupted).read_text()
    assert 'id="figure-gallery-float"' in page
    assert 'id="figure-gallery-in-situ"' in page


def test_another_seed_gives_other_results(uninterrupted: Path, tmp_path: Path) -> None:
    """The comparison above can fail."""
    run(job(tmp_path / "run", repeats=2, seed=1), Silent())
    assert results(tmp_path / "run") != results(uninterrupted)


def test_finished_cells_are_not_run_again(uninterrupted: Path) -> None:
    before = (uninterrupted / "metrics.jsonl").read_bytes()
    run(job(uninterrupted, repeats=2), Silent())
    assert (uninterrupted / "metrics.jsonl").read_bytes() == before


def test_programmed_float_on_exact_device_equals_float(tmp_path: Path) -> None:
    """On the ideal device the programmed case is the float case, hit by hit."""
    run(job(tmp_path / "run", device="ideal"), Silent())
    found = results(tmp_path / "run")
    clean = {key[1]: record["hits"] for key, record in found.items() if key[0] == "evaluation" and key[4] == "clean"}
    assert clean["float"] == clean["programmed"]


def test_aihwkit_run_goes_on_and_says_what_is_not_exact(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(job(folder, device="ecram"), DiesAfter(9))
    run(job(folder, device="ecram"), Silent())
    receipt = json.loads((folder / "receipt.json").read_text())
    assert any("pulses" in source for source in receipt["streams"]["statistical"])
    assert {"device variation", "forward reads", "backward reads"} <= set(receipt["streams"]["exact"])
    assert "updates" not in receipt["streams"]["exact"]


def test_drifting_device_is_measured_after_each_age(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(job(folder, device="pcm-inference"), Silent())
    cases = list(dict.fromkeys(key[1] for key in results(folder) if key[0] == "evaluation"))
    ages = [f"programmed, {age}" for age in ("1 s", "1 h", "1 day", "1 month")]
    assert cases == ["float", "programmed", *ages, "in-situ"]


def test_what_one_instance_learned_is_measured_on_another(tmp_path: Path) -> None:
    """With equal bounds another instance holds what the first one learned; converters see it at a scale of its own."""
    exact = ("forward.out_noise", "backward.out_noise", "parameters.w_max_dtod", "parameters.w_min_dtod")
    quiet = (*(f"device.{key}=0" for key in exact), "in_situ.tune_epochs=1")
    where = {"out": tmp_path / "run", "settings": [*SMALL, *quiet], "command": "hwsim run"}
    progress = Silent()
    run(plan_run(RunRequest(device=CELLS, repeats=1, **where)), progress)
    assert progress.count == progress.units
    found = results(tmp_path / "run")
    hits = {key[1]: record["hits"] for key, record in found.items() if key[0] == "evaluation" and key[4] == "clean"}
    assert list(hits) == ["float", "programmed", "programmed, tuned", "in-situ", "in-situ, copied"]
    weights = {
        case: load_file(tmp_path / "run" / "weights" / f"{case}-0.safetensors")["layer0.weight"]
        for case in ("programmed", "programmed-tuned", "in-situ", "in-situ-copied")
    }
    assert weights["in-situ"].allclose(weights["in-situ-copied"], atol=1e-5)
    # Tuned is the instance that was programmed, an epoch later: near to it, and no longer it.
    moved = (weights["programmed-tuned"] - weights["programmed"]).norm() / weights["programmed"].norm()
    assert 0 < moved < 0.8 * (weights["in-situ"] - weights["programmed"]).norm() / weights["programmed"].norm()


def test_run_folder_is_complete(hwsim_here: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, out, err = hwsim_here("run", "--device", CELLS, "--repeats", "2", "--out", str(folder), *small())
    assert (code, err) == (0, "")
    assert "report.html" in out
    for name in ("config.yaml", "metrics.jsonl", "summary.json", "results.csv", "report.html", "receipt.json"):
        assert (folder / name).stat().st_size > 0, name
    assert len(list((folder / "weights").glob("*.safetensors"))) == 8
    assert any((folder / "figures").glob("*.png"))
    assert not list(folder.rglob("*.part"))
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"float", "programmed", "in-situ", "in-situ, copied"}
    receipt = json.loads((folder / "receipt.json").read_text())
    assert receipt["versions"]["torch"]
    assert receipt["config_hash"] == json.loads(json.dumps(receipt["config_hash"]))


def test_page_is_written_anew(
    hwsim_here: Callable[..., tuple[int, str, str]], uninterrupted: Path, tmp_path: Path
) -> None:
    code, out, err = hwsim_here("report", str(uninterrupted))
    assert (code, err) == (0, "")
    assert out == f"report: {uninterrupted / 'report.html'}\n"
    code, _, err = hwsim_here("report", str(tmp_path))
    assert code == 2
    assert "hwsim run" in err


def test_other_configuration_in_the_folder_is_refused(
    hwsim_here: Callable[..., tuple[int, str, str]], uninterrupted: Path
) -> None:
    code, _, err = hwsim_here("run", "--device", CELLS, "--seed", "5", "--out", str(uninterrupted), *small())
    assert code == 2
    assert "another configuration" in err
    assert str(uninterrupted) in err


def test_killed_run_goes_on(
    hwsim_process: Callable[..., subprocess.Popen[str]], uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ("run", "--device", CELLS, "--repeats", "2", "--out", str(folder), *small())
    process = hwsim_process(*arguments)
    wait_for(folder / "metrics.jsonl", 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with (folder / "metrics.jsonl").open("a") as torn:
        torn.write('{"kind": "evaluation", "case": "flo')  # a line that a power cut left
    process = hwsim_process(*arguments)
    out, err = process.communicate(timeout=HUNG_S)
    assert (process.returncode, err) == (0, "")
    assert "report" in out
    assert results(folder) == results(uninterrupted)


def test_interrupt_is_a_sentence(hwsim_process: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = hwsim_process("run", "--device", CELLS, "--repeats", "9", "--out", str(folder), *small())
    wait_for(folder / "metrics.jsonl", 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HUNG_S)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err


def test_two_processes_do_not_share_a_folder(
    hwsim_process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ("run", "--device", CELLS, "--repeats", "9", "--out", str(folder), *small())
    first = hwsim_process(*arguments)
    try:
        wait_for(folder / "metrics.jsonl", 1, first)
        second = hwsim_process(*arguments)
        _, err = second.communicate(timeout=HUNG_S)
        assert second.returncode == 2
        assert "another process" in err
    finally:
        first.kill()
        first.communicate()


def test_full_disk_is_a_sentence_and_loses_nothing(
    hwsim_process: Callable[..., subprocess.Popen[str]], uninterrupted: Path, tmp_path: Path
) -> None:
    """A file-size limit stands in for a full disk: writes fail in the middle, with an OSError."""
    folder = tmp_path / "run"
    arguments = ("run", "--device", CELLS, "--repeats", "2", "--out", str(folder), *small())
    limited = hwsim_process(*arguments, prefix=("bash", "-c", 'trap "" XFSZ; ulimit -f 6; exec "$@"', "limited"))
    _, err = limited.communicate(timeout=HUNG_S)
    assert limited.returncode == 1
    assert "Traceback" not in err
    assert "could not be" in err
    process = hwsim_process(*arguments)
    _, err = process.communicate(timeout=HUNG_S)
    assert (process.returncode, err) == (0, "")
    assert results(folder) == results(uninterrupted)
