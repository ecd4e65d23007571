"""The exact gradients against each other, against autograd on plain tensors and against finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from theory_reference import DOUBLE, Bug, Plain, by_layer, must_reject, plain_cost, reference_gradients, smooth_plain
from torch import Tensor
from torch.testing import assert_close

from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Cost, Nudged, State
from hwsim.ebm.hopfield import Dense, LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase, Synchronous
from hwsim.ebm.solvers import FRESH
from hwsim.learning import equilibrium_gradients as oracle
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, Unrolled, equilibrium_logits
from hwsim.learning.exact import ExactGradient, weight_gradient

DEEP = Phase(500, tolerance=1e-14, stop_early=True)
LAYERS = (4, 5, 4, 3)
SQUARE = (4, 4, 4, 4)
COSTS: dict[str, Cost] = {"squared": SquaredError(), "cross-entropy": CrossEntropy()}
WAYS: dict[str, Equilibrium] = {
    "implicit": Implicit(DEEP, DEEP),
    "implicit-sweeps": Implicit(DEEP, DEEP, solver=OddEven()),
    "unrolled": Unrolled(120),
    "unrolled-sweeps": Unrolled(60, OddEven()),
    "unrolled-overshooting": Unrolled(60, OddEven(1.2)),
    "unrolled-checkpointed": Unrolled(120, checkpoint=True),
}


def partly_saturated(layers: Sequence[int]) -> tuple[Plain, Tensor, Tensor]:
    """Some hidden units rest against their bounds, by a margin, and pass no gradient on: J is not symmetric."""
    plain, x, labels = smooth_plain(layers)
    biases = list(plain.biases)
    biases[0] = biases[0].clone()
    biases[0][0] = -3.0
    biases[1] = biases[1].clone()
    biases[1][1] = 5.0
    return Plain(plain.weights, tuple(biases), plain.c), x, labels


NETS = {"smooth": smooth_plain, "saturated": partly_saturated}


def finite_differences(plain: Plain, x: Tensor, labels: Tensor, cost: str) -> tuple[list[Tensor], Tensor]:
    """Central differences of the mean cost in every weight, bias and input; their error is about 1e-9."""
    h = 1e-5
    parameters = [p.clone() for p in plain.parameters]
    x = x.clone()

    def value() -> Tensor:
        output = plain.with_parameters(parameters).relax(x, 50)[-1]
        return plain_cost(cost, output, labels).mean()

    slopes = []
    for tensor in [*parameters, x]:
        flat, slope = tensor.view(-1), torch.zeros(tensor.numel(), dtype=DOUBLE)
        for i in range(len(flat)):
            kept = flat[i].clone()
            flat[i] = kept + h
            up = value()
            flat[i] = kept - h
            slope[i] = (up - value()) / (2 * h)
            flat[i] = kept
        slopes.append(slope.view_as(tensor))
    return slopes[:-1], slopes[-1]


def input_gradient(net: LayeredHopfield, x: Tensor, labels: Tensor, through: Equilibrium) -> Tensor:
    """d(mean cross-entropy of the logits)/dx, as an attack asks for it."""
    x = x.clone().requires_grad_(True)
    logits = equilibrium_logits(net, x, through)
    (gradient,) = torch.autograd.grad(plain_cost("cross-entropy", logits, labels).mean(), x)
    return gradient


def plain_input_gradient(plain: Plain, x: Tensor, labels: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    logits = plain.relax(x)[-2] @ plain.weights[-1].T + plain.biases[-1]
    (gradient,) = torch.autograd.grad(plain_cost("cross-entropy", logits, labels).mean(), x)
    return gradient


def check_way(way: str, layers: tuple[int, ...], net: str, cost: str, bias: str) -> None:
    plain, x, labels = NETS[net](layers)
    network = plain.network(bias)
    found = by_layer(network, weight_gradient(network, COSTS[cost], x, labels, WAYS[way]))
    expected, _ = reference_gradients(plain, x, labels, cost)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-11)
    assert_close(
        input_gradient(network, x, labels, WAYS[way]), plain_input_gradient(plain, x, labels), rtol=1e-6, atol=1e-11
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("cost", "bias"), [("squared", "digital"), ("cross-entropy", "column")])
def test_every_way_gives_the_gradient_at_equilibrium(way: str, net: str, cost: str, bias: str) -> None:
    check_way(way, LAYERS, net, cost, bias)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("cost", ["squared", "cross-entropy"])
def test_autograd_on_plain_tensors_is_the_finite_difference(net: str, cost: str) -> None:
    """The reference of the tests above, itself measured against no gradient at all."""
    plain, x, labels = NETS[net](LAYERS)
    weights, inputs = reference_gradients(plain, x, labels, cost)
    by_hand, inputs_by_hand = finite_differences(plain, x, labels, cost)
    for a, b in zip([*weights, inputs], [*by_hand, inputs_by_hand], strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_blocks_that_depend_on_themselves_are_not_eliminated() -> None:
    """The bowl of a cross-entropy moves with the block it is in; the gradient of a nudged state is exact still."""
    plain, x, labels = smooth_plain(LAYERS)
    net, cost = plain.network(), CrossEntropy()

    def gradient(through: Equilibrium) -> Tensor:
        inputs = x.clone().requires_grad_(True)
        with torch.enable_grad():
            given = net.given(inputs)
            nudged = Nudged(given, cost, cost.encode(labels, given.start()[-1]), 0.5)
            state = through.reach(nudged, given.start())
            return torch.autograd.grad(torch.cat(state, 1).square().sum(), inputs)[0]

    unrolled = gradient(Unrolled(200))
    assert_close(gradient(Implicit(DEEP, DEEP)), unrolled, rtol=1e-6, atol=1e-11)
    couples = Bug("depend on nothing", oracle._Transpose, "couples", lambda self, blocks: False)
    with couples.planted():
        assert (gradient(Implicit(DEEP, DEEP)) - unrolled).norm() > 1e-4 * unrolled.norm()


def test_unsettled_ways_differ() -> None:
    """The agreement above is a property of equilibria: two steps are not one."""
    plain, x, labels = smooth_plain(LAYERS, gain=0.9)
    net = plain.network()
    settled = weight_gradient(net, SquaredError(), x, labels, WAYS["implicit"])[0]
    unrolled = weight_gradient(net, SquaredError(), x, labels, Unrolled(2))[0]
    implicit = weight_gradient(net, SquaredError(), x, labels, Implicit(Phase(2), DEEP))[0]
    for a, b in ((unrolled, settled), (implicit, settled), (unrolled, implicit)):
        assert (a - b).norm() / settled.norm() > 0.01


def test_checkpointing_changes_memory_and_no_number() -> None:
    plain, x, labels = partly_saturated(LAYERS)
    net = plain.network()
    for steps in (1, 7):
        a = weight_gradient(net, SquaredError(), x, labels, Unrolled(steps))
        b = weight_gradient(net, SquaredError(), x, labels, Unrolled(steps, checkpoint=True))
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_exact_gradient_step_is_minus_rate_times_gradient_and_leaves_no_graph() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    net = plain.network()
    rates = [0.5, 0.2, 0.1]
    before = net.weights()
    ExactGradient(WAYS["implicit"]).step(net, SquaredError(), x, labels, rates, torch.Generator())
    expected, _ = reference_gradients(plain, x, labels)
    per_array = [rate for rate in rates for _ in range(2)]
    for after, b, g, rate in zip(net.weights(), before, expected, per_array, strict=True):
        assert_close(after - b, -rate * g, rtol=1e-6, atol=1e-12)
        assert not after.requires_grad
    assert not any(s.tensor.requires_grad for s in net.synapses)


def test_exact_gradient_and_ep_go_the_same_way() -> None:
    plain, x, labels = smooth_plain(LAYERS)
    moved = []
    for rule in (ExactGradient(WAYS["implicit"]), EquilibriumProp(beta=0.02, free=DEEP, nudged=DEEP)):
        net = plain.network()
        rule.step(net, SquaredError(), x, labels, [1.0] * 3, torch.Generator())
        moved.append([a - b for a, b in zip(net.weights(), plain.network().weights(), strict=True)])
    for a, b in zip(*moved, strict=True):
        assert (a - b).norm() / a.norm() < 1e-3


def back(once: State, at: State, u: State) -> State:
    """J^T u by autograd, all blocks at once."""
    return torch.autograd.grad(once, at, u, retain_graph=True)


def _no_adjoint(self: Implicit, once: State, at: State, incoming: State) -> State:
    return incoming


def _one_adjoint_step(self: Implicit, once: State, at: State, incoming: State) -> State:
    return tuple(g + b for g, b in zip(incoming, back(once, at, incoming), strict=True))


def _flipped_adjoint(self: Implicit, once: State, at: State, incoming: State) -> State:
    u = incoming
    for _ in range(100):
        u = tuple(g - b for g, b in zip(incoming, back(once, at, u), strict=True))
    return u


def _forward_mode_adjoint(self: Implicit, once: State, at: State, incoming: State) -> State:
    """J u for J^T u: the same on a symmetric Jacobian, not where units are saturated."""
    with torch.enable_grad():
        into = torch.cat(once, 1)
    units = torch.eye(into.shape[1], dtype=into.dtype)
    rows = [
        torch.cat(torch.autograd.grad(into, at, unit.expand_as(into), retain_graph=True, materialize_grads=True), 1)
        for unit in units
    ]
    jacobian, g = torch.stack(rows, 1), torch.cat(incoming, 1)
    u = g
    for _ in range(100):
        u = g + torch.einsum("bij,bj->bi", jacobian, u)
    return u.split([layer.shape[1] for layer in at], 1)


def _first_direction_only(product: Any, right: dict, phase: Phase, bound: Tensor) -> dict:
    return right


IMPLICIT = ("implicit", LAYERS, "saturated", "squared", "digital")
UNROLLED = ("unrolled", SQUARE, "smooth", "squared", "digital")
ORACLE_BUGS = [
    (Bug("no adjoint", Implicit, "_adjoint", _no_adjoint), IMPLICIT),
    (Bug("one adjoint step", Implicit, "_adjoint", _one_adjoint_step), IMPLICIT),
    (Bug("flipped adjoint", Implicit, "_adjoint", _flipped_adjoint), IMPLICIT),
    (Bug("Jacobian not transposed", Implicit, "_adjoint", _forward_mode_adjoint), IMPLICIT),
    (Bug("kept blocks not solved", oracle, "_conjugate_residuals", _first_direction_only), IMPLICIT),
    (Bug("transposed read", Dense, "backward", lambda self, post, *_: self.synapse.read(post)), UNROLLED),
    (Bug("missing bias", Dense, "forward", lambda self, pre: self.synapse.read(pre)), UNROLLED),
    (
        Bug(
            "graph cut",
            Synchronous,
            "step",
            lambda self, energy, s, memory=FRESH: (energy.minimise([t.detach() for t in s], range(3)), memory),
        ),
        UNROLLED,
    ),
    (
        Bug("half the cost", SquaredError, "value", lambda self, output, y: 0.25 * (output - y).square().sum(1)),
        UNROLLED,
    ),
]


@pytest.mark.parametrize(("bug", "setting"), ORACLE_BUGS, ids=lambda v: str(v) if isinstance(v, Bug) else "")
def test_oracle_check_rejects(bug: Bug, setting: tuple) -> None:
    must_reject(bug, check_way, *setting)
