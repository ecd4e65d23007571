"""Digital corruptions: tone, compression, resampling, warps. Constants: severity 1 to 5 of CIFAR-10-C."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from hwsim.robustness.corruptions.draws import Array, Draws


def contrast(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    mean = x.mean((2, 3), keepdims=True)
    return (x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity] + mean


def brightness(x: Array, severity: int, draws: Draws) -> Array:
    """Raise the value of HSV; at fixed hue and saturation all channels scale with it."""
    del draws
    value = x.max(1, keepdims=True)
    raised = np.clip(value + (0.05, 0.1, 0.15, 0.2, 0.3)[severity], 0, 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)


def saturate(x: Array, severity: int, draws: Draws) -> Array:
    """Scale and shift the saturation of HSV. Grey pixels count as red, as in the reference; grey images stay."""
    del draws
    if x.shape[1] == 1:
        return x
    scale, shift = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity]
    value = x.max(1, keepdims=True)
    below = value - x
    spread = below.max(1, keepdims=True)
    saturation = spread / np.where(value > 0, value, 1)
    wanted = np.clip(saturation * scale + shift, 0, 1)
    red = np.array([0.0, 1.0, 1.0], dtype=x.dtype).reshape(1, 3, 1, 1)
    share = np.where(spread > 0, below / np.where(spread > 0, spread, 1), red)
    return value * (1 - wanted * share)


def jpeg(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    quality = (80, 65, 58, 50, 40)[severity]

    def compressed(image: Image.Image) -> Image.Image:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return np.stack([_array(compressed(_image(one))) for one in x])


def pixelate(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    side = x.shape[2]
    coarse = int(side * (0.95, 0.9, 0.85, 0.75, 0.65)[severity])

    def resampled(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize((coarse, coarse), box).resize((side, side), box)

    return np.stack([_array(resampled(_image(one))) for one in x])


def elastic(x: Array, severity: int, draws: Draws) -> Array:
    """A random affine map, then a smooth random displacement; both scale with the image's side."""
    table = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    strength, sigma, jitter = (constant * x.shape[2] for constant in table[severity])
    count, _, side, _ = x.shape
    centre, arm = side // 2, side // 3
    source = centre + arm * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    target = source + draws.uniform(-jitter, jitter, 3, 2)
    # Each output pixel is looked up where the inverse map sends it: the affine map that takes target to source.
    corners = np.concatenate([target, np.ones((count, 3, 1))], 2)
    inverse = np.linalg.solve(corners, np.broadcast_to(source, target.shape))
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1) @ inverse[:, None]
    out = _sample(x, pixels[..., 1], pixels[..., 0], period=2 * side - 2)
    drawn = draws.uniform(-1, 1, 2, side, side)
    shift = strength * ndimage.gaussian_filter(drawn, sigma, mode="reflect", truncate=3, axes=(2, 3))
    return _sample(out, rows + shift[:, 1], columns + shift[:, 0], period=2 * side)


def _sample(x: Array, rows: Array, columns: Array, period: int) -> Array:
    """Bilinear look-up of (B, C, H, H) at (B, H, H) coordinates, mirrored at the edges.

    ``period`` 2 H - 2 mirrors about the edge pixels' centres, 2 H about their outer sides.
    """
    side = x.shape[2]

    def folded(index: Array) -> Array:
        index = np.mod(index, period)
        return np.where(index >= side, period - index - (period == 2 * side), index)

    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    image, channel = np.arange(len(x))[:, None, None, None], np.arange(x.shape[1])[:, None, None]

    def at(row: Array, column: Array) -> Array:
        return x[image, channel, folded(row)[:, None], folded(column)[:, None]]

    down, right = (rows - top)[:, None], (columns - left)[:, None]
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return (upper * (1 - down) + lower * down).astype(x.dtype)


def _image(one: Array) -> Image.Image:
    levels = np.round(one * 255).astype(np.uint8)
    return Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))


def _array(image: Image.Image) -> Array:
    levels = np.asarray(image, dtype=np.float32) / 255
    return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
