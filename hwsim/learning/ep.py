"""Equilibrium propagation: which states are compared, and in which form the difference is written.

Scellier and Bengio 2017 (one-sided), Laborieux et al. 2021 (centred and random sign). With the network
settled under +beta and -beta (or 0), the update of every array is

    dC/dW ~ -(post+^T pre+  -  post-^T pre-) / (2 beta)      one-sided: divided by beta

The two products must not be written one after the other: a device whose up and down steps differ is
worn by two large pulse trains that should cancel. With a, b = post+, pre+ and c, d = post-, pre-,

    a b^T - c d^T = (a - c)(b + d)^T / 2  +  (a + c)(b - d)^T / 2

writes differences only, and is as local.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.crossbar.exact import is_exact
from hwsim.crossbar.twin import second_half
from hwsim.ebm.dense import planned
from hwsim.ebm.energy import Cost, Coupling, Energy, Nudged, State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.inference import infer
from hwsim.ebm.look import costs_nothing, fetched
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Outcome, Phase, Settled, Solver, Synchronous, settle
from hwsim.errors import InputError
from hwsim.learning.response import contrast_of, response_to
from hwsim.learning.rule import LearningRule, StepStats, per_synapse

NUDGES = ("centred", "one-sided", "random-sign", "linear-response")
UPDATE_FORMS = ("difference", "interleaved", "two-phase")


class Side(NamedTuple):
    """The hardware that a phase runs on, at rest: the energy with its input held, its cost, and the free state.

    ``relaxed`` is the energy in the form that it is relaxed in.
    """

    given: Energy
    relaxed: Energy
    cost: Cost
    free: Settled


class Contrast(NamedTuple):
    """Two states of a network to be compared, as what its arrays see in them.

    Attributes:
        positive, negative: one coupling an array and bias, in the order of the network's synapses.
        width: what the difference is divided by.
        ends: how the nudged phases ended.
        open_share: of the examples, those that are at no minimum, see ``response.Response``.
    """

    positive: tuple[Coupling, ...]
    negative: tuple[Coupling, ...]
    width: float
    ends: tuple[Settled, ...] = ()
    open_share: float | Tensor = 0.0


class Compared(NamedTuple):
    """What a step found, before anything is written.

    Attributes:
        positive, negative: one coupling an array and bias, in the order of the network's synapses.
        scale: what their difference is multiplied by.
        form: how it is written, see ``written``.
        stats: what the step saw.
    """

    positive: tuple[Coupling, ...]
    negative: tuple[Coupling, ...]
    scale: float
    form: str
    stats: StepStats


@torch.no_grad()
def write(net: Network, compared: Compared, rates: Sequence[float]) -> None:
    """Write a step's updates, and end the step on every array."""
    couplings = compared.positive, compared.negative
    for positive, negative, rate in zip(*couplings, per_synapse(net, rates), strict=True):
        for pre, post in written(positive, negative, compared.form):
            positive.synapse.update(pre, post * compared.scale, rate)
    net.tick()


