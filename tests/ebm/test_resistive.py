"""Resistive networks: Kirchhoff's laws, the co-content, the gradient of equilibrium propagation, and SPICE."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from kirchhoff import Book
from resistive_nets import DEEP, IDEAL, SHOCKLEY, images, network, rest
from scipy.special import wrightomega
from theory_reference import DOUBLE, Bug, must_reject
from torch import Tensor
from torch.testing import assert_close

import hwsim.ebm.resistive
from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.circuit import GivenSources
from hwsim.ebm.costs import Differential, SquaredError
from hwsim.ebm.diode import THERMAL_V, Diode, omega
from hwsim.ebm.energy import Coupling, Nudged, State
from hwsim.ebm.power import Power
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.ebm.settle import OddEven, Phase, Solver, Synchronous, UpDown, settle
from hwsim.errors import InputError
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.exact import ExactGradient, weight_gradient

DIODES = pytest.mark.parametrize("diode", [IDEAL, SHOCKLEY], ids=["ideal", "shockley"])


def book(net: ResistiveNetwork) -> Book:
    siemens = [weight.numpy() * net.unit_uS * 1e-6 for weight in net.weights()]
    return Book(siemens, net.amplifier_gain, net.bias_V, net.diode.saturation_A, net.diode.scale_V)


def check_kirchhoff(diode: Diode, solver: Solver) -> None:
    """Every node rests where Kirchhoff's equations of the whole circuit put it."""
    net, x = network(diode), images()
    given = net.given(x)
    state = rest(given, solver)
    for example in range(len(x)):
        expected = book(net).voltages(given.sources[example].numpy())
        for layer, volts in zip(state, expected, strict=True):
            assert_close(layer[example], torch.from_numpy(volts), rtol=1e-9, atol=1e-12)


@DIODES
@pytest.mark.parametrize("solver", [Synchronous(0.5), OddEven(), UpDown(), OddEven(1.2)], ids=str)
def test_nodes_rest_where_kirchhoff_puts_them(diode: Diode, solver: Solver) -> None:
    check_kirchhoff(diode, solver)


def _no_amplifier_back(self: GivenSources, s: State, number: int) -> Tensor:
    layer = self.circuit.layers[number]
    current = layer.gain * (self._below(s, number) @ layer.matrix.T) + layer.bias
    if number + 1 < self.blocks:
        current = current + s[number + 1] @ self.circuit.layers[number + 1].matrix
    return layer.weight * current


