"""Energy, force and block minimisers against autograd and brute force on the energy written anew."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from theory_reference import DOUBLE, Bug, Plain, draw, must_reject, plain_cost, random_plain
from torch import Tensor
from torch.testing import assert_close

from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Cost, Energy, Nudged
from hwsim.ebm.hopfield import Dense, GivenInput, LayeredHopfield
from hwsim.errors import InputError

LAYERS = (4, 4, 4, 4)  # square, so that a transposed read has the right shape and the wrong numbers
COSTS: dict[str, Cost] = {"squared": SquaredError(), "cross-entropy": CrossEntropy()}
NUDGES = [(None, 0.0), ("squared", 0.7), ("squared", -0.7), ("cross-entropy", 0.7), ("cross-entropy", -0.7)]


def case(
    cost: str | None, beta: float, c: float, output: str, bias: str
) -> tuple[Plain, Energy, Tensor, Tensor, tuple[Tensor, ...]]:
    plain, x, rng = random_plain(LAYERS, seed=3, c=c, clamped=output == "clamped")
    energy: Energy = plain.network(bias).given(x)
    labels = torch.tensor([2, 0, 3])
    s = tuple(draw((3, n), rng) for n in LAYERS[1:])
    if cost is not None:
        chosen = COSTS[cost]
        energy = Nudged(energy, chosen, chosen.encode(labels, s[-1]), beta)
    return plain, energy, x, labels, s


def plain_value(plain: Plain, cost: str | None, beta: float, x: Tensor, labels: Tensor, s: list[Tensor]) -> Tensor:
    value = plain.energy(x, s)
    return value if cost is None else value + beta * plain_cost(cost, s[-1], labels)


def check_force(cost: str | None, beta: float, c: float, output: str, bias: str) -> None:
    plain, energy, x, labels, s = case(cost, beta, c, output, bias)
    leaves = [layer.clone().requires_grad_(True) for layer in s]
    value = plain_value(plain, cost, beta, x, labels, leaves)
    slopes = torch.autograd.grad(value.sum(), leaves)
    assert_close(energy.value(s), value.detach(), rtol=1e-9, atol=1e-12)
    for force, slope in zip(energy.force(s), slopes, strict=True):
        assert_close(force, -slope, rtol=1e-9, atol=1e-12)


def check_minimisers(cost: str | None, beta: float, c: float, output: str, bias: str) -> None:
    """Every block against scipy's bounded search over the plain energy, the other blocks held."""
    plain, energy, x, labels, s = case(cost, beta, c, output, bias)
    for layer in range(len(s)):
        found = list(s)
        for _ in range(60 if cost == "cross-entropy" and layer == len(s) - 1 else 1):  # a series of bowls
            (found[layer],) = energy.minimise(tuple(found), [layer])

        def value_and_slope(flat, layer=layer):
            block = torch.tensor(flat, dtype=DOUBLE).reshape(s[layer].shape).requires_grad_(True)
            trial = [*s[:layer], block, *s[layer + 1 :]]
            value = plain_value(plain, cost, beta, x, labels, trial).sum()
            (slope,) = torch.autograd.grad(value, block)
            return value.item(), slope.flatten().numpy()

        bounds = [(0.0, 1.0)] * s[layer].numel() if plain.bounded(layer) else None
        options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 500}
        start = s[layer].flatten().numpy()
        best = minimize(value_and_slope, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
        assert_close(found[layer].flatten(), torch.tensor(best.x), rtol=0, atol=1e-6)


def check_adjoint(pre: int, post: int, bias: str, seed: int) -> None:
    """<W x, y> = <x, W^T y>, with the bias in the one direction only."""
    plain, x, rng = random_plain((pre, post), seed)
    link = plain.network(bias).links[0]
    y = draw((3, post), rng, -1, 1)
    forth = ((link.forward(x) - plain.biases[0]) * y).sum(1)
    back = (x * link.backward(y)).sum(1)
    assert_close(forth, back, rtol=1e-12, atol=1e-12)


PLAIN_SETTING = (None, 0.0, 1.0, "linear", "digital")
COLUMN_SETTING = (None, 0.0, 0.5, "clamped", "column")
NUDGED_SETTING = ("squared", 0.7, 1.0, "linear", "digital")
ENTROPY_SETTING = ("cross-entropy", -0.7, 1.0, "linear", "digital")


def _transposed_backward(self: Dense, post: Tensor, *_: object) -> Tensor:
    return self.synapse.read(post)


def _unbiased_forward(self: Dense, pre: Tensor) -> Tensor:
    return self.synapse.read(pre)


def _flipped_force(self: GivenInput, s: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(2 * self.net.c * layer - v for v, layer in zip(self.drive(s, range(self.blocks)), s, strict=True))


def _force_without_2(self: GivenInput, s: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(v - self.net.c * layer for v, layer in zip(self.drive(s, range(self.blocks)), s, strict=True))


def _cost_in_first_block(self: Nudged, s: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    free = self.energy.force(s)
    linear, stiffness = self.cost.bowl(s[0], self.target)
    return (free[0] + self.beta * (linear - stiffness * s[0]), *free[1:])


def _nudge_of_double_strength(self: Nudged, s: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    free = self.energy.force(s)
    linear, stiffness = self.cost.bowl(s[-1], self.target)
    return (*free[:-1], free[-1] + 2 * self.beta * (linear - stiffness * s[-1]))


def _nudge_without_stiffness(self: Nudged, s: tuple[Tensor, ...], layers: list[int]) -> tuple[Tensor, ...]:
    drives = list(self.energy.drive(s, layers))
    linear, _ = self.cost.bowl(s[-1], self.target)
    shifted = [v + self.beta * linear if k == len(s) - 1 else v for k, v in zip(layers, drives, strict=True)]
    return tuple(self.energy.respond(k, v) for k, v in zip(layers, shifted, strict=True))


def _respond_without_2(self: GivenInput, layer: int, drive: Tensor, stiffness: float = 0.0, **_: object) -> Tensor:
    state = drive / (self.net.c + stiffness)
    return state.clamp(0, 1) if layer < self.blocks - 1 else state


def _respond_without_ceiling(
    self: GivenInput, layer: int, drive: Tensor, stiffness: float = 0.0, **_: object
) -> Tensor:
    return (drive / (2 * self.net.c + stiffness)).clamp(min=0)


def _bowl_of_uniform_softmax(self: CrossEntropy, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
    return target - 1 / output.shape[1] + 0.25 * output, 0.25


def _value_with_half_the_bowl(self: GivenInput, s: tuple[Tensor, ...]) -> Tensor:
    right = self.net.c / 2 * sum(layer.square().sum(1) for layer in s) - (s[0] * self.input_drive()).sum(1)
    for link, below, above in zip(self.net.links[1:], s, s[1:], strict=False):
        right = right - (above * link.forward(below)).sum(1)
    return right


TRANSPOSED = Bug("transposed read", Dense, "backward", _transposed_backward)
UNBIASED = Bug("missing bias", Dense, "forward", _unbiased_forward)
WRONG_SLOPE = Bug("softmax forgotten", CrossEntropy, "bowl", _bowl_of_uniform_softmax)
FORCE_BUGS = [
    (TRANSPOSED, PLAIN_SETTING),
    (UNBIASED, PLAIN_SETTING),
    (Bug("flipped sign", GivenInput, "force", _flipped_force), PLAIN_SETTING),
    (Bug("missing factor 2", GivenInput, "force", _force_without_2), PLAIN_SETTING),
    (Bug("half the bowl", GivenInput, "value", _value_with_half_the_bowl), PLAIN_SETTING),
    (Bug("cost in the first block", Nudged, "force", _cost_in_first_block), NUDGED_SETTING),
    (Bug("double beta", Nudged, "force", _nudge_of_double_strength), NUDGED_SETTING),
    (WRONG_SLOPE, ENTROPY_SETTING),
]
MINIMISER_BUGS = [
    (TRANSPOSED, PLAIN_SETTING),
    (UNBIASED, PLAIN_SETTING),
    (Bug("missing factor 2", GivenInput, "respond", _respond_without_2), PLAIN_SETTING),
    (Bug("no upper bound", GivenInput, "respond", _respond_without_ceiling), COLUMN_SETTING),
    (Bug("no stiffness", Nudged, "minimise", _nudge_without_stiffness), NUDGED_SETTING),
    (WRONG_SLOPE, ENTROPY_SETTING),
]


@pytest.mark.parametrize(("cost", "beta"), NUDGES)
@pytest.mark.parametrize("output", ["linear", "clamped"])
@pytest.mark.parametrize(("c", "bias"), [(1.0, "digital"), (0.5, "column")])
def test_force_is_minus_the_energys_slope(cost: str | None, beta: float, c: float, output: str, bias: str) -> None:
    check_force(cost, beta, c, output, bias)


@pytest.mark.parametrize(("bug", "setting"), FORCE_BUGS, ids=lambda v: str(v) if isinstance(v, Bug) else "")
def test_force_check_rejects(bug: Bug, setting: tuple) -> None:
    must_reject(bug, check_force, *setting)


@pytest.mark.parametrize(("cost", "beta"), NUDGES)
@pytest.mark.parametrize("output", ["linear", "clamped"])
@pytest.mark.parametrize(("c", "bias"), [(1.0, "digital"), (0.5, "column")])
def test_minimise_finds_what_brute_force_finds(cost: str | None, beta: float, c: float, output: str, bias: str) -> None:
    check_minimisers(cost, beta, c, output, bias)


@pytest.mark.parametrize(("bug", "setting"), MINIMISER_BUGS, ids=lambda v: str(v) if isinstance(v, Bug) else "")
def test_minimiser_check_rejects(bug: Bug, setting: tuple) -> None:
    must_reject(bug, check_minimisers, *setting)


@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from(["digital", "column"]), st.integers(0, 1000))
def test_transpose_read_is_the_adjoint_of_the_read(pre: int, post: int, bias: str, seed: int) -> None:
    check_adjoint(pre, post, bias, seed)


def test_adjoint_check_rejects_a_transposed_read() -> None:
    must_reject(TRANSPOSED, check_adjoint, 4, 4, "digital", 0)


def test_adjoint_check_rejects_a_flipped_sign() -> None:
    flipped = Bug("flipped", FloatSynapse, "read_transpose", lambda self, post: -(post @ self.tensor))
    must_reject(flipped, check_adjoint, 3, 5, "column", 0)


@pytest.mark.parametrize("stiffness", [-2.0, -2.5])
def test_a_nudge_that_turns_the_bowl_upside_down_is_refused(stiffness: float) -> None:
    plain, x, _ = random_plain((3, 2), 0)
    with pytest.raises(InputError, match="smaller beta"):
        plain.network().given(x).respond(0, torch.zeros(3, 2, dtype=DOUBLE), stiffness)


def test_hidden_layers_are_bounded_and_a_linear_output_is_not() -> None:
    plain, x, _ = random_plain((3, 3, 2), 0)
    drive = torch.tensor([[-7.0, 1.0, 9.0]], dtype=DOUBLE)
    linear, clamped = plain.network(), LayeredHopfield(plain.network().links, output="clamped")
    assert linear.given(x).respond(0, drive).tolist() == [[0.0, 0.5, 1.0]]
    assert linear.given(x).respond(1, drive).tolist() == [[-3.5, 0.5, 4.5]]
    assert clamped.given(x).respond(1, drive).tolist() == [[0.0, 0.5, 1.0]]