class Contrastive(ABC):
    """A rule that compares two states at rest and writes the difference of what the arrays see in them.

    On a network of ``TwinDevice``s the second state is reached on the twin arrays, from a free phase of their own; the
    update is written to both.
    """

    free: Phase
    solver: Solver
    update_form: str
    hold_input: bool

    @abstractmethod
    def _contrast(self, side: Side, other: Side, target: Tensor, rng: torch.Generator) -> Contrast:
        """What is compared; the second state is reached on the ``other`` side."""

    def step(
        self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
    ) -> StepStats:
        compared = self.compare(net, cost, x, labels, rng)
        write(net, compared, rates)
        return compared.stats

    @torch.no_grad()
    def compare(self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rng: torch.Generator) -> Compared:
        """All phases of a step on a batch; nothing is written. Off the CPU the host looks only where it is ``due``."""
        side, opposite = self._at_rest(net, cost, x), negative_phase(net)
        other = side if opposite is net else self._at_rest(opposite, cost, x)
        free, cost = side.free, side.cost
        target = cost.encode(labels, free.state[-1])
        contrast = self._contrast(side, other, target, rng)
        scale = 1.0 / (len(x) * contrast.width)
        phases = (free, *contrast.ends)
        ends = torch.stack([phase.outcome for phase in phases])
        stats = StepStats(
            cost=fetched(cost.value(free.state[-1], target).mean()),
            correct=fetched((net.outputs(free.state).argmax(1) == labels).sum()),
            examples=len(x),
            unsettled_share=fetched((ends >= Outcome.MAX_STEPS).sum(1).max().double()) / len(x),
            residual=fetched(torch.stack([phase.residual.mean() for phase in phases]).max()),  # NaN stays NaN
            open_share=contrast.open_share,
        )
        return Compared(contrast.positive, contrast.negative, scale, self.update_form, stats)

    def _at_rest(self, net: Network, cost: Cost, x: Tensor) -> Side:
        given = net.given(x, hold=self.hold_input)
        relaxed = given if self.solver.revisits else planned(given)
        free = settle(relaxed, given.start(), solver=self.solver, phase=self.free)
        return Side(given, relaxed, net.cost_of_state(cost), free)


@dataclass(frozen=True)
class EquilibriumProp(Contrastive):
    """Equilibrium propagation.

    Attributes:
        beta: strength of the nudge, > 0.
        nudge: "centred" compares +beta with -beta (its bias is of order beta^2), "one-sided" +beta
            with the free state (order beta), "random-sign" one of +-beta, drawn per batch, with it;
            "linear-response" is the limit beta -> 0 by conjugate gradients, on exact arrays only (``response``).
        free, nudged: lengths of the phases. Nudged phases start from the free state; of a linear response, ``nudged``
            says how many products it takes at most and, if it stops early, to which tolerance relative to the pull.
        update_form: "difference" (see above, default), "interleaved" (one call, the two products'
            rows alternating) or "two-phase" (two calls). Equal in exact arithmetic, not on devices.
        hold_input: read W_0 x once a batch and hold it through all phases.

    Scellier and Bengio 2017; Laborieux et al. 2021. Raises ValueError for a beta that is not > 0 and for unknown names.

    >>> import hwsim as hw
    >>> rule = hw.EquilibriumProp(beta=1.0, free=hw.Phase(20, 5), nudged=hw.Phase(10, 5), solver=hw.Synchronous(0.5))
    >>> records = hw.train(hw.hopfield([64, 16, 10]), rule, hw.load_data("digits").validation, rates=0.5, epochs=1)
    >>> 0 < records[0].accuracy_train < 1
    True
    """

    beta: float = 0.5
    nudge: str = "centred"
    free: Phase = field(default_factory=lambda: Phase(20))
    nudged: Phase = field(default_factory=lambda: Phase(10))
    solver: Solver = field(default_factory=Synchronous)
    update_form: str = "difference"
    hold_input: bool = True

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"EquilibriumProp.beta: expected a number > 0, got {self.beta}")
        if self.nudge not in NUDGES:
            raise ValueError(f"EquilibriumProp.nudge: expected one of {', '.join(NUDGES)}, got {self.nudge!r}")
        if self.update_form not in UPDATE_FORMS:
            expected = ", ".join(UPDATE_FORMS)
            raise ValueError(f"EquilibriumProp.update_form: expected one of {expected}, got {self.update_form!r}")

    def _contrast(self, side: Side, other: Side, target: Tensor, rng: torch.Generator) -> Contrast:
        if self.nudge == "linear-response":
            return self._response(side, other, target)
        if self.nudge == "centred":
            return self._both(side, target) if other is side else self._two(side, other, target, self.beta)
        positive = self.nudge == "one-sided" or torch.rand((), generator=rng) >= 0.5
        beta = self.beta if positive else -self.beta
        energy, end = self._nudged(side, target, beta)
        rest = Nudged(other.given, other.cost, target, 0.0)
        return Contrast(energy.couplings(end.state), rest.couplings(other.free.state), beta, (end, other.free))

    def _nudged(self, side: Side, target: Tensor, beta: float) -> tuple[Nudged, Settled]:
        """A nudged energy and the state reached in it."""
        energy = Nudged(side.given, side.cost, target, beta)
        nudge = replace(energy, energy=side.relaxed)
        return energy, settle(nudge, side.free.state, solver=self.solver, phase=self.nudged)

    def _two(self, side: Side, other: Side, target: Tensor, beta: float) -> Contrast:
        """Both nudged phases, each on its own side."""
        (energy, plus), (opposite, minus) = self._nudged(side, target, beta), self._nudged(other, target, -beta)
        return Contrast(energy.couplings(plus.state), opposite.couplings(minus.state), 2 * beta, (plus, minus))

    def _both(self, side: Side, target: Tensor) -> Contrast:
        """Both nudged phases in one batch of twice the size: half as many operations to start."""
        count, betas = len(target), (self.beta, -self.beta)
        rows = torch.arange(count, device=target.device).repeat(2)
        twice, start = side.relaxed.chosen(rows, side.free.state)
        if isinstance(side.given, GivenInput):  # the least of the two, which is not looked at where it is used
            side.given.check_bowl(betas[1] * side.cost.bowl(side.free.state[-1], target)[1])
        nudges = Nudged(twice, side.cost, target.repeat(2, 1), torch.cat([target.new_full((count,), b) for b in betas]))
        both = settle(nudges, start, solver=self.solver, phase=self.nudged)
        ends = both.part(slice(count)), both.part(slice(count, None))
        energies = (Nudged(side.given, side.cost, target, beta) for beta in betas)
        couplings = (energy.couplings(end.state) for energy, end in zip(energies, ends, strict=True))
        return Contrast(*couplings, width=2 * self.beta, ends=ends)

    def _response(self, side: Side, other: Side, target: Tensor) -> Contrast:
        given, free = side.given, side.free
        exact = isinstance(given, GivenInput) and all(is_exact(synapse) for synapse in given.net.synapses)
        if not isinstance(given, GivenInput) or other is not side or not exact:
            raise InputError(
                "learning.nudge: linear-response works on exact arrays (float) alone; "
                "use centred on devices, or rule exact-gradient for a gradient of the float twin"
            )
        response = response_to(given, side.cost, target, free.state, self.nudged)
        pair = contrast_of(given, side.cost, target, free.state, response.way)
        return Contrast(*pair, width=2.0, open_share=fetched(response.open.sum().double()) / len(target))


