"""Scores over corruptions (Hendrycks and Dietterich 2019), and the comparison of two models on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwsim.errors import InputError

Accuracies = Mapping[str, Sequence[float]]
"""Corruption name -> accuracies in [0, 1] at the severities measured, in order."""


def mean_corruption_accuracy(accuracy: Accuracies) -> float:
    """Mean over types of the mean over severities."""
    if not accuracy:
        raise InputError("corruption accuracy: expected at least one corruption, got none")
    return sum(sum(row) / len(row) for row in accuracy.values()) / len(accuracy)


def mce(accuracy: Accuracies, baseline: Accuracies) -> float:
    """Mean corruption error against a baseline: the mean over types of sum(error) / sum(baseline's error).

    1 is as good as the baseline. There is no canonical baseline for CIFAR-sized images: say which model it is.
    Raises InputError where the two were measured on different types or severities, or the baseline makes no error.
    """
    return _mean_ratio(accuracy, baseline, 0.0, 0.0)


def relative_mce(accuracy: Accuracies, clean: float, baseline: Accuracies, baseline_clean: float) -> float:
    """The same of the errors that corruptions add to each model's error on clean images."""
    return _mean_ratio(accuracy, baseline, 1 - clean, 1 - baseline_clean)


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
