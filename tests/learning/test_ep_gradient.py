"""Equilibrium propagation against the gradient of the cost at equilibrium, taken by autograd on plain tensors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from theory_reference import (
    DOUBLE,
    Bug,
    Plain,
    by_layer,
    must_reject,
    plain_cost,
    reference_gradients,
    smooth_plain,
)
from torch import Tensor
from torch.testing import assert_close

import hwsim.learning.ep
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Cost, Coupling, Energy, Nudged, State
from hwsim.ebm.hopfield import Dense, GivenInput, LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase, Settled, Solver, Synchronous, UpDown, settle
from hwsim.learning.ep import UPDATE_FORMS, EquilibriumProp
from hwsim.learning.rule import StepStats

DEEP = Phase(400, tolerance=1e-15, stop_early=True)
LAYERS = (6, 8, 7, 4)
SQUARE = (5, 5, 5, 5)
COSTS: dict[str, Cost] = {"squared": SquaredError(), "cross-entropy": CrossEntropy()}


def ep_direction(
    net: LayeredHopfield,
    x: Tensor,
    labels: Tensor,
    *,
    beta: float,
    nudge: str = "centred",
    cost: str = "squared",
    form: str = "difference",
    solver: Solver | None = None,
    seed: int = 0,
) -> list[Tensor]:
    """What one step at rate 1 adds to every (weight, bias); the network is put back afterwards."""
    before = net.weights()
    rule = EquilibriumProp(
        beta=beta, nudge=nudge, free=DEEP, nudged=DEEP, solver=solver or Synchronous(), update_form=form
    )
    rule.step(net, COSTS[cost], x, labels, [1.0] * len(net.links), torch.Generator().manual_seed(seed))
    moved = [after - b for after, b in zip(net.weights(), before, strict=True)]
    net.program(before)
    return by_layer(net, moved)


def worst(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest relative error of an array's update."""
    pairs = zip(found, expected, strict=True)
    return max(((f - e).norm() / e.norm()).item() for f, e in pairs)


def check_error_order(
    nudge: str, order: float, layers: tuple[int, ...], bias: str, cost: str, clamped: bool, *, c: float = 1.0
) -> None:
    """The update is -dC/dW up to an error that falls with this power of beta."""
    plain, x, labels = smooth_plain(layers, c=c, clamped=clamped, gain=0.6 * c)
    net = plain.network(bias)
    expected = [-g for g in reference_gradients(plain, x, labels, cost)[0]]
    betas = (0.08, 0.04, 0.02)
    errors = [worst(ep_direction(net, x, labels, beta=b, nudge=nudge, cost=cost), expected) for b in betas]
    assert errors[-1] < (0.05 if order == 1 else 1e-3), errors
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(slope - order) < 0.15 for slope in slopes), (errors, slopes)


def check_forms_agree() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    net = plain.network()
    found = [ep_direction(net, x, labels, beta=0.3, form=form) for form in UPDATE_FORMS]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert_close(a, b, rtol=1e-9, atol=1e-13)


def check_random_sign() -> None:
    """Both signs are drawn, and their mean is the centred update to the last digit."""
    plain, x, labels = smooth_plain(LAYERS)
    net = plain.network()
    updates = [ep_direction(net, x, labels, beta=0.2, nudge="random-sign", seed=seed) for seed in range(12)]
    plus = ep_direction(net, x, labels, beta=0.2, nudge="one-sided")
    positive = [u for u in updates if worst(u, plus) < 1e-9]
    negative = [u for u in updates if worst(u, plus) >= 1e-9]
    assert positive, "no draw of 12 was positive: 1 in 4096, and the seeds are fixed"
    assert negative, "no draw of 12 was negative: 1 in 4096, and the seeds are fixed"
    mean = [(p + n) / 2 for p, n in zip(positive[0], negative[0], strict=True)]
    assert worst(mean, ep_direction(net, x, labels, beta=0.2)) < 1e-9
    assert worst(mean, [-g for g in reference_gradients(plain, x, labels)[0]]) < 0.05


def check_nudged_input() -> None:
    """(input_force(+beta) - input_force(-beta)) / 2 beta is -dC/dx, with an error of order beta^2."""
    plain, x, labels = smooth_plain(LAYERS)
    net, cost = plain.network(), SquaredError()
    given = net.given(x)
    target = cost.encode(labels, net.initial(x)[-1])
    expected = -reference_gradients(plain, x, labels)[1] * len(x)  # of each example's own cost
    errors = []
    for beta in (0.04, 0.02):
        ends = [
            settle(Nudged(given, cost, target, b), net.initial(x), solver=Synchronous(), phase=DEEP).state
            for b in (beta, -beta)
        ]
        found = (given.input_force(ends[0]) - given.input_force(ends[1])) / (2 * beta)
        errors.append(((found - expected).norm() / expected.norm()).item())
    assert errors[-1] < 1e-3, errors
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.15, errors


