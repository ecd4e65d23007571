"""Convolutional networks: their energy written anew, adjoint reads, descent, and EP against exact gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from theory_reference import DOUBLE, Bug, draw, must_reject
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.reads.kernels import ImageKernels, PatchKernels
from hwsim.crossbar.reads.window import Window
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.convolution import POOLS, Convolution
from hwsim.ebm.costs import CrossEntropy, SquaredError, ThroughReadout
from hwsim.ebm.energy import Cost, Energy, Nudged, State
from hwsim.ebm.hopfield import GivenInput, Kept, LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase, Solver, Synchronous, UpDown, settle
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit, Unrolled
from hwsim.learning.exact import weight_gradient
from hwsim.rng import Streams

LABELS = torch.tensor([0, 1, 2, 0])
COSTS: dict[str, Cost] = {"linear": SquaredError(), "readout": CrossEntropy()}
EXACTLY = Phase(3000, tolerance=1e-14, stop_early=True)
DEVICE = FloatDevice(dtype=DOUBLE)


def small(
    pool: str, output: str, *, gain: float = 1.0, bias: float = 0.8, seed: int = 0
) -> tuple[LayeredHopfield, Tensor]:
    """Two convolutional layers of odd sizes and a dense one, and four images.

    Biases of 0.8 keep the hidden units strictly within their bounds, so that all but max-pooling is smooth.
    """
    streams = Streams(seed)
    stride = 2 if pool == "none" else 1
    layers = [Conv(3, pool=pool, stride=stride), Conv(4, pool=pool, stride=stride)]
    net = layered_hopfield([(2, 9, 9), *layers, 3], DEVICE, streams, output=output, bias_device=DEVICE)
    weights = [w.double() for w in net.initial_weights(gain, streams)]
    for hidden_bias in weights[1:4:2]:
        hidden_bias += bias
    net.program(weights)
    return net, draw((4, 2, 9, 9), streams.generator("data"))


def by_the_book(net: LayeredHopfield, x: Tensor, s: Sequence[Tensor], beta: float) -> Tensor:
    """(B,): the energy of docs/concepts/energy.md on torch's own convolutions, nudged by the output's cost."""
    return energy_by_the_book(net, net.weights(), x, s, beta)


def energy_by_the_book(
    net: LayeredHopfield, weights: Sequence[Tensor], x: Tensor, s: Sequence[Tensor], beta: float
) -> Tensor:
    below = x
    value = sum(net.c * layer.square().flatten(1).sum(1) for layer in s)
    for index, link in enumerate(net.links):
        w, b = weights[2 * index], weights[2 * index + 1][:, 0]
        if isinstance(link, Convolution):
            k = link.window.kernel
            made = functional.conv2d(
                below, w.view(len(w), -1, k, k), b, stride=link.window.stride, padding=link.window.padding
            )
            if link.pool != "none":
                made = (functional.max_pool2d if link.pool == "max" else functional.avg_pool2d)(made, 2)
        else:
            made = functional.linear(below.flatten(1), w, b)
        if index < net.blocks:
            value = value - (s[index] * made).flatten(1).sum(1)
            below = s[index]
        else:
            value = value + beta * functional.cross_entropy(made, LABELS, reduction="none")
    if net.output == "linear":
        value = value + beta * (s[-1] - functional.one_hot(LABELS, 3)).square().sum(1) / 2
    return value


def nudged(net: LayeredHopfield, x: Tensor, beta: float) -> Energy:
    cost, given_input = net.cost_of_state(COSTS[net.output]), net.given(x)
    return Nudged(given_input, cost, cost.encode(LABELS, given_input.start()[-1]), beta)


def random_state(net: LayeredHopfield, rng: torch.Generator) -> State:
    return tuple(draw((4, *link.post_shape), rng) for link in net.links[: net.blocks])


def check_force(pool: str, output: str) -> None:
    net, x = small(pool, output, gain=2.0)
    for beta in (0.0, 0.7, -0.7):
        energy = nudged(net, x, beta)
        leaves = [s.requires_grad_(True) for s in random_state(net, torch.Generator().manual_seed(1))]
        value = by_the_book(net, x, leaves, beta)
        slopes = torch.autograd.grad(value.sum(), leaves)
        s = tuple(leaf.detach() for leaf in leaves)
        with torch.no_grad():
            assert_close(energy.value(s), value.detach(), rtol=1e-9, atol=1e-12)
            for force, slope in zip(energy.force(s), slopes, strict=True):
                assert_close(force, -slope, rtol=1e-9, atol=1e-12)


def check_descends(solver: Solver, pool: str, output: str, beta: float, gain: float) -> None:
    net, x = small(pool, output, gain=gain, bias=0.0)
    energy = nudged(net, x, beta)
    s = random_state(net, torch.Generator().manual_seed(2))
    path = [s]
    settle(energy, s, solver=solver, phase=Phase(12), watch=lambda _, state: path.append(state))
    values = torch.stack([by_the_book(net, x, state, beta) for state in path])
    assert ((values[1:] - values[:-1]) / (1 + values[:-1].abs())).max() <= 1e-12
    assert (values[0] - values[-1]).min() > 1e-3  # it does descend, not only stand


def check_adjoint(window: Window, pool: str, size: tuple[int, int], by: type, seed: int) -> None:
    """<read(x), y> = <x, backward(y)> at x's own switches, without the biases."""
    rng = torch.Generator().manual_seed(seed)
    synapse = FloatSynapse(draw((3, window.columns), rng, -1, 1))
    if window.constant:
        synapse.tensor[:, -1] = 0.0
    link = Convolution(
        synapse,
        None if window.constant else FloatSynapse(torch.zeros(3, 1, dtype=DOUBLE)),
        window,
        pool=pool,
        size=size,
    )
    link.kernels = by(synapse, window)
    x, y = draw((2, *link.pre_shape), rng, -1, 1), draw((2, *link.post_shape), rng, -1, 1)
    read = link.read(x)
    forth = (read.drive * y).flatten(1).sum(1)
    back = (x * link.backward(y, read.switches)).flatten(1).sum(1)
    assert_close(forth, back, rtol=1e-12, atol=1e-12)


