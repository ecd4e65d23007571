"""The analog read of a kernel bank over whole images, equal to the read of every patch on its own.

Cutting patches multiplies an image's pixels by the size of the kernel. Here they are not cut where the order of the
two does not matter, and what is drawn and converted for each patch still is:

- Forward, a pixel is converted once instead of in every patch that holds it. That is the same where its conversion
  depends on nothing else and draws nothing: no scaling of vectors by their largest value, no second reads, no dither
  and no noise on input lines. A border of zeros is converted to zeros. Noise, wires and the converter behind the array
  act on each output, and an output is one pixel of the map that a convolution gives.
- Transpose, a position's outputs are a patch that is laid back over its neighbours. Noise of overlapping patches is
  independent and adds up in variance. Converters and wires act on every patch-read before the sum, and no operation on
  the sum is equal to that: only without them is the transpose read one transposed convolution. With them it is
  computed read by read, a few images at a time, with channels innermost.

Everything else goes the way of patches, a few images at a time too.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.vectors import AT_ONCE, Kept, Port, read, scaled, straight_through
from hwsim.crossbar.reads.window import Window, as_images, as_rows, packed


def pixelwise(path: ReadPath) -> bool:
    """Is the forward read of all patches a conversion of the image and a convolution?"""
    dithered = path.inp_sto_round and path.inp_res > 0
    repeated = path.bound_management != "NONE" and math.isfinite(path.out_bound)
    return path.ideal or not (dithered or path.inp_noise or repeated or path.noise_management in ("ABS_MAX", "MAX"))


def additive(path: ReadPath) -> bool:
    """Is the transpose read of all positions a transposed convolution, plus noise?"""
    return path.ideal or not (path.out_step or math.isfinite(path.out_bound) or path.ir_drop)


def read_images(port: Port, images: Tensor, window: Window) -> Tensor:
    """(B, channels, H, W) -> (B, out, *positions): ``read`` of every patch at a forward port, weight (out, columns)."""
    path, offset, size = port.path, port.offset, window.size(*images.shape[2:])
    if path.ideal:
        y = window.correlate(images, port.weight)
        return scaled(y if offset is None else y + offset[:, None, None], port.factor)
    if not pixelwise(path):
        parts = images.split(_images_at_once(math.prod(size) * port.weight.shape[1]))
        rows = [read(port, window.patches(part)) for part in parts]
        return as_images(torch.cat(rows), size)
    if images.requires_grad and torch.is_grad_enabled():
        height, width = images.shape[2:]
        spread = partial(window.spread, size=(height, width))
        return straight_through(images, port, partial(_read_and_kept, port, window), spread)
    return _read_pixelwise(port, images, window)


def read_images_transpose(port: Port, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """(B, out, *positions) -> (B, channels, *size): ``read`` at every position, folded.

    The port is the transpose one: its weight is (columns, out) and its offset (columns,).
    """
    path, offset = port.path, port.offset
    if path.ideal:
        y = window.spread(images, port.weight.T, size)
        return scaled(y if offset is None else y + _folded(offset, window, size), port.factor)
    if additive(path) and not (images.requires_grad and torch.is_grad_enabled()):
        return _read_additive(port, images, window, size)
    order = window.channels_last(len(port.weight), port.weight.device)
    last = replace(port, weight=port.weight[order], offset=None if offset is None else offset[order])
    parts = images.split(_images_at_once(images.shape[2:].numel() * len(port.weight)))
    folded = [window.fold_last(read(last, as_rows(part)), size) for part in parts]
    return folded[0] if len(folded) == 1 else torch.cat(folded)


def _read_and_kept(port: Port, window: Window, images: Tensor) -> Kept:
    passed: list[Tensor] = []
    y = _read_pixelwise(port, images, window, passed)
    alpha = port.path.managed(images)[0]
    inside = images.abs() <= port.path.inp_bound * (1.0 if alpha is None else alpha)
    return y, torch.cat(passed).permute(0, 3, 1, 2), inside


def _read_pixelwise(port: Port, images: Tensor, window: Window, passed: list[Tensor] | None = None) -> Tensor:
    """The read; where outputs lie inside the converter's range, (B, *positions, out), goes to ``passed``."""
    weight, path, rng = port.weight, port.path, port.rng
    size, out = window.size(*images.shape[2:]), len(weight)
    step_out = path.out_step or 1.0
    gain = (path.inp_step or 1.0) / step_out
    alpha = path.managed(images)[0]
    unit = float(path.driven(torch.ones((), dtype=torch.float64), alpha, rng)) if window.constant else 0.0
    # What the constant line and the offset add to every output goes along as a bias.
    constant = torch.zeros(out, dtype=weight.dtype) if port.offset is None else port.offset / step_out
    constant = constant + weight[:, -1] * (gain * unit) if window.constant else constant
    kernels = torch.cat([weight[:, : window.fan_in] * gain, constant[:, None]], 1)
    biased = window.with_constant(True)
    result = torch.empty(len(images), *size, out, dtype=images.dtype, device=images.device)
    at_once = _images_at_once(max(math.prod(size) * out, images.shape[1:].numel()))
    for part, target in zip(images.split(at_once), result.split(at_once), strict=True):
        u = path.driven(packed(part.detach()), alpha, rng)
        z = biased.correlate(u, kernels).permute(0, 2, 3, 1)
        if path.ir_drop:
            z = z - _ir_drop(weight, u, unit, window, path) * gain
        _add_noise(z := z.contiguous(), port, u, unit, window)
        z = path.sensed(z, rng)
        port.count(z)
        if passed is not None:
            passed.append(z.abs() <= (path.out_limit or math.inf))
        target.copy_(path.finished(z, alpha, None, port.scale))
    return result.permute(0, 3, 1, 2)


