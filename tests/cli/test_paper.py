"""The paper study: its points, what it does about missing weights, its published figures, and its page, resumed."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_progress import HUNG_S
from studies import module_of

from hwsim.cards import shelf
from hwsim.errors import InputError, WorkError
from hwsim.experiments.sweep.forecast import forecast, lacking
from hwsim.experiments.sweep.measurements import compute, key_of, measurement_of
from hwsim.experiments.sweep.study import Spec, read_study
from hwsim.experiments.sweep.work import Folder, grouped, plan

STUDY = """
name: small
question: Is it robust?
page: ./page.py:paper_page
measurement: ./measurement.py:PAPER
seeds: [0, 1]
speed_gmac_per_s: 10
set:
  measurement.examples: 30
  measurement.steps: 4
  measurement.queries: 20
  measurement.effort: smoke
  inference.steps: 30
blocks:
  clean:
    set: {measurement.measure: clean}
    axes: {model: &models {cases: {EP: {model: digits-mlp}, untrained: {model: ./bare}}}}
  pgd-linf:
    set: {measurement.measure: pgd}
    axes:
      model: *models
      protocol: {keys: [measurement.protocol], values: [published, mended]}
      epsilon: {keys: [measurement.epsilon], values: [0.05, 0.1]}
  square:
    set: {measurement.measure: square}
    axes:
      model: *models
      protocol: {keys: [measurement.protocol], values: [mended]}
      epsilon: {keys: [measurement.epsilon], values: [0.1]}
  autoattack:
    set: {measurement.measure: autoattack}
    axes:
      model: *models
      protocol: {keys: [measurement.protocol], values: [published, mended]}
      epsilon: {keys: [measurement.epsilon], values: [0.1]}
  ladder:
    set: {measurement.measure: pgd, measurement.epsilon: 0.1}
    axes: {model: *models, protocol: {keys: [measurement.protocol], values: [published, true-labels, mended]}}
  programmed:
    set: {measurement.measure: pgd, measurement.epsilon: 0.1, measurement.draws: 2}
    axes: {model: {cases: {EP: {model: digits-mlp}}}, device: [ideal, soft-bounds-cell]}
  corruptions:
    set: {measurement.measure: corruption}
    axes: {model: *models, type: {keys: [measurement.type], values: [contrast, gaussian-noise]}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A copy of the study's folder with a smaller study and a card without weights in it."""
    own = shelf.find("studies", "paper").folder
    assert own is not None
    for file in own.glob("*.*"):
        shutil.copy(file, tmp_path)
    item = shelf.find("models", "digits-mlp")
    assert item.path is not None
    (tmp_path / "bare").mkdir()
    shutil.copy(item.path, tmp_path / "bare" / "model.yaml")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def spec(study: Path, model: str = "digits-mlp", seed: int = 0, **options: Any) -> Spec:
    settings = tuple((f"measurement.{name}", value) for name, value in options.items())
    model = str(study.parent / model) if model.startswith("./") else model
    return Spec(
        "./measurement.py:PAPER",
        model,
        "ideal",
        None,
        seed,
        (("measurement.examples", 20), *settings),
        str(study.parent),
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"measure": "guess"}, "measurement.measure: expected one of clean"),
        ({"measure": "pgd"}, "measurement.epsilon: measure pgd needs a budget"),
        ({"measure": "pgd", "epsilon": 3}, "linf budgets are in pixels"),
        ({"measure": "corruption", "type": "rain"}, "measurement.type: expected one of brightness"),
        ({"protocol": "sloppy"}, "measurement.protocol: expected one of published"),
        ({"steps": 0}, "measurement.steps: expected a whole number >= 1"),
        ({"truncated": "halfway"}, "gradient: expected one of implicit"),
        ({"draws": 0}, "measurement.draws: expected a whole number >= 1"),
        ({"colour": "red"}, "measurement.colour: unknown setting"),
    ],
)
def test_options_that_cannot_be_are_told(study: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        key_of(spec(study, **options))


def test_missing_weights_are_a_sentence_and_change_the_key(study: Path) -> None:
    bare = spec(study, "./bare")
    before = key_of(bare)
    with pytest.raises(
        WorkError, match=r"digits-mlp comes without weights; expected weights.safetensors beside its card"
    ):
        compute(bare)
    missing = measurement_of(bare).missing
    assert missing is not None
    lack = missing(bare)
    assert lack is not None
    assert lack.command.startswith("hwsim train --model ")
    assert lack.work > 0
    folder = shelf.find("models", "digits-mlp").folder
    assert folder is not None
    shutil.copy(folder / "weights.safetensors", study.parent / "bare")
    assert key_of(bare) != before
    assert missing(bare) is None
    assert compute(bare)["columns"]["accuracy_share"] > 0.8


def test_missing_data_and_gpus_are_sentences(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = sys.modules[measurement_of(spec(study)).compute.__module__]
    monkeypatch.setattr(measurement, "_test_images", lambda *_: "data cifar10: not found in the cellar")
    with pytest.raises(WorkError, match="not found in the cellar"):
        compute(spec(study))
    monkeypatch.undo()
    with pytest.raises(WorkError, match="finds no CUDA device"):
        compute(spec(study, accelerator="cuda"))
    with pytest.raises(WorkError, match="has 360 test images, 400 were asked for"):
        compute(spec(study, examples=400))


def test_seeds_of_what_draws_nothing_are_one_point(study: Path) -> None:
    def keys(**options: Any) -> int:
        return len({key_of(spec(study, seed=seed, **options)) for seed in (0, 1)})

    assert keys() == 1
    assert keys(measure="pgd", epsilon=0.1, protocol="published") == 1
    assert keys(measure="pgd", epsilon=0.1, protocol="mended") == 2
    assert keys(measure="square", epsilon=0.1) == 2


def test_weights_of_several_trainings(study: Path) -> None:
    """A pattern names a file a seed, and the command that makes it says where it goes."""
    kind = measurement_of(spec(study))
    assert kind.missing is not None
    lack = kind.missing(spec(study, seed=3, weights="./w/{model}-{seed}/weights.safetensors"))
    assert lack is not None
    assert lack.seed == 3
    assert "--seed SEED --out" in lack.command
    assert "w/digits-mlp-SEED --data-dir" in lack.command
    with pytest.raises(WorkError, match=r"w/digits-mlp-3/weights.safetensors; `hwsim train .*--seed 3 --out"):
        compute(spec(study, seed=3, weights="./w/{model}-{seed}/weights.safetensors"))


def test_work_is_counted(study: Path) -> None:
    """64-128-10, a step: the second array read forwards and backwards; the first one's input is held."""
    work = measurement_of(spec(study)).work
    assert work is not None
    step = 128 * 10 * 2  # biases are added, not multiplied
    assert work(spec(study)) == pytest.approx(20 * step * 100)
    pgd = work(spec(study, measure="pgd", epsilon=0.1, protocol="published", steps=7, truncated="unrolled-10"))
    assert pgd == pytest.approx(20 * step * (100 + 7 * 10 * 2))


def test_published_figures_are_those_that_are_cited() -> None:
    """Means that the paper's stored results give, in percent (EP-CNN through 70 steps)."""
    published = module_of("paper", "findings").published
    shares = {
        ("EP-CNN", "pgd", "l2", 0.486219): 44.0,
        ("BaselineCNN", "pgd", "l2", 0.486219): 14.5,
        ("AdvCNN 0.5", "pgd", "l2", 0.486219): 66.6,
        ("EP-CNN", "pgd", "linf", 0.01): 57.4,
        ("ViT", "pgd", "linf", 0.01): 40.8,
        ("EP-CNN", "autoattack", "linf", 0.01): 53.5,
        ("EP-CNN", "square", "linf", 0.031373): 47.1,
        ("EP-CNN", "clean", "", 0.0): 88.1,
    }
    for (model, measure, norm, level), percent in shares.items():
        assert 100 * published("cifar10", model, measure, norm)[level].mean == pytest.approx(percent, abs=0.051)
    assert published("cifar10", None, "pgd", "l2") == {}
    assert published("cifar100", "EP-CNN", "pgd", "l2")[0.486219].mean == pytest.approx(0.244, abs=1e-3)


def test_time_and_what_lacks_are_told_first(study: Path, tmp_path: Path) -> None:
    planned = plan(read_study(study))
    text = forecast(planned, Folder(tmp_path / "out"), 2)
    assert re.search(r"points, 0 of them finished, 2 at once; about \d+ s as counted, at 10e9", text)
    told = lacking(planned)
    assert "lack weights and will fail" in told[0]
    assert len(told) == 3, "one command for all points, and the sum"


def test_a_dry_run_computes_nothing(
    study: Path, tmp_path: Path, hwsim_here: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    code, told, err = hwsim_here("sweep", str(study), "--dry-run", "--out", str(out))
    assert (code, err) == (0, "")
    assert "small, full form" in told
    assert "lack weights" in told
    assert not out.exists(), "a dry run writes nothing"
    code, _, err = hwsim_here("sweep", str(study), "--scale", "paper", "--dry-run", "--out", str(out))
    assert code == 2
    assert "--scale paper: expected one of full, quick" in err


def test_failures_of_one_reason_are_one_row() -> None:
    rows = grouped(
        [
            ("a", {"x": 1, "y": 2}, 0, "no weights"),
            ("b", {"x": 1, "y": 3}, 1, "no weights"),
            ("b", {"x": 5}, 0, "other"),
        ]
    )
    assert rows == [("a, b", "2 points of x = 1", "0, 1", "no weights"), ("b", "x = 5", "0", "other")]


def finished(out: Path) -> list[Path]:
    return [file for file in (out / "points").glob("*.json") if "failed" not in file.name]


def test_killed_and_resumed_it_ends_in_a_page(
    study: Path,
    tmp_path: Path,
    hwsim_here: Callable[..., tuple[int, str, str]],
    hwsim_process: Callable[..., subprocess.Popen[str]],
) -> None:
    out = tmp_path / "out"
    process = hwsim_process("sweep", str(study), "--jobs", "1", "--out", str(out))
    while process.poll() is None and len(finished(out)) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HUNG_S)
    kept = {file: file.stat().st_mtime_ns for file in finished(out)}
    assert kept
    code, told, err = hwsim_here("sweep", str(study), "--jobs", "1", "--out", str(out))
    assert code == 1, "the untrained model's points fail"
    assert "Traceback" not in told + err
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in kept.items()), "finished points are left alone"
    text = (out / "report.html").read_text()
    first = re.search(r'<main id="main">\s*<p[^>]*><strong>Scope.</strong> ([^<]*)', text)
    assert first is not None
    assert "they have 9,610 weights where the published ones have 3.8 million" in first[1]
    assert set(re.findall(r'<figure id="figure-([\w-]+)"', text)) == {
        *("pgd-linf", "autoattack", "square"),
        "corrections",
        "corruptions",
    }
    assert {
        "table-models",
        "table-devices",
        "table-pgd-linf-digits",
        "table-changes",
        "table-corruptions",
        "table-protocols",
    } <= set(re.findall(r'<table id="([\w-]+)"', text))
    assert "comes without weights" in text
    assert "Not evaluated, for lack of weights or data" in text
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    analog = {row["device"]: row for row in rows if row["block"] == "programmed" and row["seed"] == "0"}
    assert float(analog["soft-bounds-cell"]["accuracy_share"]) < float(analog["ideal"]["accuracy_clean_share"])
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["model"] for row in failed} == {"untrained"}
    mended = [r for r in rows if r["block"] == "pgd-linf" and r["model"] == "EP" and r["protocol"] == "mended"]
    by_budget = {row["epsilon"]: float(row["accuracy_share"]) for row in mended}
    assert by_budget["0.1"] < by_budget["0.05"] < float(mended[0]["accuracy_clean_share"])
    record = json.loads(next(iter((out / "points").glob(f"{mended[0]['key']}.json"))).read_text())
    assert len(record["hits"]["accuracy_share"]["hits"]) == 30
