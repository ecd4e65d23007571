"""Blur corruptions: what lenses and motion do. Constants: severity 1 to 5 of CIFAR-10-C, lengths in pixels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hwsim.robustness.corruptions.draws import Array, Draws


def smooth(x: Array, sigma: float) -> Array:
    """Gaussian filter over the last two axes, edges repeated."""
    return ndimage.gaussian_filter(x, sigma, mode="nearest", axes=(-2, -1))


def smear(x: Array, radius: int, sigma: float, angle: Array) -> Array:
    """Motion blur of (B, C, H, W) along ``angle`` (B,) in degrees, one-sided, edges repeated.

    As ImageMagick does it: a half Gaussian of 2 radius + 1 taps at offsets rounded to whole pixels.
    """
    taps = np.arange(2 * radius + 1)
    kernel = np.exp(-(taps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    turn = np.deg2rad(angle)[:, None]
    down = np.ceil(taps * np.sin(turn) - 0.5).astype(int)
    right = np.ceil(taps * np.cos(turn) - 0.5).astype(int)
    height, width = x.shape[2:]
    image = np.arange(len(x))[:, None, None, None]
    channel = np.arange(x.shape[1])[:, None, None]
    out = np.zeros_like(x)
    for tap, weight in enumerate(kernel):
        rows = np.clip(np.arange(height) + down[:, tap, None], 0, height - 1)
        columns = np.clip(np.arange(width) + right[:, tap, None], 0, width - 1)
        out += weight * x[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return out


def zoomed(x: Array, factor: float) -> Array:
    """The centre of (B, C, H, H), enlarged by ``factor`` >= 1 to the size of the whole."""
    side = x.shape[2]
    kept = int(np.ceil(side / factor))
    top = (side - kept) // 2
    middle = x[:, :, top : top + kept, top : top + kept]
    large = np.asarray(ndimage.zoom(middle, (1, 1, factor, factor), order=1))
    trim = (large.shape[2] - side) // 2
    return large[:, :, trim : trim + side, trim : trim + side]


def gaussian(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    return smooth(x, (0.4, 0.6, 0.7, 0.8, 1.0)[severity])


def defocus(x: Array, severity: int, draws: Draws) -> Array:
    """A disk of the given radius, its edge softened by a 3 x 3 Gaussian."""
    del draws
    radius, soft = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity]
    reach = np.arange(-3, 4)
    disk = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.float32)
    taps = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * soft**2))
    taps /= taps.sum()
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(taps, taps), mode="constant")
    return ndimage.correlate(x, kernel[None, None].astype(np.float32), mode="mirror")


def glass(x: Array, severity: int, draws: Draws) -> Array:
    """Every inner pixel takes the value of a neighbour above or left of it, between two light blurs.

    The reference means to swap but, through aliased views, copies; and draws offsets -1 and 0 only.
    """
    sigma, times = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity]
    out = np.floor(smooth(x, sigma) * 255 + 1e-3) / 255
    side = x.shape[2]
    inner = np.arange(2, side)
    image = np.arange(len(x))[:, None, None, None]
    channel = np.arange(x.shape[1])[:, None, None]
    for _ in range(times):
        offset = draws.integers(-1, 1, 2, side - 2, side - 2)
        rows = inner[:, None] + offset[:, 0]
        columns = inner + offset[:, 1]
        out[:, :, 2:, 2:] = out[image, channel, rows[:, None], columns[:, None]]
    return smooth(out, sigma)


def motion(x: Array, severity: int, draws: Draws) -> Array:
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity]
    return smear(x, radius, sigma, draws.uniform(-45, 45))


def zoom(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity], 0.01)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)
