"""Thresholds: how far a property may get worse before so many points of accuracy are lost.

Accuracy is taken to fall, or to stay, as the property gets worse; the least-squares curve that does (isotonic
regression: Barlow et al. 1972) smooths what seeds and test images scatter, and its crossing is interpolated on the
axis's scale. Uncertainty is a bootstrap over seeds and test images together, the same ones at every value, so that
losses are paired. Few seeds say little about the spread of seeds: with two or three the interval is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """Where a loss is reached: ``value``, None where it is not in the range that was tried.

    Args:
        loss: share of accuracy lost, against the first value of the axis.
        early, late: ends of its 95 % interval on the way from good to bad; None where one lies beyond the range.
        certainty: share of resamples in which the loss is reached.
    """

    loss: float
    value: float | None
    early: float | None
    late: float | None
    certainty: float


def falling(y: Floats) -> Floats:
    """The nearest sequence along the last axis that never rises (least squares), y (..., P).

    min over a <= i of max over b >= i of the mean of y[a..b], with the roles swapped for falling: Barlow et al. 1972.
    """
    count = y.shape[-1]
    sums = np.concatenate([np.zeros((*y.shape[:-1], 1)), np.cumsum(y, -1)], -1)
    a, b = np.meshgrid(range(count), range(count), indexing="ij")
    means = (sums[..., b + 1] - sums[..., a]) / np.maximum(b - a + 1, 1)
    fitted = np.empty_like(y)
    for i in range(count):
        fitted[..., i] = means[..., : i + 1, i:].max(-1).min(-1)
    return fitted


def crossing(x: Floats, loss: Floats, wanted: float) -> Floats:
    """Where losses (..., P) that never fall reach ``wanted``, interpolated between values x (P,); infinity: nowhere."""
    reached = loss >= wanted
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    here, there = (np.take_along_axis(loss, i[..., None], -1)[..., 0] for i in (before, first))
    part = np.where(there > here, (wanted - here) / np.where(there > here, there - here, 1), 0.0)
    crossed = x[before] + np.clip(part, 0, 1) * (x[first] - x[before])
    return np.where(reached.any(-1), crossed, np.inf)


def threshold(x: Sequence[float], shares: Sequence[Floats], wanted: float, scale: str, seed: int = 0) -> Threshold:
    """Where ``wanted`` is lost.

    Args:
        x: values of the property, from good to bad; rising or falling.
        shares: for each value, the share of draws in which each image was right, (seeds, images), paired throughout.
        scale: `linear`, `log` or `symlog`, between whose values the crossing is interpolated.
    """
    stacked = np.stack(shares)  # (P, R, n)
    place = _place(np.asarray(x, dtype=float), scale)
    rng = np.random.default_rng(seed)
    _, repeats, images = stacked.shape
    chosen_seeds = rng.multinomial(repeats, np.full(repeats, 1 / repeats), RESAMPLES) / repeats
    chosen_images = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES) / images
    drawn = np.einsum("br,prn,bn->bp", chosen_seeds, stacked, chosen_images, optimize=True)
    means = np.concatenate([stacked.mean((1, 2))[None], drawn])
    curves = falling(means)
    crossed = crossing(place, curves[:, :1] - curves, wanted)
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(crossed[1:], (tail, 1 - tail), method="closest_observation")
    value, early, late = (_back(v, x, place) if np.isfinite(v) else None for v in (crossed[0], *ends))
    return Threshold(wanted, value, early, late, float(np.isfinite(crossed[1:]).mean()))


def _place(x: Floats, scale: str) -> Floats:
    """Where values stand on a scale. On `symlog` zero stands one factor of the smallest step below the first value."""
    if scale == "linear":
        return x
    positive = np.sort(x[x > 0])
    factor = positive[1] / positive[0] if len(positive) > 1 else 2.0
    return np.log(np.where(x > 0, x, positive[0] / factor))


def _back(place: float, x: Sequence[float], places: Floats) -> float:
    """The value that stands at a place; between zero and the first value above, in proportion."""
    order = np.argsort(places)
    values = np.asarray(x, dtype=float)[order]
    low = int(np.clip(np.searchsorted(places[order], place, side="right") - 1, 0, len(values) - 2))
    here, there = places[order][low], places[order][low + 1]
    part = (place - here) / (there - here)
    linear = values[low] + part * (values[low + 1] - values[low])
    if values[low] <= 0 or np.isclose(places[order], values).all():
        return float(linear)
    return float(values[low] * (values[low + 1] / values[low]) ** part)
