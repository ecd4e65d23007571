"""Studies of one's own: found, checked before anything is measured, and their mistakes told where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.experiments.sweep import work
from hwsim.experiments.sweep.study import read_study

Call = Callable[..., tuple[int, str, str]]

STUDY = """name: mine
question: Is it good?
measurement: ./measurement.py:SQUARES
page: ./page.py:squares
blocks: {one: {axes: {x: [1, 2]}}}
"""
MEASUREMENT = """
from hwsim.experiments.sweep.measurement import Measurement
from .numbers import power

def resolve(spec):
    return {"x": dict(spec.settings)["x"]}

def compute(spec):
    return {"columns": {"square": power(dict(spec.settings)["x"])}}

SQUARES = Measurement(resolve, compute)
"""
NUMBERS = "def power(x):\n    return x**2\n"
PAGE = """
from hwsim.reports.page import Page

def squares(results):
    squares = [place.records[0]["columns"]["square"] for place in results.places["one"]]
    return Page(f"The squares are {squares}.")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's folder in the folder that the command is called in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in (("study.yaml", STUDY), ("measurement.py", MEASUREMENT), ("numbers.py", NUMBERS)):
        (folder / name).write_text(text)
    (folder / "page.py").write_text(PAGE)
    return folder


def keys(out: Path) -> set[str]:
    return {path.stem for path in (out / "points").glob("*.json")}


def test_without_a_study_the_shelf_is_listed(hwsim_here: Call) -> None:
    for arguments in ((), ("--list",)):
        code, told, err = hwsim_here("sweep", *arguments)
        assert (code, err) == (0, "")
        assert all(name in told for name in ("ideal-vs-analog", "paper", "tolerance", "full, quick, paper"))


def test_a_study_is_found_by_name_and_by_path(mine: Path, hwsim_here: Call) -> None:
    for given in ("tolerance", "./mine", "mine", "mine/study.yaml", str(mine)):
        code, told, err = hwsim_here("sweep", given, "--quick", "--dry-run", "--out", "out-" + given.replace("/", "-"))
        assert (code, err) == (0, ""), told
    assert not list(mine.parent.glob("out-*")), "a dry run writes nothing"
    code, _, err = hwsim_here("sweep", "tolerence", "--dry-run")
    assert code == 2
    assert "study 'tolerence': unknown name; did you mean 'tolerance'? Known studies: ideal-vs-analog, paper, " in err


def test_measurement_and_page_are_the_folder_s_own(mine: Path, hwsim_here: Call) -> None:
    """A page may be rewritten without measuring anew; a file that the measurement imports may not."""
    assert hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")[0] == 0
    assert "The squares are [1, 4]." in (mine.parent / "out" / "report.html").read_text()
    before = keys(mine.parent / "out")
    (mine / "page.py").write_text(PAGE.replace("The squares", "Now they"))
    assert hwsim_here("report", "out")[0] == 0
    assert "Now they are [1, 4]." in (mine.parent / "out" / "report.html").read_text()
    assert "2 of them finished" in hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")[1]
    (mine / "numbers.py").write_text(NUMBERS.replace("x**2", "x**3"))
    assert hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")[0] == 0
    assert "Now they are [1, 8]." in (mine.parent / "out" / "report.html").read_text()
    assert len(keys(mine.parent / "out") - before) == 2


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "study.yaml",
            STUDY.replace("SQUARES", "SQUARE"),
            "study.yaml:3: measurement: measurement.py defines no 'SQUA",
        ),
        ("study.yaml", STUDY.replace("squares", "square"), "study.yaml:4: page: page.py defines no 'square'"),
        ("study.yaml", STUDY.replace("./page.py:squares", "curve"), "page: 'curve' is no page; did you mean 'curves'?"),
        ("study.yaml", STUDY.replace("./page.py:squares", "../page.py:squares"), "lies outside the card's folder"),
        ("measurement.py", "SQUARES = 3\n", "study.yaml:3: measurement: ./measurement.py:SQUARES: expected a hwsim."),
        ("measurement.py", "import sys\nsys.exit(0)\n", "mine/measurement.py:2: cannot be loaded (SystemExit: 0)"),
        ("numbers.py", "\n\nx = y\n", "mine/numbers.py:3: cannot be loaded (NameError: name 'y' is not defined)"),
        (
            "measurement.py",
            MEASUREMENT.replace('["x"]}', '["y"]}'),
            "study.yaml:5: blocks.one: at x = 1: mine/measurement.py:6: ./measurement.py:SQUARES cannot resolve the",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    mine: Path, hwsim_here: Call, file: str, text: str, message: str
) -> None:
    (mine / file).write_text(text)
    code, told, err = hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")
    assert (code, told) == (2, "")
    assert message in err


def test_a_page_that_fails_costs_no_results(mine: Path, hwsim_here: Call) -> None:
    (mine / "page.py").write_text(PAGE.replace("[0]", "[7]"))
    code, told, err = hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")
    assert code == 1
    assert "2 of 2 points are finished" in told
    assert "mine/page.py:5: page ./page.py:squares: KeyError: 7; the results are kept" in err


def test_a_record_without_columns_is_a_failed_point(mine: Path, hwsim_here: Call) -> None:
    (mine / "measurement.py").write_text(MEASUREMENT.replace('    return {"columns"', '    _ = {"columns"'))
    code, told, err = hwsim_here("sweep", "./mine", "--jobs", "1", "--out", "out")
    assert code == 1
    assert "expected a record" in " ".join(told.split())
    assert "2 of 2 points failed" in err


def test_results_are_kept_apart_from_the_study(mine: Path, hwsim_here: Call) -> None:
    """The study's folder is no place for results, results bring no code, and an earlier hwsim's are refused."""
    code, _, err = hwsim_here("sweep", "./mine", "--out", "mine")
    assert (code, (mine / "study.yaml").read_text()) == (2, STUDY)
    assert "--out mine: is the study's own folder; give another one for the results" in err
    work.Folder(Path("out")).write_plan(work.plan(read_study(mine / "study.yaml")), "hwsim sweep ./mine")
    plan = json.loads((mine.parent / "out" / "sweep.json").read_text())
    mine.rename(mine.parent / "out" / "mine")
    assert "the study's folder is not there any more" in hwsim_here("report", "out")[2]
    (mine.parent / "out" / "sweep.json").write_text(json.dumps(plan | {"study": str(mine.parent / "out" / "mine")}))
    assert "results run no code" in hwsim_here("report", "out")[2]
    (mine.parent / "old" / "cells").mkdir(parents=True)
    code, _, err = hwsim_here("sweep", "tolerance", "--dry-run", "--out", "old")
    assert code == 2
    assert "old: holds a sweep of an earlier hwsim" in err