def _add_noise(z: Tensor, port: Port, u: Tensor, unit: float, window: Window) -> None:
    """Output noise and referred weight noise on ``z`` (B, *positions, out), in output steps."""
    weight, path = port.weight, port.path
    weight_noise = path.w_noise if path.w_noise_type != "NONE" else 0.0
    if not (path.out_noise or weight_noise):
        return
    noise = torch.empty_like(z).normal_(generator=port.rng)
    step_out = path.out_step or 1.0
    if not weight_noise:
        z.add_(noise, alpha=path.out_noise / step_out)
        return
    squares = weight.abs() if path.w_noise_type == "PCM_READ" else torch.ones_like(weight[:1])
    if window.constant:
        squares = torch.cat([squares[:, :-1], squares[:, -1:] * unit**2], 1)
    power = window.correlate(u.square(), squares).permute(0, 2, 3, 1).clamp_min(0)
    step = path.inp_step or 1.0
    std = power.mul_((weight_noise * step) ** 2).add_(path.out_noise**2).sqrt_()
    z.addcmul_(noise, std, value=1 / step_out)


def _ir_drop(weight: Tensor, u: Tensor, unit: float, window: Window, path: ReadPath) -> Tensor:
    """``hwsim.crossbar.reads.vectors``'s drop along the wires, (B, *positions, out), in input steps."""
    n = weight.shape[1]
    drive = torch.ones(n, dtype=weight.dtype)
    if window.constant:
        drive[-1] = unit
    position = 1 - torch.arange(n, dtype=weight.dtype) / n
    a = window.correlate(u.abs(), weight.abs() * drive).mul_((path.inp_step or 1.0) * n / path.ir_drop_g_ratio)
    share = a * (a * (0.05 * a - 0.2) + 0.5)
    near = window.correlate(u, weight * drive * (1 - position**2))
    return near.mul_(share).mul_(path.ir_drop).permute(0, 2, 3, 1)


def _read_additive(port: Port, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """Without converters and wires behind the array: a transposed convolution, and the summed noise of its reads."""
    weight, path, meter = port.weight.T, port.path, port.meter
    alpha, dead = path.managed(images)
    u = path.driven(packed(images.detach()), alpha, port.rng).mul_(path.inp_step or 1.0)
    # What a position's outputs are multiplied by after the array; 0 silences it.
    after = torch.ones(1, 1, *images.shape[2:], dtype=u.dtype, device=u.device)
    after = after if alpha is None else after * alpha
    after = after if dead is None else after.masked_fill(dead, 0.0)
    y = window.spread(u * after, weight, size)
    if port.offset is not None:
        shift = port.offset[: window.fan_in].expand(after.shape[1], -1)
        y = y + window.spread(after, shift, size)
    variance = _read_variance(weight, u, after, window, size, path)
    if variance is not None:
        noise = torch.empty(len(y), *size, y.shape[1], dtype=y.dtype, device=y.device).normal_(generator=port.rng)
        y = y + noise.permute(0, 3, 1, 2) * variance.sqrt()
    if meter is not None and meter.count_saturation:
        meter.conversions += len(images) * images.shape[2:].numel() * weight.shape[1]
    return scaled(y, port.factor)


def _read_variance(
    weight: Tensor, u: Tensor, after: Tensor, window: Window, size: tuple[int, int], path: ReadPath
) -> Tensor | None:
    """Variance of every pixel of the folded result: that of all its reads, whose noise is independent."""
    weight_noise = path.w_noise if path.w_noise_type != "NONE" else 0.0
    if not (path.out_noise or weight_noise):
        return None
    places = torch.ones(1, window.kernel**2, dtype=u.dtype, device=u.device)
    single = window.single_channel()
    power = after.square() * path.out_noise**2
    if weight_noise and path.w_noise_type != "PCM_READ":
        power = power + after.square() * u.square().sum(1, keepdim=True) * weight_noise**2
    variance = single.spread(power, places, size)
    if weight_noise and path.w_noise_type == "PCM_READ":
        variance = variance + window.spread((u * after).square() * weight_noise**2, weight.abs(), size)
    return variance.clamp_min(0)


def _folded(offset: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """A constant on every patch-read's outputs, as it arrives in the image, (1, channels, *size)."""
    ones = torch.ones(1, 1, *window.size(*size), dtype=offset.dtype, device=offset.device)
    return window.spread(ones, offset[None, :], size)


def _images_at_once(values: int) -> int:
    """How many images of so many ``values`` are computed together."""
    return max(1, AT_ONCE // values)
