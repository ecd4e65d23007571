"""benchmarks/gpu/run.py: a tiny dry run of all its parts, and of what needs a GPU on a pretended one."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from pretended import pretended

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "run.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny(place: str, out: Path, *more: str) -> list[str]:
    return ["--tiny", "--place", place, "--out", str(out), *more]


def test_a_dry_run_checks_times_trains_and_attacks(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "_seconds", lambda work, on_gpu, repeats: [work(), 0.02][1])
    assert script.main(tiny("cpu", tmp_path, "--minutes", "0.03")) == 0
    assert json.loads((tmp_path / "check.json").read_text())["passed"]
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert {(row["precision"], row["graph"]) for row in rows} == {("float32", False), ("bf16", False)}
    fit = json.loads((tmp_path / "fit.json").read_text())
    assert fit["epochs"] == int(script.MARGIN * 1.8 / (35 * 0.02 + 0.02)) == 2
    trained = json.loads((tmp_path / "train" / "card.json").read_text())
    assert trained["epochs"] == 2
    assert (tmp_path / "train" / "weights.safetensors").exists()
    assert len(json.loads((tmp_path / "attack" / "results.json").read_text())["threats"]) == 2
    # The same command goes on with what is there, whatever the rate is now.
    monkeypatch.setattr(script, "_seconds", lambda *_: pytest.fail("the schedule is kept"))
    told = capsys.readouterr().out
    assert script.main(tiny("cpu", tmp_path, "--minutes", "0.03", "--parts", "train")) == 0
    again = capsys.readouterr().out
    assert "epoch 1/2" in told
    assert "epoch 1/2" not in again
    assert told.split("test accuracy")[1].splitlines()[0] == again.split("test accuracy")[1].splitlines()[0]


def test_a_budget_that_no_epoch_fits_is_a_sentence(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="an epoch takes"):
        script.main(tiny("cpu", tmp_path, "--minutes", "1e-6", "--parts", "train"))


def test_what_a_gpu_does_is_checked_timed_and_recorded(script: ModuleType, tmp_path: Path) -> None:
    with pretended():
        assert script.main(tiny("cuda", tmp_path, "--parts", "check", "speed")) == 0
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["passed"]
    assert max(found["states"].values()) < 1e-5
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert len(rows) == 3 * 3 * 2
    assert not [row for row in rows if "failed" in row]


def test_differences_are_told_by_the_exit_code(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = script.settle
    calls: list[int] = []

    def off(*given: object, **how: object) -> object:
        calls.append(0)
        end = whole(*given, **how)
        return replace(end, state=tuple(layer + 0.01 * (len(calls) - 1) for layer in end.state))

    monkeypatch.setattr(script, "settle", off)
    assert script.main(tiny("cpu", tmp_path, "--parts", "check")) == 1