def check_stats() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    output = plain.relax(x)[-1]
    rule = EquilibriumProp(beta=0.1, free=DEEP, nudged=DEEP)
    stats: StepStats = rule.step(plain.network(), SquaredError(), x, labels, [0.0] * 3, torch.Generator())
    assert stats.cost == pytest.approx(plain_cost("squared", output, labels).mean().item(), rel=1e-9)
    assert stats.correct == int((output.argmax(1) == labels).sum())
    assert stats.examples == len(x)
    assert stats.unsettled_share == 0
    assert stats.residual <= DEEP.tolerance


@pytest.mark.parametrize("layers", [(4, 3), (5, 6, 3), LAYERS])
@pytest.mark.parametrize("bias", ["digital", "column"])
@pytest.mark.parametrize("cost", ["squared", "cross-entropy"])
def test_centred_error_is_of_second_order(layers: tuple[int, ...], bias: str, cost: str) -> None:
    check_error_order("centred", 2.0, layers, bias, cost, False)


@pytest.mark.parametrize("layers", [(4, 3), LAYERS])
def test_one_sided_error_is_of_first_order(layers: tuple[int, ...]) -> None:
    check_error_order("one-sided", 1.0, layers, "digital", "squared", False)


@pytest.mark.parametrize("cost", ["squared", "cross-entropy"])
def test_error_order_of_the_plain_hard_sigmoid(cost: str) -> None:
    check_error_order("centred", 2.0, LAYERS, "digital", cost, False, c=0.5)


def test_error_order_with_a_clamped_output_within_its_bounds() -> None:
    check_error_order("centred", 2.0, LAYERS, "digital", "squared", True)


def test_update_forms_agree_in_exact_arithmetic() -> None:
    check_forms_agree()


def test_mean_over_both_random_signs_is_the_centred_update() -> None:
    check_random_sign()


def test_nudged_input_force_is_the_input_gradient() -> None:
    check_nudged_input()


def test_step_reports_the_free_state() -> None:
    check_stats()


