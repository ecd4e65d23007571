"""Folders, cards and plug-ins that are damaged, hostile or absurd: a sentence that names the place, no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import runfolder

Call = Callable[..., tuple[int, str, str]]

DEEP = "[" * 50_000


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return runfolder.write_run(tmp_path / "run", repeats=1, images=20)


@pytest.mark.parametrize("name", ["config.yaml", "receipt.json", "cost.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [DEEP, '{"a": ' * 50_000, "\0" * 99, "", '{"config_hash": "\\ud800"}'])
def test_files_of_a_run_that_are_damaged(hwsim_here: Call, run_folder: Path, name: str, content: str) -> None:
    (run_folder / name).write_text(content)
    listed = ["runs", "list", "--runs", run_folder.parent]
    for command in (["report", run_folder], ["compare", run_folder, run_folder], listed):
        code, _, err = hwsim_here(*map(str, command))
        assert code in (0, 2), err
        assert code == 0 or (name in err and "run" in err)


def test_a_run_with_damaged_records_is_not_finished_and_says_so(hwsim_here: Call, run_folder: Path) -> None:
    metrics = run_folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    lines[4] = lines[4][:30] + "\x07" + lines[4][30:]
    metrics.write_text("".join(lines))
    code, _, err = hwsim_here("report", str(run_folder))
    assert code == 0, err
    page = (run_folder / "report.html").read_text()
    assert f"1 of {len(lines)} lines cannot be read (line 5)" in page
    assert ">finished" not in page


def test_a_cell_that_ends_the_program_is_a_mistake_in_its_card(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("device", "new", "quitter", "--out", str(tmp_path))
    assert code == 0, err
    cell = tmp_path / "quitter" / "cell.py"
    source = cell.read_text()
    cell.write_text(source + "\nraise SystemExit(0)\n")
    code, _, err = hwsim_here("device", "validate", str(tmp_path / "quitter"))
    assert (code, "cell.py" in err, "SystemExit" in err) == (2, True, True)
    name = re.findall(r"class (\w+)", source)[-1]
    cell.write_text(f"{source}\n\ndef end(*given):\n    raise SystemExit(0)\n\n\n{name}.step = end\n")
    code, _, err = hwsim_here("device", "validate", str(tmp_path / "quitter"))
    assert (code, "SystemExit" in err) == (2, True)


@pytest.mark.parametrize(
    ("axes", "place"),
    [
        ("{reads: {keys: [1, 2, 3], values: [1]}}", "blocks.a.axes.reads.keys"),
        ("{reads: {keys: [.nan], values: [1]}}", "blocks.a.axes.reads.keys"),
        ("{.nan: [1]}", "expected a name as key"),
        ("{7: [1]}", "blocks.a.axes"),
        ("{x: {cases: {b: {3: 4}}}}", "blocks.a.axes.x.cases.b"),
        ("{x: {cases: {[1]: {}}}}", "expected a name as key"),
        ("{x: []}", "blocks.a.axes.x"),
    ],
)
def test_a_study_with_odd_keys(hwsim_here: Call, tmp_path: Path, axes: str, place: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: odd\nmeasurement: in-situ-accuracy\nblocks:\n  a:\n    axes: {axes}\n")
    code, _, err = hwsim_here("sweep", str(path), "--dry-run", "--out", str(tmp_path / "out"))
    assert code == 2, err
    assert "study.yaml:" in err
    assert place in err


def test_a_file_without_end_is_not_read_for_ever(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("device", "fit", "/dev/zero", "--out", str(tmp_path / "x"))
    assert (code, "/dev/zero: holds more than 64 MiB" in err) == (2, True)
