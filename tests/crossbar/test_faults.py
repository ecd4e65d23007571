"""Stuck devices: how many, which, and where they are stuck."""

from __future__ import annotations

import math

import pytest
import torch

from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.faults import HEALTHY, HIGH, LAST, LOW, Faults, stuck
from hwsim.devices.responses import IdealCell, SoftBoundsCell
from hwsim.errors import InputError
from hwsim.rng import Streams

N = 200


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shares_are_met_kind_by_kind() -> None:
    kinds = Faults(0.1, 0.05, 0.2).draw((N, N), rng())
    for kind, share in ((LOW, 0.1), (HIGH, 0.05), (LAST, 0.2), (HEALTHY, 0.65)):
        found = float((kinds == kind).double().mean())
        assert abs(found - share) < 6.5 * math.sqrt(share * (1 - share)) / N  # 1e-10 a kind
    assert Faults().draw((N, N), rng()).sum() == 0


def test_fewer_faults_are_a_part_of_more() -> None:
    few, many = (Faults(stuck_low=share).draw((N, N), rng()) for share in (0.05, 0.2))
    assert ((many == LOW) | (few == HEALTHY)).all()
    assert torch.equal(few == LOW, Faults(stuck_high=0.05).draw((N, N), rng()) == HIGH)


@pytest.mark.parametrize("shares", [(-0.1, 0, 0), (0, 1.1, 0), (0.5, 0.4, 0.2), (math.nan, 0, 0)])
def test_impossible_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        Faults(*shares)


def test_each_kind_is_stuck_where_it_says() -> None:
    kinds = torch.tensor([HEALTHY, LOW, HIGH, LAST], dtype=torch.uint8)
    g, last = torch.tensor([5.0, 5.0, 5.0, 5.0]), torch.tensor([3.0, 3.0, 3.0, 3.0])
    assert stuck(g, kinds, 1.0, 9.0, last).tolist() == [5.0, 1.0, 9.0, 3.0]
    assert stuck(g, kinds, 1.0, 9.0, None).tolist() == [5.0, 1.0, 9.0, 5.0]


@pytest.mark.parametrize("kind", ["stuck_low", "stuck_high", "stuck_last"])
def test_a_dead_array_does_not_learn(kind: str) -> None:
    device = ArrayDevice(CellDevice(SoftBoundsCell()), Array(faults=Faults(**{kind: 1.0})))
    synapse = device.synapse(4, 5, Streams(0))
    first = torch.randn(4, 5, generator=rng()) * 0.1
    synapse.program(first)
    expected = first if kind == "stuck_last" else torch.zeros(4, 5)  # both devices of a pair at the same end
    torch.testing.assert_close(synapse.weight(), expected, rtol=0, atol=1e-5)
    synapse.update(torch.rand(8, 5, generator=rng()), torch.randn(8, 4, generator=rng()), 0.1)
    synapse.program(torch.ones(4, 5) * 0.3)
    torch.testing.assert_close(synapse.weight(), expected, rtol=0, atol=1e-5)
    x = torch.rand(3, 5, generator=rng())
    torch.testing.assert_close(synapse.read(x), x @ expected.T, rtol=0, atol=1e-5)


def test_healthy_devices_still_learn_and_stuck_ones_are_the_same_in_both_directions() -> None:
    device = ArrayDevice(CellDevice(IdealCell()), Array(faults=Faults(0.2, 0.2)))
    synapse = device.synapse(30, 40, Streams(0))
    weight = (torch.rand(30, 40, generator=rng()) - 0.5) * 1.6
    synapse.program(weight)
    exact = synapse.weight() == weight
    torch.testing.assert_close(
        synapse.weight()[(synapse.weight() - weight).abs() < 1e-5].numel() / 1200,
        0.36 + 0.5 * 2 * 0.2 * 0.6 + 0.04,  # both healthy, or the idle device of the pair stuck low
        atol=0.12,
        rtol=0,
    )
    assert exact.float().mean() < 0.9
    torch.testing.assert_close(synapse.read(torch.eye(40)).T, synapse.weight(), rtol=0, atol=1e-6)
    torch.testing.assert_close(synapse.read_transpose(torch.eye(30)), synapse.weight(), rtol=0, atol=1e-6)
    other = device.synapse(30, 40, Streams(1))
    other.program(weight)
    assert not torch.equal(other.weight(), synapse.weight())


def test_a_resumed_array_has_the_same_faults_and_the_same_last() -> None:
    device = ArrayDevice(CellDevice(SoftBoundsCell()), Array(faults=Faults(0.1, 0.1, 0.3)))
    first, second = device.synapse(6, 7, Streams(3)), device.synapse(6, 7, Streams(4))
    first.program(torch.randn(6, 7, generator=rng()) * 0.2)
    first.update(torch.rand(4, 7, generator=rng()), torch.randn(4, 6, generator=rng()), 0.1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.weight(), second.weight())
