from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from robust_models import rng

from hwsim.errors import InputError
from hwsim.robustness.threat import Threat, into_ball, parse

threats = st.one_of(
    st.builds(Threat, st.just("linf"), st.floats(0, 1)),
    st.builds(Threat, st.sampled_from(["l1", "l2"]), st.floats(0, 20)),
    st.builds(Threat, st.just("l0"), st.integers(0, 30)),
)


@given(threat=threats, seed=st.integers(0, 2**32), spread=st.floats(0, 5))
def test_projection_stays_within_budget_and_box_and_is_idempotent(threat: Threat, seed: int, spread: float) -> None:
    x = torch.rand(4, 1, 5, 5, generator=rng(seed)).round(decimals=1)
    moved = x + spread * torch.randn(x.shape, generator=rng(seed + 1))
    once = threat.project(moved, x)
    assert bool(threat.allowed(once, x).all())
    assert torch.allclose(threat.project(once, x), once, atol=1e-6)


@given(threat=threats, seed=st.integers(0, 2**32))
def test_random_starts_stay_within_budget_and_box(threat: Threat, seed: int) -> None:
    x = torch.rand(4, 1, 5, 5, generator=rng(seed))
    assert bool(threat.allowed(threat.random_start(x, rng(seed)), x).all())


@given(norm=st.sampled_from(["l1", "l2"]), seed=st.integers(0, 2**32))
def test_projection_is_the_nearest_point_of_the_ball(norm: str, seed: int) -> None:
    """No other point of the ball is closer: <moved - p, q - p> <= 0 for every q in it (float64)."""
    middle = torch.full((1, 30), 0.5, dtype=torch.float64)
    threat = Threat(norm, 0.3)
    moved = middle + 0.2 * torch.randn(middle.shape, generator=rng(seed), dtype=torch.float64)
    nearest = threat.project(moved, middle)
    for other in range(10):
        q = threat.random_start(middle, rng(seed + other))
        assert ((moved - nearest) * (q - nearest)).sum().item() <= 1e-9


@given(seed=st.integers(0, 2**32), spread=st.floats(0.01, 5), budget=st.floats(0.01, 20))
def test_l1_projects_onto_ball_and_box_at_once(seed: int, spread: float, budget: float) -> None:
    """No other image within both is nearer, by the same inequality; and clipping afterwards would not be it."""
    x = torch.rand(1, 30, generator=rng(seed), dtype=torch.float64).round(decimals=1)
    threat = Threat("l1", budget)
    moved = x + spread * torch.randn(x.shape, generator=rng(seed), dtype=torch.float64)
    nearest = threat.project(moved, x)
    assert bool(threat.allowed(nearest, x, 1e-9).all())
    for other in range(10):
        q = threat.random_start(x, rng(seed + other))
        assert ((moved - nearest) * (q - nearest)).sum().item() <= 1e-9


def test_l1_clipping_after_the_ball_would_waste_budget() -> None:
    x, moved = torch.tensor([[0.9, 0.5]]), torch.tensor([[2.9, 1.0]])
    clipped = (x + into_ball(moved - x, "l1", torch.tensor([[0.5]]))).clamp(0, 1)
    assert torch.allclose(clipped, torch.tensor([[1.0, 0.5]]))
    assert torch.allclose(Threat("l1", 0.5).project(moved, x), torch.tensor([[1.0, 0.9]]))


def test_a_pixel_is_all_its_channels() -> None:
    """l0 keeps the pixels whose change, cut to the box, is largest in l2, and counts a pixel once."""
    x = torch.full((1, 3, 2, 2), 0.5)
    moved = x.clone()
    moved[0, :, 0, 0] += torch.tensor([0.2, 0.2, 0.2])  # 0.12 in squares
    moved[0, 0, 0, 1] += 0.3  # 0.09
    moved[0, 1, 1, 0] += 9.0  # far outside
    kept = Threat("l0", 2).project(moved, x)
    assert torch.equal((kept != x).any(1)[0], torch.tensor([[True, False], [True, False]]))
    assert Threat("l0", 1).distance(kept, x).tolist() == [2.0]
    assert kept.max() == 1.0
    assert Threat("l0", 2).allowed(kept, x).all()
    assert not Threat("l0", 1).allowed(kept, x).any()
    with pytest.raises(InputError, match=r"whole numbers of pixels, got 1\.5"):
        Threat("l0", 1.5)
    assert [Threat("l0", 3).scaled(f).epsilon for f in (0.1, 0.5, 2)] == [1, 2, 6]
    assert [Threat("linf", 0.6).scaled(f).epsilon for f in (0.5, 2)] == [0.3, 1.0]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_allowed_sees_too_large_a_step_and_pixels_outside_the_box(norm: str) -> None:
    x = torch.full((3, 4), 0.5)
    threat = Threat(norm, 0.1)
    moved = x.clone()
    moved[0, 0] += 0.11
    moved[1, 0] = torch.nan
    assert threat.allowed(moved, x).tolist() == [False, False, True]
    edge = torch.ones(1, 4)
    assert not threat.allowed(edge + 0.05, edge).any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_steepest_direction_has_unit_norm_and_climbs(norm: str) -> None:
    gradient = torch.randn(4, 1, 6, 6, generator=rng())
    direction = Threat(norm, 1.0).steepest(gradient)
    assert torch.allclose(Threat(norm, 1.0).distance(direction, torch.zeros_like(direction)), torch.ones(4))
    assert bool(((direction * gradient).flatten(1).sum(1) > 0).all())
    assert not Threat(norm, 1.0).steepest(torch.zeros(2, 9)).any()


@pytest.mark.parametrize(
    ("text", "norm", "epsilon"),
    [
        ("linf:8/255", "linf", 8 / 255),
        (" L2 : 0.5 ", "l2", 0.5),
        ("l1:12", "l1", 12.0),
        ("l0:10", "l0", 10.0),
        ("linf: 1 / 10", "linf", 0.1),
    ],
)
def test_parse(text: str, norm: str, epsilon: float) -> None:
    assert parse(text) == Threat(norm, epsilon)
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linf", "NORM:EPSILON"),
        ("", "NORM:EPSILON"),
        ("l3:1", "among linf, l2, l1, l0, got 'l3'"),
        ("linf:eight", "number or a fraction after the colon, got 'eight'"),
        ("linf:8/0", "number or a fraction"),
        ("linf:8", "write linf:8/255"),
        ("l0:2.5", "whole numbers of pixels, got 2.5"),
        ("l2:-1", ">= 0, got -1"),
        ("l2:inf", "number"),
        ("l2:nan", "number"),
    ],
)
def test_parse_names_the_mistake(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize("text", ["linf:8/255", "linf:0.2", "linf:0.05", "linf:1", "l2:0.5", "l0:10"])
def test_a_threat_is_written_as_it_was_given(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)
