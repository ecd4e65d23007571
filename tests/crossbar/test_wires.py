"""Wires: Kirchhoff's laws by hand, reciprocity, and how far the fast solution is from the exact one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.crossbar.wires import by_lines, by_nodes, through_wires

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def conductances(shape: tuple[int, int], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("solve", [by_lines, by_nodes])
def test_one_device_is_in_series_with_two_segments(solve) -> None:
    found = solve(torch.full((1, 1), 0.5, dtype=torch.float64), 1e-6)
    torch.testing.assert_close(found.item(), 1 / (1 / 0.5 + 2e-6), rtol=1e-11, atol=0)


def test_two_devices_on_one_output_line_by_hand() -> None:
    g, r = torch.tensor([[0.3, 0.7]], dtype=torch.float64), 0.2
    # Driving input 0 alone: its device sees the segment to crossing 1, where input 1's device (grounded through its
    # own segment) is in parallel with the last segment to the sense terminal.
    aside, out = 1 / (1 / 0.7 + r), 1 / r
    through = 1 / (r + 1 / 0.3 + r + 1 / (aside + out))
    expected = through * out / (aside + out)
    torch.testing.assert_close(by_nodes(g, r)[0, 0].item(), expected, rtol=1e-12, atol=0)


def test_ideal_wires_are_no_wires() -> None:
    g = conductances((4, 5), 0)
    assert through_wires(g, 0.0, "exact") is g
    torch.testing.assert_close(through_wires(g, 1e-13, "exact"), g, rtol=1e-9, atol=0)
    torch.testing.assert_close(through_wires(g, 1e-13, "fast"), g, rtol=1e-9, atol=0)


@given(SHAPES, st.floats(1e-5, 1.0), st.integers(0, 99), st.sampled_from(["fast", "exact"]))
def test_the_network_is_reciprocal(shape: tuple[int, int], segment: float, seed: int, solver: str) -> None:
    """Driven from the outputs and sensed at the inputs, it is the transpose: turn the array around and look."""
    g = conductances(shape, seed)
    turned = through_wires(g.flip(0, 1).T.contiguous(), segment, solver).T.flip(0, 1)
    # Turned around, input terminals are where outputs were, but distances to them are the same.
    torch.testing.assert_close(turned, through_wires(g, segment, solver), rtol=1e-9, atol=1e-12)


@given(SHAPES, st.floats(-5, 0), st.integers(0, 99), st.booleans())
def test_the_fast_solution_is_low_by_at_most_its_stated_error(
    shape: tuple[int, int], exponent: float, seed: int, binary: bool
) -> None:
    g, segment = conductances(shape, seed), 10.0**exponent
    g = (g > 0.5).double() if binary else g
    exact, fast = by_nodes(g, segment), by_lines(g, segment)
    lost = ((g - exact) / g.clamp_min(1e-12)).max()
    assert (exact - fast).min() > -1e-12
    assert (exact - fast).max() <= 0.3 * lost.clamp_min(0) ** 2 * g.max() + 1e-12


@pytest.mark.parametrize("shape", [(64, 32), (10, 64), (64, 64)])
def test_the_stated_error_holds_at_the_size_of_real_arrays(shape: tuple[int, int]) -> None:
    g = torch.ones(shape, dtype=torch.float64)  # the worst case: every device fully on
    for segment in (1e-5, 1e-4):
        exact, fast = by_nodes(g, segment), by_lines(g, segment)
        lost = (1 - exact).max()
        assert lost > 0.01
        error = (exact - fast).max()
        assert error <= 0.3 * lost**2
        # A bound that no mistake could break would be no test: ignoring the wires misses by far more.
        assert (g - exact).max() > 3 * 0.3 * lost**2 or lost > 0.5


def test_the_far_corner_loses_most() -> None:
    exact = by_nodes(torch.ones(8, 8, dtype=torch.float64), 1e-3)
    assert exact.argmin() == 7 * 8 + 0  # the last output, the first input
    assert exact.argmax() == 0 * 8 + 7