def _reversed(nodes: Tensor) -> Tensor:
    return torch.where(torch.arange(len(nodes)) < (len(nodes) + 1) // 2, -1.0, 1.0).to(nodes)


CIRCUIT_BUGS = [
    Bug("an amplifier that does not work backwards", GivenSources, "_drive", _no_amplifier_back),
    Bug("diodes reversed", hwsim.ebm.resistive, "_signs", _reversed),
]


@DIODES
@pytest.mark.parametrize("bug", CIRCUIT_BUGS, ids=str)
def test_a_wrong_circuit_is_rejected(bug: Bug, diode: Diode) -> None:
    must_reject(bug, check_kirchhoff, diode, UpDown())


@DIODES
def test_the_slope_of_the_co_content_is_the_current_that_is_missing(diode: Diode) -> None:
    net, x = network(diode), images()
    given = net.given(x)
    rng = torch.Generator().manual_seed(2)
    # Where an exponential would overflow the diode goes on straight, and its co-content with it.
    s = tuple(
        (0.3 * torch.randn(*layer.shape, generator=rng, dtype=DOUBLE)).requires_grad_() for layer in given.start()
    )
    slopes = torch.autograd.grad(given.value(s).sum(), s)
    for slope, force in zip(slopes, given.force(s), strict=True):
        assert_close(-slope, force, rtol=1e-9, atol=1e-9)


@DIODES
@pytest.mark.parametrize("solver", [OddEven(), UpDown()], ids=str)
def test_exact_sweeps_never_raise_the_energy(diode: Diode, solver: Solver) -> None:
    given = network(diode).given(images())
    s = tuple(torch.zeros_like(layer) for layer in given.start())
    energies = [given.value(s)]
    for _ in range(30):
        s, _ = solver.step(given, s)
        energies.append(given.value(s))
    for before, after in pairwise(energies):
        assert (after <= before + 1e-12 * before.abs()).all()


def power_balance(net: ResistiveNetwork, x: Tensor) -> tuple[float, float]:
    """(watts that the sources and amplifiers give, watts that resistors and diodes take), element by element."""
    state = [layer[0].numpy() for layer in rest(net.given(x[:1]))]
    sources = net.given(x[:1]).sources[0].numpy()
    siemens = book(net).conductances
    given = taken = 0.0
    for layer, g in enumerate(siemens):
        below = sources if layer == 0 else net.amplifier_gain * state[layer - 1]
        far = np.concatenate([below, [net.bias_V, -net.bias_V]])
        drops = far[None, :] - state[layer][:, None]
        currents = g * drops
        taken += float((currents * drops).sum())
        out = currents.sum(0)
        given += float((out * far).sum())
        if layer:  # what an amplifier gives at its output less what it draws at its input
            given -= float((out[:-2] / net.amplifier_gain * state[layer - 1]).sum())
    for layer, g in enumerate(siemens[:-1]):
        far = np.concatenate(
            [sources if layer == 0 else net.amplifier_gain * state[layer - 1], [net.bias_V, -net.bias_V]]
        )
        into = (g * (far[None, :] - state[layer][:, None])).sum(1)
        above = siemens[layer + 1][:, :-2] * (net.amplifier_gain * state[layer][None, :] - state[layer + 1][:, None])
        missing = above.sum(0) / net.amplifier_gain - into  # what the diode has to bring
        taken -= float((missing * state[layer]).sum())
    return given, taken


@DIODES
def test_power_given_is_power_taken(diode: Diode) -> None:
    net, x = network(diode), images()
    given, taken = power_balance(net, x)
    assert given > 0
    assert given == pytest.approx(taken, rel=1e-9)


def check_power(diode: Diode) -> None:
    """The network's own figure: what is given is taken, and both are the sums over elements."""
    net, x = network(diode), images()
    given = net.given(x)
    power = given.power(rest(given))
    assert_close(power.sources_W + power.amplifiers_W, power.total_W, rtol=1e-9, atol=0)
    from_elements, taken = power_balance(net, x)
    assert power.total_W[0].item() == pytest.approx(taken, rel=1e-9)
    assert (power.sources_W + power.amplifiers_W)[0].item() == pytest.approx(from_elements, rel=1e-9)
    assert (power.conductances_W > 0).all()
    assert (power.diodes_W >= 0).all()
    assert (power.diodes_W > 0).all() != diode.ideal


@DIODES
def test_power_is_the_sum_of_current_times_voltage(diode: Diode) -> None:
    check_power(diode)
    moved = tuple(layer + 0.1 for layer in rest(network(diode).given(images())))
    power = network(diode).given(images()).power(moved)
    assert (power.sources_W + power.amplifiers_W - power.total_W).abs().min() > 1e-3 * power.total_W.max()


def _half_the_heat(self: GivenSources, s: State) -> Power:
    right = RIGHT_POWER(self, s)
    return right._replace(conductances_W=0.5 * right.conductances_W)


def _amplifiers_for_nothing(self: GivenSources, s: State) -> Power:
    right = RIGHT_POWER(self, s)
    return right._replace(amplifiers_W=0 * right.amplifiers_W)


RIGHT_POWER = GivenSources.power


@pytest.mark.parametrize(
    "bug",
    [
        Bug("co-content taken for power", GivenSources, "power", _half_the_heat),
        Bug("amplifiers that draw nothing", GivenSources, "power", _amplifiers_for_nothing),
    ],
    ids=str,
)
def test_a_wrong_power_is_rejected(bug: Bug) -> None:
    must_reject(bug, check_power, SHOCKLEY)


def test_the_linearised_network_is_reciprocal() -> None:
    """A current into output a moves output b as one into b moves a; with amplifiers, within a layer."""
    net, x = network(SHOCKLEY), images(1)
    given = net.given(x)
    sources = given.sources[0].numpy()
    moved = np.zeros((6, 6))
    for node in range(6):
        push = np.zeros(6)
        push[node] = 1e-9
        moved[node] = (book(net).voltages(sources, push)[-1] - book(net).voltages(sources, -push)[-1]) / 2e-9
    np.testing.assert_allclose(moved, moved.T, rtol=1e-5)
    # The same answer from the energy: the inverse of its Hessian.
    state = rest(given)
    flat = torch.cat([layer[0] for layer in state])

    def energy(v: Tensor) -> Tensor:
        return given.value(tuple(part[None] for part in v.split([8, 6, 6])))[0]

    hessian = torch.autograd.functional.hessian(energy, flat)
    inverse = torch.linalg.inv(hessian)[-6:, -6:] / (net.unit_uS * 1e-6)
    np.testing.assert_allclose(moved, inverse.numpy(), rtol=1e-4)


def labels_of(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 3


def mean_cost(weights: list[Tensor], net: ResistiveNetwork, x: Tensor) -> float:
    """Of the outputs that Kirchhoff's equations give."""
    siemens = [weight.numpy() * net.unit_uS * 1e-6 for weight in weights]
    circuit = Book(siemens, net.amplifier_gain, net.bias_V, net.diode.saturation_A, net.diode.scale_V)
    total = 0.0
    for image, label in zip(net.given(x).sources.numpy(), labels_of(x).tolist(), strict=True):
        out = circuit.voltages(image)[-1]
        score = out[:3] - out[3:]
        total += 0.5 * float(((score - np.eye(3)[label]) ** 2).sum())
    return total / len(x)


def slopes(net: ResistiveNetwork, x: Tensor, step: float = 1e-5) -> list[Tensor]:
    """dC/dG by central differences of Kirchhoff's equations."""
    weights = net.weights()
    gradients = []
    for index, weight in enumerate(weights):
        gradient = torch.zeros_like(weight)
        for place in np.ndindex(*weight.shape):
            ends = []
            for sign in (1, -1):
                moved = [w.clone() for w in weights]
                moved[index][place] += sign * step
                ends.append(mean_cost(moved, net, x))
            gradient[place] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def ep_direction(net: ResistiveNetwork, x: Tensor, beta: float, nudge: str = "centred") -> list[Tensor]:
    before = net.weights()
    rule = EquilibriumProp(beta, nudge, free=DEEP, nudged=DEEP, solver=UpDown())
    rule.step(net, SquaredError(), x, labels_of(x), [1.0] * len(net.links), torch.Generator().manual_seed(0))
    moved = [after - b for after, b in zip(net.weights(), before, strict=True)]
    net.program(before)
    return moved


def check_gradient(nudge: str, order: float, diode: Diode) -> None:
    """A step moves every conductance by -dC/dG, up to an error that falls with this power of beta."""
    net, x = network(diode, scale=2.0), images(2)
    expected = [-g for g in slopes(net, x)]
    betas = (0.08, 0.04, 0.02)
    errors = []
    for beta in betas:
        pairs = zip(ep_direction(net, x, beta, nudge), expected, strict=True)
        errors.append(max(((f - e).norm() / e.norm()).item() for f, e in pairs))
    assert errors[-1] < (0.05 if order == 1 else 2e-3), errors
    assert all(abs(math.log2(a / b) - order) < 0.2 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize(("nudge", "order"), [("centred", 2), ("one-sided", 1)])
def test_equilibrium_propagation_is_the_gradient(nudge: str, order: float) -> None:
    check_gradient(nudge, order, SHOCKLEY)


def _forgets_near(self: GivenSources, s: State) -> tuple[Coupling, ...]:
    couplings = []
    for number, layer in enumerate(self.circuit.layers):
        far, near = self.applied(s, number), s[number]
        pre = torch.cat([far, far.square()])
        couplings.append(Coupling(layer.synapse, pre, layer.weight * torch.cat([near, torch.full_like(near, -0.5)])))
    return tuple(couplings)


def _factor_two(self: Differential, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
    linear, stiffness = RIGHT_BOWL(self, output, target)
    return 2 * linear, 2 * stiffness


RIGHT_BOWL = Differential.bowl
GRADIENT_BUGS = [
    Bug("the near end's square forgotten", GivenSources, "couplings", _forgets_near),
    Bug("a nudge twice as strong", Differential, "bowl", _factor_two),
]


@pytest.mark.parametrize("bug", GRADIENT_BUGS, ids=str)
def test_a_wrong_gradient_is_rejected(bug: Bug) -> None:
    must_reject(bug, check_gradient, "centred", 2, SHOCKLEY)


def test_the_exact_gradient_of_the_conductances_agrees() -> None:
    """The control of equilibrium propagation, and as a learning rule: a step down that gradient."""
    net, x = network(SHOCKLEY, scale=2.0), images(2)
    expected = slopes(net, x)
    through = Implicit(DEEP, Phase(500, tolerance=1e-12, stop_early=True), UpDown())
    for found, right in zip(weight_gradient(net, SquaredError(), x, labels_of(x), through), expected, strict=True):
        assert_close(found, right, rtol=1e-4, atol=1e-8)
    before = net.weights()
    rule = ExactGradient(through)
    rule.step(net, SquaredError(), x, labels_of(x), [1e-2] * 3, torch.Generator().manual_seed(0))
    for after, start, right in zip(net.weights(), before, expected, strict=True):
        assert_close(after - start, -1e-2 * right, rtol=1e-4, atol=1e-9)


@DIODES
def test_the_implicit_gradient_of_the_input_agrees(diode: Diode) -> None:
    net, x = network(diode), images(2)
    x.requires_grad_(True)
    given = net.given(x)
    through = Implicit(DEEP, Phase(500, tolerance=1e-12, stop_early=True), UpDown())
    out = net.logits(through.reach(given, given.start()), given)
    (gradient,) = torch.autograd.grad(SquaredError().value(out, torch.eye(3, dtype=DOUBLE)[labels_of(x)]).mean(), x)
    step = 1e-6
    for place in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.detach().clone()
            moved[place] += sign * step
            ends.append(mean_cost(net.weights(), net, moved))
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_omega_is_wright_s() -> None:
    z = torch.linspace(-700, 700, 20_001, dtype=DOUBLE)
    assert_close(omega(z), torch.from_numpy(wrightomega(z.numpy())), rtol=1e-13, atol=0)


def test_a_nudge_is_a_current_into_the_outputs() -> None:
    net, x, beta = network(SHOCKLEY, scale=2.0), images(1), 0.05
    given = net.given(x)
    cost = net.cost_of_state(SquaredError())
    target = cost.encode(labels_of(x), given.start()[-1])
    nudged = Nudged(given, cost, target, beta)
    state = settle(nudged, given.start(), solver=UpDown(), phase=DEEP).state
    missing = (target - net.outputs(state))[0]
    push = beta * torch.cat([missing, -missing]).numpy() * net.unit_uS * 1e-6
    expected = book(net).voltages(given.sources[0].numpy(), push)
    for layer, volts in zip(state, expected, strict=True):
        assert_close(layer[0], torch.from_numpy(volts), rtol=1e-8, atol=1e-11)


# --- what cannot be ---


def test_what_cannot_be_a_circuit_is_said() -> None:
    net, x = network(), images()
    negative = net.weights()
    negative[1][2, 3] = -0.1
    net.program(negative)
    with pytest.raises(InputError, match="array 1: a conductance is negative"):
        net.given(x)
    floating = network()
    weights = floating.weights()
    weights[0][2], weights[1][:, 2] = 0.0, 0.0
    floating.program(weights)
    with pytest.raises(InputError, match="layer 1, node 2: no conductance holds it"):
        floating.given(x)
    for settings, words in (({"amplifier_gain": 0.0}, "amplifier_gain"), ({"unit_uS": -1.0}, "unit_uS")):
        with pytest.raises(InputError, match=words):
            ResistiveNetwork([FloatSynapse(torch.ones(4, 10))], **settings)
    with pytest.raises(InputError, match="differential"):
        ResistiveNetwork([FloatSynapse(torch.ones(3, 10))])
    with pytest.raises(InputError, match="saturation_A"):
        Diode(1e9)
    with pytest.raises(InputError, match="use a smaller beta"):
        ep_direction(network(scale=0.01), x, 5.0)


def test_diodes_far_from_rest_do_not_overflow() -> None:
    diode = Diode(1e-6, 1.0)
    v = torch.tensor([-1e3, -5.0, 0.0, 1e3], dtype=torch.float32)
    for value in (diode.current(v, 10.0), diode.co_content(v, 10.0), diode.rest(v, torch.ones_like(v), 10.0)):
        assert torch.isfinite(value).all()
    assert diode.scale_V == THERMAL_V


# --- how an update is written ---


class Recording(FloatSynapse):
    """Keeps the rows of every update instead of writing them."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.rows: list[tuple[Tensor, Tensor]] = []

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.rows.append((pre, rate * post))

    @property
    def written(self) -> Tensor:
        return torch.stack([post.T @ pre for pre, post in self.rows]).sum(0)

    @property
    def pulses(self) -> float:
        """What a pulsed device spends, up to a constant."""
        return sum((post.abs().T @ pre.abs()).sum().item() for pre, post in self.rows)


def recorded(form: str, beta: float) -> list[Recording]:
    net = network(SHOCKLEY, scale=2.0).mapped(lambda synapse: Recording(synapse.weight()))
    rule = EquilibriumProp(beta, "centred", DEEP, DEEP, UpDown(), form)
    x = images(2)
    rule.step(net, SquaredError(), x, labels_of(x), [1.0] * 3, torch.Generator().manual_seed(0))
    return [synapse for synapse in net.synapses if isinstance(synapse, Recording)]


def test_a_difference_of_squared_drops_is_written_as_products_of_differences_and_sums() -> None:
    """(far - near)^2 of one phase less that of the other: four outer products a sample, each with a difference in it.

    So the pulses that are sent fall with the nudge like the update (which is divided by it here): nothing large is
    written up and taken down again. Two phases written apart send their whole squares.
    """
    spent: dict[str, list[list[float]]] = {}
    for form in ("difference", "two-phase"):
        strong, weak = recorded(form, 0.04), recorded(form, 0.01)
        spent[form] = [[synapse.pulses for synapse in side] for side in (strong, weak)]
        for a, b in zip(strong, recorded("difference", 0.04), strict=True):
            assert_close(a.written, b.written, rtol=1e-8, atol=1e-10)
    for strong, weak in zip(*spent["difference"], strict=True):
        assert weak == pytest.approx(strong, rel=0.02)
    for strong, weak in zip(*spent["two-phase"], strict=True):
        assert weak == pytest.approx(4 * strong, rel=0.02)
    for whole, parts in zip(spent["two-phase"][1], spent["difference"][1], strict=True):
        assert whole > 20 * parts
    factors = [pre.abs().amax(1) * post.abs().amax(1) for pre, post in recorded("difference", 0.04)[1].rows]
    assert int((torch.cat(factors) > 1e-12).sum()) == 4 * 2  # products a sample, of two samples
