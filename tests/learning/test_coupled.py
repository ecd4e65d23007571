"""Coupled learning against its definition, Kirchhoff's equations, and equilibrium propagation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from kirchhoff import Book
from scipy.optimize import root
from theory_reference import DOUBLE, Bug, must_reject
from torch import Tensor
from torch.testing import assert_close

import hwsim as hw
import hwsim.learning.coupled
from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.diode import Diode
from hwsim.ebm.energy import Clamped, Cost
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.links import Dense
from hwsim.ebm.network import Network
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.ebm.settle import Phase, UpDown
from hwsim.errors import InputError
from hwsim.learning.coupled import CoupledLearning
from hwsim.learning.ep import Contrast, EquilibriumProp, Side
from hwsim.learning.rule import LearningRule

DEEP = Phase(20_000, tolerance=1e-14, stop_early=True)
DIODE = Diode(1e-9, 1.3)


def resistive() -> ResistiveNetwork:
    rng = torch.Generator().manual_seed(0)
    arrays = [FloatSynapse(2.0 * torch.rand(*shape, generator=rng, dtype=DOUBLE)) for shape in [(8, 10), (6, 10)]]
    return ResistiveNetwork(arrays, amplifier_gain=2.5, diode=DIODE, bias_V=0.4)


def images(count: int) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


def labels_of(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 3


def coupled(eta: float) -> CoupledLearning:
    return CoupledLearning(eta, free=DEEP, clamped=DEEP, solver=UpDown())


def written(net: Network, rule: LearningRule, x: Tensor, labels: Tensor, cost: Cost | None = None) -> list[Tensor]:
    """What a step writes at a rate of 1; the weights are put back."""
    before = net.weights()
    rule.step(net, cost or SquaredError(), x, labels, [1.0] * len(net.links), torch.Generator().manual_seed(0))
    moved = [after - weight for after, weight in zip(net.weights(), before, strict=True)]
    net.program(before)
    return moved


def squared_drops(book: Book, sources: np.ndarray, volts: list[np.ndarray]) -> list[np.ndarray]:
    """Across every conductance."""
    drops, below = [], sources
    for layer, nodes in enumerate(volts):
        far = np.concatenate([below * (book.gain if layer else 1.0), [book.bias_V, -book.bias_V]])
        drops.append((far[None, :] - nodes[:, None]) ** 2)
        below = nodes
    return drops


def check_definition(eta: float = 0.3) -> None:
    """dG = w (d_free^2 - d_clamped^2) / (2 eta), all voltages from Kirchhoff's equations.

    The clamped state is the one whose outputs are where they are held, whatever current that takes.
    """
    net, x = resistive(), images(3)
    sources = net.given(x).sources.numpy()
    siemens = [weight.numpy() * net.unit_uS * 1e-6 for weight in net.weights()]
    book = Book(siemens, net.amplifier_gain, net.bias_V, DIODE.saturation_A, DIODE.scale_V)
    expected = [np.zeros(g.shape) for g in siemens]
    for image, label in zip(sources, labels_of(x).tolist(), strict=True):
        free = book.voltages(image)
        wanted = np.eye(3)[label] - (free[-1][:3] - free[-1][3:])
        held = free[-1] + eta / 2 * np.concatenate([wanted, -wanted])

        def missed(micro: np.ndarray, image: np.ndarray = image, held: np.ndarray = held) -> np.ndarray:
            return book.voltages(image, 1e-6 * micro)[-1] - held

        current = root(missed, np.zeros(6), tol=1e-13)
        clamped = book.voltages(image, 1e-6 * current.x)
        both = squared_drops(book, image, free), squared_drops(book, image, clamped)
        for layer, (a, b) in enumerate(zip(*both, strict=True)):
            weight = net.amplifier_gain ** (2 * (len(siemens) - 1 - layer))
            expected[layer] += weight * (a - b) / (2 * eta) / len(x)
    for got, right in zip(written(net, coupled(eta), x, labels_of(x)), expected, strict=True):
        assert_close(got, torch.from_numpy(right), rtol=1e-5, atol=1e-8)


def test_an_element_learns_from_its_own_two_voltage_drops() -> None:
    check_definition()


RIGHT = CoupledLearning._contrast


def _swapped(self: CoupledLearning, side: Side, other: Side, target: Tensor, rng: torch.Generator) -> Contrast:
    right = RIGHT(self, side, other, target, rng)
    return right._replace(positive=right.negative, negative=right.positive)


def _not_divided(self: CoupledLearning, side: Side, other: Side, target: Tensor, rng: torch.Generator) -> Contrast:
    return RIGHT(self, side, other, target, rng)._replace(width=1.0)


def _nothing_held(self: Clamped, s: tuple[Tensor, ...], layers: list[int]) -> tuple[Tensor, ...]:
    return self.energy.minimise(s, layers)


@pytest.mark.parametrize(
    "bug",
    [
        Bug("the phases swapped", CoupledLearning, "_contrast", _swapped),
        Bug("not divided by eta", CoupledLearning, "_contrast", _not_divided),
        Bug("outputs not held", Clamped, "minimise", _nothing_held),
    ],
    ids=str,
)
def test_a_wrong_rule_is_rejected(bug: Bug) -> None:
    must_reject(bug, check_definition)


def one_output() -> LayeredHopfield:
    """A smooth one: no unit at its bound."""
    rng = torch.Generator().manual_seed(2)
    links = []
    for post, pre in ((5, 4), (4, 5), (1, 4)):
        bias = FloatSynapse(torch.full((post, 1), 0.9, dtype=DOUBLE))
        links.append(Dense(FloatSynapse(0.3 * torch.randn(post, pre, generator=rng, dtype=DOUBLE)), bias))
    return LayeredHopfield(links, c=1.0)


def test_with_one_output_small_steps_go_where_equilibrium_propagation_goes() -> None:
    """The stiffness at the output is a number then, so the direction is the gradient's; the rest falls with eta."""
    net, x = one_output(), images(1)
    labels = torch.zeros(1, dtype=torch.long)
    gradient = EquilibriumProp(1e-3, "centred", DEEP, DEEP, UpDown())
    right = torch.cat([w.flatten() for w in written(net, gradient, x, labels)])
    off = []
    for eta in (0.08, 0.04, 0.02):
        own = torch.cat([w.flatten() for w in written(net, coupled(eta), x, labels)])
        off.append((own / own.norm() - right / right.norm()).norm().item())
    assert off[-1] < 0.01
    assert all(abs(math.log2(a / b) - 1) < 0.2 for a, b in pairwise(off)), off


