"""Predictive coding networks: the energy, its sweeps, and the gradient that equilibrium propagation takes from them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from theory_reference import DOUBLE, Bug
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

import hwsim as hw
from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.energy import Nudged, State
from hwsim.ebm.predictive import GivenPrediction, PredictiveCoding
from hwsim.ebm.settle import Phase, Solver, settle
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.exact import ExactGradient

DEEP = Phase(5000, tolerance=1e-14, stop_early=True)
LAYERS: dict[str, list[Any]] = {
    "dense": [7, 6, 5, 3],
    "convolutional": [(2, 6, 6), hw.Conv(4, pool="max"), hw.Conv(3, stride=2), 3],
    "average": [(2, 6, 6), hw.Conv(3, pool="average"), 4, 3],
}
KINDS = pytest.mark.parametrize("kind", LAYERS)


def network(kind: str, bias: str = "digital") -> PredictiveCoding:
    """With weights that leave most units off their clamps, and biases."""
    exact = FloatDevice(dtype=DOUBLE)
    net = hw.predictive_coding(LAYERS[kind], exact, bias=bias, bias_device=exact)
    rng = torch.Generator().manual_seed(5)
    net.program([0.8 * w.double() + 0.2 * torch.rand(w.shape, generator=rng, dtype=DOUBLE) for w in net.weights()])
    return net


def images(net: PredictiveCoding, count: int = 3) -> Tensor:
    shape = net.links[0].pre_shape
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


def labels(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 3


def forward(net: PredictiveCoding, weights: list[Tensor], x: Tensor) -> list[Tensor]:
    """The layers before their activation, written anew in plain torch: what a feed-forward network computes."""
    s: list[Tensor] = []
    for number, link in enumerate(net.links):
        x = (s[-1] / 2).clamp(0, 1) if s else x
        weight, bias = weights[2 * number], weights[2 * number + 1][:, 0]
        window = getattr(link, "window", None)
        if window is None:
            s.append(functional.linear(x.flatten(1), weight, bias))
            continue
        kernels = weight.reshape(-1, window.channels, window.kernel, window.kernel)
        v = functional.conv2d(x, kernels, None, window.stride, window.padding)
        pool = {"max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2), "none": nn.Identity()}[link.pool]  # type: ignore[attr-defined]
        s.append(pool(v) + bias[:, None, None])
    return s


def energy(net: PredictiveCoding, x: Tensor, s: State) -> Tensor:
    """(B,), from its equation."""
    weights, total = net.weights(), torch.zeros(len(x), dtype=DOUBLE)
    for number in range(net.blocks):
        below = PredictiveCoding(net.links[number : number + 1])
        pre = x if number == 0 else (s[number - 1] / 2).clamp(0, 1)
        (prediction,) = forward(below, weights[2 * number : 2 * number + 2], pre)
        total = total + 0.5 * (s[number] - prediction).flatten(1).square().sum(1)
    return total


def nudged(net: PredictiveCoding, x: Tensor, beta: float) -> tuple[Nudged, State]:
    given = net.given(x)
    cost = hw.SquaredError()
    return Nudged(given, cost, cost.encode(labels(x), given.start()[-1]), beta), given.start()


@KINDS
def test_free_it_is_a_feed_forward_network(kind: str) -> None:
    """Whatever the solver: the forward pass is at rest, with an energy of 0, and one sweep finds it from anywhere."""
    net = network(kind)
    x = images(net)
    given, expected = net.given(x), forward(net, net.weights(), x)
    for solver in (hw.ErrorSweeps(), hw.OddEven(), hw.UpDown(), hw.Synchronous(0.5)):
        settled = settle(given, given.start(), solver=solver, phase=Phase(1))
        assert settled.unsettled_share == 0
        for layer, plain in zip(settled.state, expected, strict=True):
            assert_close(layer, plain)
    far = tuple(torch.randn_like(layer) for layer in expected)
    for layer, plain in zip(hw.ErrorSweeps().step(given, far)[0], expected, strict=True):
        assert_close(layer, plain)
    assert given.value(tuple(expected)).abs().max() < 1e-20


@KINDS
def test_value_and_force_are_the_equation_s(kind: str) -> None:
    net = network(kind)
    x = images(net)
    rng = torch.Generator().manual_seed(2)
    s = [layer + 0.3 * torch.randn(layer.shape, generator=rng, dtype=DOUBLE) for layer in net.given(x).start()]
    s = tuple(layer.requires_grad_(True) for layer in s)
    value = energy(net, x, s)
    assert_close(net.given(x).value(s).detach(), value.detach())
    for slope, force in zip(torch.autograd.grad(value.sum(), s), net.given(x).force(s), strict=True):
        assert_close(force.detach(), -slope)


@KINDS
@pytest.mark.parametrize("beta", [0.2, -0.05])
def test_sweeps_end_where_the_force_is_zero(kind: str, beta: float) -> None:
    """And where blocks that move one by one end; five sweeps are there to a few thousandths of the way."""
    net = network(kind)
    total, start = nudged(net, images(net), beta)
    rest = settle(total, start, solver=hw.ErrorSweeps(), phase=DEEP).state
    assert max(force.abs().max().item() for force in total.force(rest)) < 1e-12
    slow = settle(total, start, solver=hw.UpDown(), phase=Phase(20_000, tolerance=1e-12, stop_early=True)).state
    for one, other in zip(rest, slow, strict=True):
        assert_close(one, other, rtol=0, atol=1e-8)
    five = settle(total, start, solver=hw.ErrorSweeps(), phase=Phase(5)).state
    way = max((layer - begun).abs().max().item() for layer, begun in zip(rest, start, strict=True))
    assert max((a - b).abs().max().item() for a, b in zip(five, rest, strict=True)) < 5e-3 * way


@KINDS
@pytest.mark.parametrize("solver", [hw.OddEven(), hw.UpDown()], ids=str)
def test_moves_of_blocks_never_raise_the_energy(kind: str, solver: Solver) -> None:
    """As long as no unit passes an end of its clamp."""
    net = network(kind)
    total, s = nudged(net, images(net), 0.02)
    slopes = [net.slope(layer) for layer in s[:-1]]
    values = [total.value(s)]
    for _ in range(40):
        s, _ = solver.step(total, s)
        values.append(total.value(s))
        assert all(torch.equal(net.slope(layer), slope) for layer, slope in zip(s[:-1], slopes, strict=True))
    assert (values[-1] < values[0]).all()
    assert all((after <= before + 1e-14).all() for before, after in pairwise(values))


def backpropagated(net: PredictiveCoding, x: Tensor) -> list[Tensor]:
    """-dC/dW of the plain feed-forward network."""
    weights = [w.requires_grad_(True) for w in net.weights()]
    out = forward(net, weights, x)[-1]
    target = functional.one_hot(labels(x), 3).double()
    cost = 0.5 * (out - target).square().sum(1).mean()
    return [-g for g in torch.autograd.grad(cost, weights)]


def step(net: PredictiveCoding, x: Tensor, rule: Any) -> list[Tensor]:
    """What one step of rate 1 adds to the weights."""
    before = net.weights()
    rule.step(net, hw.SquaredError(), x, labels(x), [1.0] * len(net.links), torch.Generator().manual_seed(0))
    moved = [after - b for after, b in zip(net.weights(), before, strict=True)]
    net.program(before)
    return moved


def check_gradient(kind: str, nudge: str, order: int) -> None:
    """EP's step is backpropagation's, up to an error that falls with this power of beta."""
    net = network(kind)
    x = images(net)
    expected = backpropagated(net, x)
    errors = []
    for beta in (0.02, 0.01, 0.005):
        rule = hw.EquilibriumProp(beta, nudge, free=Phase(1), nudged=DEEP, solver=hw.ErrorSweeps())
        errors.append(
            max(((f - e).norm() / e.norm()).item() for f, e in zip(step(net, x, rule), expected, strict=True))
        )
    assert errors[-1] < (0.1 if order == 1 else 5e-3), errors
    assert all(abs(math.log2(a / b) - order) < 0.25 for a, b in pairwise(errors)), errors


@KINDS
@pytest.mark.parametrize(("nudge", "order"), [("centred", 2), ("one-sided", 1)])
def test_equilibrium_propagation_becomes_backpropagation(kind: str, nudge: str, order: int) -> None:
    check_gradient(kind, nudge, order)


def test_backpropagation_is_the_slope_of_the_cost() -> None:
    """The reference against finite differences of the network itself at equilibrium."""
    net = network("dense")
    x = images(net)

    def cost() -> float:
        out = net.outputs(settle(net.given(x), net.given(x).start(), solver=hw.ErrorSweeps(), phase=Phase(1)).state)
        return hw.SquaredError().value(out, functional.one_hot(labels(x), 3).double()).mean().item()

    expected, weights = backpropagated(net, x), [w.detach() for w in net.weights()]
    for index, place in ((0, (2, 3)), (1, (1, 0)), (2, (4, 1)), (4, (0, 2)), (5, (2, 0))):
        ends = []
        for sign in (1, -1):
            moved = [w.clone() for w in weights]
            moved[index][place] += sign * 1e-6
            net.program(moved)
            ends.append(cost())
        assert -(ends[0] - ends[1]) / 2e-6 == pytest.approx(expected[index][place].item(), rel=1e-6, abs=1e-10)


def _no_slope(self: PredictiveCoding, h: Tensor) -> Tensor:
    return torch.full_like(h, 0.5)


def _drive_only(self: GivenPrediction, s: State, output: Tensor) -> State:
    return (*self.start()[:-1], output)  # errors that never go down


def _twice(self: GivenPrediction, s: State, layer: int, error: Tensor) -> Tensor:
    return 2 * RIGHT_FEEDBACK(self, s, layer, error)


RIGHT_FEEDBACK = GivenPrediction._feedback


@pytest.mark.parametrize(
    "bug",
    [
        Bug("clamped units pass errors on", PredictiveCoding, "slope", _no_slope),
        Bug("errors stay at the output", GivenPrediction, "swept", _drive_only),
        Bug("feedback of twice the size", GivenPrediction, "_feedback", _twice),
    ],
    ids=str,
)
def test_a_wrong_network_is_rejected(bug: Bug) -> None:
    with bug.planted(), pytest.raises(AssertionError):
        check_gradient("convolutional", "centred", 2)


@KINDS
def test_the_exact_gradient_is_backpropagation(kind: str) -> None:
    """Of the weights and of the input: the adjoint of the forward pass."""
    net = network(kind)
    x = images(net)
    rule = ExactGradient(Implicit(Phase(1), Phase(30, tolerance=1e-13, stop_early=True), hw.ErrorSweeps()))
    for exact, plain in zip(step(net, x, rule), backpropagated(net, x), strict=True):
        assert_close(exact, plain, rtol=1e-9, atol=1e-12)
    x.requires_grad_(True)
    (expected,) = torch.autograd.grad(forward(net, net.weights(), x)[-1].square().sum(), x)
    for through in (Implicit(), hw.Unrolled(3)):
        logits = hw.EquilibriumClassifier(net, hw.ErrorSweeps(), Phase(1), through).differentiable(x)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
        assert_close(gradient, expected, rtol=1e-8, atol=1e-12)


def test_biases_on_the_array_are_the_same_network() -> None:
    net, column = network("dense"), network("dense", "column")
    weights = net.weights()
    column.program([torch.cat([weights[i], weights[i + 1]], 1) for i in range(0, 6, 2)])
    x = images(net)
    rule = hw.EquilibriumProp(0.1, free=Phase(1), nudged=Phase(5), solver=hw.ErrorSweeps())
    apart, joined = step(net, x, rule), step(column, x, rule)
    for index, whole in enumerate(joined):
        assert_close(whole, torch.cat(apart[2 * index : 2 * index + 2], 1))


@KINDS
def test_an_example_ends_alone_as_in_company(kind: str) -> None:
    net = network(kind)
    x = images(net, 6)
    phase = Phase(40, tolerance=1e-9, stop_early=True)

    def ends(x: Tensor, y: Tensor) -> State:
        given, cost = net.given(x), hw.SquaredError()
        energy = Nudged(given, cost, cost.encode(y, given.start()[-1]), 0.1)
        return settle(energy, given.start(), solver=hw.ErrorSweeps(), phase=phase).state

    together = ends(x, labels(x))
    for row in range(len(x)):
        alone = ends(x[row : row + 1], labels(x)[row : row + 1])
        for one, all_ in zip(alone, together, strict=True):
            assert_close(one[0], all_[row], rtol=0, atol=1e-12)


def test_what_cannot_be_is_said() -> None:
    net = network("dense")
    with pytest.raises(hw.InputError, match="expected 7 values an example, got 3"):
        net.given(torch.rand(1, 3))
    with pytest.raises(hw.InputError, match="upside down"):
        step(net, images(net), hw.EquilibriumProp(1.5, free=Phase(1), nudged=Phase(5), solver=hw.ErrorSweeps()))
    with pytest.raises(hw.InputError, match="predictive coding networks alone"):
        hw.infer(hw.hopfield([7, 4, 3]), torch.rand(1, 7), solver=hw.ErrorSweeps())
    with pytest.raises(hw.InputError, match="needs a link"):
        PredictiveCoding([])
    with pytest.raises(hw.InputError, match="c must be > 0"):
        hw.predictive_coding([4, 3], c=0.0)
    with pytest.raises(ValueError, match="damping"):
        hw.ErrorSweeps(1.5)
