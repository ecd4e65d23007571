"""Cells: their equations, bounds, noise and spread."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.devices.cell import BaseCell
from hwsim.devices.responses import CELLS, CubicWindowCell, LinearStepCell, SoftBoundsCell
from hwsim.errors import InputError

PULSED = {name: cell for name, cell in CELLS.items() if cell().dw_min}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pulsed(cell: BaseCell, g: float, n: int, up: bool) -> float:
    """g after n pulses, one by one."""
    state, one, none = torch.tensor([[g]], dtype=torch.float64), torch.ones(1, 1), torch.zeros(1, 1)
    for _ in range(n):
        state = cell.step(state, one if up else none, none if up else one, rng())
    return float(state)


def test_soft_bounds_follow_their_closed_form() -> None:
    """w_max - g shrinks by the factor 1 - dw/w_max a pulse, and the other way round."""
    cell = SoftBoundsCell(dw_min=0.01, w_max=0.6, w_min=-0.5)
    assert pulsed(cell, 0.1, 80, True) == pytest.approx(0.6 - 0.5 * (1 - 0.01 / 0.6) ** 80, rel=1e-6)
    assert pulsed(cell, 0.1, 80, False) == pytest.approx(-0.5 + 0.6 * (1 - 0.01 / 0.5) ** 80, rel=1e-6)


def test_linear_steps_have_the_stated_sizes() -> None:
    cell = LinearStepCell(dw_min=0.01, w_max=0.8, w_min=-0.4, gamma_up=0.5, gamma_down=0.25, up_down=0.1)
    g = torch.tensor([[0.0, 0.8, -0.4]])
    torch.testing.assert_close(cell.pulse(g, True, rng()), 0.011 * torch.tensor([[1, 0.5, 1.25]]))
    torch.testing.assert_close(cell.pulse(g, False, rng()), -0.009 * torch.tensor([[1, 1.5, 0.75]]))


def test_the_cubic_window_closes_at_the_end_it_moves_to() -> None:
    cell = CubicWindowCell(dw_min=0.01, w_min=0.0, w_max=2.0, reference=1.0)
    g = torch.tensor([[0.0, 1.0, 2.0]])
    torch.testing.assert_close(cell.pulse(g, True, rng()), 0.01 * torch.tensor([[8 / 7, 1, 0]]))
    torch.testing.assert_close(cell.pulse(g, False, rng()), -0.01 * torch.tensor([[0, 1, 8 / 7]]))


@given(
    st.sampled_from(sorted(PULSED)), st.integers(0, 9999), st.floats(1e-4, 0.5), st.floats(0, 3), st.integers(0, 300)
)
def test_every_cell_stays_in_its_bounds_and_moves_the_right_way(
    name: str, seed: int, dw_min: float, std: float, most: int
) -> None:
    g = rng(seed)
    cell = PULSED[name](dw_min=dw_min, dw_min_std=std, dw_min_dtod=0.2, w_max_dtod=0.2, w_min_dtod=0.2)
    cell = cell.spread((3, 4), g)
    lower, upper = (torch.as_tensor(b) for b in cell.bounds())
    state = lower + (upper - lower) * torch.rand(3, 4, generator=g)
    assert bool((cell.pulse(state, True, g) >= -1e-6).all())
    assert bool((cell.pulse(state, False, g) <= 1e-6).all())
    for _ in range(3):
        n_up, n_down = torch.randint(0, most + 1, (2, 3, 4), generator=g).float()
        state = cell.step(state, n_up, n_down, g)
        assert bool(((state >= lower) & (state <= upper)).all())


def test_cycle_noise_adds_up_in_variance() -> None:
    cell = LinearStepCell(dw_min=1e-3, gamma_up=0.0, gamma_down=0.0, dw_min_std=0.5)
    n = torch.full((300, 300), 9.0)
    change = cell.step(torch.zeros(300, 300), n, torch.zeros_like(n), rng())
    # 90,000 cells: standard error of the spread 0.24 %, of the mean 0.06 %.
    assert float(change.mean()) == pytest.approx(9e-3, rel=5e-3)
    assert float(change.std()) == pytest.approx(0.5e-3 * 3, rel=0.02)


def test_spread_is_seeded_relative_and_per_cross_point() -> None:
    cell = LinearStepCell(dw_min=0.01, dw_min_dtod=0.2, w_max=0.5, w_max_dtod=0.1, up_down=0.1, up_down_dtod=0.05)
    one, two = (cell.spread((200, 200), rng(3)).varied() for _ in range(2))
    assert set(one) == {"dw_min", "w_max", "up_down"}
    for name, mean, std in (("dw_min", 0.01, 0.002), ("w_max", 0.5, 0.05), ("up_down", 0.1, 0.05)):
        assert torch.equal(one[name], two[name])
        assert float(one[name].mean()) == pytest.approx(mean, rel=0.03)
        assert float(one[name].std()) == pytest.approx(std, rel=0.03)
    assert isinstance(cell.dw_min, float), "the description itself must not change"


def test_leak_and_drift() -> None:
    g = torch.tensor([[0.5, -0.5]])
    assert LinearStepCell().leak(g, rng()) is g
    torch.testing.assert_close(LinearStepCell(lifetime=10.0).leak(g, rng()), 0.9 * g)
    cell = CubicWindowCell(w_min=0.0, reference=0.5, drift_nu=0.1)
    torch.testing.assert_close(cell.drift(torch.tensor([[0.8]]), 1e5), torch.tensor([[0.8 * 1e5**-0.1]]))
    assert cell.drifts
    assert not LinearStepCell().drifts


@dataclass(frozen=True)
class _Exponential(BaseCell):
    """What a researcher writes: a field or two and one method."""

    steepness: float = 2.0
    steepness_dtod: float = 0.1

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        sign = 1.0 if up else -1.0
        return sign * self.dw_min * torch.exp(-self.steepness * sign * g)


def test_a_new_cell_needs_one_method() -> None:
    cell = _Exponential().spread((3, 4), rng())
    assert set(cell.varied()) == {"steepness"}
    assert cell.step(torch.zeros(3, 4), torch.ones(3, 4), torch.zeros(3, 4), rng()).gt(0).all()
    with pytest.raises(NotImplementedError, match=r"BaseCell needs a method pulse\(g, up, rng\)"):
        BaseCell().pulse(torch.zeros(1, 1), True, rng())


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"w_min": 2.0}, r"SoftBoundsCell\.w_min: expected less than w_max"),
        ({"dw_min": -1e-3}, r"SoftBoundsCell\.dw_min: expected a finite number >= 0"),
        ({"dw_min_std": -1.0}, r"SoftBoundsCell\.dw_min_std"),
        ({"reference": 9.0}, r"SoftBoundsCell\.reference: expected in"),
        ({"lifetime": 0.5}, r"SoftBoundsCell\.lifetime: expected a number of training steps > 1"),
        ({"drift_nu": math.inf}, r"SoftBoundsCell\.drift_nu"),
    ],
)
def test_impossible_parameters_are_refused(given_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SoftBoundsCell(), **given_)


@pytest.mark.parametrize(("bounds", "up"), [({"w_min": 0.0}, False), ({"w_max": 0.0}, True)])
def test_a_step_that_shrinks_towards_zero_is_refused(bounds: dict[str, float], up: bool) -> None:
    cell = SoftBoundsCell(**bounds)
    with pytest.raises(InputError, match="expected a bound other than 0"):
        cell.pulse(torch.zeros(2, 2), up, torch.Generator())