def test_it_learns_on_devices_as_any_rule() -> None:
    data = hw.load_data("digits")
    rule = CoupledLearning(0.5, Phase(12), Phase(6), hw.OddEven())
    net = hw.hopfield([64, 32, 10], hw.device("soft-bounds-cell"), output="linear")
    records = hw.train(net, rule, data.train, rates=[0.5, 0.2], epochs=2)
    assert records[-1].accuracy_train > 0.5
    twins = hw.hopfield([64, 16, 10], hw.TwinDevice(hw.device("soft-bounds-cell")))
    hw.train(twins, rule, data.validation, rates=0.2, epochs=1)


def test_what_cannot_be_is_said() -> None:
    for eta in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"eta: expected a number in \(0, 1\]"):
            CoupledLearning(eta)
    net = hw.hopfield([64, 16, 10], output="readout")
    x, y = hw.load_data("digits").test[:4]
    with pytest.raises(InputError, match="behind a readout"):
        CoupledLearning().step(net, CrossEntropy(), x, y, [0.1, 0.1], torch.Generator())


def test_a_card_names_it() -> None:
    from hwsim.cards.build import learning_rule
    from hwsim.cards.read import read_model

    settings = [("learning.rule", "coupled-learning"), ("learning.eta", 0.25)]
    recipe = read_model("drn-digits", settings)[1].settled_learning
    rule = learning_rule(recipe)
    assert isinstance(rule, hwsim.learning.coupled.CoupledLearning)
    assert (rule.eta, rule.free.steps, rule.clamped.steps) == (0.25, 12, 6)
