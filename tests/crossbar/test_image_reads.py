"""Whole images against patches: the same read, exactly without noise and in mean and covariance with it.

The reference cuts every patch, reads it with ``hwsim.crossbar.reads.vectors.read`` and lays it back with torch's own
fold; that
read is held against aihwkit's compiled tile in test_read_path.py. Noise is compared over DRAWS draws: means may differ
by 7 standard errors, and so may every entry of the covariance of all outputs, whose standard error is that of the
products it is the mean of. That sees noise that should be independent and is not, or the other way round.
The planted bugs at the end show that this is sharp enough.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.reads import images as imageread
from hwsim.crossbar.reads.images import additive, pixelwise, read_images, read_images_transpose
from hwsim.crossbar.reads.kernels import ImageKernels, PatchKernels, kernels
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.vectors import Port, read
from hwsim.crossbar.reads.window import Window, as_images, as_rows
from hwsim.crossbar.synapse import Meter
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.devices.responses import IdealCell
from hwsim.rng import Streams

DOUBLE = torch.float64
DRAWS, OUT, SIZE = 4000, 3, (5, 6)
WINDOWS = {
    "padded": Window(2, 3, 1, 1),
    "strided": Window(2, 3, 2, 0),
    "constant line": Window(2, 2, 2, 1, constant=True),
    "single pixel": Window(2, 1, 1, 0),
}
CONVERTERS = {"inp_bound": 1.0, "inp_res": 1 / 30, "out_bound": 2.0, "out_res": 1 / 62}
QUIET = {
    "perfect": {"is_perfect": True, "out_scale": 1.5},
    "converters": CONVERTERS,
    "input converter only": {"inp_bound": 0.6, "inp_res": 1 / 30, "out_scale": 0.7},
    "clipping only": {"inp_bound": 0.6, "out_bound": 0.5},
    "asymmetric inputs": {**CONVERTERS, "inp_asymmetry": 0.2},
    "constant management": {**CONVERTERS, "noise_management": "CONSTANT", "nm_thres": 1.7},
    "scaled vectors": {**CONVERTERS, "noise_management": "ABS_MAX"},
    "scaled vectors, no output converter": {"inp_bound": 1.0, "inp_res": 1 / 30, "noise_management": "ABS_MAX"},
    "largest value": {**CONVERTERS, "noise_management": "MAX", "nm_thres": 0.8},
    "second reads": {**CONVERTERS, "bound_management": "ITERATIVE", "out_bound": 0.3},
    "wires": {**CONVERTERS, "ir_drop": 1.0, "ir_drop_g_ratio": 40.0},
    "wires, no converters": {"ir_drop": 1.0, "ir_drop_g_ratio": 40.0},
}
NOISY = {
    "output noise": {**CONVERTERS, "out_noise": 0.1},
    "output noise, no output converter": {"inp_bound": 1.0, "inp_res": 1 / 30, "out_noise": 0.1},
    "input noise": {"inp_noise": 0.1, "out_noise": 0.05},
    "dithered inputs": {**CONVERTERS, "inp_res": 1 / 6, "inp_sto_round": True},
    "dithered outputs": {**CONVERTERS, "out_res": 1 / 14, "out_sto_round": True},
    "constant weight noise": {"w_noise": 0.1, "w_noise_type": "ADDITIVE_CONSTANT", "out_noise": 0.05},
    "phase-change weight noise": {**CONVERTERS, "w_noise": 0.1, "w_noise_type": "PCM_READ"},
    "phase-change weight noise, no converters": {"w_noise": 0.1, "w_noise_type": "PCM_READ", "out_noise": 0.02},
    "scaled vectors": {"noise_management": "ABS_MAX", "out_noise": 0.1, "inp_bound": 1.0, "inp_res": 1 / 30},
    "scaled vectors, weight noise": {
        "noise_management": "ABS_MAX", "w_noise": 0.1, "w_noise_type": "ADDITIVE_CONSTANT", "inp_noise": 0.05,
    },
    "silent vectors": {"noise_management": "ABS_MAX", "inp_noise": 0.2, "out_noise": 0.1, "silent_zero": True},
    "constant management": {**CONVERTERS, "noise_management": "CONSTANT", "nm_thres": 1.7, "out_noise": 0.1},
}  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kernel_bank(window: Window) -> Tensor:
    return torch.rand(OUT, window.columns, generator=rng(1), dtype=DOUBLE) - 0.4


def drawn(window: Window, transpose: bool, batch: int = 2) -> Tensor:
    """Images of the layer below, or of the layer above; a corner of them is silent."""
    shape = (batch, OUT, *window.size(*SIZE)) if transpose else (batch, window.channels, *SIZE)
    images = torch.rand(shape, generator=rng(2), dtype=DOUBLE) * 1.4 - 0.4
    images[..., :2, :2] = 0
    return images


def by_patches(
    weight: Tensor, images: Tensor, window: Window, path: ReadPath, transpose: bool, offset: Tensor | None = None
) -> Tensor:
    port = Port(weight.T if transpose else weight, path, rng(3), None, 1.3, offset)
    if transpose:
        return window.fold(read(port, as_rows(images)), SIZE)
    return as_images(read(port, window.patches(images)), window.size(*SIZE))


def by_images(
    weight: Tensor, images: Tensor, window: Window, path: ReadPath, transpose: bool, offset: Tensor | None = None
) -> Tensor:
    port = Port(weight.T if transpose else weight, path, rng(4), None, 1.3, offset)
    return read_images_transpose(port, images, window, SIZE) if transpose else read_images(port, images, window)


directions = pytest.mark.parametrize("transpose", [False, True], ids=["forward", "transpose"])
windows = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())


@directions
@windows
@pytest.mark.parametrize("setting", QUIET.values(), ids=QUIET.keys())
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
def test_without_noise_they_are_equal_and_so_are_their_gradients(
    setting: dict, window: Window, transpose: bool, offset: bool
) -> None:
    path, weight = ReadPath(**setting), kernel_bank(window)
    shift = torch.linspace(-0.2, 0.3, window.columns if transpose else OUT, dtype=DOUBLE) if offset else None
    images = drawn(window, transpose)
    expected = by_patches(weight, images, window, path, transpose, shift)
    found = by_images(weight, images, window, path, transpose, shift)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    weights, slopes = torch.randn(expected.shape, generator=rng(5), dtype=DOUBLE), []
    for way in (by_patches, by_images):
        x = images.clone().requires_grad_()
        (way(weight, x, window, path, transpose, shift) * weights).sum().backward()
        slopes.append(x.grad)
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-9, atol=1e-11)


def differing(a: Tensor, b: Tensor) -> str | None:
    """What differs between the draws (DRAWS, outputs) of two reads, None if nothing does."""
    a, b = a.flatten(1), b.flatten(1)
    means, covariances, errors = [], [], []
    for draws in (a, b):
        means.append(draws.mean(0))
        centred = draws - means[-1]
        covariances.append(centred.T @ centred / DRAWS)
        squares = centred.square()
        errors.append((squares.T @ squares / DRAWS - covariances[-1] ** 2).clamp_min(0) / DRAWS)
    variances = covariances[0].diagonal() + covariances[1].diagonal()
    z = (means[0] - means[1]).abs() / (variances / DRAWS + 1e-12).sqrt()
    if z.max() > 7:
        return f"means differ by {z.max():.1f} standard errors"
    z = (covariances[0] - covariances[1]).abs() / (errors[0] + errors[1] + 1e-16).sqrt()
    return None if z.max() < 7 else f"covariances differ by {z.max():.1f} standard errors"


def compared(setting: dict, window: Window, transpose: bool, bug: dict | None = None) -> str | None:
    path, weight = ReadPath(**setting), kernel_bank(window)
    image = drawn(window, transpose, 1)
    many = image.expand(DRAWS, *image.shape[1:])
    ours = by_images(weight, many, window, replace(path, **(bug or {})), transpose)
    return differing(by_patches(weight, many, window, path, transpose), ours)


@directions
@windows
@pytest.mark.parametrize("setting", NOISY.values(), ids=NOISY.keys())
def test_with_noise_means_and_covariances_are_those_of_patches(setting: dict, window: Window, transpose: bool) -> None:
    assert compared(setting, window, transpose) is None


@pytest.mark.parametrize(
    ("name", "transpose", "bug"),
    [
        ("output noise", False, {"out_noise": 0.115}),
        ("output noise, no output converter", True, {"out_noise": 0.115}),
        ("phase-change weight noise, no converters", True, {"w_noise_type": "ADDITIVE_CONSTANT"}),
        ("scaled vectors", True, {"noise_management": "NONE"}),
        ("dithered outputs", False, {"out_sto_round": False}),
        ("silent vectors", True, {"silent_zero": False}),
    ],
)
def test_a_planted_bug_is_seen(name: str, transpose: bool, bug: dict) -> None:
    assert compared(NOISY[name], WINDOWS["padded"], transpose, bug) is not None


@pytest.mark.parametrize("setting", ["input noise", "dithered inputs"])
def test_pixels_that_are_drawn_once_for_all_patches_would_be_seen(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their outputs have the right means and variances, but neighbours share what they should not."""
    assert compared(NOISY[setting], WINDOWS["padded"], False) is None
    monkeypatch.setattr(imageread, "pixelwise", lambda path: True)
    assert "covariances" in (compared(NOISY[setting], WINDOWS["padded"], False) or "")


