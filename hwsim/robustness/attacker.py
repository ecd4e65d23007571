"""What an attacker climbs in place of a model: its network, differentiated in a chosen way, averaged over draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase
from hwsim.ebm.solvers import OddEven, Solver
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, Unrolled
from hwsim.learning.gradient_ways import NudgedInput, Truncated, way_named
from hwsim.robustness.attacks import Attack
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Pgd, stopping

NOISY_STEPS, AVERAGED = 40, 10
"""Steps at most of a relaxation that is differentiated on noisy arrays, and how many of the last ones are averaged."""

CHECK_EFFORT = {"smoke": (10, 100)}
FULL_EFFORT = (40, 500)


def surrogate(classifier: EquilibriumClassifier, gradient: str, net: Network | None = None) -> EquilibriumClassifier:
    """A network that predicts as the classifier's, differentiated as ``gradient`` says.

    The settled state of a noise-free network is found by odd-even sweeps, whatever the classifier's solver; unrolled
    steps are the classifier's. Where the start is the settled state, "implicit" is backpropagation through it.

    Args:
        gradient: "implicit", "unrolled-T", "nudged-B", ...; see ``way_named``.
        net: the network that is differentiated, by default the classifier's own.

    Raises InputError for an unknown way.
    """
    net, way = net or classifier.net, way_named(gradient)
    if net.noisy:
        steps = min(classifier.phase.steps, NOISY_STEPS)
        way = _relaxing(way, classifier.solver, Phase(steps, average_last=min(steps, AVERAGED)))
        phase = classifier.phase
    elif net.starts_at_rest and isinstance(way, Implicit):
        way, phase = Unrolled(0), classifier.phase  # nothing relaxes: backpropagation through the start
    else:
        way = _relaxing(way, OddEven())
        phase = Phase(classifier.phase.steps, tolerance=1e-5, stop_early=True)
    if isinstance(way, Unrolled):
        way = replace(way, solver=classifier.solver)
    return replace(classifier, net=net, phase=phase, through=way)


def _relaxing(way: Equilibrium, solver: Solver, reads: Phase | None = None) -> Equilibrium:
    """The same way with another solver and, on noisy arrays, with phases that average their last reads."""
    if isinstance(way, Implicit):
        phases = {"phase": reads, "adjoint": Phase(reads.steps)} if reads else {}
    elif isinstance(way, NudgedInput):
        phases = {"free": reads, "nudged": reads} if reads else {}
    elif isinstance(way, Truncated):
        phases = {"phase": reads} if reads else {}
    else:
        return way
    return replace(way, solver=solver, **phases)


def over_draws(classifier: Classifier, eot: int) -> Classifier:
    """The expectation over ``eot`` draws of a classifier that is noisy; else the classifier itself."""
    return OverDraws((classifier,), eot) if classifier.noisy else classifier


class Ways(NamedTuple):
    """Other ways to differentiate one network, by name: an exact one whose gradients must agree, and ones to try."""

    reference: dict[str, Classifier]
    alternatives: dict[str, Classifier]


def other_ways(classifier: EquilibriumClassifier, attacked: Network, gradient: str, eot: int) -> Ways:
    """What ``unmask`` compares with the gradient that was taken of a network."""
    if attacked.noisy:
        exact: dict[str, Classifier] = {
            "implicit, noise-free": surrogate(classifier, "implicit", attacked.float_twin())
        }
        nudged = over_draws(surrogate(classifier, "nudged-1", attacked), eot)
        return Ways(exact, {**exact, "nudged-1, on the chip": nudged})
    other = "implicit" if gradient == "unrolled-50" else "unrolled-50"
    # Two of them go through states before rest.
    tried = [way for way in ("nudged-0.2", "unrolled-8", "simultaneous-16", "implicit") if way != gradient][:3]
    climbed: dict[str, Classifier] = {way: surrogate(classifier, way, attacked) for way in (other, *tried)}
    return Ways({other: climbed[other]}, {way: climbed[way] for way in tried})


def effort(attack: str) -> tuple[int, int]:
    """(PGD steps, Square queries) of the checks, and of what joins in, beside an attack of this name."""
    kind, _, number = attack.rpartition("-")
    if kind == "pgd" and number.isdecimal():
        return int(number), 100
    return CHECK_EFFORT.get(attack, FULL_EFFORT)


def fitting(attacks: Sequence[Attack], steps: int, uncertain: bool, blind: bool = False) -> tuple[Attack, ...]:
    """The attacks as they fit a model: where predictions are certain, images that are fooled leave the batch.

    Where they are ``uncertain``, PGD of so many steps for the largest margin joins in, unless the attacker is
    ``blind``: the ensemble's attacks stop just over the boundary, and half of the reads bring such images back.
    """
    if not uncertain:
        return tuple(stopping(attack) for attack in attacks)
    if blind or any(attack.name == "pgd-margin" for attack in attacks):
        return tuple(attacks)
    return (*attacks, Pgd(steps, loss="margin"))
