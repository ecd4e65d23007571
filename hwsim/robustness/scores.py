"""Scores over corruptions (Hendrycks and Dietterich 2019), with intervals over images and device instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.stats.interval import Interval, accuracy

Accuracies = Mapping[str, Sequence[float]]
"""Corruption name -> accuracies in [0, 1] at the severities measured, in order."""

Floats = NDArray[np.float64]
Shares = Mapping[str, Sequence[Floats]]
"""Corruption name -> at each severity the shares (instances, images) of draws that were right; one set of images."""

RESAMPLES = 1000


def mean_corruption_accuracy(accuracy: Accuracies) -> float:
    """Mean over types of the mean over severities."""
    if not accuracy:
        raise InputError("corruption accuracy: expected at least one corruption, got none")
    return sum(sum(row) / len(row) for row in accuracy.values()) / len(accuracy)


def mean_corruption_interval(shares: Shares) -> Interval:
    """The same with its 95 % interval: of each image's mean, as all corruptions are of the same images."""
    return accuracy(np.mean([np.mean(row, axis=0) for row in shares.values()], axis=0))


def mce(accuracy: Accuracies, baseline: Accuracies) -> float:
    """Mean corruption error against a baseline: the mean over types of sum(error) / sum(baseline's error).

    1 is as good as the baseline. There is no canonical baseline for CIFAR-sized images: say which model it is.
    Raises InputError where the two were measured on different types or severities, or the baseline makes no error.
    """
    return _mean_ratio(accuracy, baseline, 0.0, 0.0)


def relative_mce(accuracy: Accuracies, clean: float, baseline: Accuracies, baseline_clean: float) -> float:
    """The same of the errors that corruptions add to each model's error on clean images."""
    return _mean_ratio(accuracy, baseline, 1 - clean, 1 - baseline_clean)


def ratio_intervals(
    own: Shares, own_clean: Floats, baseline: Shares, baseline_clean: Floats, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of ``mce`` and ``relative_mce``: percentiles of a bootstrap of images and of device instances.

    Both models are resampled on the same images. One instance alone is held: the interval is then of the images. Where
    a resampled baseline loses nothing, its ratio counts as infinite.
    """
    images = own_clean.shape[1]
    drawn = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).T / images

    def errors(shares: Shares, clean: Floats) -> tuple[Floats, Floats]:
        """(types, resamples) mean errors, and (resamples,) those on clean images."""
        count = len(clean)
        chosen = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).T / count
        stacked = np.stack([np.mean(row, axis=0) for row in shares.values()])
        return 1 - ((stacked @ drawn) * chosen).sum(1), 1 - ((clean @ drawn) * chosen).sum(0)

    (mine, mine_clean), (base, base_clean) = errors(own, own_clean), errors(baseline, baseline_clean)

    def ends(above: Floats, below: Floats) -> tuple[float, float]:
        ratio = np.where(below > 0, above / np.where(below > 0, below, 1.0), np.inf).mean(0)
        low, high = np.quantile(ratio, (0.025, 0.975), method="nearest")
        return float(low), float(high)

    return ends(mine, base), ends(mine - mine_clean, base - base_clean)


def _mean_ratio(accuracy: Accuracies, baseline: Accuracies, own_clean: float, base_clean: float) -> float:
    if not accuracy or set(accuracy) != set(baseline):
        different = ", ".join(sorted(set(accuracy) ^ set(baseline))) or "none given"
        raise InputError(f"mCE: expected the same corruptions for model and baseline, differing: {different}")
    ratios = []
    for name, row in accuracy.items():
        if len(row) != len(baseline[name]):
            raise InputError(f"mCE: {name} has {len(row)} severities, the baseline {len(baseline[name])}")
        added = sum(1 - own - own_clean for own in row)
        base = sum(1 - own - base_clean for own in baseline[name])
        if base <= 0:
            raise InputError(f"mCE: the baseline loses nothing under {name}, so nothing can be divided by its error")
        ratios.append(added / base)
    return sum(ratios) / len(ratios)