def test_biases_learn_the_same_wherever_they_live() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    digital, column = (ep_direction(plain.network(bias), x, labels, beta=0.3) for bias in ("digital", "column"))
    for a, b in zip(digital, column, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_solvers_learn_the_same_at_equilibrium() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    net = plain.network()
    a = ep_direction(net, x, labels, beta=0.3)
    for solver in (OddEven(), UpDown(), Synchronous(0.5)):
        assert worst(a, ep_direction(net, x, labels, beta=0.3, solver=solver)) < 1e-9


class _DoubledInside(Nudged):
    """Settles under twice the beta that it says."""

    def minimise(self, s: State, layers):  # type: ignore[no-untyped-def]
        return Nudged(self.energy, self.cost, self.target, 2 * self.beta).minimise(s, layers)


class _NeverNegative(Nudged):
    """Settles under |beta|, so that the second phase repeats the first."""

    def minimise(self, s: State, layers):  # type: ignore[no-untyped-def]
        return Nudged(self.energy, self.cost, self.target, abs(self.beta)).minimise(s, layers)


class _FirstBlock(Nudged):
    """Nudges the first layer instead of the last."""

    def minimise(self, s: State, layers):  # type: ignore[no-untyped-def]
        beta = self.beta[:, None] if isinstance(self.beta, Tensor) else self.beta
        new = []
        for layer, drive in zip(layers, self.energy.drive(s, layers), strict=True):
            nudge = beta * self.target if layer == 0 else 0.0
            new.append(self.energy.respond(layer, drive + nudge))
        return tuple(new)


class _Exchanged(Nudged):
    """Gives each example the other phase's nudge."""

    def minimise(self, s: State, layers):  # type: ignore[no-untyped-def]
        return Nudged(self.energy, self.cost, self.target, -self.beta).minimise(s, layers)


def _sign_slip(positive: Coupling, negative: Coupling, form: str) -> list[tuple[Tensor, Tensor]]:
    a, b, c, d = positive.post, positive.pre, negative.post, negative.pre
    return [(torch.cat([b + d, b + d]), torch.cat([a - c, a + c]) / 2)]


def _missing_half(positive: Coupling, negative: Coupling, form: str) -> list[tuple[Tensor, Tensor]]:
    a, b, c, d = positive.post, positive.pre, negative.post, negative.pre
    return [(b, a - c)] if torch.equal(b, d) else [(torch.cat([b + d, b - d]), torch.cat([a - c, a + c]))]


def _swapped_states(positive: Coupling, negative: Coupling, form: str) -> list[tuple[Tensor, Tensor]]:
    return [(negative.pre, negative.post), (positive.pre, -positive.post)]


def _half_slip_in_one_form(positive: Coupling, negative: Coupling, form: str) -> list[tuple[Tensor, Tensor]]:
    if form == "difference":
        return _missing_half(positive, negative, form)
    return [(positive.pre, positive.post), (negative.pre, -negative.post)]


def _own_layer_as_pre(self: GivenInput, s: State) -> tuple[Coupling, ...]:
    return tuple(c for link, layer in zip(self.net.links, s, strict=True) for c in link.couplings(layer, layer))


def _transposed(self: Dense, post: Tensor, *_: object) -> Tensor:
    return self.synapse.read(post)


def _unbiased(self: Dense, pre: Tensor) -> Tensor:
    return self.synapse.read(pre)


SETTING = ("centred", 2.0, SQUARE, "digital", "squared", False)
ORDER_BUGS = [
    Bug("nudged by 2 beta", hwsim.learning.ep, "Nudged", _DoubledInside),
    Bug("never nudged negatively", hwsim.learning.ep, "Nudged", _NeverNegative),
    Bug("nudged at the first layer", hwsim.learning.ep, "Nudged", _FirstBlock),
    Bug("signs exchanged", hwsim.learning.ep, "Nudged", _Exchanged),
    Bug("b - d as b + d", hwsim.learning.ep, "written", _sign_slip),
    Bug("missing factor 1/2", hwsim.learning.ep, "written", _missing_half),
    Bug("states swapped", hwsim.learning.ep, "written", _swapped_states),
    Bug("post times post", GivenInput, "couplings", _own_layer_as_pre),
    Bug("transposed read", Dense, "backward", _transposed),
    Bug("missing bias", Dense, "forward", _unbiased),
]


@pytest.mark.parametrize("bug", ORDER_BUGS, ids=str)
def test_error_order_check_rejects(bug: Bug) -> None:
    must_reject(bug, check_error_order, *SETTING)


def test_error_order_check_tells_one_sided_from_centred() -> None:
    with pytest.raises(AssertionError):
        check_error_order("one-sided", 2.0, LAYERS, "digital", "squared", False)
    with pytest.raises(AssertionError):
        check_error_order("centred", 1.0, LAYERS, "digital", "squared", False)


def test_forms_check_rejects_a_slip_in_one_form() -> None:
    must_reject(Bug("missing factor 1/2", hwsim.learning.ep, "written", _half_slip_in_one_form), check_forms_agree)


def test_random_sign_check_rejects_a_sign_kept_in_the_state_only() -> None:
    must_reject(Bug("never nudged negatively", hwsim.learning.ep, "Nudged", _NeverNegative), check_random_sign)


def test_nudged_input_check_rejects_a_flipped_sign() -> None:
    flipped = Bug("flipped", GivenInput, "input_force", lambda self, s: -self.net.links[0].backward(s[0]))
    must_reject(flipped, check_nudged_input)


def test_stats_check_rejects_figures_of_a_nudged_state() -> None:
    def settled_elsewhere(energy: Energy, s: State, *, solver: Solver, phase: Phase) -> Settled:
        found = settle(energy, s, solver=solver, phase=phase)
        return Settled(tuple(layer + 0.1 for layer in found.state), found.outcome, found.steps, found.residual)

    must_reject(Bug("another state", hwsim.learning.ep, "settle", settled_elsewhere), check_stats)


def test_a_two_unit_network_by_hand() -> None:
    """x - s, one weight w, c = 1/2: s = w x + b at rest, dC/dw = (s - y) x, and the nudge is exact to first order.

    s(beta) = (w x + b + beta y) / (1 + beta); centred: (s+ - s-) x / 2 beta = (y - s) x / (1 - beta^2).
    """
    plain = Plain((torch.tensor([[0.8], [0.3]], dtype=DOUBLE),), (torch.tensor([0.1, 0.2], dtype=DOUBLE),), c=0.5)
    x = torch.tensor([[0.5]], dtype=DOUBLE)
    found = ep_direction(plain.network(), x, torch.tensor([1]), beta=0.5)
    rest = torch.tensor([[0.5], [0.35]], dtype=DOUBLE)
    wanted = (torch.tensor([[0.0], [1.0]], dtype=DOUBLE) - rest) / 0.75
    assert_close(found[0], wanted * 0.5)
    assert_close(found[1], wanted)
