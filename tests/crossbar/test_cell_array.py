"""Crossbars of python cells: the read and its gradient, updates, state."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from hwsim.crossbar import cell_array as crossbar
from hwsim.crossbar.cell_array import CellDevice, CellSynapse
from hwsim.crossbar.pulses import coincidences
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.vectors import Port, read
from hwsim.crossbar.synapse import Device, Meter, Synapse
from hwsim.devices.responses import IdealCell, LinearStepCell, SoftBoundsCell
from hwsim.errors import InputError
from hwsim.rng import Streams

NOISY = ReadPath(inp_bound=1, inp_res=1 / 126, out_bound=8, out_res=1 / 510, out_noise=0.05)
CELL = SoftBoundsCell(dw_min=2e-3, dw_min_dtod=0.3, dw_min_std=0.3, w_max=0.6, w_min=-0.6, w_max_dtod=0.2)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def array(device: CellDevice | None = None, seed: int = 0, post: int = 6, pre: int = 9) -> CellSynapse:
    synapse = (device or CellDevice(CELL, NOISY, omega=0.4)).synapse(post, pre, Streams(seed))
    synapse.program(torch.randn(post, pre, generator=rng(1)) * 0.1)
    return synapse


def batch(synapse: CellSynapse, n: int = 8, seed: int = 2) -> tuple[Tensor, Tensor]:
    g = rng(seed)
    return torch.rand(n, synapse.shape[1], generator=g), torch.randn(n, synapse.shape[0], generator=g) * 0.1


def test_the_protocols_hold() -> None:
    assert isinstance(CellDevice(CELL), Device)
    assert isinstance(array(), Synapse)


# --- reads ---


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(0, 999))
def test_ideal_reads_are_adjoint_and_exact(post: int, pre: int, n: int, seed: int) -> None:
    g = rng(seed)
    weight = torch.randn(post, pre, generator=g, dtype=torch.float64)
    x = torch.randn(n, pre, generator=g, dtype=torch.float64)
    y = torch.randn(n, post, generator=g, dtype=torch.float64)
    forward, back = read(Port(weight, ReadPath(), g), x), read(Port(weight.T, ReadPath(), g), y)
    assert torch.equal(forward, x @ weight.T)
    torch.testing.assert_close((forward * y).sum(), (x * back).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("management", ["NONE", "ABS_MAX"])
def test_noisy_reads_are_adjoint_in_expectation(management: str) -> None:
    n = 20_000
    path = replace(NOISY, noise_management=management, inp_noise=0.02)
    g = rng()
    weight = torch.randn(6, 9, generator=g) * 0.3
    x, y = torch.rand(1, 9, generator=g), torch.rand(1, 6, generator=g)
    forward, back = Port(weight, path, g), Port(weight.T, path, g)
    gap = (read(forward, x.expand(n, -1)) * y).sum(1) - (read(back, y.expand(n, -1)) * x).sum(1)
    # 7 standard errors, and the converters' rounding, at most half a step of every line.
    rounding = 0.5 * (NOISY.inp_step * (weight.abs().sum() * 2) + NOISY.out_step * 0.05 * 15)
    assert abs(float(gap.mean())) < 7 * float(gap.std()) / math.sqrt(n) + float(rounding)
    planted = (read(forward, x.expand(n, -1)) * y).sum(1) - 1.2 * (x @ weight.T * y).sum()
    assert abs(float(planted.mean())) > 7 * float(planted.std()) / math.sqrt(n)


def test_a_read_is_seeded_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    x, d = batch(array())
    assert torch.equal(array().read(x), array().read(x))
    assert not torch.equal(array().read(x), array(seed=1).read(x))
    one = array()
    assert one.noisy
    assert not torch.equal(one.read(x), one.read(x))
    one.update(x, d, 0.1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_gradient_is_straight_through_inside_and_zero_where_clipped() -> None:
    weight = torch.tensor([[0.5, -0.25], [2.0, 2.0]])
    path = ReadPath(inp_bound=1, inp_res=1 / 14, out_bound=1.5, out_res=1 / 30, out_noise=0.001, out_scale=2.0)
    x = torch.tensor([[0.3, 0.2], [3.0, 0.1], [0.9, 0.9]], requires_grad=True)
    read(Port(weight, path, rng(), scale=0.5), x).sum().backward()
    both = weight.sum(0)
    expected = torch.stack([both, torch.tensor([0.0, float(weight[0, 1])]), weight[0]])
    # Row 2 clips its first input, and, as row 3, the second output: 2 * 1 + 2 * 0.1 > 1.5 and 3.6 > 1.5.
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)


def test_the_gradient_of_a_managed_read_is_the_transpose() -> None:
    weight = torch.randn(5, 7, generator=rng())
    path = replace(NOISY, noise_management="ABS_MAX", bound_management="ITERATIVE", out_bound=0.5)
    x = (torch.rand(4, 7, generator=rng(1)) * 9).requires_grad_()
    y = read(Port(weight, path, rng()), x)
    (y * torch.arange(5.0)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (torch.arange(5.0) @ weight).expand(4, -1))


def test_iterative_bound_management_reads_what_a_bound_would_cut() -> None:
    weight, x = torch.full((1, 50), 0.5), torch.ones(3, 50) * torch.tensor([[1.0], [0.5], [0.01]])
    path = ReadPath(inp_bound=1, out_bound=2, out_res=1 / 4094)
    assert float(read(Port(weight, path, rng()), x)[0]) == pytest.approx(2, abs=0.01)
    managed = read(Port(weight, replace(path, bound_management="ITERATIVE"), rng()), x)
    torch.testing.assert_close(managed, x @ weight.T, atol=0.02, rtol=0)


def test_saturated_conversions_are_counted_when_asked() -> None:
    weight, x, meter = torch.ones(2, 10), torch.ones(3, 10), Meter()
    x[0] = 0.1
    path = ReadPath(inp_bound=1, out_bound=5, out_res=1 / 254)
    read(Port(weight, path, rng(), meter), x)
    assert meter.conversions == 0
    meter.count_saturation = True
    read(Port(weight, path, rng(), meter), x)
    assert (meter.conversions, meter.saturated) == (6, 4)
    assert meter.saturated_share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"out_bound": 0}, r"ReadPath\.out_bound: expected a number > 0, got 0"),
        ({"inp_bound": -1.0}, r"ReadPath\.inp_bound: expected a number > 0"),
        ({"out_noise": -0.1}, r"ReadPath\.out_noise: expected a finite number >= 0"),
        ({"out_noise": math.nan}, r"ReadPath\.out_noise"),
        ({"out_res": 1 / 254}, r"ReadPath\.out_bound: expected a finite bound, because out_res sets steps"),
        ({"noise_management": "ABSMAX"}, r"noise_management: expected one of NONE, ABS_MAX"),
        ({"out_scale": 0.0}, r"ReadPath\.out_scale"),
    ],
)
def test_impossible_peripheries_are_refused(given_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReadPath(**given_)


# --- programming, updates, state ---


@pytest.mark.parametrize("omega", [0.0, 0.4])
def test_programming_round_trips_within_the_bounds(omega: float) -> None:
    synapse = array(CellDevice(LinearStepCell(), NOISY, omega=omega))
    weight = torch.randn(synapse.shape, generator=rng(3)) * 0.2
    synapse.program(weight)
    torch.testing.assert_close(synapse.weight(), weight)
    assert float(synapse.g.abs().max()) == pytest.approx(omega or float(weight.abs().max()))
    synapse.program(torch.zeros_like(weight))
    assert not synapse.weight().any()
    with pytest.raises(ValueError, match=r"expected shape \(post, pre\) = \(6, 9\), got \(9, 6\)"):
        synapse.program(weight.T)


def test_ideal_cells_take_exact_updates() -> None:
    synapse = array(CellDevice(IdealCell(), NOISY, omega=0.4))
    x, d = batch(synapse)
    before = synapse.weight()
    synapse.update(x, d, 0.3)
    torch.testing.assert_close(synapse.weight() - before, 0.3 * d.T @ x)
    assert CellDevice(IdealCell()).ideal
    assert not CellDevice(IdealCell(), NOISY).ideal
    assert not CellDevice(CELL).ideal


def test_a_rate_of_zero_does_nothing_and_a_negative_one_is_refused() -> None:
    synapse = array()
    before = synapse.weight()
    synapse.update(*batch(synapse), 0.0)
    assert torch.equal(before, synapse.weight())
    with pytest.raises(ValueError, match="learning rate"):
        synapse.update(*batch(synapse), -0.1)


@given(st.integers(0, 10_000), st.floats(1e-3, 50.0), st.integers(1, 6))
def test_no_pulse_train_leaves_the_bounds(seed: int, rate: float, substeps: int) -> None:
    cell = replace(CELL, dw_min=0.05, dw_min_std=3.0)
    synapse = CellDevice(cell, omega=0.5, substeps=substeps).synapse(4, 5, Streams(seed))
    g = rng(seed)
    synapse.program(torch.randn(4, 5, generator=g))
    lower, upper = (torch.as_tensor(b) for b in synapse.cell.bounds())
    for _ in range(3):
        synapse.update(torch.rand(6, 5, generator=g), torch.randn(6, 4, generator=g), rate)
        assert bool(((synapse.g >= lower) & (synapse.g <= upper)).all())
        assert 0 <= synapse.clipped_share() <= 1


def test_clipped_cells_are_seen() -> None:
    synapse = CellDevice(SoftBoundsCell(w_max=0.6, w_min=-0.6)).synapse(4, 5, Streams(0))
    assert synapse.clipped_share() == 0
    weight = torch.zeros(4, 5)
    weight[:2] = 7.0
    synapse.program(weight)
    assert synapse.clipped_share() == pytest.approx(0.5)


def test_pulses_are_counted_as_they_are_sent() -> None:
    pre, post, k = torch.rand(5, 8, generator=rng()), torch.randn(5, 6, generator=rng()), torch.full((5,), 40.0)
    k[4] = 0
    counts = coincidences(pre, post, k, 31, 3, rng(1))
    total = sum(up + down for up, down in counts)
    assert isinstance(total, Tensor)
    assert len(counts) == 3
    assert torch.equal(total, total.round())
    assert float(total.max()) <= 4 * 31
    assert coincidences(pre, post, torch.zeros(5), 31, 3, rng(1)) == []


def test_a_resumed_array_goes_on_bit_for_bit() -> None:
    cell = replace(CELL, lifetime=500.0, read_noise=0.01)
    device = CellDevice(cell, NOISY, omega=0.4)
    one = array(device)
    x, d = batch(one)

    def go_on(synapse: CellSynapse) -> Tensor:
        for _ in range(3):
            synapse.update(x, d, 0.2)
            synapse.tick()
        return torch.cat([synapse.read(x).flatten(), synapse.read_transpose(d).flatten(), synapse.weight().flatten()])

    go_on(one)
    state = {name: value.clone() for name, value in one.state_dict().items()}
    expected = go_on(one)
    other = device.synapse(*one.shape, Streams(99))
    other.load_state_dict(state)
    assert torch.equal(go_on(other), expected)
    for forgotten in ("rng.read", "rng.update", "cell.w_max", "g"):
        stale = {**state, forgotten: array(device, seed=5).state_dict()[forgotten]}
        other.load_state_dict(stale)
        assert not torch.equal(go_on(other), expected), f"a stale {forgotten} was not noticed"
    with pytest.raises(ValueError, match="saved state of a cell synapse"):
        other.load_state_dict({"g": state["g"]})


@pytest.mark.parametrize("compensation", ["none", "global"])
def test_a_restored_array_reads_the_same_bits(compensation: str) -> None:
    """A scale is a double: rounded to a float on its way through a file, every later read and pulse would differ."""
    cell = replace(CELL, drift_nu=0.05)
    device = CellDevice(cell, omega=0.4, drift_compensation=compensation)
    synapse, restored = device.synapse(6, 9, Streams(0)), device.synapse(6, 9, Streams(1))
    synapse.program(torch.full((6, 9), 1 / 3))
    synapse.age(3600.0)
    assert synapse.scale != float(torch.tensor(synapse.scale)), "a scale that no float32 holds"
    restored.load_state_dict(load(save(synapse.state_dict())))
    assert restored.scale == synapse.scale
    assert torch.equal(restored.weight(), synapse.weight())


def test_ageing_counts_from_programming() -> None:
    device = CellDevice(LinearStepCell(w_min=0.0, reference=0.5, drift_nu=0.05, drift_nu_dtod=0.3))
    assert device.drifts
    synapse = array(device)
    fresh = synapse.weight()
    synapse.age(1e6)
    aged = synapse.weight()
    assert float(aged.mean()) < float(fresh.mean()) - 0.1
    synapse.age(10.0)
    synapse.age(1e6)
    assert torch.equal(synapse.weight(), aged)
    synapse.age(0.0)
    assert torch.equal(synapse.weight(), fresh)
    with pytest.raises(InputError, match="seconds >= 0"):
        synapse.age(-1.0)


@pytest.mark.parametrize("given_", [{"omega": -0.1}, {"desired_bl": 0}, {"substeps": 0}])
def test_impossible_devices_are_refused(given_: dict) -> None:
    with pytest.raises(InputError, match=f"CellDevice.{next(iter(given_))}"):
        CellDevice(CELL, **given_)
    with pytest.raises(InputError, match="read noise is given twice"):
        CellDevice(replace(CELL, read_noise=0.1), ReadPath(w_noise=0.1, w_noise_type="ADDITIVE_CONSTANT"))


@pytest.mark.parametrize("signed", [False, True], ids=["activities", "either sign"])
def test_pulses_have_the_sign_and_the_mean_of_the_product(signed: bool) -> None:
    pre, post = torch.tensor([[0.5, 1.0, 0.0]]), torch.tensor([[-1.0, 0.25]])
    if signed:
        pre = pre * torch.tensor([-1.0, 1.0, 1.0])
    draws, k = 4000, 3.0
    counts = coincidences(pre.repeat(draws, 1), post.repeat(draws, 1), torch.full((draws,), k), 31, 1, rng(1))
    n_up, n_down = (torch.stack([part[i] for part in counts]).sum(0) / draws for i in range(2))
    expected = k * post.T @ pre
    # Counts are sums over 3 slots of 4000 samples: a mean's standard error is below sqrt(3 / 4 / 4000) = 0.014.
    torch.testing.assert_close(n_up, expected.clamp_min(0), rtol=0, atol=0.1)
    torch.testing.assert_close(n_down, (-expected).clamp_min(0), rtol=0, atol=0.1)
    assert torch.count_nonzero(n_up * n_down) == 0


def test_blocks_of_a_large_array_are_stepped_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    device = CellDevice(SoftBoundsCell(dw_min=0.01, dw_min_dtod=0.3, w_max_dtod=0.2), omega=0.4)
    found = []
    for size in (2**16, 30):  # 13 rows of 10 in one block, or in blocks of three
        monkeypatch.setattr(crossbar, "_BLOCK", size)
        synapse = device.synapse(13, 10, Streams(0))
        synapse.program(torch.randn(13, 10, generator=rng(2)))
        restored = device.synapse(13, 10, Streams(4))
        restored.update(torch.rand(5, 10, generator=rng(3)), torch.randn(5, 13, generator=rng(4)), 0.01)
        restored.load_state_dict(synapse.state_dict())  # blocks of its own devices are forgotten
        for each in (synapse, restored):
            each.update(torch.rand(50, 10, generator=rng(3)), torch.randn(50, 13, generator=rng(4)), 0.01)
        assert torch.equal(synapse.g, restored.g)
        found.append(synapse.g)
    torch.testing.assert_close(*found)


def test_a_cells_derived_numbers_follow_its_parameters() -> None:
    cell, g = SoftBoundsCell(dw_min=0.01), torch.zeros(2, 2)
    assert float(cell.pulse(g, True, rng())[0, 0]) == pytest.approx(0.01)
    varied = cell.with_varied({"dw_min": torch.full((2, 2), 0.02)})
    assert float(varied.pulse(g, True, rng())[0, 0]) == pytest.approx(0.02)
    assert float(varied.pulse(g, False, rng())[0, 0]) == pytest.approx(-0.02)
    assert float(cell.pulse(g, True, rng())[0, 0]) == pytest.approx(0.01)
