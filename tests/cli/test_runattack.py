"""The attack section of a run: every case attacked, told in summary and report, kept when a run is interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small

from hwsim.experiments.device_run.job import RunJob, plan_run
from hwsim.experiments.device_run.work import run
from hwsim.experiments.gallery import FILE, read_gallery
from hwsim.experiments.requests import RunRequest
from hwsim.jobs.store import read_lines
from hwsim.reports.device_run import write_report

Call = Callable[..., tuple[int, str, str]]
SECTION = ("threat=linf:0.1", "attack=fgsm", "examples=20", "draws=2", "checks=false")


def job(folder: Path, *section: str) -> RunJob:
    settings = [text for text in small(*(f"evaluation.attack.{text}" for text in section)) if text != "--set"]
    where = {"out": folder, "settings": settings, "command": "hwsim run"}
    return plan_run(RunRequest(device="soft-bounds-cell", repeats=1, **where))


class Counts:
    def __init__(self, units: int = 1000) -> None:
        self.left, self.count = units, 0

    def total(self, units: int) -> None:
        self.units = units

    def note(self, text: str) -> None:
        pass

    def done(self, what: str, units: int = 1) -> None:
        self.count += units
        if self.count > self.left:
            raise KeyboardInterrupt


def attacks(folder: Path) -> list[dict]:
    return [record for record in read_lines(folder / "metrics.jsonl") if record["kind"] == "attack"]


def test_every_case_is_attacked_once_whatever_interrupts(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    progress = Counts()
    run(job(whole, *SECTION), progress)
    assert progress.count == progress.units
    found = attacks(whole)
    assert [record["case"] for record in found] == ["float", "programmed", "in-situ", "in-situ, copied"]
    for record in found:
        assert record["condition"] == "linf:0.1"
        assert record["reported"]["mean"] <= record["worst"]["mean"] <= record["clean"]["mean"]
        assert (whole / record["folder"] / "examples.csv").exists()
    assert (
        "pgd-margin" in json.loads((whole / found[1]["folder"] / "results.json").read_text())["threats"][0]["attacks"]
    )
    with pytest.raises(KeyboardInterrupt):
        run(job(parts, *SECTION), Counts(progress.units - 3))
    run(job(parts, *SECTION), Counts())
    assert attacks(parts) == found
    page = write_report(whole).read_text()
    assert 'id="table-attacks"' in page
    assert 'id="figure-gallery-in-situ"' in page
    shown = read_gallery(whole / "attacks" / "in-situ-0" / FILE)
    assert shown is not None
    assert [each.name for each in shown.attacked] == ["linf:0.1"]
    assert len(shown.labels) == 20
    assert "not checked" in page
    assert "One attack seed" in page
    summary = json.loads((whole / "summary.json").read_text())
    assert [row["case"] for row in summary["attacks"]] == ["float", "programmed", "in-situ", "in-situ, copied"]


def test_no_section_no_attack(tmp_path: Path) -> None:
    planned = job(tmp_path)
    assert planned.model.evaluation.attack is None
    assert "attack" not in planned.resolved["model"]["evaluation"]
    assert "attack" in job(tmp_path, *SECTION).resolved["model"]["evaluation"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("threat=linf:8", "linf:8/255"),
        ("attack=autoatack", "expected one of pgd, smoke"),
        ("gradient=explicit", "expected one of implicit"),
        ("knows=nothing", "expected conductances or device"),
        ("examples=0", "greater than or equal to 1"),
    ],
)
def test_mistake_in_the_section_is_told(hwsim_here: Call, tmp_path: Path, setting: str, words: str) -> None:
    folder = tmp_path / "r"
    sets = ("--set", "evaluation.attack.threat=linf:0.1", "--set", f"evaluation.attack.{setting}")
    code, _, err = hwsim_here("run", "--device", "soft-bounds-cell", "--out", str(folder), *sets)
    assert code == 2
    assert words in err
    assert "evaluation.attack" in err
    assert not folder.exists()
