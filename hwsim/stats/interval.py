"""95 % intervals of an accuracy, and of the difference of two, over repeats and images at once.

Every repeat (its own training, device instance and read noise) is evaluated on the same images, so the share of
hits x_ri of repeat r on image i follows the two-way crossed random-effects model x_ri = mu + a_r + b_i + e_ri
(Searle, Casella and McCulloch 1992, Variance Components, ch. 4), and with R repeats and n images

    Var(mean) = var(a) / R + var(b) / n + var(e) / (R n).

The variance of the R repeats' means, over R, holds the first and the third term; the variance of the n images'
means, over n, the second and the third. Adding the two counts the third twice (the overlap that two-way
clustering subtracts: Cameron, Gelbach and Miller 2011, J Bus Econ Stat 29:238), so it stays with the repeats:

    V_repeats = MS_repeats / (R n)          on R - 1 degrees of freedom
    V_images  = max(MS_images - MS_residual, 0) / (R n)        on n - 1

A few repeats estimate their variance badly while hundreds of images do not. One pooled degree of freedom is
too hopeful whenever the few repeats agree by luck; Banerjee's (1960, Sankhya 22:357) half-width

    H^2 = t(R - 1)^2 V_repeats + t(n - 1)^2 V_images

gives each part its own quantile and never covers less than it says, for normal data. One repeat alone has no
V_repeats: the interval then covers the choice of images only, and says so in ``over``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean, low, high: shares in [0, 1], or differences of shares in [-1, 1].
        over: what the interval covers, "repeats and images" or "images only".

    >>> import hwsim as hw
    >>> interval = hw.Interval(mean=0.952, low=0.919, high=0.972, over="repeats and images")
    >>> print(interval)
    95.2 % (91.9 to 97.2 %)
    """

    mean: float
    low: float
    high: float
    over: str

    def __str__(self) -> str:
        return self.percent_with_range

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Interval:
        """An interval that was kept as plain values; raises KeyError where one is missing."""
        return cls(record["mean"], record["low"], record["high"], record.get("over", ""))

    @property
    def excludes_zero(self) -> bool:
        """Of a difference: is its sign beyond doubt at this confidence?"""
        return self.low > 0 or self.high < 0

    @property
    def percent(self) -> str:
        """The mean of shares: ``95.2 %``."""
        return percent(self.mean)

    @property
    def percent_range(self) -> str:
        """The ends of an interval of shares: ``91.9 to 97.2 %``."""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f} %"

    @property
    def percent_with_range(self) -> str:
        """Both, for a sentence: ``95.2 % (91.9 to 97.2 %)``."""
        return f"{self.percent} ({self.percent_range})"

    @property
    def points(self) -> str:
        """The mean of differences of shares, in points: ``+1.2``."""
        return signed_points(self.mean)

    @property
    def points_range(self) -> str:
        """The ends of an interval of differences, in points: ``−0.3 to +2.7``."""
        return f"{signed_points(self.low)} to {signed_points(self.high)}"

    @property
    def points_with_range(self) -> str:
        """Both, for a sentence: ``+1.2 points (−0.3 to +2.7)``."""
        return f"{self.points} points ({self.points_range})"


def percent(share: float | None) -> str:
    """A share in per cent, to a digit: ``95.2 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def signed_points(difference: float) -> str:
    """A difference of shares in points, with its sign; the minus is the typographic one, and zero has none."""
    points = round(100 * difference, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def accuracy(shares: ArrayLike) -> Interval:
    """Mean accuracy and its interval from shares (repeats, images) of correct draws, in [0, 1].

    Score (Wilson) interval at the effective number of images m that gives the half-width H, t^2 / m =
    H^2 / (p (1 - p)), as Franco et al. (2019, J Surv Stat Methodol 7:334) recommend for clustered
    proportions: never outside [0, 1], never of width zero. A few wrong images cannot show that the draws
    and repeats of one image differ, so an m above the number of images n is drawn back towards n, with the
    weight of z^2 images that err; unanimous hits give Wilson's interval of n. Raises ValueError for another
    shape or range.
    """
    x = _matrix(shares)
    p, images, z2 = float(x.mean()), x.shape[1], _quantile(np.inf) ** 2
    spread, squared = p * (1 - p), _half_width_squared(x)
    k = (images * squared + z2 * z2 / images) / (images * spread + z2)
    if spread > 0:
        k = max(k, squared / spread)
    centre, half = (p + k / 2) / (1 + k), np.sqrt(k * spread + k * k / 4) / (1 + k)
    low, high = max(float(centre - half), 0.0), min(float(centre + half), 1.0)
    return Interval(p, min(low, p), max(high, p), _over(x))


def difference(shares: ArrayLike, reference: ArrayLike, comparisons: int = 1) -> Interval:
    """Mean paired difference ``shares - reference`` and its interval; both (repeats, images), rows and columns paired.

    ``comparisons``: how many differences are looked at together. The interval is then at 1 - 0.05 / comparisons, so
    that with 95 % confidence none of them is off (Bonferroni).

    One disagreement up and one down, half a count each, are added to the images' variance (Agresti and Min 2005,
    Stat Med 24:729), so that two cases that never disagreed do not differ by exactly nothing. Raises ValueError.
    """
    a, b = _matrix(shares), _matrix(reference)
    if a.shape != b.shape:
        raise ValueError(f"paired shares: expected the same repeats and images, got {a.shape} and {b.shape}")
    x = a - b
    images = x.shape[1]
    tail = (1 - CONFIDENCE) / comparisons
    half = np.sqrt(_half_width_squared(x, tail) + _quantile(np.inf, tail) ** 2 / (images + 2) ** 2)
    mean = float(x.mean())
    return Interval(mean, max(mean - float(half), -1.0), min(mean + float(half), 1.0), _over(x))


def _half_width_squared(x: NDArray[np.float64], tail: float = 1 - CONFIDENCE) -> float:
    repeats, images = x.shape
    by_repeat, by_image = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    of_images = repeats * by_image.var(ddof=1) if images > 1 else 0.0
    if repeats == 1:
        return float(_quantile(images - 1, tail) ** 2 * of_images / images)
    of_repeats = images * by_repeat.var(ddof=1)
    freedom = (repeats - 1) * (images - 1)
    residual = ((x - by_repeat - by_image + x.mean()) ** 2).sum() / freedom if freedom else 0.0
    v_repeats, v_images = of_repeats / x.size, max(of_images - residual, 0.0) / x.size
    return float(_quantile(repeats - 1, tail) ** 2 * v_repeats + _quantile(images - 1, tail) ** 2 * v_images)


def _quantile(freedom: float, tail: float = 1 - CONFIDENCE) -> float:
    """Two-sided quantile of Student's t; of the normal at infinity, and at 0 where nothing multiplies it."""
    below = 1 - tail / 2
    return float(norm.ppf(below) if not 0 < freedom < np.inf else t.ppf(below, freedom))


def _over(x: NDArray[np.float64]) -> str:
    return "repeats and images" if len(x) > 1 else "images only"


def _matrix(shares: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(shares, dtype=float)
    if x.ndim != 2 or not x.size or not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"shares: expected a (repeats, images) matrix of values in [0, 1], got shape {x.shape}")
    return x