def check_couplings(pool: str, output: str) -> None:
    """dE/dW = -post^T pre: what the couplings write into empty arrays is the slope of the energy by the book."""
    net, x = small(pool, output, gain=2.0)
    s, beta = random_state(net, torch.Generator().manual_seed(3)), 0.7
    with torch.no_grad():
        couplings = nudged(net, x, beta).couplings(s)
    for index, (coupling, synapse) in enumerate(zip(couplings, net.synapses, strict=True)):
        before = synapse.weight()
        coupling.synapse.update(coupling.pre, coupling.post, 1.0)
        written = synapse.weight() - before
        synapse.program(before)
        weights = net.weights()
        weights[index].requires_grad_(True)
        (slope,) = torch.autograd.grad(energy_by_the_book(net, weights, x, s, beta).sum(), weights[index])
        assert_close(written, -slope, rtol=1e-9, atol=1e-11)


def ep_errors(pool: str, output: str, nudge: str, betas: Sequence[float], solver: Solver) -> list[float]:
    """Largest error of the EP gradient, relative to the largest entry of the exact one, array by array."""
    net, x = small(pool, output)
    cost = COSTS[output]
    exact = weight_gradient(net, cost, x, LABELS, Implicit(phase=EXACTLY, adjoint=EXACTLY))
    before, errors = net.weights(), []
    for beta in betas:
        net.program(before)
        rule = EquilibriumProp(beta, nudge, EXACTLY, EXACTLY, solver)
        rule.step(net, cost, x, LABELS, [1.0] * len(net.links), torch.Generator())
        moved = [after - w for after, w in zip(net.weights(), before, strict=True)]
        errors.append(max(((m + g).abs().max() / g.abs().max()).item() for m, g in zip(moved, exact, strict=True)))
    return errors


def check_slope(pool: str, output: str, nudge: str, order: float, solver: Solver) -> None:
    """The error falls as beta^order, down to far below the gradient."""
    errors = ep_errors(pool, output, nudge, (0.04, 0.02, 0.01), solver)
    slopes = torch.tensor(errors[:-1]).log2() - torch.tensor(errors[1:]).log2()
    assert (slopes - order).abs().max() < 0.1
    assert errors[-1] < (1e-3 if order == 2 else 3e-2)


@pytest.mark.parametrize("output", ["linear", "readout"])
@pytest.mark.parametrize("pool", POOLS)
def test_force_is_minus_the_slope_of_the_energy_by_the_book(pool: str, output: str) -> None:
    check_force(pool, output)


@pytest.mark.parametrize("output", ["linear", "readout"])
@pytest.mark.parametrize("pool", POOLS)
def test_couplings_are_minus_the_slope_in_the_weights(pool: str, output: str) -> None:
    check_couplings(pool, output)


@pytest.mark.parametrize("beta", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("solver", [OddEven(), UpDown(), UpDown(0.5)], ids=str)
def test_block_updates_never_raise_the_energy(solver: Solver, pool: str, beta: float) -> None:
    check_descends(solver, pool, "linear", beta, gain=4.0)


windows = st.builds(
    Window, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), constant=st.booleans()
)


@given(windows, st.sampled_from(POOLS), st.tuples(st.integers(7, 11), st.integers(7, 11)), st.integers(0, 1000))
def test_feedback_is_the_adjoint_of_the_read(window: Window, pool: str, size: tuple[int, int], seed: int) -> None:
    for by in (PatchKernels, ImageKernels):
        check_adjoint(window, pool, size, by, seed)


