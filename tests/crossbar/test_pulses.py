"""Pulsed updates: python cells against aihwkit's compiled devices, and both against rate * post^T pre.

Updates are repeated from one start. Means may differ by 7 standard errors (false failure below 3e-12 times the
number of cross-points); spreads, averaged over the array, by 6 % (standard error of the ratio below 0.6 %: every
cross-point's spread is known to 1/sqrt(2 REPEATS) = 3.5 % and 80 of them are averaged; first-order pulses within a part
of a batch cost up to 1 %).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from aihwkit.simulator.configs import ConstantStepDevice, LinearStepDevice, SingleRPUConfig, SoftBoundsDevice
from torch import Tensor

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.synapse import Synapse
from hwsim.devices.aihw import AihwDevice
from hwsim.devices.cell import BaseCell
from hwsim.devices.responses import LinearStepCell, SoftBoundsCell
from hwsim.rng import Streams

POST, PRE, BATCH, REPEATS = 8, 10, 16, 400
SAME = {"dw_min": 2e-3, "dw_min_dtod": 0.0, "w_max": 0.6, "w_min": -0.6, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
EXACT = {"up_down_dtod": 0.0}


def factors(seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Start weights within +-0.45, and a batch of activities and errors of both signs."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.rand(POST, PRE, generator=rng) * 0.9 - 0.45
    pre = torch.rand(BATCH, PRE, generator=rng) * 1.2 - 0.2
    post = torch.randn(BATCH, POST, generator=rng) * 0.2
    return weight, pre, post


def changes(synapse: Synapse, rate: float, repeats: int = REPEATS, offset: float = 0.0) -> Tensor:
    """(repeats, post, pre): the change by one batch, again and again from the same start."""
    weight, pre, post = factors()
    weight += offset
    found = []
    for _ in range(repeats):
        synapse.program(weight)
        synapse.update(pre, post, rate)
        found.append(synapse.weight() - weight)
    return torch.stack(found).double()


def largest_z(a: Tensor, b: Tensor) -> float:
    """Largest difference of means in standard errors; ``b`` may be exact (no repeats)."""
    error = a.var(0) / len(a) + (b.var(0) / len(b) if b.dim() == 3 else 0)
    mean = b.mean(0) if b.dim() == 3 else b
    return float(((a.mean(0) - mean).abs() / error.sqrt()).max())


def spread(a: Tensor) -> float:
    return float(a.std(0).mean())


PAIRS = {
    "soft bounds": (
        SoftBoundsDevice(**SAME, **EXACT, dw_min_std=0.3),
        SoftBoundsCell(**SAME, dw_min_std=0.3),
    ),
    "soft bounds, noisy and asymmetric": (
        SoftBoundsDevice(**SAME, **EXACT, dw_min_std=1.5),
        SoftBoundsCell(**SAME, dw_min_std=1.5),
    ),
    "linear step": (
        LinearStepDevice(
            **SAME, **EXACT, dw_min_std=0.3, gamma_up=0.4, gamma_down=0.8, gamma_up_dtod=0, gamma_down_dtod=0
        ),
        LinearStepCell(**SAME, dw_min_std=0.3, gamma_up=0.4, gamma_down=0.8),
    ),
}


@pytest.mark.parametrize("rate", [0.004, 0.05], ids=["below one pulse a sample", "several pulses a sample"])
@pytest.mark.parametrize(("compiled", "cell"), PAIRS.values(), ids=PAIRS.keys())
def test_cells_take_pulses_as_compiled_devices_do(compiled: object, cell: BaseCell, rate: float) -> None:
    theirs = AihwDevice(SingleRPUConfig(device=copy.deepcopy(compiled))).synapse(POST, PRE, Streams(0))
    ours = CellDevice(cell).synapse(POST, PRE, Streams(0))
    a, b = changes(theirs, rate), changes(ours, rate)
    assert largest_z(a, b) < 7
    assert spread(b) / spread(a) == pytest.approx(1, abs=0.06)
    # Cells of one line share its pulses; the spread of sums over lines sees that.
    for dim in (1, 2):
        assert float(b.sum(dim).std(0).mean() / a.sum(dim).std(0).mean()) == pytest.approx(1, abs=0.10)
    assert ours.meter.k_max == pytest.approx(theirs.meter.k_max, rel=1e-5)


@dataclass(frozen=True)
class _Backwards(SoftBoundsCell):
    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        return super().pulse(g, not up, rng)


@dataclass(frozen=True)
class _NoWindow(SoftBoundsCell):
    gamma_up: float = 0.0


BUGS = {
    "wrong direction": (_Backwards(**SAME, dw_min_std=0.3), 0.0, 1.0),
    "no soft bound upwards": (_NoWindow(**SAME, dw_min_std=0.3), 0.0, 1.0),
    "factor 1.1": (SoftBoundsCell(**SAME, dw_min_std=0.3), 0.0, 1.1),
    "noise forgotten": (SoftBoundsCell(**SAME, dw_min_std=0.0), None, 1.0),
}


@pytest.mark.parametrize(("cell", "z", "factor"), BUGS.values(), ids=BUGS.keys())
def test_a_planted_bug_is_seen(cell: BaseCell, z: float | None, factor: float) -> None:
    compiled = replace(PAIRS["soft bounds"][0], dw_min_std=1.5 if z is None else 0.3)
    theirs = AihwDevice(SingleRPUConfig(device=compiled)).synapse(POST, PRE, Streams(0))
    a = changes(theirs, 0.05)
    b = changes(CellDevice(cell).synapse(POST, PRE, Streams(0)), 0.05 * factor)
    if z is None:
        assert spread(b) / spread(a) < 0.94
    else:
        assert largest_z(a, b) > 7


def wide(**more: float) -> dict[str, float]:
    """A symmetric linear device far from its bounds."""
    return {**SAME, "w_max": 50.0, "w_min": -50.0, **more}


@pytest.mark.parametrize("rate", [0.002, 0.05])
@pytest.mark.parametrize("omega", [0.0, 0.4])
def test_the_mean_update_is_rate_times_the_outer_product(rate: float, omega: float) -> None:
    _, pre, post = factors()
    expected = rate * post.double().T @ pre.double()
    config = SingleRPUConfig(device=ConstantStepDevice(**wide(), **EXACT, dw_min_std=0.3))
    config.mapping.weight_scaling_omega = omega
    cells = CellDevice(LinearStepCell(**wide(), gamma_up=0.0, gamma_down=0.0, dw_min_std=0.3), omega=omega)
    for device in (AihwDevice(config), cells):
        found = changes(device.synapse(POST, PRE, Streams(1)), rate)
        assert largest_z(found, expected) < 7
        # The test has the power to see 10 % of the largest entry, or a transposed or sign-flipped update.
        if rate == 0.05:
            assert largest_z(found, 1.1 * expected) > 7
        assert largest_z(found, -expected) > 7


def test_both_saturate_above_the_longest_pulse_train() -> None:
    config = SingleRPUConfig(device=ConstantStepDevice(**wide(), **EXACT, dw_min_std=0.0))
    cells = CellDevice(LinearStepCell(**wide(), gamma_up=0.0, gamma_down=0.0))
    _, pre, post = factors()
    rate = 2.0
    slopes = []
    for device in (AihwDevice(config), cells):
        synapse = device.synapse(POST, PRE, Streams(1))
        mean = changes(synapse, rate, 60).mean(0)
        expected = rate * post.double().T @ pre.double()
        slopes.append(float((mean * expected).sum() / (expected**2).sum()))
        assert synapse.meter.k_max > synapse.meter.k_limit
    assert slopes[0] < 0.8
    assert slopes[1] == pytest.approx(slopes[0], rel=0.03)


def test_device_variation_is_as_wide_as_told() -> None:
    cell = SoftBoundsCell(dw_min_dtod=0.2, w_max=0.6, w_max_dtod=0.1, up_down_dtod=0.05).spread((300, 300), _rng())
    compiled = SoftBoundsDevice(dw_min_dtod=0.2, w_max=0.6, w_max_dtod=0.1, up_down_dtod=0.05)
    hidden = AihwDevice(SingleRPUConfig(device=compiled)).synapse(300, 300, Streams(0)).hidden()
    up, down = cell.dw_min * (1 + cell.up_down), cell.dw_min * (1 - cell.up_down)
    for ours, theirs in ((up, "dwmin_up"), (down, "dwmin_down"), (cell.w_max, "max_bound"), (up - down, "difference")):
        other = hidden["dwmin_up"] - hidden["dwmin_down"] if theirs == "difference" else hidden[theirs]
        # 90,000 devices: standard error of a spread 0.24 %, of a mean 0.07 % of the largest value.
        assert float(ours.std() / other.std()) == pytest.approx(1, abs=0.03)
        assert abs(float(ours.mean() - other.mean())) < 0.02 * float(other.abs().max())


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
