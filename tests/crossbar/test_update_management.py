"""Rates in pulses and digital gains: what is sent, what is read, what is learned, what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from theory_reference import DOUBLE
from update_cells import ASYMMETRIC, STEP, SYMMETRIC, programmed, rng, rows

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice, second_half
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.crossbar.updates.gain import GainDevice, GainSynapse
from hwsim.crossbar.updates.low_rank import LowRankDevice
from hwsim.crossbar.updates.normalised import NormalisedDevice
from hwsim.devices.responses import IdealCell
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase, settle
from hwsim.errors import InputError
from hwsim.learning.ep import EquilibriumProp, negative_phase
from hwsim.rng import Streams
from hwsim.testing import check_device

DEEP = Phase(400, tolerance=1e-13, stop_early=True)


# --- rates in pulses ---


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_factors_of_any_size_are_sent_as_many_pulses(size: float) -> None:
    """Two pulses at the strongest cross-point of the mean row."""
    synapse = programmed(NormalisedDevice(SYMMETRIC, 2.0))
    for step in range(5):
        synapse.update(rows(400, 7, step), rows(400, 5, step + 50, size), 1.0)
    expected = 2 * 400 * 5
    k = synapse.meter.k_sum / synapse.meter.k_count  # of the largest row
    assert 2.0 < k < 2.0 / 0.5
    strongest = synapse.meter.slots
    assert expected < strongest < expected * 1.5, "each row's slots are rounded up"


def test_the_mean_is_kept_and_follows_slowly() -> None:
    first = programmed(NormalisedDevice(SYMMETRIC, 1.0, momentum=0.5))
    ones = torch.ones(1, 7), torch.ones(1, 5)
    for size in (1.0, 3.0):
        first.update(ones[0], ones[1] * size, 1.0)
    assert float(first.state_dict()["update.largest"]) == pytest.approx(2.0)
    first.update(ones[0], ones[1] * 0, 1.0)
    assert float(first.state_dict()["update.largest"]) == pytest.approx(2.0), "rows of nothing say nothing"
    second = programmed(NormalisedDevice(SYMMETRIC, 1.0, momentum=0.5))
    second.load_state_dict(first.state_dict())
    for synapse in (first, second):
        synapse.update(rows(4, 7, 1), rows(4, 5, 2), 1.0)
    assert torch.equal(first.weight(), second.weight())
    with pytest.raises(ValueError, match=r"update\.largest"):
        second.load_state_dict(SYMMETRIC.synapse(5, 7, Streams(0)).state_dict())


def test_images_and_patches_have_one_mean() -> None:
    window = Window(2, 3, stride=2, padding=1)
    pre, post = torch.rand(3, 2, 8, 8, generator=rng(1)), torch.randn(3, 4, 4, 4, generator=rng(2))
    device = NormalisedDevice(AccumulatedDevice(SYMMETRIC), 0.3)
    by_image, by_patch = (device.synapse(4, 18, Streams(0)) for _ in range(2))
    kernels(by_image, window).update(pre, post, 1.0)
    by_patch.update(window.patches(pre), as_rows(post), 1.0)
    for key in ("update.largest", "update.sum"):
        torch.testing.assert_close(by_image.state_dict()[key], by_patch.state_dict()[key])


def test_rates_in_pulses_go_with_modes_and_tiles() -> None:
    device = NormalisedDevice(LowRankDevice(TiledDevice(SYMMETRIC, 3, 4), 2), 1.5)
    synapse = programmed(device)
    synapse.update(torch.ones(1, 7), torch.ones(1, 5), 1.0)
    synapse.tick()
    assert synapse.meter.pulses == pytest.approx(1.5 * 35, rel=1e-4)
    check_device(NormalisedDevice(AccumulatedDevice(ASYMMETRIC), 0.5))
    with pytest.raises(InputError, match="rate_pulses: expected a device moved by pulses"):
        NormalisedDevice(FloatDevice(), 1.0).synapse(2, 3, Streams(0))


# --- gains ---


def gained(per: str, rate: float = 0.1) -> LayeredHopfield:
    plain = FloatDevice(dtype=DOUBLE)
    devices = [GainDevice(plain, rate, per), GainDevice(plain, rate, per)]
    net = layered_hopfield([5, 6, 3], devices, Streams(0), c=0.5, bias_device=plain)
    net.program([w.double() for w in net.initial_weights(1.0, Streams(2))])
    for link in net.links:
        gain = link.synapse.gain  # type: ignore[attr-defined]
        gain.mul_(1 + 0.3 * torch.rand(gain.shape, generator=rng(3), dtype=DOUBLE))
    return net


def cost_at_rest(net: LayeredHopfield, x: torch.Tensor, target: torch.Tensor) -> float:
    given = net.given(x)
    with torch.no_grad():
        s = settle(given, given.start(), solver=OddEven(), phase=DEEP).state
    return float(SquaredError().value(s[-1], target).mean())


@pytest.mark.parametrize("per", ["layer", "output"])
def test_a_gain_learns_the_slope_of_the_cost(per: str) -> None:
    """Equilibrium propagation's local product against a central difference of the cost in each gain."""
    x, labels = torch.rand(4, 5, generator=rng(5), dtype=DOUBLE), torch.tensor([0, 1, 2, 0])
    net, rate, beta, h = gained(per), 0.1, 1e-3, 1e-5
    target = SquaredError().encode(labels, torch.zeros(4, 3, dtype=DOUBLE))
    for index in range(2):
        gain = net.links[index].synapse.gain  # type: ignore[attr-defined]
        for i in range(len(gain)):
            costs = []
            for sign in (1, -1):
                other = gained(per)
                other.links[index].synapse.gain[i] += sign * h  # type: ignore[attr-defined]
                costs.append(cost_at_rest(other, x, target))
            slope = (costs[0] - costs[1]) / (2 * h)
            trained = gained(per, rate)
            EquilibriumProp(beta, free=DEEP, nudged=DEEP, solver=OddEven()).step(
                trained, SquaredError(), x, labels, [1.0, 1.0], rng()
            )
            moved = trained.links[index].synapse.gain[i] - gain[i]  # type: ignore[attr-defined]
            assert float(moved) == pytest.approx(-rate * slope, rel=1e-3, abs=1e-8)


