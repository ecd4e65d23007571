"""What each way of writing an update leaves on the devices: its mean and spread against the exact product.

Oracles: the product itself; one pulse after another by a cell's equation in plain numbers; the truncated singular value
decomposition of the whole matrix; the binomial spread of coincidences. Bounds on random means are 5 standard errors.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from update_cells import ASYMMETRIC, CELLS, STEP, SYMMETRIC, programmed, rng, rows

from hwsim.crossbar.averaged import AveragedDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Synapse
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.crossbar.updates.low_rank import LowRankDevice, truncated
from hwsim.crossbar.updates.modes import UpdateMode
from hwsim.crossbar.updates.pooled import PooledDevice
from hwsim.devices.aihw import AihwDevice, AihwInferenceDevice
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.testing import check_device

MODES = [
    UpdateMode("accumulate"),
    UpdateMode("accumulate", 3),
    UpdateMode("accumulate", 2, momentum=0.75),
    UpdateMode("low-rank", 4),
    UpdateMode("low-rank", 4, momentum=0.75),
    UpdateMode("pooled"),
]


def change(synapse: Synapse, pre: Tensor, post: Tensor, rate: float) -> Tensor:
    before = synapse.weight()
    synapse.update(pre, post, rate)
    synapse.tick()
    return synapse.weight() - before


# --- accumulate ---


def test_a_symmetric_cell_holds_the_exact_sum_but_for_less_than_one_pulse() -> None:
    synapse = programmed(AccumulatedDevice(SYMMETRIC))
    start, exact = synapse.weight(), torch.zeros(5, 7)
    for step in range(20):
        pre, post = rows(64, 7, step), rows(64, 5, 100 + step)
        synapse.update(pre, post, 3e-3)
        synapse.tick()
        exact += 3e-3 * post.T @ pre
    rest = exact - (synapse.weight() - start)
    assert float(rest.abs().max()) < STEP * 1.01
    torch.testing.assert_close(rest, synapse.state_dict()["update.sum"], rtol=0, atol=1e-5)
    assert float(exact.abs().max()) > 3 * STEP, "or nothing was written"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_asymmetric_cell_takes_one_pulse_after_another(count: int) -> None:
    """Up to the parts that a train is applied in: second order in the step, below 2 % of what was written."""
    device = replace(ASYMMETRIC, substeps=7)
    synapse = programmed(AccumulatedDevice(device), 1, 2)
    synapse.program(torch.tensor([[0.3, -0.2]]))
    cell, (up, down) = device.cell, (0.3, -0.2)
    for _ in range(count):
        up += STEP * 1.2 * (1 - 0.1 * up / 1.0)
        down -= STEP * 0.8 * (1 - 0.6 * down / -1.0)
    assert cell.bounds() == (-1.0, 1.0)
    written = change(synapse, torch.ones(1, 2), torch.ones(1, 1), 0.0)
    assert not written.any()
    synapse.update(torch.tensor([[1.0, -1.0]]), torch.ones(1, 1), STEP * (count + 0.5))
    synapse.tick()
    wanted = torch.tensor([[up - 0.3, down + 0.2]])
    torch.testing.assert_close(synapse.weight() - torch.tensor([[0.3, -0.2]]), wanted, rtol=0.02, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_cycle_noise_is_the_only_spread_of_whole_pulses(cell: str) -> None:
    """Each of n pulses varies by dw_min_std: a deviation of dw_min std sqrt(n) over 4,000 devices (5 se: 6 %)."""
    device = CELLS[cell]
    noisy = replace(device, cell=replace(device.cell, dw_min_std=0.3))  # type: ignore[type-var]
    exact, varied = (d.synapse(40, 100, Streams(0)) for d in (AccumulatedDevice(device), AccumulatedDevice(noisy)))
    written = [change(s, torch.ones(1, 100), torch.ones(1, 40), 4.5 * STEP) for s in (exact, varied)]
    assert float(written[0].std()) == pytest.approx(0, abs=1e-6)
    mean = float(written[0].mean())
    assert float(written[1].mean()) == pytest.approx(mean, abs=5 * STEP * 0.3 * 2 * 1.3 / math.sqrt(4000))
    assert float(written[1].std()) == pytest.approx(mean * 0.3 / 2, rel=0.06)


def test_a_running_mean_of_the_steps_goes_into_the_sum() -> None:
    """Against the mean in float64: what is written and what is left add up to it, and in the long run to all steps."""
    momentum, synapse = 0.75, programmed(AccumulatedDevice(SYMMETRIC, 2, 0.75))
    start, mean, wanted, every = synapse.weight(), torch.zeros(5, 7).double(), 0.0, 0.0
    for step in range(60):
        pre, post = rows(16, 7, step), rows(16, 5, 100 + step)
        now = 0.01 * products(pre.double(), post.double()) if step < 20 else torch.zeros(5, 7).double()
        mean = momentum * mean + (1 - momentum) * now
        wanted, every = wanted + mean, every + now
        for x, d in zip(pre.split(8), post.split(8), strict=True):  # a step of two calls is one step
            synapse.update(x, d, 0.01 if step < 20 else 0.0)
        synapse.tick()
        if step in (19, 59):
            written = synapse.weight() - start + synapse.state_dict()["update.sum"]
            torch.testing.assert_close(written.double(), wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(wanted, every, rtol=0, atol=1e-4)
    assert float(every.abs().max()) > 3 * STEP, "or nothing was written"


def test_noise_sends_fewer_pulses_through_a_running_mean() -> None:
    """Noise of four pulses a step that differs from step to step: with momentum m its size falls by the square root of
    (1 - m) / (1 + m), 0.23 for 0.9, and what does not fill a pulse is not sent."""
    sent = []
    for momentum in (0.0, 0.9):
        synapse = AccumulatedDevice(SYMMETRIC, 1, momentum).synapse(20, 30, Streams(0))
        for step in range(60):
            synapse.update(torch.eye(30), 4 * STEP * rows(30, 20, step), 1.0)
            synapse.tick()
        sent.append(synapse.meter.pulses)
    assert 0.1 < sent[1] / sent[0] < 0.26


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_every_n_steps_one_write_and_a_resumed_array_goes_on_exactly(momentum: float) -> None:
    device = AccumulatedDevice(ASYMMETRIC, 3, momentum)
    first, second = programmed(device), programmed(device, seed=1)
    moved = []
    for step in range(7):
        if step == 4:
            second.load_state_dict(first.state_dict())
        for synapse in (first, second) if step >= 4 else (first,):
            now = change(synapse, rows(8, 7, step), rows(8, 5, step + 50), 0.01)
        moved.append(bool(now.any()))
    assert moved == [False, False, True, False, False, True, False]
    assert torch.equal(first.weight(), second.weight())
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    for name in ("update.sum", "update.mean") if momentum else ("update.sum",):
        with pytest.raises(ValueError, match=f"digital sum: expected .*{name}"):
            second.load_state_dict({k: v for k, v in first.state_dict().items() if k != name})


def test_a_train_is_never_longer_than_it_may_be_and_the_rest_is_kept() -> None:
    synapse = programmed(AccumulatedDevice(replace(SYMMETRIC, desired_bl=4)), 2, 3)
    written = [change(synapse, torch.ones(1, 3), torch.ones(1, 2), 10.5 * STEP)]
    written += [change(synapse, torch.zeros(1, 3), torch.zeros(1, 2), 0.0) for _ in range(3)]
    assert [round(float(w[0, 0]) / STEP) for w in written] == [4, 4, 2, 0]
    meter = synapse.meter
    assert (meter.rows_written, meter.slots, meter.pulses, meter.k_max) == (6, 20, 60, 4)
    assert (meter.vectors_updated, meter.digital_products) == (4, 24)


def test_convolutions_are_summed_without_cutting_patches() -> None:
    window = Window(2, 3, stride=2, padding=1)
    pre, post = torch.rand(3, 2, 8, 8, generator=rng(1)), torch.randn(3, 4, 4, 4, generator=rng(2))
    by_image, by_patch = (AccumulatedDevice(SYMMETRIC).synapse(4, 18, Streams(0)) for _ in range(2))
    kernels(by_image, window).update(pre, post, 0.01)
    by_patch.update(window.patches(pre), as_rows(post), 0.01)
    torch.testing.assert_close(by_image.state_dict()["update.sum"], by_patch.state_dict()["update.sum"])
    assert by_image.meter.vectors_updated == by_patch.meter.vectors_updated == 48


def test_exact_arrays_take_the_whole_sum_with_their_momentum_and_decay() -> None:
    plain = FloatDevice(momentum=0.5, weight_decay=0.01)
    direct, summed = (programmed(d) for d in (plain, AccumulatedDevice(plain)))
    for step in range(4):
        for synapse in (direct, summed):
            change(synapse, rows(6, 7, step), rows(6, 5, step + 9), 0.1)
    torch.testing.assert_close(direct.weight(), summed.weight(), rtol=1e-5, atol=1e-6)


# --- low rank ---


def products(pre: Tensor, post: Tensor) -> Tensor:
    return post.T @ pre


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_factors_are_the_best_of_their_rank(rank: int) -> None:
    pre, post = rows(30, 9, 1).double(), rows(30, 6, 2).double()
    left, sizes, right = np.linalg.svd(products(pre, post).numpy())
    best = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    factors = truncated(pre, post, rank)
    assert factors[0].shape == (rank, 9)
    torch.testing.assert_close(products(*factors), torch.from_numpy(best), rtol=1e-10, atol=1e-10)


def test_a_stream_of_rank_k_is_kept_whole() -> None:
    """200 rows in 3 directions arrive 32 at a time."""
    pre, post = rows(3, 9, 1), rows(200, 3, 3) @ torch.eye(3, 6)
    pre = rows(200, 3, 4) @ pre
    synapse = LowRankDevice(FloatDevice(), 3).synapse(6, 9, Streams(0))
    written = change(synapse, pre, post, 0.1)
    torch.testing.assert_close(written, 0.1 * products(pre, post), rtol=1e-4, atol=1e-5)


def test_a_stream_of_full_rank_is_close_to_the_best() -> None:
    """Truncating on the way loses what early rows had in directions that later ones bring back: a sixth here."""
    pre, post = rows(400, 20, 1).abs(), rows(400, 12, 2)
    exact = products(pre, post)
    written = change(LowRankDevice(FloatDevice(), 4).synapse(12, 20, Streams(0)), pre, post, 1.0)
    error, best = (written - exact).norm(), torch.linalg.svdvals(exact)[4:].norm()
    assert float(best) * 0.999 < float(error) < float(best) * 1.25


@pytest.mark.parametrize("cell", CELLS)
def test_trains_of_factors_have_the_mean_and_the_spread_of_coincidences(cell: str) -> None:
    """Mean of 800 arrays within 5 standard errors; spread sqrt(sum k (1 - k / slots)) a cross-point, 5 % of all."""
    pre, post = rows(10, 4, 1).abs(), rows(10, 3, 2)
    rate, repeats = 0.02, 800
    exact_factors = truncated(pre, post * rate, 2)
    expected = [torch.outer(d, x) / STEP for x, d in zip(*exact_factors, strict=True)]
    mean = sum(expected, torch.zeros(3, 4))
    variance = sum((k.abs() * (1 - k.abs() / k.abs().max().ceil()) for k in expected), torch.zeros(3, 4))
    device = LowRankDevice(CELLS[cell], 2)
    arrays = [device.synapse(3, 4, Streams(seed)) for seed in range(repeats)]
    written = torch.stack([change(array, pre, post, rate) for array in arrays]) / STEP
    if cell == "asymmetric":  # a step up is 1.2, one down .8 of a pulse at weight 0
        ups, downs = (sum((k.mul(s).clamp_min(0) for k in expected), torch.zeros(3, 4)) for s in (1, -1))
        torch.testing.assert_close(written.mean(0), 1.2 * ups - 0.8 * downs, rtol=0.08, atol=0.25)
        return
    error = 5 * (variance / repeats).sqrt() + 1e-3
    assert ((written.mean(0) - mean).abs() < error).all()
    assert float(written.var(0).mean()) == pytest.approx(float(variance.mean()), rel=0.05)


def test_no_factor_saturates_a_train() -> None:
    """100 pulses are due at every cross-point and 31 fit a train."""
    direct, factored = SYMMETRIC.synapse(2, 3, Streams(0)), LowRankDevice(SYMMETRIC, 1).synapse(2, 3, Streams(0))
    pre, post = torch.ones(1, 3), torch.ones(1, 2)
    direct.update(pre, post, 100 * STEP)
    assert float(direct.weight().max()) == pytest.approx(31 * STEP, rel=1e-4)
    assert float(change(factored, pre, post, 100 * STEP).mean()) == pytest.approx(100 * STEP, rel=0.02)
    assert factored.meter.vectors_updated == 1


# --- pooled ---


def blocks(pre: Tensor, post: Tensor, window: Window, size: int) -> Tensor:
    """The sum over blocks of (sum post) (mean patch)^T, position by position."""
    patches = window.patches(pre).unflatten(0, (len(pre), *post.shape[2:]))
    total = torch.zeros(post.shape[1], window.columns)
    for image in range(len(pre)):
        for top in range(0, post.shape[2], size):
            for left in range(0, post.shape[3], size):
                here = slice(top, top + size), slice(left, left + size)
                mean = patches[image][here].flatten(0, 1).mean(0)
                total += torch.outer(post[image][(slice(None), *here)].flatten(1).sum(1), mean)
    return total


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_pooled_patches_have_the_mean_of_their_blocks(size: int, cell: str) -> None:
    window = Window(1, 2)
    pre, post = torch.rand(2, 1, 6, 6, generator=rng(1)), torch.randn(2, 2, 5, 5, generator=rng(2))
    exact, rate, repeats = blocks(pre, post, window, size), 0.004, 600
    written = []
    for seed in range(repeats):
        bank = kernels(synapse := PooledDevice(CELLS[cell], size).synapse(2, 4, Streams(seed)), window)
        bank.update(pre, post, rate)
        written.append(synapse.weight())
    means, gross = torch.stack(written).mean(0), STEP * 10
    if cell == "symmetric":
        error = 5 * torch.stack(written).std(0) / math.sqrt(repeats)
        assert ((means - rate * exact).abs() < error + 1e-5).all()
        assert synapse.meter.vectors_updated == 50
    else:  # net changes are small beside traffic, which an asymmetric cell turns into a rise here
        assert float((means - rate * exact).mean()) > 0
        assert float((means - rate * exact).abs().max()) < gross


def test_factors_of_a_running_mean_are_kept_and_a_resumed_array_goes_on_exactly() -> None:
    """On exact arrays, against the mean itself: sums of two rows at all times, which two factors hold exactly."""
    device = LowRankDevice(FloatDevice(), 2, momentum=0.75)
    first, second = programmed(device), programmed(device, seed=1)
    basis, mean = (rows(2, 7, 1), rows(2, 5, 2)), torch.zeros(5, 7).double()
    for step in range(6):
        if step == 3:
            second.load_state_dict(first.state_dict())
        pre, post = (rows(4, 2, 10 * step + i) @ side for i, side in enumerate(basis))
        mean = 0.75 * mean + 0.25 * 0.1 * products(pre.double(), post.double())
        written = change(first, pre, post, 0.1)
        torch.testing.assert_close(written.double(), mean, rtol=1e-3, atol=1e-5)
        if step >= 3:
            change(second, pre, post, 0.1)
    assert torch.equal(first.weight(), second.weight())
    assert torch.allclose(change(first, rows(1, 7, 3), rows(1, 5, 4), 0.0).double(), 0.75 * mean, atol=1e-5)
    with pytest.raises(ValueError, match=r"factors of a running mean: expected update\.pre"):
        second.load_state_dict({k: v for k, v in first.state_dict().items() if k != "update.pre"})


def test_equal_neighbours_are_pooled_exactly_and_vectors_are_not_pooled() -> None:
    window = Window(1, 1)
    pre = torch.rand(3, 1, 4, 4, generator=rng(1)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    post = torch.randn(3, 2, 8, 8, generator=rng(2))
    synapse = PooledDevice(FloatDevice()).synapse(2, 1, Streams(0))
    kernels(synapse, window).update(pre, post, 0.5)
    torch.testing.assert_close(synapse.weight(), 0.5 * window.product(pre, post), rtol=1e-4, atol=1e-4)
    dense = programmed(PooledDevice(FloatDevice()))
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    torch.testing.assert_close(change(dense, x, d, 0.1), 0.1 * products(x, d))


def test_pooling_sends_fewer_pulses() -> None:
    window = Window(1, 3, padding=1)
    pre, post = torch.rand(4, 1, 8, 8, generator=rng(1)), torch.randn(4, 2, 8, 8, generator=rng(2))
    sent = []
    for device in (SYMMETRIC, PooledDevice(SYMMETRIC, 4)):
        kernels(synapse := device.synapse(2, 9, Streams(0)), window).update(pre, post, 0.01)
        sent.append(synapse.meter.pulses)
    assert sent[1] < 0.4 * sent[0]


# --- all of them ---


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_modes_conform(mode: UpdateMode, cell: str) -> None:
    check_device(mode.device(CELLS[cell]))


def test_digital_sums_belong_to_arrays() -> None:
    device = UpdateMode("accumulate").device(AveragedDevice(TwinDevice(TiledDevice(SYMMETRIC, 3, 4)), 2))
    synapse = programmed(device)
    sums = {key: value.shape for key, value in synapse.state_dict().items() if key.endswith("update.sum")}
    assert len(sums) == 8
    assert set(sums.values()) == {(3, 4), (3, 3), (2, 4), (2, 3)}
    pre, post = rows(5, 7, 1), rows(5, 5, 2)
    written = change(synapse, pre, post, 0.05)
    assert float((written - 0.05 * products(pre, post)).abs().max()) < STEP * 1.01


def test_a_compiled_tile_takes_whole_pulses() -> None:
    """ECRAM's pulses vary by a fifth, its slopes differ: mean of 30 pulses of 300 devices within 4 %."""
    from aihwkit.simulator.presets import EcRamPreset

    synapse = AccumulatedDevice(AihwDevice(EcRamPreset())).synapse(20, 15, Streams(0))
    synapse.program(torch.zeros(20, 15))
    step = synapse.inner.granularity  # type: ignore[attr-defined]
    written = change(synapse, torch.ones(1, 15), torch.ones(1, 20), 30.5 * step) / step
    assert float(written.mean()) == pytest.approx(30, rel=0.06)
    torch.testing.assert_close(synapse.state_dict()["update.sum"], torch.full((20, 15), 0.5 * step), rtol=1e-3, atol=0)
    assert (synapse.meter.rows_written, synapse.meter.slots) == (20, 600)


