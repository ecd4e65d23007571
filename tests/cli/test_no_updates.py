"""Trainings whose updates are zero, cut, or not finite say so: in float and in situ, by command and in a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim as hw
from hwsim.devices.responses import LinearStepCell
from hwsim.experiments.device_run.caveats import find

Call = Callable[..., tuple[int, str, str]]
SMALL = ["--set", "network.layers=[64, 8, 10]", "--set", "evaluation.draws=1"]


@pytest.mark.parametrize("setting", ["learning.beta=1e-30", "learning.rates=[0, 0]", "learning.rates=[1e-30, 1e-30]"])
def test_a_float_training_that_changes_nothing_says_so(hwsim_here: Call, tmp_path: Path, setting: str) -> None:
    code, out, _ = hwsim_here("train", *SMALL, "--set", "learning.epochs=1", "--set", setting, "--out", str(tmp_path))
    assert code == 0
    assert "warning: no weight changed in any epoch" in out
    assert "no weight changed" in (tmp_path / "card.json").read_text()


def test_a_float_training_that_learns_says_nothing(hwsim_here: Call, tmp_path: Path) -> None:
    code, out, _ = hwsim_here("train", *SMALL, "--set", "learning.epochs=1", "--out", str(tmp_path))
    assert code == 0
    assert "warning" not in out


@pytest.mark.parametrize("device", ["soft-bounds-cell", "ecram", "mixed-precision-pcm"])
@pytest.mark.parametrize("update", ["per-sample", "accumulate", "low-rank:2", "pooled"])
@pytest.mark.parametrize("setting", ["in_situ.rates=[1e30, 1e30]", "in_situ.beta=1e-30"])
def test_updates_that_are_not_finite_end_a_training(
    hwsim_here: Call, tmp_path: Path, device: str, update: str, setting: str
) -> None:
    more = ["--set", "in_situ.epochs=1", "--set", f"in_situ.update={update}", "--set", setting]
    code, out, err = hwsim_here("train", *SMALL, "--device", device, *more, "--out", str(tmp_path))
    if update != "per-sample" and code == 2 and "in_situ.update" in err:
        return  # this device does not take the mode
    assert code == 1 or (code == 0 and "warning: " in out), (code, out, err)
    assert "Traceback" not in err
    if code:
        assert "rates" in err
        assert "beta" in err


@pytest.mark.parametrize("device", ["soft-bounds-cell", "ecram"])
def test_updates_too_small_to_be_written_are_said(hwsim_here: Call, tmp_path: Path, device: str) -> None:
    more = ["--set", "in_situ.epochs=1", "--set", "in_situ.rates=[1e-30, 1e-30]"]
    code, out, _ = hwsim_here("train", *SMALL, "--device", device, *more, "--out", str(tmp_path))
    assert code == 0
    assert "warning: train, layer0.weight: updates ask for" in out


@given(rate=st.floats(1e-40, 1e38), beta=st.floats(1e-40, 1e38), cell=st.booleans())
def test_no_rate_and_no_beta_ends_in_anything_but_a_sentence(rate: float, beta: float, cell: bool) -> None:
    device = hw.CellDevice(LinearStepCell(dw_min=1e-2)) if cell else hw.FloatDevice()
    net = hw.hopfield([4, 3, 2], device)
    rule = hw.EquilibriumProp(beta=beta, free=hw.Phase(3), nudged=hw.Phase(3))
    x = [[0.0, 1.0, 0.5, 0.2], [1.0, 0.0, 0.1, 0.9]]
    try:
        hw.train(net, rule, (x, [0, 1]), rates=rate, epochs=2, batch_size=1)
    except (hw.WorkError, hw.InputError) as error:
        assert "rates" in str(error) or "beta" in str(error)  # noqa: PT017


def test_a_report_says_that_nothing_changed() -> None:
    learning = [{"case": "float", "unsettled_share": 0.0, "weight_change": 1e-9}]
    summary = {"finished": True, "chance": None, "accuracy": [], "learning": learning, "diagnostics": []}
    summary |= {"reference": "float", "cases": [], "conditions": [], "evaluations": {"done": 1, "expected": 1}}
    codes = {caveat.code for caveat in find(summary, {})}
    assert "no-updates" in codes
    learning[0]["weight_change"] = 1e-3
    assert "no-updates" not in {caveat.code for caveat in find(summary, {})}
