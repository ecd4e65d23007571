"""The linear response of an equilibrium: against dense solves, autograd on plain tensors and unrolled graphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from theory_reference import DOUBLE, Bug, Plain, by_layer, draw, must_reject, random_plain, reference_gradients
from torch import Tensor
from torch.testing import assert_close

import hwsim.learning.response
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Cost, State
from hwsim.ebm.hopfield import GivenInput, LayeredHopfield
from hwsim.ebm.linearised import Linearised
from hwsim.ebm.settle import OddEven, Phase, settle
from hwsim.errors import InputError
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Unrolled
from hwsim.learning.exact import weight_gradient
from hwsim.learning.response import linear_response
from hwsim.rng import Streams

DEEP = Phase(2000, tolerance=1e-13, stop_early=True)
LABELS = torch.tensor([0, 1, 2])


def convolutional(output: str = "linear", bias: str = "digital") -> tuple[LayeredHopfield, Tensor]:
    device = FloatDevice(dtype=DOUBLE)
    last = "average" if bias == "column" else "none"
    layers = [(2, 8, 8), Conv(3, pool="max"), Conv(4, pool="max"), Conv(4, pool=last), 3]
    net = layered_hopfield(layers, device, Streams(0), output=output, bias=bias, bias_device=device)
    net.program([w.double() for w in net.initial_weights(1.6, Streams(1))])
    return net, draw((3, 2, 8, 8), torch.Generator().manual_seed(2))


def dense(bias: str) -> tuple[LayeredHopfield, Tensor]:
    plain, x, _ = random_plain((4, 6, 5, 3), 1)
    return plain.network(bias), x


NETS: dict[str, Callable[[], tuple[LayeredHopfield, Tensor]]] = {
    "dense": lambda: dense("digital"),
    "dense, bias column": lambda: dense("column"),
    "max-pooled": convolutional,
    "average-pooled, bias column": lambda: convolutional(bias="column"),
    "readout": lambda: convolutional("readout"),
}


def solved(given: GivenInput, s: State, pull: State) -> Tensor:
    """(B, units): H u = pull by a dense solve, H by autograd of the energy, on free units alone."""
    shapes = [layer.shape[1:] for layer in s]
    sizes = [shape.numel() for shape in shapes]

    def value(flat: Tensor) -> Tensor:
        parts = flat.view(len(s[0]), -1).split(sizes, 1)
        return given.value(tuple(p.reshape(-1, *shape) for p, shape in zip(parts, shapes, strict=True))).sum()

    flat, g = (torch.cat([layer.flatten(1) for layer in state], 1) for state in (s, pull))
    hessian = torch.autograd.functional.hessian(value, flat.flatten()).view(*flat.shape, *flat.shape)
    found = torch.zeros_like(flat)
    for i in range(len(flat)):
        inside = [((layer[i] > low) & (layer[i] < high)).flatten() for layer, (low, high) in bounded(given, s)]
        free = torch.cat(inside)
        assert 0 < free.sum() < len(free)
        found[i, free] = torch.linalg.solve(hessian[i, :, i][free][:, free], g[i, free])
    return found


def bounded(given: GivenInput, s: State) -> list[tuple[Tensor, tuple]]:
    return [(layer, given.bounds(block)) for block, layer in enumerate(s)]


def check_response(name: str) -> None:
    """To a pull at every block, not at the output alone."""
    net, x = NETS[name]()
    given, rng = net.given(x), torch.Generator().manual_seed(3)
    s = settle(given, given.start(), solver=OddEven(), phase=DEEP).state
    pull = tuple(draw(layer.shape, rng, -1, 1) for layer in s)
    found = linear_response(given, s, pull, Phase(80, tolerance=1e-13, stop_early=True))
    assert not found.open.any()
    assert found.left.max() <= 1e-13
    assert found.products < 80
    assert_close(torch.cat([u.flatten(1) for u in found.way], 1), solved(given, s, pull), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["dense", "dense, bias column", "max-pooled"])
def test_the_response_solves_the_linear_system(name: str) -> None:
    check_response(name)


def _all_free(layer: Tensor, low: object, high: object) -> Tensor:
    return torch.ones_like(layer)


@pytest.mark.parametrize(
    "bug",
    [
        Bug("held units move", hwsim.ebm.linearised, "free_units", _all_free),
        Bug("nothing coupled", Linearised, "couple", lambda self, v, into: {}),
    ],
    ids=str,
)
def test_response_check_rejects(bug: Bug) -> None:
    must_reject(bug, check_response, "dense")


def learned(net: LayeredHopfield, x: Tensor, cost: Cost) -> list[Tensor]:
    before = net.weights()
    rule = EquilibriumProp(nudge="linear-response", free=DEEP, nudged=Phase(100, tolerance=1e-13, stop_early=True))
    stats = rule.step(net, cost, x, LABELS, [1.0] * len(net.links), torch.Generator())
    assert stats.open_share == stats.unsettled_share == 0.0
    moved = [after - old for after, old in zip(net.weights(), before, strict=True)]
    net.program(before)
    return moved


def check_gradient(name: str, cost: Cost) -> None:
    net, x = NETS[name]()
    # A float twin has its biases where the network has them.
    expected = weight_gradient(net, cost, x, LABELS, Unrolled(120, OddEven(1.2)))
    for a, b in zip(learned(net, x, cost), expected, strict=True):
        assert b.abs().max() > 1e-6
        assert_close(a, -b, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("cost", [SquaredError(), CrossEntropy()])
@pytest.mark.parametrize("name", NETS)
def test_a_step_is_the_gradient_through_an_unrolled_relaxation(name: str, cost: Cost) -> None:
    check_gradient(name, cost)


def _flipped(*given: object) -> tuple[tuple, tuple]:
    positive, negative = _contrast(*given)  # type: ignore[arg-type]
    return negative, positive


def _ends_alone(energy: GivenInput, cost: Cost, target: Tensor, s: State, way: State) -> tuple[tuple, tuple]:
    return _contrast(energy, cost, target, s, (*(torch.zeros_like(u) for u in way[:-1]), way[-1]))


_contrast = hwsim.learning.response.contrast_of


@pytest.mark.parametrize("wrong", [_flipped, _ends_alone])
def test_gradient_check_rejects(wrong: Callable[..., object]) -> None:
    must_reject(Bug("contrast", hwsim.learning.ep, "contrast_of", wrong), check_gradient, "max-pooled", SquaredError())


def test_gradient_check_rejects_own_maxima() -> None:
    """Frozen switches are what makes the contrast bilinear."""
    couplings = GivenInput.couplings
    far = Bug("switches of the moved state", GivenInput, "couplings", lambda self, s, at=None: couplings(self, s))
    with far.planted():
        net, x = convolutional()
        given = net.given(x)
        s = settle(given, given.start(), solver=OddEven(), phase=DEEP).state
        way = tuple(5 * draw(layer.shape, torch.Generator().manual_seed(9), -1, 1) for layer in s)
        moved = _contrast(given, SquaredError(), s[-1], s, way)
    exact = _contrast(given, SquaredError(), s[-1], s, way)
    assert not torch.equal(moved[0][2].post, exact[0][2].post)


def test_a_step_is_the_gradient_by_autograd_on_plain_tensors() -> None:
    plain, x, _ = random_plain((4, 6, 5, 3), 1, scale=0.5)
    net = plain.network()
    expected, _ = reference_gradients(plain, x, LABELS)
    for a, b in zip(by_layer(net, learned(net, x, SquaredError())), expected, strict=True):
        assert_close(a, -b, rtol=1e-7, atol=1e-11)


def pair(weight: float) -> tuple[GivenInput, State]:
    """A hidden unit and an output that pull at each other with r = weight / 2, held half-way by hand."""
    none = torch.zeros(1, dtype=DOUBLE)
    plain = Plain((none[:, None], torch.full((1, 1), weight, dtype=DOUBLE)), (none, none))
    given = plain.network().given(torch.zeros(2, 1, dtype=DOUBLE))
    half = torch.tensor([[0.5], [1.0]], dtype=DOUBLE)  # the second one's hidden unit is held: all is well there
    return given, (half, half)


def check_open() -> None:
    given, s = pair(4.0)
    pull = (torch.zeros(2, 1, dtype=DOUBLE), torch.ones(2, 1, dtype=DOUBLE))
    found = linear_response(given, s, pull, Phase(10, tolerance=1e-12, stop_early=True))
    assert found.open.tolist() == [True, False]
    assert found.way[0][0].item() == 0.0  # what it had when the curvature was lost
    assert found.way[1][0].item() == pytest.approx(0.5)  # the output alone
    assert found.way[1][1].item() == pytest.approx(0.5)
    given, s = pair(1.0)
    found = linear_response(given, s, pull, Phase(10, tolerance=1e-12, stop_early=True))
    assert not found.open.any()
    assert found.way[1][:, 0].tolist() == pytest.approx([1 / 1.5, 0.5])


def test_examples_at_no_minimum_keep_what_they_have_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    check_open()
    monkeypatch.setattr(hwsim.learning.response, "LEAST_CURVATURE", -1e9)
    with pytest.raises(AssertionError):
        check_open()


class Noisy(FloatSynapse):
    noisy = True


def test_linear_responses_need_exact_arrays() -> None:
    plain, x, _ = random_plain((4, 6, 3), 1)
    net = plain.network().mapped(lambda synapse: Noisy(synapse.weight()))
    with pytest.raises(InputError, match="linear-response works on exact arrays"):
        EquilibriumProp(nudge="linear-response").step(net, SquaredError(), x, LABELS, [0.1] * 2, torch.Generator())