def test_what_cannot_be_is_refused() -> None:
    from aihwkit.simulator.configs import InferenceRPUConfig
    from aihwkit.simulator.presets import AGADEcRamPreset, MixedPrecisionPCMPreset

    digital = AihwInferenceDevice(InferenceRPUConfig())
    for mode in MODES:
        with pytest.raises(InputError, match=rf"update: {mode.name}: .*trained in digital \(hardware-aware\)"):
            mode.device(digital)
    with pytest.raises(InputError, match=r"accumulate: AihwSynapse does not say .*mixed precision"):
        AccumulatedDevice(AihwDevice(MixedPrecisionPCMPreset())).synapse(2, 3, Streams(0))
    with pytest.raises(InputError, match=r"accumulate: this device scales every update .*auto_scale"):
        AccumulatedDevice(AihwDevice(AGADEcRamPreset())).synapse(2, 3, Streams(0))
    with pytest.raises(InputError, match="an array of 2 x 3 has sums of rank 2 at most, got 4 factors"):
        LowRankDevice(SYMMETRIC, 4).synapse(2, 3, Streams(0))
    for name, number, words in (
        ("acumulate", None, "expected one of per-sample, accumulate, low-rank, pooled, got 'acumulate'"),
        ("low-rank", None, "needs the number of factors"),
        ("low-rank", 0, "factors sent a step >= 1, got 0"),
        ("pooled", 1, "positions a side of a block >= 2, got 1"),
        ("per-sample", 3, "takes no number, got 3"),
    ):
        with pytest.raises(InputError, match=words):
            UpdateMode(name, number)
    with pytest.raises(InputError, match=r"a momentum belongs to accumulate and low-rank, .*not to pooled"):
        UpdateMode("pooled", momentum=0.5)
    with pytest.raises(InputError, match=r"accumulate: expected a momentum in \[0, 1\), got 1"):
        UpdateMode("accumulate", momentum=1.0)
