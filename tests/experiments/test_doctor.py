"""What the doctor finds, and the cure it names for each thing that is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwsim.data import sources as datasources
from hwsim.errors import WorkError
from hwsim.experiments import doctor


def test_this_installation_is_sound() -> None:
    findings = doctor.diagnose()
    assert [finding.name for finding in findings[:4]] == ["python", "aihwkit", "threads", "disk"]
    assert {finding.name for finding in findings[4:]} == {f"data {name}" for name in datasources.NAMES}
    wrong = [finding for finding in findings if not finding.ok]
    assert not wrong, doctor.report(wrong)


def test_an_old_python_is_wrong() -> None:
    assert doctor.check_python((3, 12, 0)).ok
    finding = doctor.check_python((3, 10, 9))
    assert not finding.ok
    assert finding.state.startswith("3.10.9")
    assert "install Python 3.11" in finding.cure


def test_a_wrong_pair_is_told_in_its_own_words() -> None:
    def fails() -> None:
        raise WorkError("aihwkit 1.1.0 needs torch 2.10: pip install torch==2.10.*")

    finding = doctor.check_aihwkit(fails)
    assert not finding.ok
    assert finding.cure == "aihwkit 1.1.0 needs torch 2.10: pip install torch==2.10.*"
    assert finding.state.startswith("aihwkit ")
    assert doctor.check_aihwkit(lambda: None).ok


def test_a_missing_aihwkit_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hwsim.devices.aihw.pair", None)
    assert not doctor.check_aihwkit().ok


def test_more_threads_than_cores_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    assert doctor.check_threads(2, 2).ok
    finding = doctor.check_threads(16, 2)
    assert not finding.ok
    assert "16 of 2 cores (OMP_NUM_THREADS=16" in finding.state
    assert "OMP_NUM_THREADS=2" in finding.cure


def test_a_full_disk_and_a_missing_folder_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_disk(tmp_path).ok
    assert not doctor.check_disk(tmp_path / "nowhere").ok
    monkeypatch.setattr(doctor, "FREE_GIB", 1e9)
    finding = doctor.check_disk(tmp_path)
    assert not finding.ok
    assert "--out DIR" in finding.cure


def test_a_folder_that_refuses_writing_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    finding = doctor.check_disk(tmp_path)
    assert not finding.ok
    assert "not writable" in finding.state


def test_absent_data_is_a_hint_and_incomplete_data_is_wrong(tmp_path: Path) -> None:
    absent = doctor.check_data("cifar10", tmp_path)
    assert absent.ok
    assert absent.state == "not here"
    assert "cifar-10-batches-bin/test_batch.bin exists" in absent.cure

    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        (folder / name).touch()
    partial = doctor.check_data("cifar10", tmp_path)
    assert not partial.ok
    assert "lacks data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, batches.meta.txt" in partial.state
    for name in ("data_batch_3.bin.gz", "data_batch_4.bin", "data_batch_5.bin", "batches.meta.txt"):
        (folder / name).touch()
    whole = doctor.check_data("cifar10", tmp_path)
    assert whole.ok
    assert whole.state == str(folder)


def test_a_data_dir_that_does_not_exist_is_wrong(tmp_path: Path) -> None:
    finding = doctor.check_data("mnist", tmp_path / "nowhere")
    assert not finding.ok
    assert "--data-dir" in finding.cure


def test_what_is_printed_shows_the_cure_below_what_is_wrong() -> None:
    findings = [doctor.Finding("python", True, "3.11.7"), doctor.Finding("threads", False, "16 of 2", "fewer")]
    assert doctor.report(findings).splitlines() == [
        "ok     python   3.11.7",
        "WRONG  threads  16 of 2",
        "                -> fewer",
    ]
