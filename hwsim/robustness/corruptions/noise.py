"""Noise corruptions: what sensors do. Constants: severity 1 to 5 of CIFAR-10-C."""

from __future__ import annotations

import numpy as np

from hwsim.robustness.corruptions.draws import Array, Draws


def gaussian(x: Array, severity: int, draws: Draws) -> Array:
    return x + (0.04, 0.06, 0.08, 0.09, 0.10)[severity] * draws.normal(*x.shape[1:])


def shot(x: Array, severity: int, draws: Draws) -> Array:
    photons = (500, 250, 100, 75, 50)[severity]
    return draws.poisson(x * photons) / photons


def impulse(x: Array, severity: int, draws: Draws) -> Array:
    hit = draws.uniform(0, 1, *x.shape[1:]) < (0.01, 0.02, 0.03, 0.05, 0.07)[severity]
    salt = draws.uniform(0, 1, *x.shape[1:]) < 0.5
    return np.where(hit, salt, x)


def speckle(x: Array, severity: int, draws: Draws) -> Array:
    return x + x * (0.06, 0.1, 0.12, 0.16, 0.2)[severity] * draws.normal(*x.shape[1:])
