from __future__ import annotations

import pytest
import torch
from robust_models import Digits, face, rng
from torch import Tensor

import hwsim as hw
from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.energy import State
from hwsim.ebm.hopfield import GivenInput, LayeredHopfield
from hwsim.ebm.normalise import Normalise
from hwsim.ebm.settle import Phase, Synchronous
from hwsim.errors import InputError
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, Unrolled
from hwsim.learning.gradient_ways import WAYS, Leaky, NudgedInput, Truncated, way_named
from hwsim.learning.simultaneous import Simultaneous
from hwsim.rng import Streams
from hwsim.robustness.attacker import surrogate
from hwsim.robustness.attacks import input_gradient, loss_of, pgd
from hwsim.robustness.classifier import EquilibriumClassifier, correct
from hwsim.robustness.threat import Threat

EXACT = Phase(2000, tolerance=1e-13, stop_early=True)


@pytest.fixture(scope="module", params=["linear", "clamped", "readout", "max-pool"])
def small(request: pytest.FixtureRequest) -> tuple[LayeredHopfield, Tensor, Tensor]:
    """A float64 network of several free layers, its units mostly inside their bounds."""
    device, g = FloatDevice(dtype=torch.float64), rng(1)
    if request.param == "max-pool":
        layers = [Conv(3, 3, pool="max"), Conv(4, 3, pool="max")]
        normalise = Normalise((0.4, 0.5), (0.2, 0.3))
        net = layered_hopfield([(2, 8, 8), *layers, 5], device, Streams(0), bias_device=device, normalise=normalise)
    else:
        net = layered_hopfield((9, 12, 8, 5), device, Streams(0), output=request.param, bias_device=device)
    scale, mean = (0.1, 0.03) if request.param == "max-pool" else (0.25, 0.1)
    net.program([scale * torch.randn(s.shape, generator=g, dtype=torch.float64) + mean for s in net.synapses])
    shape = (2, 8, 8) if request.param == "max-pool" else (9,)
    x = torch.rand(6, *shape, generator=g, dtype=torch.float64)
    return net, x, torch.randint(5, (6,), generator=g)


def gradient(small: tuple[LayeredHopfield, Tensor, Tensor], through: Equilibrium, loss: str = "ce") -> Tensor:
    net, x, y = small
    return input_gradient(EquilibriumClassifier(net, through=through), x, y, loss)[0]


