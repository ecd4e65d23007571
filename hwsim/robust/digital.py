"""Digital corruptions: contrast, compression, resampling, warps. Constants: severity 1 to 5 of CIFAR-10-C."""

from __future__ import annotations

from hwsim.robust.draws import Array, Draws


def contrast(x: Array, severity: int, draws: Draws) -> Array:
    del draws
    mean = x.mean((2, 3), keepdims=True)
    return (x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity] + mean