@pytest.mark.parametrize("per", ["layer", "output"])
def test_both_directions_share_the_gain_and_forces_are_those_of_one_energy(per: str) -> None:
    net = gained(per)
    x = torch.rand(2, 5, generator=rng(1), dtype=DOUBLE)
    given = net.given(x)
    s = tuple(torch.rand(2, n, generator=rng(2), dtype=DOUBLE).requires_grad_() for n in (6, 3))
    slopes = torch.autograd.grad(given.value(s).sum(), s)
    for slope, force in zip(slopes, given.force(s), strict=True):
        torch.testing.assert_close(force, -slope)
    for link in net.links:
        eye = torch.eye(link.synapse.shape[1], dtype=DOUBLE)
        back = torch.eye(link.synapse.shape[0], dtype=DOUBLE)
        torch.testing.assert_close(link.synapse.read(eye).T, link.synapse.weight())
        torch.testing.assert_close(link.synapse.read_transpose(back), link.synapse.weight())


@pytest.mark.parametrize("per", ["layer", "output"])
def test_gains_of_kernel_banks_are_those_of_patches(per: str) -> None:
    window = Window(2, 3, padding=1)
    pre, post = torch.rand(2, 2, 5, 5, generator=rng(1)), torch.randn(2, 4, 5, 5, generator=rng(2))
    by_image, by_patch = (GainDevice(FloatDevice(), 0.01, per).synapse(4, 18, Streams(0)) for _ in range(2))
    for synapse in (by_image, by_patch):
        synapse.program(rows(4, 18, 7))
    kernels(by_image, window).update(pre, post, 0.1)
    by_patch.update(window.patches(pre), as_rows(post), 0.1)
    for synapse in (by_image, by_patch):
        synapse.tick()
    torch.testing.assert_close(by_image.gain, by_patch.gain)
    torch.testing.assert_close(by_image.weight(), by_patch.weight())
    bank = kernels(by_image, window)
    torch.testing.assert_close(as_rows(bank.read(pre)), by_patch.read(window.patches(pre)))
    torch.testing.assert_close(
        bank.read_transpose(post, (5, 5)), window.fold(by_patch.read_transpose(as_rows(post)), (5, 5))
    )


def test_columns_are_programmed_to_the_full_range_each() -> None:
    weight = rows(5, 7, 1) * torch.tensor([[1.0], [0.1], [0.01], [1.0], [0.5]])
    synapse = GainDevice(CellDevice(IdealCell()), 0.0, "output").synapse(5, 7, Streams(0))
    synapse.program(weight)
    torch.testing.assert_close(synapse.weight(), weight)
    largest = synapse.inner.weight().abs().amax(1)
    torch.testing.assert_close(largest, largest[:1].expand(5))


def test_a_gain_is_positive_kept_and_counted() -> None:
    first = programmed(GainDevice(AccumulatedDevice(SYMMETRIC), 1.0))
    before = first.version
    first.update(torch.ones(1, 7) * 9, -first.weight().sum(1)[None] * 9, 1.0)
    first.tick()
    assert isinstance(first, GainSynapse)
    assert float(first.gain) == pytest.approx(1e-3)
    assert first.version > before
    assert first.meter.vectors_read == 1, "the gain's own read"
    second = programmed(GainDevice(AccumulatedDevice(SYMMETRIC), 1.0), seed=1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.weight(), second.weight())
    with pytest.raises(ValueError, match="5 gains"):
        programmed(GainDevice(SYMMETRIC, 1.0, "output")).load_state_dict(first.state_dict())


@pytest.mark.parametrize("per", ["layer", "output"])
def test_layers_with_gains_conform(per: str) -> None:
    noisy = replace(ASYMMETRIC, forward=ReadPath(out_noise=0.02))
    check_device(GainDevice(noisy, 1e-4, per))


def test_what_is_no_gain_is_refused() -> None:
    with pytest.raises(InputError, match="gain_rate: expected a finite number >= 0, got -1"):
        GainDevice(SYMMETRIC, -1.0)
    with pytest.raises(InputError, match="gain_per: expected one of layer, output, got 'column'"):
        GainDevice(SYMMETRIC, 1.0, "column")


# --- twins under what is around them ---


def test_the_negative_phase_reads_the_second_half_through_all_that_is_around_it() -> None:
    twin = GainDevice(LowRankDevice(TwinDevice(SYMMETRIC), 2), 0.1)
    net = layered_hopfield([4, 5], twin, Streams(0))
    net.program([rows(5, 4, 1), torch.zeros(5, 1)])
    synapse = net.links[0].synapse
    assert isinstance(synapse, GainSynapse)
    synapse.gain.fill_(2.0)
    other = negative_phase(net).links[0].synapse
    assert other is not synapse
    halves = synapse.inner.inner.parts  # type: ignore[attr-defined]
    halves["negative"].program(rows(5, 4, 9))
    assert torch.equal(other.weight(), 2 * halves["negative"].weight())
    assert torch.equal(synapse.weight(), 2 * halves["positive"].weight())
    assert second_half(SYMMETRIC.synapse(2, 3, Streams(0))).weight().shape == (2, 3)
    assert SYMMETRIC.cell.dw_min == STEP