@given(windows, st.tuples(st.integers(6, 10), st.integers(6, 10)), st.integers(0, 1000))
def test_images_and_patches_are_two_ways_to_the_same_numbers(window: Window, size: tuple[int, int], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    ways = [
        kind(FloatSynapse(torch.zeros(4, window.columns, dtype=DOUBLE)), window)
        for kind in (PatchKernels, ImageKernels)
    ]
    weight = draw((4, window.columns), rng, -1, 1)
    pre, post = draw((2, window.channels, *size), rng), draw((2, 4, *window.size(*size)), rng, -1, 1)
    results = []
    for way in ways:
        way.synapse.program(weight)
        read, back = way.read(pre), way.read_transpose(post, size)
        way.update(pre, post, 0.3)
        meter = way.synapse.meter
        counts = (meter.vectors_read, meter.vectors_read_transpose, meter.vectors_updated)
        results.append((read, back, way.synapse.weight(), torch.tensor(counts)))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("output", ["linear", "readout"])
@pytest.mark.parametrize("pool", POOLS)
def test_implicit_and_unrolled_gradients_agree(pool: str, output: str) -> None:
    net, x = small(pool, output)
    ways = [Implicit(phase=EXACTLY, adjoint=EXACTLY), Unrolled(120)]
    if pool != "max":  # has several equilibria, and other solvers may reach others
        ways += [Unrolled(60, UpDown()), Unrolled(60, OddEven(), checkpoint=True)]
    one, *others = [weight_gradient(net, COSTS[output], x, LABELS, way) for way in ways]
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert_close(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("output", ["linear", "readout"])
@pytest.mark.parametrize("pool", ["none", "average"])
@pytest.mark.parametrize(("nudge", "order"), [("centred", 2.0), ("one-sided", 1.0)])
def test_ep_gradient_is_exact_to_the_order_of_its_nudge(nudge: str, order: float, pool: str, output: str) -> None:
    check_slope(pool, output, nudge, order, UpDown())


@pytest.mark.parametrize("output", ["linear", "readout"])
def test_ep_gradient_with_max_pooling_is_exact_while_no_switch_moves(output: str) -> None:
    assert ep_errors("max", output, "centred", [1e-4], Synchronous())[0] < 1e-6


def _unflipped(self: Window, images: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    # a correlation where its transpose belongs
    kernels = self._kernels(weight).flip(2, 3)
    reached = [(n - 1) * self.stride + self.kernel - 2 * self.padding for n in images.shape[2:]]
    rest = [n - r for n, r in zip(size, reached, strict=True)]
    return functional.conv_transpose2d(images, kernels, None, self.stride, self.padding, rest)


def _averaged_back(self: Convolution, post: Tensor, switches: Tensor | None) -> Tensor:
    like = torch.empty(len(post), post.shape[1], *self.positions, dtype=post.dtype)
    return torch.ops.aten.avg_pool2d_backward(post, like, [2, 2], [2, 2], [0, 0], False, True, None)


def _never_read_again(self: GivenInput, kept: Kept, layer: int, s: State) -> Tensor:
    link = self.net.links[layer]
    if torch.is_grad_enabled():
        return link.backward(s[layer])
    return kept.feedbacks.setdefault(layer, (s[layer], None, link.backward(s[layer])))[2]


def _reversed_product(self: Window, pre: Tensor, post: Tensor) -> Tensor:
    return self.patches(pre).flip(1).T.matmul(post.permute(0, 2, 3, 1).flatten(0, 2)).T


def _free_readout(self: ThroughReadout, output: Tensor, target: Tensor, beta: float) -> tuple:
    return self.link.couplings(output, self._force(output, target))


FLIP = Bug("kernels not flipped in the feedback", Window, "spread", _unflipped)
AVERAGED = Bug("maxima sent back as averages", Convolution, "_unpool", _averaged_back)
STALE = Bug("reads held although the layer moved", GivenInput, "_feedback", _never_read_again)
REVERSED = Bug("patches reversed in the update", Window, "product", _reversed_product)
FREE_READOUT = Bug("readout learns without beta", ThroughReadout, "couplings", _free_readout)


@pytest.mark.parametrize(
    ("bug", "check", "arguments"),
    [
        (FLIP, check_force, ("none", "linear")),
        (FLIP, check_adjoint, (Window(2, 3, 2, 1), "none", (8, 7), ImageKernels, 0)),
        (FLIP, check_slope, ("average", "linear", "centred", 2.0, UpDown())),
        (FLIP, check_descends, (UpDown(), "none", "linear", 0.0, 4.0)),
        (AVERAGED, check_force, ("max", "linear")),
        (AVERAGED, check_couplings, ("max", "linear")),
        (AVERAGED, check_adjoint, (Window(2, 3, 1, 1), "max", (8, 8), PatchKernels, 0)),
        (STALE, check_slope, ("average", "linear", "centred", 2.0, UpDown())),
        (REVERSED, check_couplings, ("none", "linear")),
        (FREE_READOUT, check_couplings, ("none", "readout")),
    ],
    # A function's text holds its address, which differs between the processes of a parallel run.
    ids=lambda part: getattr(part, "__name__", None) or str(part),
)
def test_checks_reject_planted_bugs(bug: Bug, check: Callable[..., None], arguments: tuple) -> None:
    must_reject(bug, check, *arguments)