def written(positive: Coupling, negative: Coupling, form: str) -> list[tuple[Tensor, Tensor]]:
    """The (pre, post) rows whose outer products sum to positive - negative, one pair of factors a call.

    Shapes (N, in) and (N, out), with N one or two batches. Equal rows of ``pre`` (a held input, a
    bias's constant) need the first term of the difference form only.
    """
    a, b, c, d = positive.post, positive.pre, negative.post, negative.pre
    if form == "two-phase":
        return [(b, a), (d, -c)]
    if form == "interleaved":
        return [(torch.stack([b, d], 1).flatten(0, 1), torch.stack([a, -c], 1).flatten(0, 1))]
    if b is d or (costs_nothing(b) and torch.equal(b, d)):
        return [(b, a - c)]
    return [(torch.cat([b + d, b - d]), torch.cat([a - c, a + c]).mul_(0.5))]


__all__ = [
    "NUDGES",
    "UPDATE_FORMS",
    "EquilibriumProp",
    "LearningRule",
    "State",
    "StepStats",
    "infer",
    "per_synapse",
    "written",
]


def negative_phase(net: Network) -> Network:
    """The network that the negative phase runs on: on the twin arrays where there are any, else ``net`` itself."""
    if all(second_half(synapse) is synapse for synapse in net.synapses):
        return net
    return net.mapped(second_half)
