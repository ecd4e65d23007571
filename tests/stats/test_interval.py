"""Intervals over repeats and images: do they cover what they say they cover?"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t

from hwsim.stats.interval import Interval, accuracy, difference, percent, signed_points

DATA_SETS = 800
Z = NormalDist().inv_cdf(0.975)


def coverage(
    method: Callable[[np.ndarray], tuple[float, float]],
    *,
    repeats: int,
    of_repeats: float,
    of_images: float,
    mean: float,
) -> float:
    """Share of simulated studies (200 images, 5 draws, logit p = mean + a_r + b_i) whose interval holds the truth."""
    rng = np.random.default_rng(7)
    truth = expit(mean + np.hypot(of_repeats, of_images) * rng.normal(size=1_000_000)).mean()
    inside = 0
    for _ in range(DATA_SETS):
        logits = mean + of_repeats * rng.normal(size=(repeats, 1)) + of_images * rng.normal(size=(1, 200))
        low, high = method(rng.binomial(5, expit(logits)) / 5)
        inside += low <= truth <= high
    return inside / DATA_SETS


def ours(x: np.ndarray) -> tuple[float, float]:
    return accuracy(x).low, accuracy(x).high


def images_only(x: np.ndarray) -> tuple[float, float]:
    by_image = x.mean(0)
    return tuple(by_image.mean() + sign * Z * by_image.std(ddof=1) / np.sqrt(len(by_image)) for sign in (-1, 1))


def repeats_only(x: np.ndarray) -> tuple[float, float]:
    by_repeat = x.mean(1)
    half = t.ppf(0.975, len(x) - 1) * by_repeat.std(ddof=1) / np.sqrt(len(x))
    return by_repeat.mean() - half, by_repeat.mean() + half


def pooled(x: np.ndarray) -> tuple[float, float]:
    """Every cell of the matrix taken for an independent one."""
    half = Z * x.std(ddof=1) / np.sqrt(x.size)
    return x.mean() - half, x.mean() + half


SETTINGS = {
    "one repeat": {"repeats": 1, "of_repeats": 0.0, "of_images": 2.0, "mean": 2.0},
    "equal repeats": {"repeats": 3, "of_repeats": 0.0, "of_images": 3.0, "mean": 2.0},
    "both": {"repeats": 3, "of_repeats": 0.3, "of_images": 2.0, "mean": 2.0},
    "repeats rule": {"repeats": 3, "of_repeats": 1.0, "of_images": 2.0, "mean": 2.0},
    "near one": {"repeats": 3, "of_repeats": 0.5, "of_images": 8.0, "mean": 20.0},
    "five repeats, chance": {"repeats": 5, "of_repeats": 0.3, "of_images": 1.0, "mean": -2.0},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_interval_covers_at_least_95_percent(name: str) -> None:
    # The draws are seeded, so this is exact. 0.93 is 2.6 standard errors of 800 data sets under 0.95.
    assert coverage(ours, **SETTINGS[name]) >= 0.93


@pytest.mark.parametrize(
    ("mistake", "name"),
    [(images_only, "both"), (repeats_only, "equal repeats"), (pooled, "both"), (pooled, "repeats rule")],
)
def test_the_check_of_coverage_rejects_common_mistakes(mistake: Callable, name: str) -> None:
    assert coverage(mistake, **SETTINGS[name]) < 0.87


def test_it_is_not_merely_wide() -> None:
    """With many repeats the width is that of the exact standard error, to a tenth."""
    rng = np.random.default_rng(3)
    repeats, images = 60, 400
    logits = 1 + 0.3 * rng.normal(size=(repeats, 1)) + 2 * rng.normal(size=(1, images))
    x = (rng.random((repeats, images)) < expit(logits)).astype(float)
    a, b = np.meshgrid(0.3 * rng.normal(size=2000), 2 * rng.normal(size=2000), indexing="ij")
    p = expit(1 + a + b)
    of_repeats, of_images = p.mean(1).var(), p.mean(0).var()
    exact = 2 * Z * np.sqrt(of_repeats / repeats + of_images / images + (p * (1 - p)).mean() / x.size)
    found = accuracy(x)
    assert found.high - found.low == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("repeats", [1, 4])
def test_unanimous_hits_leave_doubt(value: float, repeats: int) -> None:
    """Wilson's interval of n images, whatever the repeats: they saw the same images."""
    images = 360
    found = accuracy(np.full((repeats, images), value))
    doubt = Z**2 / (images + Z**2)
    assert (found.mean, found.high - found.low) == (value, pytest.approx(doubt))
    assert 0 <= found.low <= found.mean <= found.high <= 1


