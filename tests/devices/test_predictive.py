"""The predictive check: it lets the cell that made the data pass, noisy or not, and no other that is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_traces import simulated_traces

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Traces, most_read_noise
from hwsim.devices.fitting.predictive import Predictive, check, free_run
from hwsim.devices.fitting.responses import RESPONSES
from hwsim.devices.responses import LinearStepCell, ReversalStepCell, SoftBoundsCell

QUIET = SoftBoundsCell(dw_min=0.03, dw_min_std=0.2, read_noise=0.01)
NOISY = SoftBoundsCell(dw_min=0.08, dw_min_std=3.0, read_noise=0.02)


def u_of(cell: BaseCell, name: str) -> np.ndarray:
    """(1, n) unbounded parameters of a cell, without any wander."""
    values = {p.name: getattr(cell, p.name, 0.0) or 1e-12 for p in RESPONSES[name].parameters} | {"memory": 0.5}
    return np.array([[p.scale.inverse(values[p.name]) for p in RESPONSES[name].parameters]])


def checked(cell: BaseCell, data: Traces, name: str = "soft-bounds") -> Predictive:
    return check(RESPONSES[name], np.tile(u_of(cell, name), (data.devices, 1)), cell.read_noise, data)


@pytest.mark.parametrize("cell", [QUIET, NOISY], ids=["quiet", "noisy"])
def test_the_cell_that_made_the_data_passes(cell: BaseCell) -> None:
    found = checked(cell, simulated_traces(cell, devices=3, cycles=4))
    assert found.passed
    assert found.inside == pytest.approx(0.9, abs=0.08)
    assert found.own[0] <= found.rms <= found.own[1]
    assert (found.rms > 0.1) == (cell is NOISY)  # its own noise explains it


def test_a_cell_with_other_steps_fails_and_says_why() -> None:
    data = simulated_traces(QUIET, devices=3, cycles=4)
    found = checked(replace(QUIET, dw_min=0.045), data)
    assert not found.follows
    assert not found.passed
    assert found.inside < 0.6
    assert "off by" in str(found)


def test_a_cell_far_noisier_than_the_data_fails() -> None:
    found = checked(replace(QUIET, read_noise=0.4), simulated_traces(QUIET, cycles=4))
    assert found.too_noisy
    assert not found.passed


def test_a_free_run_of_a_quiet_cell_is_its_response() -> None:
    """Soft bounds: 1 - g falls by the factor 1 - dw_min with every up pulse."""
    data = Traces.of([(0, np.full(31, -0.9), np.ones(30, dtype=np.int64))])
    mean, draws = free_run(RESPONSES["soft-bounds"], u_of(QUIET, "soft-bounds"), 0.0, data, 5)
    np.testing.assert_allclose(mean[0], 1 - 1.9 * (1 - 0.03) ** np.arange(31), rtol=1e-9)
    assert draws.shape == (1, 31, 5)


def test_a_cell_that_remembers_starts_after_a_train_the_other_way() -> None:
    cell = ReversalStepCell(
        dw_min=0.01, gamma_up=0.0, gamma_down=0.0, reversal_loss=0.5, reversal_pulses=10.0, polarisation=-1.0
    )
    data = simulated_traces(replace(cell, read_noise=0.0), cycles=1, pulses=40)
    mean, _ = free_run(RESPONSES["reversal-step"], u_of(cell, "reversal-step"), 0.0, data, 1)
    np.testing.assert_allclose(mean, data.g, atol=1e-5)


def test_third_differences_bound_read_noise_from_above() -> None:
    slow = simulated_traces(QUIET, cycles=20, pulses=200, wander=0.05)
    assert 0.01 < most_read_noise(slow) < 0.025
    ramps = simulated_traces(LinearStepCell(dw_min=0.01, gamma_up=0.9, gamma_down=0.9, read_noise=0.02), cycles=20)
    assert most_read_noise(ramps) == pytest.approx(0.02, rel=0.05)


def test_no_noise_excuses_a_free_run_that_follows_nothing() -> None:
    """A trace the wrong way round can be taken for noise fifty times a step, in whose draws anything lies."""
    assert Predictive(0.19, (0.05, 0.3), 0.9).passed
    assert not Predictive(0.54, (0.076, 0.555), 0.61).passed
