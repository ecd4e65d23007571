"""The commands' jobs from Python: the same folder, read into typed rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_settings import SMALL

import hwsim as hw
from hwsim.errors import InputError
from hwsim.jobs.folder import read_json

SETTINGS = {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in SMALL)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    hw.run("soft-bounds-cell", settings=SETTINGS, repeats=1, out=out)
    return out


def test_a_run_leaves_the_commands_folder_and_its_rows(folder: Path) -> None:
    results = hw.read_results(folder)
    assert isinstance(results, hw.JobResults)
    assert (results.kind, results.model, results.device) == ("run", "digits-mlp", "soft-bounds-cell")
    assert {row.case for row in results.rows} == {"float", "programmed", "in-situ", "in-situ, copied"}
    rows = read_json(folder / "summary.json")["accuracy"]
    assert [row.accuracy.mean for row in results.rows] == [row["mean"] for row in rows]
    assert results.accuracy("float") == results.rows[0].accuracy
    assert (folder / "report.html").is_file()
    command = read_json(folder / "receipt.json")["command"]
    assert command.startswith("hwsim run")
    assert "--device soft-bounds-cell" in command
    assert "--repeats 1" in command


def test_the_same_call_goes_on_and_measures_nothing_twice(folder: Path) -> None:
    before = (folder / "metrics.jsonl").read_bytes()
    again = hw.run("soft-bounds-cell", settings=SETTINGS, repeats=1, out=folder)
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert again == hw.read_results(folder)


def test_rows_become_a_data_frame(folder: Path) -> None:
    results = hw.read_results(folder)
    frame = results.to_pandas()
    assert len(frame) == len(results.rows)
    assert {"case", "condition", "level", "unit", "mean", "low", "high", "over"} <= set(frame.columns)


def test_what_was_not_measured_is_told_with_what_was(folder: Path) -> None:
    results = hw.read_results(folder)
    assert isinstance(results, hw.JobResults)
    with pytest.raises(InputError, match=r"no accuracy of \(in-situ, fog, 3\).*\(float, clean, 0\)"):
        results.accuracy("in-situ", "fog", 3)


def test_a_folder_of_no_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.yaml"):
        hw.read_results(tmp_path)
