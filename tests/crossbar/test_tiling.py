"""Tiles: a layer cut into arrays computes the same, keeps its own state, and says how it lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from aihwkit.simulator.configs import ConstantStepDevice, InferenceRPUConfig, SingleRPUConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.composite import layout
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.tiling import TiledDevice
from hwsim.devices.aihw.device import AihwDevice
from hwsim.devices.aihw.inference import AihwInferenceDevice
from hwsim.devices.responses import IdealCell, SoftBoundsCell
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.inference import infer
from hwsim.ebm.settle import OddEven, Phase
from hwsim.errors import InputError
from hwsim.rng import Streams

SIZES = st.integers(1, 20)
LIMITS = st.one_of(st.none(), st.integers(1, 9))
NOISY = CellDevice(SoftBoundsCell(dw_min=2e-3, dw_min_dtod=0.3), ReadPath(out_noise=0.1), omega=0.4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(device: Device, post: int, pre: int, seed: int = 0) -> tuple[Synapse, Tensor]:
    synapse = device.synapse(post, pre, Streams(seed))
    weight = torch.randn(post, pre, generator=rng(seed), dtype=torch.float64)
    synapse.program(weight)
    return synapse, weight


@given(SIZES, SIZES, LIMITS, LIMITS, st.integers(0, 99))
def test_tiling_does_not_show_on_ideal_arrays(
    post: int, pre: int, max_rows: int | None, max_cols: int | None, seed: int
) -> None:
    tiled, weight = filled(TiledDevice(FloatDevice(dtype=torch.float64), max_rows, max_cols), post, pre, seed)
    whole, _ = filled(FloatDevice(dtype=torch.float64), post, pre, seed)
    x, d = (torch.randn(3, n, generator=rng(seed + 1), dtype=torch.float64) for n in (pre, post))
    for synapse in (tiled, whole):
        synapse.update(x, d, 0.3)
        synapse.tick()
    for found, expected in (
        (tiled.read(x), whole.read(x)),
        (tiled.read_transpose(d), whole.read_transpose(d)),
        (tiled.weight(), weight + 0.3 * d.T @ x),
        (tiled.conductances()["weight"], whole.weight()),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@given(SIZES, SIZES, st.integers(1, 9), st.integers(1, 9))
def test_the_layout_is_as_few_tiles_as_possible(post: int, pre: int, max_rows: int, max_cols: int) -> None:
    synapse, _ = filled(TiledDevice(FloatDevice(), max_rows, max_cols), post, pre)
    tiles = -(-post // max_rows) * -(-pre // max_cols)
    assert layout(synapse) == (tiles, pytest.approx(post * pre / (tiles * max_rows * max_cols)))
    assert all(tile.shape[0] <= max_rows and tile.shape[1] <= max_cols for tile in synapse.arrays)  # type: ignore[attr-defined]
    assert layout(filled(FloatDevice(), post, pre)[0]) == (1, 1.0)


def test_a_layer_that_fits_is_the_array_it_would_be_without_a_limit() -> None:
    x = torch.rand(3, 9, generator=rng())
    whole, tiled = (filled(device, 6, 9)[0] for device in (NOISY, TiledDevice(NOISY, 6, 9)))
    assert torch.equal(whole.read(x), tiled.read(x))
    whole.reseed_reads(Streams(5))
    tiled.reseed_reads(Streams(5))
    assert torch.equal(whole.read(x), tiled.read(x))
    assert tiled.shape == (6, 9)
    assert isinstance(tiled, Synapse)


def test_every_tile_has_its_own_devices_noise_and_converter() -> None:
    tiled, _ = filled(TiledDevice(NOISY, 3, 3), 6, 6)
    tiled.program(torch.zeros(6, 6))
    reads = tiled.read(torch.zeros(4000, 6))
    # Two tiles a row, each with output noise .1, scale 1: variances add. 4000 x 6 draws: 6.5 sigma are 3 %.
    assert abs(float(reads.std()) / (0.1 * 2**0.5) - 1) < 0.03
    clipped = TiledDevice(CellDevice(IdealCell(), ReadPath(out_bound=1.0)), None, 2)
    synapse, _ = filled(clipped, 1, 6)
    synapse.program(torch.ones(1, 6))
    # Digitised tile by tile: three converters of range 1 together reach 3, one would stop at 1.
    assert float(synapse.read(torch.ones(1, 6))) == pytest.approx(3.0, rel=1e-5)


def test_partial_reads_are_counted_tile_by_tile() -> None:
    synapse, _ = filled(TiledDevice(CellDevice(SoftBoundsCell()), 3, 3), 6, 6)
    synapse.meter.reset()
    synapse.meter.count_saturation = True
    synapse.read(torch.rand(5, 6))
    synapse.read_transpose(torch.rand(7, 6))
    synapse.update(torch.rand(2, 6), torch.rand(2, 6), 0.01)
    meter = synapse.meter
    assert (meter.vectors_read, meter.vectors_read_transpose, meter.vectors_updated) == (4 * 5, 4 * 7, 4 * 2)
    assert meter.k_count == 4


def test_state_survives_and_a_foreign_one_is_refused() -> None:
    device = TiledDevice(NOISY, 4, 5)
    first, _ = filled(device, 7, 9)
    second = device.synapse(7, 9, Streams(8))
    second.load_state_dict(first.state_dict())
    x = torch.rand(3, 9, generator=rng())
    assert torch.equal(first.read(x), second.read(x))
    assert torch.equal(first.weight(), second.weight())
    with pytest.raises(ValueError, match=r"parts .*: unexpected entry '5"):
        second.load_state_dict({**first.state_dict(), "5.0.g": torch.zeros(1)})
    with pytest.raises(ValueError, match="saved state"):
        second.load_state_dict({k: v for k, v in first.state_dict().items() if not k.startswith("1.1.")})


def test_bounds_are_joined_where_tiles_know_them() -> None:
    tiled, _ = filled(TiledDevice(CellDevice(SoftBoundsCell(w_max=0.7, w_max_dtod=0.2)), 4, 4), 6, 9)
    g, lowest, highest = tiled.limits()["g"]  # type: ignore[attr-defined]
    assert g.shape == lowest.shape == highest.shape == (6, 9)
    assert ((lowest <= g) & (g <= highest)).all()
    assert highest.unique().numel() == 54  # every cross-point has its own
    assert filled(TiledDevice(FloatDevice(), 4, 4), 6, 6)[0].limits() == {}


def test_tiles_age_where_their_devices_do() -> None:
    drifting = CellDevice(SoftBoundsCell(drift_nu=0.1, w_min=-1.0))
    tiled, _ = filled(TiledDevice(drifting, 4, 4), 6, 6)
    before = tiled.weight()
    tiled.age(1e4)  # type: ignore[attr-defined]
    assert not torch.equal(tiled.weight(), before)
    assert TiledDevice(drifting, 4, 4).drifts


def test_tiles_are_arrays_with_wires_of_their_own() -> None:
    array = ArrayDevice(CellDevice(IdealCell()), Array(wire_resistance_ohm=50.0))
    weight = torch.ones(24, 24)
    whole, tiled = array.synapse(24, 24, Streams(0)), TiledDevice(array, 8, 8).synapse(24, 24, Streams(0))
    losses = []
    for synapse in (whole, tiled):
        synapse.program(weight)
        losses.append(1 - float(synapse.weight().mean()))
    assert losses[0] > 3 * losses[1] > 0  # shorter wires lose less


def test_a_convolution_runs_on_tiles() -> None:
    nets = []
    for device in (FloatDevice(), TiledDevice(FloatDevice(), 3, 7)):
        net = layered_hopfield([(1, 6, 6), Conv(4, pool="max"), 3], device, Streams(0))
        net.program(net.initial_weights(1.0, Streams(1)))
        nets.append(net)
    x = torch.rand(5, 1, 6, 6, generator=rng())
    logits = [infer(net, x, solver=OddEven(), phase=Phase(20))[0] for net in nets]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-5)


def test_a_planted_mistake_shows() -> None:
    """Tiles joined in the wrong order must not pass for the layer."""
    tiled, weight = filled(TiledDevice(FloatDevice(), 2, 3), 4, 6)
    tiled.tiles.reverse()  # type: ignore[attr-defined]
    assert not torch.allclose(tiled.weight().double(), weight)


@pytest.mark.parametrize("limit", ["max_rows", "max_cols"])
def test_impossible_limits_are_refused(limit: str) -> None:
    with pytest.raises(InputError, match=f"TiledDevice.{limit}: expected at least 1, got 0"):
        replace(TiledDevice(FloatDevice()), **{limit: 0})


def mapped(kind: str) -> Device:
    """Devices whose weights are mapped so that the largest is 0.4, read exactly."""
    if kind == "cell":
        return CellDevice(SoftBoundsCell(), omega=0.4)
    if kind == "aihwkit":
        config = SingleRPUConfig(device=ConstantStepDevice(w_max_dtod=0, w_min_dtod=0, dw_min_dtod=0))
        config.forward.is_perfect = config.backward.is_perfect = True
        config.mapping.weight_scaling_omega = 0.4
        return AihwDevice(config)
    config = InferenceRPUConfig(drift_compensation=None)
    config.forward.is_perfect = True
    config.mapping.weight_scaling_omega = 0.4
    return AihwInferenceDevice(config)


def scales(synapse: Synapse) -> list[float]:
    return [round(tile.scale, 5) for tile in synapse.arrays]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["cell", "aihwkit", "inference"])
def test_one_scale_a_layer_or_one_a_tile(kind: str) -> None:
    weight = torch.tensor([[0.1, -0.2, 0.0, 0.0], [0.2, 0.1, 0.8, 0.4]])
    device = mapped(kind)
    own, layer = (TiledDevice(device, 1, 2, scale).synapse(2, 4, Streams(0)) for scale in ("tile", "layer"))
    for synapse in (own, layer):
        if kind == "inference":  # in training; what programming noise makes of it is the noise model's matter
            synapse.update(torch.eye(4), weight.T.contiguous(), 1.0)
        else:
            synapse.program(weight)
    assert scales(own) == [0.5, 1.0, 0.5, 2.0]
    assert scales(layer) == [2.0] * 4
    for synapse in (own, layer):
        torch.testing.assert_close(synapse.weight(), weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(synapse.read(torch.eye(4)), weight.T, rtol=1e-5, atol=1e-6)
    again = TiledDevice(device, 1, 2, "layer").synapse(2, 4, Streams(1))
    again.load_state_dict(layer.state_dict())
    assert scales(again) == [2.0] * 4
    torch.testing.assert_close(again.read(torch.eye(4)), weight.T, rtol=1e-5, atol=1e-6)


def test_tiles_of_small_weights_are_read_with_more_noise_under_one_scale_a_layer() -> None:
    weight = torch.tensor([[0.1, 0.8]])
    spread = {}
    for scale in ("tile", "layer"):
        device = CellDevice(IdealCell(), ReadPath(out_noise=0.1), omega=0.4)
        synapse = TiledDevice(device, None, 1, scale).synapse(1, 2, Streams(0))
        synapse.program(weight)
        spread[scale] = float(synapse.read(torch.zeros(20_000, 2)).std())
    # Scales .25 and 2 add up in variance, and so do 2 and 2. 20,000 draws: 6 sigma are 3 %.
    assert abs(spread["tile"] / (0.1 * (0.25**2 + 2**2) ** 0.5) - 1) < 0.03
    assert abs(spread["layer"] / (0.1 * (2 * 2**2) ** 0.5) - 1) < 0.03


def test_scales_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="mapping_scale: expected one of tile, layer, got 'row'"):
        TiledDevice(NOISY, 2, 2, "row")
    device = mapped("aihwkit")
    device.config.mapping.weight_scaling_columnwise = True  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="weight_scaling_columnwise"):
        TiledDevice(device, 2, 2, "layer").synapse(4, 4, Streams(0)).program(torch.rand(4, 4))