@pytest.mark.parametrize("setting", ["converters", "clipping only", "wires"])
def test_a_converter_behind_the_sum_of_reads_would_be_seen(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window, path = WINDOWS["padded"], ReadPath(**QUIET[setting])
    weight, images = kernel_bank(window), drawn(window, True)
    expected = by_patches(weight, images, window, path, True)
    monkeypatch.setattr(imageread, "additive", lambda path: True)
    assert float((by_images(weight, images, window, path, True) - expected).abs().max()) > 0.01


def test_noise_that_is_not_summed_over_overlapping_reads_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    name, window = "output noise, no output converter", WINDOWS["padded"]
    assert compared(NOISY[name], window, True) is None

    def once(*arguments: object) -> Tensor:
        return torch.full((1, 1, *SIZE), NOISY[name]["out_noise"] ** 2, dtype=DOUBLE)

    monkeypatch.setattr(imageread, "_read_variance", once)
    assert "covariances" in (compared(NOISY[name], window, True) or "")


def test_which_settings_take_the_short_way() -> None:
    periphery = ReadPath(**CONVERTERS, out_noise=0.1)  # type: ignore[arg-type]
    assert pixelwise(periphery)
    assert not additive(periphery)
    for name, value in (("inp_noise", 0.1), ("inp_sto_round", True), ("noise_management", "ABS_MAX")):
        assert not pixelwise(replace(periphery, **{name: value})), name
    assert not pixelwise(replace(periphery, bound_management="ITERATIVE"))
    assert additive(replace(periphery, out_bound=float("inf"), out_res=0.0))
    assert not additive(replace(periphery, out_res=0.0))
    assert pixelwise(replace(periphery, inp_noise=0.1, is_perfect=True))


@directions
def test_conversions_are_counted_as_for_patches(transpose: bool) -> None:
    window, path = WINDOWS["padded"], ReadPath(**QUIET["clipping only"])
    weight, images = kernel_bank(window), drawn(window, transpose)
    whole, cut = Meter(count_saturation=True), Meter(count_saturation=True)
    if transpose:
        read_images_transpose(Port(weight.T, path, rng(), whole), images, window, SIZE)
        read(Port(weight.T, path, rng(), cut), as_rows(images))
    else:
        read_images(Port(weight, path, rng(), whole), images, window)
        read(Port(weight, path, rng(), cut), window.patches(images))
    assert 0 < whole.saturated < whole.conversions
    assert (whole.conversions, whole.saturated) == (cut.conversions, cut.saturated)


NOISE = CellDevice(IdealCell(), ReadPath(**CONVERTERS, out_noise=0.1))  # type: ignore[arg-type]
PLACED = ArrayDevice(CellDevice(IdealCell(), ReadPath(**CONVERTERS)), Array(transpose_mismatch=0.3, offset_std=0.2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "device",
    [NOISE, PLACED, TwinDevice(NOISE), TiledDevice(PLACED, 2, None), TiledDevice(PLACED, 2, 7)],
    ids=["bare", "placed", "twin", "tiles of rows", "tiles"],
)
def test_every_array_is_a_kernel_bank_with_the_counts_and_updates_of_patches(device: CellDevice) -> None:
    window = WINDOWS["padded"]
    arrays = [device.synapse(OUT, window.columns, Streams(0)) for _ in range(2)]
    banks = [kernels(arrays[0], window), PatchKernels(arrays[1], window)]
    assert isinstance(banks[0], ImageKernels)
    x, d = drawn(window, False).float(), drawn(window, True).float()
    found = []
    for array, bank in zip(arrays, banks, strict=True):
        array.program(kernel_bank(window).float())
        array.meter.reset()
        bank.update(x, d, 0.1)
        reads = torch.cat([bank.read(x).flatten(), bank.read_transpose(d, SIZE).flatten()])
        meter = array.meter
        found.append((reads, array.weight(), meter.vectors_read, meter.vectors_read_transpose, meter.vectors_updated))
    torch.testing.assert_close(found[0][1], found[1][1])
    assert found[0][2:] == found[1][2:]
    if device in (NOISE,) or isinstance(device, TwinDevice):
        assert 0 < float((found[0][0] - found[1][0]).std()) < 0.6  # not the same draws
    else:
        # A float sum may fall on the other side of a converter's step: of one code, here and there.
        step = 2 * CONVERTERS["out_bound"] * CONVERTERS["out_res"]
        off = (found[0][0] - found[1][0]).abs()
        assert float((off > 1e-5).float().mean()) < 0.02
        assert float(off.max()) <= 9 * step
