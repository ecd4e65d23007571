"""Corruptions against the outputs and moments of the reference implementation, on one image made by formula.

The expected figures are outputs of hendrycks/robustness ``make_cifar_c.py`` (OpenCV, scikit-image, Pillow; motion
blur by imagecorruptions), uint8: five pixels for the deterministic types; for the others mean and standard
deviation over repetitions of (RMSE against the clean image, mean change), in grey levels.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.robustness.corruptions.corruptions import (
    COMMON,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    corrupt,
    input_noise,
    salt_and_pepper,
)
from hwsim.robustness.corruptions.draws import Draws
from hwsim.robustness.scores import (
    mce,
    mean_corruption_accuracy,
    mean_corruption_interval,
    ratio_intervals,
    relative_mce,
)
from hwsim.stats.paired import mcnemar

PIXELS = {
    "defocus-blur": [
        [148, 85, 211, 21, 193],
        [153, 86, 207, 24, 198],
        [157, 86, 204, 26, 202],
        [159, 87, 201, 27, 206],
        [168, 88, 194, 32, 214],
    ],
    "zoom-blur": [
        [146, 80, 183, 50, 193],
        [157, 94, 191, 50, 191],
        [163, 100, 185, 56, 177],
        [171, 112, 182, 59, 161],
        [176, 122, 171, 65, 140],
    ],
    "brightness": [
        [158, 90, 226, 27, 202],
        [171, 95, 239, 35, 215],
        [184, 101, 252, 43, 228],
        [196, 106, 255, 51, 241],
        [222, 106, 255, 67, 255],
    ],
    "contrast": [
        [141, 95, 192, 46, 174],
        [136, 106, 170, 73, 158],
        [134, 110, 161, 84, 152],
        [133, 114, 153, 95, 146],
        [130, 121, 140, 111, 136],
    ],
    "pixelate": [
        [146, 85, 214, 20, 190],
        [153, 85, 214, 31, 190],
        [150, 81, 214, 20, 190],
        [146, 110, 225, 17, 182],
        [164, 79, 219, 50, 216],
    ],
    "jpeg": [
        [156, 80, 179, 9, 203],
        [123, 91, 159, 10, 219],
        [128, 96, 170, 21, 210],
        [131, 90, 184, 24, 197],
        [154, 62, 185, 58, 193],
    ],
    "gaussian-blur": [
        [147, 85, 211, 21, 191],
        [153, 87, 201, 26, 195],
        [156, 87, 197, 28, 196],
        [158, 88, 192, 31, 197],
        [163, 90, 182, 36, 198],
    ],
    "saturate": [
        [146, 167, 214, 28, 190],
        [146, 191, 214, 30, 190],
        [146, 26, 214, 18, 190],
        [146, 3, 214, 18, 190],
        [146, 3, 214, 18, 190],
    ],
}
MOMENTS = {
    "gaussian-noise": [
        (10.1, 0.125, -0.483, 0.187),
        (15.0, 0.201, -0.476, 0.265),
        (19.8, 0.245, -0.458, 0.366),
        (22.2, 0.289, -0.475, 0.381),
        (24.5, 0.318, -0.459, 0.433),
    ],
    "shot-noise": [
        (7.99, 0.112, -0.547, 0.142),
        (11.2, 0.153, -0.611, 0.204),
        (17.4, 0.253, -0.833, 0.312),
        (20.0, 0.276, -0.934, 0.339),
        (24.2, 0.32, -1.29, 0.424),
    ],
    "impulse-noise": [
        (14.4, 1.79, -0.00109, 0.259),
        (20.4, 1.71, -0.0139, 0.373),
        (25.0, 1.7, -0.00131, 0.45),
        (32.3, 1.65, 0.00476, 0.556),
        (38.1, 1.69, 0.00944, 0.657),
    ],
    "glass-blur": [
        (37.6, 0.627, 0.22, 0.409),
        (37.2, 0.629, -0.809, 0.433),
        (34.8, 0.612, -0.814, 0.384),
        (60.2, 0.98, -0.686, 0.664),
        (56.9, 0.989, -0.75, 0.657),
    ],
    "motion-blur": [
        (16.0, 5.63, -0.849, 0.0238),
        (24.3, 7.14, -1.06, 0.048),
        (31.2, 8.52, -1.22, 0.0769),
        (31.8, 8.6, -1.22, 0.0723),
        (36.9, 10.1, -1.35, 0.107),
    ],
    "snow": [
        (13.8, 1.66, 11.0, 0.816),
        (27.8, 1.89, 24.3, 1.37),
        (31.1, 4.15, 25.8, 2.74),
        (43.3, 4.99, 37.9, 3.76),
        (58.8, 8.12, 53.3, 6.73),
    ],
    "frost": [
        (32.3, 6.44, 31.3, 6.67),
        (46.3, 9.6, 44.4, 9.74),
        (53.1, 12.8, 49.9, 13.4),
        (47.5, 13.1, 43.6, 14.4),
        (45.3, 13.5, 37.7, 16.7),
    ],
    "fog": [
        (13.7, 0.906, -0.733, 3.93),
        (27.2, 1.66, -1.13, 7.64),
        (35.2, 2.06, -1.48, 9.81),
        (41.8, 2.63, -1.82, 12.0),
        (50.5, 2.96, -2.06, 13.7),
    ],
    "elastic": [
        (65.5, 13.2, -0.477, 1.35),
        (59.9, 12.4, -0.523, 1.22),
        (54.7, 11.5, -0.522, 1.17),
        (50.0, 9.91, -0.416, 1.28),
        (40.3, 5.86, -0.503, 1.2),
    ],
    "speckle-noise": [
        (8.47, 0.141, -0.606, 0.143),
        (13.8, 0.235, -0.843, 0.258),
        (16.4, 0.27, -0.988, 0.316),
        (21.6, 0.35, -1.43, 0.382),
        (26.5, 0.466, -1.94, 0.468),
    ],
    "spatter": [
        (7.55, 1.5, 1.01, 0.332),
        (12.6, 1.5, 2.76, 0.553),
        (18.3, 1.84, 6.58, 1.15),
        (19.2, 3.74, -3.07, 1.1),
        (24.8, 3.16, -5.06, 1.22),
    ],
}

ROWS, COLUMNS, CHANNELS = [0, 5, 13, 20, 31], [3, 9, 31, 17, 30], [0, 1, 2, 0, 1]
REPEATS = 150


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def formula_image() -> np.ndarray:
    h, w, c = np.meshgrid(np.arange(32), np.arange(32), np.arange(3), indexing="ij")
    wave = 127.5 + 90 * np.sin(0.35 * h * (c + 1) + 0.2 * w) + 35 * np.cos(0.9 * w - 0.3 * h * c)
    return wave.astype(np.uint8)


def image(count: int = 1) -> Tensor:
    return (torch.from_numpy(formula_image().transpose(2, 0, 1).copy()).float() / 255).expand(count, -1, -1, -1)


def levels(x: Tensor) -> np.ndarray:
    return (x * 255).round().numpy().astype(np.int64)


def test_the_catalogue_is_the_fifteen_and_the_four() -> None:
    assert len(COMMON) == 15
    assert len(EXTRA) == 4
    assert set(PIXELS) | set(MOMENTS) == set(CORRUPTIONS)


@pytest.mark.parametrize("name", PIXELS)
def test_deterministic_types_equal_the_reference_to_one_grey_level(name: str) -> None:
    for severity in SEVERITIES:
        ours = levels(corrupt(name, image(), severity, rng()))[0]
        found = ours[CHANNELS, ROWS, COLUMNS]
        assert np.abs(found - np.array(PIXELS[name][severity - 1])).max() <= 1, f"severity {severity}: {found}"


def moments(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """(RMSE, mean change) of each of REPEATS corruptions of the formula image."""
    clean = image(REPEATS)
    change = levels(corrupt(name, clean, severity, rng(severity))) - levels(clean)
    return np.sqrt((change**2).mean((1, 2, 3))), change.mean((1, 2, 3))


def disagreement(name: str, severity: int, found: tuple[np.ndarray, np.ndarray]) -> list[str]:
    """Moments further from the reference's than six standard errors of both (false failure below 1e-8 each).

    1 % (elastic: 3 %, its affine map is interpolated in fixed point there) is allowed on top for interpolation.
    """
    rmse, rmse_sd, mean, mean_sd = MOMENTS[name][severity - 1]
    slack = 0.03 if name == "elastic" else 0.01
    wrong = []
    for what, ours, theirs, sd in (("rmse", found[0], rmse, rmse_sd), ("mean", found[1], mean, mean_sd)):
        limit = 6 * math.hypot(sd, ours.std()) / math.sqrt(REPEATS) + slack * rmse + 0.02
        if abs(ours.mean() - theirs) > limit:
            wrong.append(f"{name} {severity} {what}: {ours.mean():.3f}, reference {theirs} within {limit:.3f}")
    return wrong


@pytest.mark.parametrize("name", [name for name in MOMENTS if name != "frost"])
def test_random_types_have_the_moments_of_the_reference(name: str) -> None:
    for severity in SEVERITIES:
        assert not disagreement(name, severity, moments(name, severity))


@pytest.mark.parametrize(("name", "factor"), [("gaussian-noise", 1.1), ("shot-noise", 0.9), ("snow", 1.3)])
def test_the_moments_would_show_a_wrong_constant(name: str, factor: float) -> None:
    rmse, mean = moments(name, 3)
    assert disagreement(name, 3, (rmse * factor, mean))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_of_our_own_making_is_as_strong_as_the_photographs(severity: int) -> None:
    rmse, mean = moments("frost", severity)
    expected, _, shift, _ = MOMENTS["frost"][severity - 1]
    assert abs(rmse.mean() / expected - 1) < 0.15
    assert abs(mean.mean() - shift) < 0.15 * expected


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (1, 28), (3, 32)])
def test_every_type_works_at_every_size_and_stays_in_the_box(name: str, channels: int, side: int) -> None:
    x = torch.rand(3, channels, side, side, generator=rng())
    for severity in (1, 5):
        out = corrupt(name, x, severity, rng())
        assert out.shape == x.shape
        assert out.dtype == x.dtype
        assert bool(((out >= 0) & (out <= 1)).all())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_flat_images_stay_finite(name: str) -> None:
    for level in (0.0, 1.0):
        for severity in SEVERITIES:
            assert torch.isfinite(corrupt(name, torch.full((2, 3, 32, 32), level), severity, rng())).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_keeps_its_corruption_whatever_shares_its_batch(name: str) -> None:
    x = torch.rand(4, 3, 32, 32, generator=rng())
    whole = corrupt(name, x, 3, rng(7))
    seeds = rng(7)
    parts = torch.cat([corrupt(name, x[:1], 3, seeds), corrupt(name, x[1:], 3, seeds)])
    assert torch.equal(whole, parts)
    assert torch.equal(whole, corrupt(name, x, 3, rng(7)))


@pytest.mark.parametrize("name", [name for name in MOMENTS if name != "motion-blur"])
def test_random_types_differ_between_images_and_seeds(name: str) -> None:
    out = corrupt(name, image(2), 3, rng(1))
    assert not torch.equal(out[0], out[1])
    assert not torch.equal(out, corrupt(name, image(2), 3, rng(2)))


def test_glass_copies_and_never_invents() -> None:
    """At sigma .05 the blurs do nothing, so every pixel is one of its neighbours above and left."""
    clean, out = levels(image())[0], levels(corrupt("glass-blur", image(), 1, rng()))[0]
    h, w = 17, 23
    neighbours = {tuple(clean[:, h - a, w - b]) for a in (0, 1) for b in (0, 1)}
    assert tuple(out[:, h, w]) in neighbours


@pytest.mark.parametrize(
    ("name", "x", "severity", "message"),
    [
        ("gausian-noise", torch.zeros(1, 3, 32, 32), 1, "expected one of"),
        ("fog", torch.zeros(1, 3, 32, 32), 6, "severity from 1 to 5, got 6"),
        ("fog", torch.zeros(1, 2, 32, 32), 1, "1 or 3 channels"),
        ("fog", torch.zeros(3, 32, 32), 1, "1 or 3 channels"),
        ("fog", torch.zeros(1, 3, 32, 16), 1, "square"),
        ("fog", torch.full((1, 3, 32, 32), 255.0), 1, "scale images"),
    ],
)
def test_mistakes_are_named(name: str, x: Tensor, severity: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrupt(name, x, severity, rng())


def test_input_noise_has_the_stated_deviation() -> None:
    x = torch.full((50, 3, 32, 32), 0.5)
    noise = input_noise(x, 0.05, rng()) - x
    assert noise.std().item() == pytest.approx(0.05, rel=6 / math.sqrt(2 * noise.numel()))
    assert torch.equal(input_noise(x, 0.0, rng()), x)


def test_salt_and_pepper_hits_the_stated_share_evenly() -> None:
    x = torch.full((50, 1, 32, 32), 0.5)
    out = salt_and_pepper(x, 0.2, rng())
    count = x.numel()
    for value in (0.0, 1.0):
        share = (out == value).double().mean().item()
        assert abs(share - 0.1) < 6 * math.sqrt(0.1 * 0.9 / count)


def test_draws_are_uniform_in_their_range() -> None:
    drawn = Draws(4, rng()).uniform(-45, 45, 5000)
    assert drawn.min() >= -45
    assert drawn.max() < 45
    assert abs(drawn.mean()) < 6 * 90 / math.sqrt(12 * drawn.size)


def test_scores_on_figures_worked_by_hand() -> None:
    own = {"fog": [0.8, 0.6], "snow": [0.5, 0.5]}
    base = {"fog": [0.7, 0.5], "snow": [0.5, 0.3]}
    assert mean_corruption_accuracy(own) == pytest.approx((0.7 + 0.5) / 2)
    assert mce(own, base) == pytest.approx((0.6 / 0.8 + 1.0 / 1.2) / 2)
    assert mce(base, base) == pytest.approx(1.0)
    assert relative_mce(own, 0.9, base, 0.8) == pytest.approx((0.4 / 0.4 + 0.8 / 0.8) / 2)


def test_scores_refuse_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="differing: snow"):
        mce({"fog": [0.5]}, {"fog": [0.5], "snow": [0.5]})
    with pytest.raises(InputError, match="severities"):
        mce({"fog": [0.5]}, {"fog": [0.5, 0.4]})
    with pytest.raises(InputError, match="loses nothing"):
        mce({"fog": [0.5]}, {"fog": [1.0]})


def test_mcnemar_on_figures_worked_by_hand() -> None:
    """Five images only the first gets, one only the second: p = 2 (1 + 6) / 2^6."""
    first = torch.tensor([1, 1, 1, 1, 1, 0, 1, 0], dtype=torch.bool)
    second = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0], dtype=torch.bool)
    assert mcnemar(first, second) == pytest.approx(14 / 64)
    assert mcnemar(second, first) == pytest.approx(14 / 64)
    assert mcnemar(first, first) == 1.0
    with pytest.raises(InputError, match="the same images"):
        mcnemar(first, second[:3])


def test_means_over_corruptions_have_intervals_that_cover() -> None:
    """Beta-distributed images, two instances: nine in ten intervals of many studies hold the true mean and ratio."""
    rng, covered, of_ratios = np.random.default_rng(0), 0, 0
    for _ in range(120):
        ease = rng.beta(2, 1, 60)

        def shares(strength: float, ease: np.ndarray = ease) -> list[np.ndarray]:
            return [(rng.random((1, 60)) < ease * strength * fade).astype(float) for fade in (0.9, 0.6)]

        own = {name: shares(strength) for name, strength in (("fog", 0.9), ("snow", 0.7))}
        base = {name: shares(strength) for name, strength in (("fog", 0.8), ("snow", 0.6))}
        interval = mean_corruption_interval(own)
        truth = (2 / 3) * 0.75 * 0.8
        covered += interval.low <= truth <= interval.high
        assert interval.mean == pytest.approx(
            mean_corruption_accuracy({name: [float(row.mean()) for row in rows] for name, rows in own.items()})
        )
        clean = [(rng.random((1, 60)) < ease * s).astype(float) for s in (1.0, 0.95)]
        (low, high), relative = ratio_intervals(own, clean[0], base, clean[1], rng)
        ratio = np.mean([(1 - 0.5 * a) / (1 - 0.5 * b) for a, b in ((0.9, 0.8), (0.7, 0.6))])
        of_ratios += low <= ratio <= high
        assert low < high
        assert relative[0] < relative[1]
    assert covered >= 108
    assert of_ratios >= 108
