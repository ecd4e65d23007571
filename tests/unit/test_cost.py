"""What an array does is counted, and a table turns the counts into energy and time."""

from __future__ import annotations

import pytest
import torch

from hwsim.cells import LinearStepCell
from hwsim.crossbar import CellDevice, coincidences
from hwsim.rng import Streams
from hwsim.synapse import Meter


@pytest.mark.parametrize("rate", [0.02, 0.5], ids=["few", "many"])
def test_pulses_are_those_that_the_trains_carry(rate: float) -> None:
    """The expected count against the drawn ones: a sum of binomials, 6 standard errors of their mean."""
    rng = Streams(0).generator("data")
    pre, post = torch.rand(8, 20, generator=rng) + 0.1, torch.rand(8, 30, generator=rng) - 0.5
    meter = Meter(k_limit=1000.0)
    k = meter.count_train(pre, post, rate / 0.01)
    assert k.max() < 1000  # where trains saturate the count is a share of it, not what each row gets
    draws, update = [], Streams(0).generator("update")
    for _ in range(200):
        parts = coincidences(pre, post, k, 1000, 1, update)
        draws.append(sum(float((up + down).sum()) for up, down in parts))
    drawn = torch.tensor(draws)
    assert float(drawn.mean()) == pytest.approx(meter.pulses, abs=6 * float(drawn.std()) / 200**0.5)
    assert 6 * float(drawn.std()) / 200**0.5 < 0.05 * meter.pulses  # so that a factor in the count would be seen


def test_slots_of_saturated_trains_are_limited() -> None:
    device = CellDevice(LinearStepCell(dw_min=0.001), desired_bl=31)
    synapse = device.synapse(3, 4, Streams(0))
    synapse.program(torch.zeros(3, 4))
    synapse.update(torch.ones(2, 4), torch.ones(2, 3), 1.0)
    assert synapse.meter.slots == 2 * 31
    assert synapse.meter.pulses == pytest.approx(2 * 31 * 12)
    assert synapse.meter.programmed == 1
    synapse.meter.reset()
    assert synapse.meter == Meter(k_limit=31.0)
