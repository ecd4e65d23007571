"""Paired and unpaired comparisons of two results."""

from __future__ import annotations

from math import comb

import numpy as np
from torch import Tensor

from hwsim.errors import InputError
from hwsim.stats.interval import Interval


def mcnemar(first: Tensor, second: Tensor) -> float:
    """Two-sided exact p-value that two models are right equally often, from the images on which they differ.

    ``first``, ``second``: (B,) bool, right or wrong on the same images (McNemar 1947, binomial form).
    """
    if first.shape != second.shape or first.dim() != 1:
        raise InputError(f"mcnemar: expected two vectors of the same images, got {first.shape}, {second.shape}")
    only_first = int((first.bool() & ~second.bool()).sum())
    only_second = int((second.bool() & ~first.bool()).sum())
    count, fewer = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(comb(count, k) for k in range(fewer + 1)) / 2**count)


def unpaired(a: Interval, b: Interval) -> tuple[float, float, float]:
    """(mean, low, high) of a - b for independent shares, from their own intervals (Newcombe 1998, method 10)."""
    gap = a.mean - b.mean
    low = gap - float(np.hypot(a.mean - a.low, b.high - b.mean))
    high = gap + float(np.hypot(a.high - a.mean, b.mean - b.low))
    return gap, max(low, -1.0), min(high, 1.0)