def test_one_repeat_speaks_of_images_only_and_equals_wilson() -> None:
    hits = np.repeat([1.0, 0.0], [340, 20])[None]
    found = accuracy(hits)
    p, n = 340 / 360, 360
    k = t.ppf(0.975, n - 1) ** 2 / (n - 1)
    half = np.sqrt(k * p * (1 - p) + k * k / 4) / (1 + k)
    assert found.over == "images only"
    assert (found.low, found.high) == (
        pytest.approx((p + k / 2) / (1 + k) - half),
        pytest.approx((p + k / 2) / (1 + k) + half),
    )
    assert accuracy(np.vstack([hits, hits])).over == "repeats and images"


def test_a_graded_share_never_claims_more_images_than_there_are() -> None:
    nearly = np.ones((3, 360))
    nearly[0, 0] = 0.8
    unanimous, found = accuracy(np.ones((3, 360))), accuracy(nearly)
    assert found.high - found.low >= (unanimous.high - unanimous.low) * 0.99


def test_pairing_narrows_a_difference() -> None:
    rng = np.random.default_rng(0)
    easy = expit(2 + 3 * rng.normal(size=(1, 300)))
    reference = (rng.random((3, 300)) < easy).astype(float)
    other = reference.copy()
    other[:, :15] = 0
    paired = difference(other, reference)
    assert paired.mean == pytest.approx(accuracy(other).mean - accuracy(reference).mean)
    assert paired.high < 0
    assert accuracy(other).high > accuracy(reference).low, "unpaired, the two could not be told apart"


def test_paired_differences_cover() -> None:
    rng = np.random.default_rng(11)
    effect = 0.4
    a, b = 0.3 * rng.normal(size=1_000_000), 2 * rng.normal(size=1_000_000)
    truth = (expit(2 - effect + a + b) - expit(2 + b)).mean()
    inside = 0
    for _ in range(DATA_SETS):
        images = 2 + 2 * rng.normal(size=(1, 200))
        analog = expit(images - effect + 0.3 * rng.normal(size=(3, 1)))
        shares = rng.binomial(5, analog) / 5
        reference = rng.binomial(1, np.broadcast_to(expit(images), (3, 200)))
        found = difference(shares, reference)
        inside += found.low <= truth <= found.high
    assert inside / DATA_SETS >= 0.93


def test_equal_cases_are_not_equal_for_certain() -> None:
    x = np.ones((3, 100))
    found = difference(x, x)
    assert found.mean == 0
    assert -0.03 < found.low < 0 < found.high < 0.03


@pytest.mark.parametrize("bad", [[0.5, 0.5], [[]], [[1.2, 0.0]], [[float("nan"), 0.0]]])
def test_bad_shares_are_refused(bad: list) -> None:
    with pytest.raises(ValueError, match="expected a \\(repeats, images\\) matrix"):
        accuracy(bad)
    with pytest.raises(ValueError, match="same repeats and images"):
        difference([[0.5, 0.5]], [[0.5]])


# --- in words ---


def test_formats() -> None:
    share, gap = Interval(0.952, 0.919, 0.9724, ""), Interval(0.0123, -0.003, 0.027, "")
    assert share.percent_with_range == "95.2 % (91.9 to 97.2 %)"
    assert gap.points_with_range == "+1.2 points (−0.3 to +2.7)"
    assert (percent(None), percent(1.0)) == ("–", "100.0 %")


@pytest.mark.parametrize("difference", [0.0, -0.0, 0.0004, -0.0004])
def test_no_difference_has_no_sign(difference: float) -> None:
    assert signed_points(difference) == "0.0"


def test_intervals_of_many_comparisons_are_wider_and_cover_all_of_them() -> None:
    """Ten differences without effect, looked at together: one study in twenty may find one."""
    rng = np.random.default_rng(3)
    alone = together = 0
    for _ in range(200):
        pairs = [(rng.random((3, 150)) < 0.7, rng.random((3, 150)) < 0.7) for _ in range(10)]
        alone += any(difference(a, b).excludes_zero for a, b in pairs)
        together += any(difference(a, b, comparisons=10).excludes_zero for a, b in pairs)
    assert together / 200 <= 0.05
    assert alone > together
