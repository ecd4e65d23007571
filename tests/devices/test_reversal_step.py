"""Steps that remember reversals: the stated equations, in a cell and in an array that is saved half-way."""

from __future__ import annotations

import math

import pytest
import torch

from hwsim.crossbar.cell_array import CellDevice
from hwsim.devices.cell import BaseCell
from hwsim.devices.responses import LinearStepCell, ReversalStepCell
from hwsim.errors import InputError
from hwsim.rng import Streams

LOSS, PULSES = 0.6, 8.0
CELL = ReversalStepCell(dw_min=1e-3, gamma_up=0.0, gamma_down=0.0, reversal_loss=LOSS, reversal_pulses=PULSES)
ONE, NONE = torch.ones(1, 1), torch.zeros(1, 1)


def train(cell: BaseCell, pulses: int, up: bool) -> tuple[torch.Tensor, BaseCell]:
    """Steps of one pulse after another, and the cell that is left."""
    g, steps = torch.zeros(1, 1), []
    rng = torch.Generator()
    for _ in range(pulses):
        counts = (ONE, NONE) if up else (NONE, ONE)
        steps.append(float(cell.step(g, *counts, rng) - g))
        cell = cell.after(*counts)
    return torch.tensor(steps), cell


def test_after_a_reversal_steps_are_small_and_recover_as_stated() -> None:
    _, cell = train(CELL, 200, up=False)
    steps, _ = train(cell, 30, up=True)
    k = torch.arange(30)
    h = 1 - 2 * torch.exp(-k / PULSES)
    torch.testing.assert_close(steps, 1e-3 * (1 + LOSS * h), rtol=1e-3, atol=1e-8)


def test_mixed_pulses_take_the_linear_step() -> None:
    linear = LinearStepCell(dw_min=1e-3, gamma_up=0.0, gamma_down=0.0)
    g = torch.linspace(-0.5, 0.5, 5)[None]
    for up in (True, False):
        expected = linear.pulse(g, up, torch.Generator())
        torch.testing.assert_close(CELL.pulse(g, up, torch.Generator()), expected)


def test_many_pulses_at_once_leave_the_memory_of_one_after_another() -> None:
    _, cell = train(CELL, 5, up=True)
    once = CELL.after(5 * ONE, NONE)
    assert isinstance(once, ReversalStepCell)
    assert isinstance(cell, ReversalStepCell)
    assert float(once.polarisation) == pytest.approx(float(cell.polarisation))
    assert float(once.polarisation) == pytest.approx(1 - math.exp(-5 / PULSES))


def test_an_array_keeps_its_memory_when_it_is_saved_and_loaded() -> None:
    device = CellDevice(CELL)
    first, second = (device.synapse(3, 4, Streams(seed)) for seed in (0, 1))
    pre, post = torch.ones(1, 4), torch.ones(1, 3)
    for _ in range(20):
        first.update(pre, -post, 5e-3)
    second.load_state_dict(first.state_dict())
    before = first.weight()
    for synapse in (first, second):
        synapse.update(pre, post, 5e-3)
    assert torch.equal(first.weight(), second.weight())
    back = (first.weight() - before).mean()  # 5 pulses, the first ones of 1 - LOSS
    assert 0 < back < 0.8 * 5e-3


@pytest.mark.parametrize(
    "wrong", [{"reversal_loss": 1.5}, {"reversal_loss": -0.1}, {"reversal_pulses": 0.0}, {"polarisation": 2.0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        ReversalStepCell(**wrong)
