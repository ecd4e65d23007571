"""The symmetry point: the crossing that attracts, none where pulses lead away, nothing across what is not known."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.devices.symmetry import symmetry_point

G = np.linspace(-1, 1, 41)


@pytest.mark.parametrize("up_down", [-0.4, 0.0, 0.3])
def test_soft_bounds_attract_where_both_steps_are_equal(up_down: float) -> None:
    point = symmetry_point(G, (1 + up_down) * (1 - G), -(1 - up_down) * (1 + G))
    assert point.attracting == pytest.approx(up_down)
    assert point.repelling == ()
    assert str(point) == f"{point.attracting:.4g}"


def test_steps_that_grow_towards_their_bound_repel() -> None:
    point = symmetry_point(G, 1 + 0.5 * (G - 0.2), -1 + 0.5 * (G - 0.2))
    assert not point.exists
    assert point.repelling == pytest.approx((0.2,))
    assert "repelling at 0.2" in str(point)
    moved = point.scaled(10, 5)
    assert moved.repelling == pytest.approx((11,))


@pytest.mark.parametrize("net", [0.0, 0.3, -0.3])
def test_no_crossing_is_no_point(net: float) -> None:
    point = symmetry_point(G, np.full_like(G, 1 + net), np.full_like(G, -1.0))
    assert (point.exists, point.repelling, str(point)) == (False, (), "none")


def test_nothing_is_concluded_across_steps_that_a_bound_cut() -> None:
    up = 1.5 - G
    up[G > 0.3] = np.nan  # the crossing, at 0.5, lies among them
    assert str(symmetry_point(G, up, np.full_like(G, -1.0))) == "none"


def test_of_several_points_the_one_nearest_to_the_middle() -> None:
    net = np.sin(3 * np.pi * G + 0.5)
    point = symmetry_point(G, 1 + net, np.full_like(G, -1.0))
    assert point.attracting == pytest.approx((np.pi - 0.5) / (3 * np.pi), abs=0.01)  # the others: +-2/3 away
    assert len(point.repelling) == 3
