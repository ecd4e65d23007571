"""Thresholds, on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from hwsim.stats.threshold import falling, threshold


def shares(accuracy: float, seeds: int = 3, images: int = 1000) -> NDArray[np.float64]:
    """Hits with this accuracy, nested: an image lost at one value is lost at every worse one."""
    return np.tile(np.arange(images) < round(accuracy * images), (seeds, 1)).astype(float)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_nearest_falling_sequence_is_isotonic_regression(y: list[float]) -> None:
    expected = IsotonicRegression(increasing=False).fit_transform(range(len(y)), y)
    assert falling(np.array(y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "accuracies", "scale", "expected"),
    [
        ([0, 1, 2, 3], [0.95, 0.95, 0.91, 0.80], "linear", 1.25),  # a loss of .04 over one step
        ([0, 0.1, 0.4, 1.6], [0.95, 0.95, 0.93, 0.70], "symlog", 0.1 * 4**0.5),  # half of a factor of 4
        ([1, 10, 100], [0.95, 0.93, 0.5], "log", 10**0.5),
        ([9, 7, 5], [0.95, 0.95, 0.93], "linear", 6),  # bits: worse downwards
        ([0, 0.2, 0.4], [0.95, 0.91, 0.5], "symlog", 0.05),  # between zero and the first value: in proportion
    ],
)
def test_crossing_of_one_point(x: list[float], accuracies: list[float], scale: str, expected: float) -> None:
    found = threshold(x, [shares(a) for a in accuracies], 0.01, scale)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.early is not None
    assert found.late is None or min(found.early, found.late) <= found.value <= max(found.early, found.late)


def test_what_is_not_reached_is_none() -> None:
    found = threshold([0, 1], [shares(0.95), shares(0.949)], 0.05, "linear")
    assert (found.value, found.late, found.certainty) == (None, None, 0.0)


def test_interval_covers_the_truth() -> None:
    """Accuracy falls by 5 points a unit, so one point is lost at 0.2. 60 studies of 2 seeds and 400 images.

    A 95 % interval that misses 15 times or more has a chance below 1e-6; one of a tenth of the width misses most.
    """
    rng = np.random.default_rng(0)
    x = [0.0, 0.5, 1.0, 2.0]
    inside = narrow = 0
    for study in range(60):
        easy = rng.random((2, 400))
        found = threshold(x, [(easy < 0.9 - 0.05 * v).astype(float) for v in x], 0.01, "linear", seed=study)
        low, high = found.early or 0.0, found.late if found.late is not None else np.inf
        inside += low <= 0.2 <= high
        narrow += 0.2 - (0.2 - low) / 10 <= (found.value or np.inf) <= 0.2 + (min(high, 2.0) - 0.2) / 10
    assert inside > 45
    assert narrow < 45
