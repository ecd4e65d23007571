"""Blur corruptions. Constants: severity 1 to 5 of CIFAR-10-C, lengths in pixels."""

from __future__ import annotations

from scipy import ndimage

from hwsim.robust.draws import Array, Draws


def smooth(x: Array, sigma: float) -> Array:
    """Gaussian filter over the last two axes, edges repeated."""
    return ndimage.gaussian_filter(x, sigma, mode="nearest", axes=(-2, -1))


def gaussian(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    return smooth(x, (0.4, 0.6, 0.7, 0.8, 1.0)[severity])
