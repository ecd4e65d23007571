"""The pull of pulses to the symmetry point, and the weight that is left against it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from update_cells import SYMMETRIC

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.updates.modes import UpdateMode
from hwsim.crossbar.updates.pull import held_weight, pull_per_pulse
from hwsim.devices.responses import LinearStepCell
from hwsim.rng import Streams

GAMMA, STEP = 0.4, 2e-3
CELL = LinearStepCell(dw_min=STEP, gamma_up=GAMMA, gamma_down=GAMMA)


@pytest.mark.parametrize("omega", [0.0, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_pull_is_the_slope_of_the_steps(noise: float, omega: float) -> None:
    """Up dw (1 - c g), down dw (1 + c g): a pulse of either kind takes dw c of g on the average."""
    device = CellDevice(replace(CELL, dw_min_std=noise), omega=omega)
    assert pull_per_pulse(device, Streams(0)) == pytest.approx(STEP * GAMMA, rel=0.02 if noise == 0 else 0.06)


def test_what_has_no_pull_and_what_has_no_pulses() -> None:
    assert pull_per_pulse(SYMMETRIC, Streams(0)) == 0.0
    assert held_weight(STEP, 0.0, 50.0) == math.inf
    assert pull_per_pulse(FloatDevice(), Streams(0)) is None
    assert pull_per_pulse(
        UpdateMode("accumulate").device(TiledDevice(CellDevice(CELL), 8, 8)), Streams(0)
    ) == pytest.approx(STEP * GAMMA, rel=0.02)


def test_pulses_to_another_device_first_say_nothing_of_the_weight() -> None:
    from aihwkit.simulator.presets import TikiTakaReRamSBPreset

    from hwsim.devices.aihw import AihwDevice

    assert pull_per_pulse(AihwDevice(TikiTakaReRamSBPreset()), Streams(0)) is None


@pytest.mark.parametrize("rho", [5.0, 20.0, 50.0])
def test_weights_end_where_the_pull_takes_back_what_is_added(rho: float) -> None:
    """Many steps of one net pulse among ``rho``, each seeing the cell where the last one left it."""
    g, none = torch.zeros(1, 1), torch.Generator()
    up, down = torch.full((1, 1), (rho + 1) / 2), torch.full((1, 1), (rho - 1) / 2)
    for _ in range(4000):
        g = CELL.step(g, up, down, none)
    pull = pull_per_pulse(CellDevice(CELL), Streams(0))
    assert pull is not None
    assert float(g) == pytest.approx(held_weight(STEP, pull, rho), rel=0.02)
