"""What a run costs: on the command line, in the run folder and on its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small

from hwsim.cli.device import console

Call = Callable[..., tuple[int, str, str]]


def test_a_run_leaves_its_cost_on_the_page_and_as_numbers(hwsim_here: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, _, err = hwsim_here("run", "--device", "soft-bounds-cell", "--repeats", "1", "--out", str(out), *small())
    assert (code, err) == (0, "")
    cost = json.loads((out / "cost.json").read_text())
    assert [activity["name"] for activity in cost["activities"]] == ["programming", "inference", "training"]
    assert json.loads((out / "summary.json").read_text())["cost"] == cost
    page = (out / "report.html").read_text()
    assert '<table id="table-cost">' in page
    assert "Le Gallo" in page
    assert "reads of layer0.weight (12 x 64), back" in page


def test_the_cost_of_a_device_is_counted_without_a_run(
    hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 160)
    code, out, _ = hwsim_here("device", "cost", "soft-bounds-cell", *small())
    assert code == 0
    assert "digits-mlp on soft-bounds-cell" in out
    assert "13.4 nJ and 133 ns" in out
    prices = tmp_path / "prices.yaml"
    prices.write_text("name: x\nread: {cores: 0}\n")
    code, _, err = hwsim_here("device", "cost", "soft-bounds-cell", "--table", str(prices), *small())
    assert code == 2
    assert "prices.yaml:2" in err


def test_a_page_without_a_cost_says_so(hwsim_here: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert hwsim_here("run", "--repeats", "1", "--out", str(out), *small())[0] == 0
    (out / "cost.json").unlink()
    from hwsim.reports.device_run import write_report

    assert "Not counted yet." in write_report(out).read_text()
