"""``hwsim runs``: an index that may be lost, and a removal that may not go wrong."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable
from pathlib import Path

import attackfolder
import pytest
import runfolder

from hwsim.cli import runs as commands
from hwsim.experiments.index import INDEX, chosen, refresh

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    runfolder.write_run(tmp_path / "runs" / "digits-ecram")
    attackfolder.write_attack(tmp_path / "runs" / "attack-float")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def test_list_and_its_filters(runs: Path, hwsim_here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.console, "width", 140)
    code, out, err = hwsim_here("runs", "list", "--runs", str(runs))
    assert (code, err) == (0, "")
    assert "digits-ecram" in out
    assert "40.0 % linf:0.1" in out
    assert "notes" not in out
    entries, _ = refresh(runs)
    assert [e.name for e in entries] == ["digits-ecram", "attack-float"]
    assert [e.name for e in chosen(entries, kind="attack")] == ["attack-float"]
    assert [e.name for e in chosen(entries, since="2026-01-02")] == ["attack-float"]
    assert [e.name for e in chosen(entries, until="2026-01-01")] == ["digits-ecram"]
    assert [e.name for e in chosen(entries, device="fl*t")] == ["attack-float"]
    for wrong in (("--kind", "atack"), ("--since", "yesterday")):
        code, _, err = hwsim_here("runs", "list", "--runs", str(runs), *wrong)
        assert code == 2
        assert wrong[0] in err


def test_no_line_is_wider_than_the_terminal(runs: Path, hwsim_here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.console, "width", 80)
    _, out, _ = hwsim_here("runs", "list", "--runs", str(runs))
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("digits-ecram\n  run, ")
    assert "40.0 % linf:0.1" in out  # no word is broken over lines


def test_a_lost_or_damaged_index_is_rebuilt(runs: Path, hwsim_here: Call) -> None:
    before, _ = refresh(runs)
    (runs / INDEX).unlink()
    assert refresh(runs) == (before, [])
    (runs / INDEX).write_bytes(b"no database" * 500)
    code, out, err = hwsim_here("runs", "list", "--runs", str(runs))
    assert code == 0
    assert "rebuilt from the folders" in err
    assert "attack-float" in out
    assert refresh(runs) == (before, [])


def test_a_damaged_run_is_left_out_with_a_sentence(runs: Path) -> None:
    (runs / "attack-float" / "results.json").write_text("{")
    entries, told = refresh(runs)
    assert [entry.name for entry in entries] == ["digits-ecram"]
    assert "results.json" in told[0]


def test_rm(runs: Path, hwsim_here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    code, _, err = hwsim_here("runs", "rm", "attack-float", "--runs", str(runs))
    assert (code, "--yes" in err) == (2, True)
    with (runs / "attack-float" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = hwsim_here("runs", "rm", "digits-ecram", "attack-float", "--yes", "--runs", str(runs))
        assert (code, "writing into it" in err) == (2, True)
        assert "at work" in hwsim_here("runs", "list", "--runs", str(runs))[1]
    assert (runs / "digits-ecram").is_dir()  # none of the two
    code, _, err = hwsim_here("runs", "rm", "atack-float", "--yes", "--runs", str(runs))
    assert (code, "did you mean 'attack-float'?" in err) == (2, True)
    code, _, err = hwsim_here("runs", "rm", "../runs", "--yes", "--runs", str(runs))
    assert code == 2
    assert hwsim_here("runs", "rm", "attack-float", "--yes", "--runs", str(runs))[0] == 0
    assert sorted(path.name for path in runs.iterdir()) == [INDEX, "digits-ecram", "notes"]


def test_show(runs: Path, hwsim_here: Call) -> None:
    code, out, _ = hwsim_here("runs", "show", "attack-float", "--runs", str(runs))
    assert code == 0
    assert "hwsim attack --threat linf:0.05" in out
    assert "linf:0.1, to report" in out


def test_mlflow_keeps_parameters_figures_and_files(runs: Path, hwsim_here: Call, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (pip install 'hwsim[mlflow]')")
    store = tmp_path / "mlruns"
    code, _, err = hwsim_here("runs", "export", "digits-ecram", "--mlflow", str(store), "--runs", str(runs))
    assert (code, err) == (0, "")
    client = mlflow.MlflowClient(tracking_uri=store.as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("hwsim").experiment_id])
    assert run.data.params["data.name"] == "digits"
    assert any(name.endswith("accuracy_train") for name in run.data.metrics)
    assert {"config.yaml", "metrics.jsonl"} <= {file.path for file in client.list_artifacts(run.info.run_id)}


def test_without_mlflow_a_sentence(runs: Path, hwsim_here: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, _, err = hwsim_here("runs", "export", "digits-ecram", "--mlflow", "x", "--runs", str(runs))
    assert (code, "pip install 'hwsim[mlflow]'" in err) == (2, True)
    assert hwsim_here("runs", "export", "digits-ecram", "--runs", str(runs))[0] == 2


def test_tensorboard_keeps_curves(runs: Path, hwsim_here: Call, tmp_path: Path) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    where = tmp_path / "logs"
    code, _, err = hwsim_here("runs", "export", "digits-ecram", "--tensorboard", str(where), "--runs", str(runs))
    assert (code, err) == (0, "")
    read = events.EventAccumulator(str(where / "digits-ecram"))
    read.Reload()
    curve = next(tag for tag in read.Tags()["scalars"] if tag.endswith("accuracy_train"))
    assert [event.step for event in read.Scalars(curve)] == list(range(1, 11))