def error(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_implicit_equals_unrolled_and_nudged_where_settled(
    small: tuple[LayeredHopfield, Tensor, Tensor], loss: str
) -> None:
    exact = gradient(small, Implicit(EXACT, EXACT), loss)
    assert exact.abs().max() > 1e-4
    assert error(gradient(small, Unrolled(400), loss), exact) < 1e-9
    assert error(gradient(small, Simultaneous(400), loss), exact) < 1e-9
    assert error(gradient(small, Unrolled(400, checkpoint=True), loss), exact) < 1e-9
    assert error(gradient(small, Truncated(300, EXACT), loss), exact) < 1e-9
    assert error(gradient(small, NudgedInput(1e-5, free=EXACT, nudged=EXACT), loss), exact) < 1e-6


def test_the_input_gradient_is_the_slope_of_the_loss(small: tuple[LayeredHopfield, Tensor, Tensor]) -> None:
    """Central differences of the settled network's own logits."""
    net, x, y = small
    judge = EquilibriumClassifier(net, phase=EXACT)
    towards = torch.randn(x.shape, generator=rng(2), dtype=x.dtype)
    step = 1e-6

    def loss(at: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(judge.logits(at), y, reduction="sum")

    slope = (loss(x + step * towards) - loss(x - step * towards)) / (2 * step)
    exact = (gradient(small, Implicit(EXACT, EXACT)) * towards).sum()
    assert exact.item() == pytest.approx(slope.item(), rel=1e-6)


def test_nudging_converges_with_beta(small: tuple[LayeredHopfield, Tensor, Tensor]) -> None:
    exact = gradient(small, Implicit(EXACT, EXACT))
    errors = [error(gradient(small, NudgedInput(b, free=EXACT, nudged=EXACT)), exact) for b in (1.0, 0.1, 1e-3)]
    rounding = 1e-8
    assert errors[2] <= errors[1] + rounding <= errors[0] + 2 * rounding
    assert errors[2] < 1e-3


class WrongSign(NudgedInput):
    """Planted: the pull along the gradient instead of against it."""

    def reach(self, energy: GivenInput, s: State) -> State:
        state = super().reach(energy, s)
        return tuple(-layer + 2 * layer.detach() for layer in state)


def test_a_simultaneous_adjoint_follows_the_states_on_their_way(
    small: tuple[LayeredHopfield, Tensor, Tensor],
) -> None:
    """Against the same sum written out with Jacobians: u <- g + J(s_t)^T u along the states, t ascending."""
    net, x, y = small
    given = net.given(x)
    states = [given.start()]
    for _ in range(3):
        states.append(Synchronous().step(given, states[-1])[0])
    sizes = [layer[0].numel() for layer in states[0]]

    def step(flat: Tensor, image: Tensor) -> Tensor:
        s = tuple(part.reshape(1, *layer.shape[1:]) for part, layer in zip(flat.split(sizes), states[0], strict=True))
        return torch.cat([layer.flatten() for layer in net.given(image).minimise(s, range(net.blocks))])

    at = torch.cat([layer[0].flatten() for layer in states[-1]])
    image = x[:1].clone().requires_grad_(True)
    reached = step(at, image)
    parts = [part.reshape(1, *layer.shape[1:]) for part, layer in zip(reached.split(sizes), states[0], strict=True)]
    loss = loss_of(net.logits(tuple(parts), net.given(image)), y[:1], "ce").sum()
    (g,) = torch.autograd.grad(loss, reached, retain_graph=True)
    u = g
    for s in states:
        flat = torch.cat([layer[0].flatten() for layer in s])
        u = g + torch.autograd.functional.vjp(lambda z: step(z, x[:1]), flat, u)[1]
    (expected,) = torch.autograd.grad(reached, image, u)
    assert error(gradient(small, Simultaneous(3))[:1], expected) < 1e-9


class OneSided(NudgedInput):
    """Planted: divided by beta instead of 2 beta."""

    def reach(self, energy: GivenInput, s: State) -> State:
        state = super().reach(energy, s)
        return tuple(2 * layer - layer.detach() for layer in state)


@pytest.mark.parametrize("planted", [WrongSign, OneSided])
def test_planted_mistakes_would_be_noticed(
    small: tuple[LayeredHopfield, Tensor, Tensor], planted: type[NudgedInput]
) -> None:
    exact = gradient(small, Implicit(EXACT, EXACT))
    assert error(gradient(small, planted(1e-5, free=EXACT, nudged=EXACT)), exact) > 0.5


def test_a_leak_changes_the_gradient_and_not_the_scores(net: LayeredHopfield, digits: Digits) -> None:
    x = digits.test_x[:20].clone().requires_grad_(True)
    plain, leaky = face(net).differentiable(x), face(net, through=Leaky(Unrolled(30))).differentiable(x)
    assert torch.allclose(plain, leaky, atol=1e-6)
    a, b = (torch.autograd.grad(out.logsumexp(1).sum(), x)[0] for out in (plain, leaky))
    assert not torch.allclose(a, b, rtol=1e-2)
    assert torch.cosine_similarity(a.flatten(1), b.flatten(1)).min() > 0.3


def test_a_leak_frees_units_that_saturate() -> None:
    """One hidden unit driven far above 1: no gradient passes it, unless it leaks."""
    net = layered_hopfield((1, 1, 1), FloatDevice(), Streams(0), output="readout")
    net.program([torch.tensor([[1.0]]), torch.tensor([[2.2]]), torch.tensor([[1.0]]), torch.tensor([[0.0]])])
    x = torch.tensor([[0.5]], requires_grad=True)
    for through, passes in ((Unrolled(20), False), (Leaky(Unrolled(20), 0.2), True)):
        (slope,) = torch.autograd.grad(EquilibriumClassifier(net, through=through).differentiable(x).sum(), x)
        assert bool(slope.abs() > 1e-3) is passes


@pytest.mark.parametrize(
    "through",
    [Simultaneous(16), NudgedInput(0.2), NudgedInput(1.0), Truncated(5), Leaky(Unrolled(30)), Implicit(), Unrolled(20)],
)
def test_every_way_attacks_about_as_well(net: LayeredHopfield, digits: Digits, through: Equilibrium) -> None:
    x, y = digits.test_x, digits.test_y
    moved = pgd(face(net, through=through), x, y, Threat("linf", 0.1), steps=10, rng=rng(), loss="margin")
    reference = pgd(face(net), x, y, Threat("linf", 0.1), steps=10, rng=rng(), loss="margin")
    judge = face(net)
    assert correct(judge, moved, y).double().mean() < correct(judge, reference, y).double().mean() + 0.05


def test_the_gradient_passes_a_normalisation(net: LayeredHopfield, digits: Digits) -> None:
    x, y = digits.test_x[:5], digits.test_y[:5]
    halved = face(net, prepare=lambda pixels: pixels / 2, through=NudgedInput(0.01))
    ours, _ = input_gradient(halved, x, y, "margin")
    plain, _ = input_gradient(face(net, through=NudgedInput(0.01)), x / 2, y, "margin")
    assert torch.allclose(ours, plain / 2, atol=1e-6)


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="beta: expected a number > 0"):
        NudgedInput(0.0)
    with pytest.raises(InputError, match="temperature: expected a number > 0"):
        Leaky(Unrolled(1), 0.0)


def test_ways_by_name() -> None:
    for name, way in WAYS.items():
        assert way_named(name) is way
    assert way_named("unrolled-17") == Unrolled(17)
    assert way_named("truncated-2") == Truncated(2)
    assert way_named("simultaneous-7") == Simultaneous(7)
    assert way_named("nudged-0.3") == NudgedInput(0.3)
    for wrong in ("unroled-10", "unrolled-0", "unrolled-", "nudged-x", "nudged--1", ""):
        with pytest.raises(InputError):
            way_named(wrong)


def test_a_network_that_starts_at_rest_is_attacked_through_its_forward_pass() -> None:
    """A predictive coding network against the forward pass written out, in float64."""
    exact = FloatDevice(dtype=torch.float64)
    net = hw.predictive_coding([6, 5, 3], exact, bias="digital", bias_device=exact, seed=0)
    x = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.tensor([0, 1, 2, 0])
    attacked = surrogate(hw.EquilibriumClassifier(net, hw.ErrorSweeps(), hw.Phase(1)), "implicit")
    gradient, logits = input_gradient(attacked, x.detach(), y, "ce")
    weights = net.weights()
    hidden = ((x @ weights[0].T + weights[1].flatten()) / 2).clamp(0, 1)
    scores = hidden @ weights[2].T + weights[3].flatten()
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(scores, y, reduction="sum"), x)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(logits, scores.detach())
    torch.testing.assert_close(gradient, expected)
    assert isinstance(attacked.through, Unrolled)
