"""An attack from model to figure: images moved within budgets, classified on fresh draws, checks that unmask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from hwsim.data.split import Split, as_split
from hwsim.ebm.settle import PHASE, SOLVER, Phase
from hwsim.ebm.solvers import Solver
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.robustness.attacker import Ways, effort, fitting, other_ways, over_draws, surrogate
from hwsim.robustness.attacks import Attack
from hwsim.robustness.checks.check import Check, draw_noise
from hwsim.robustness.checks.strength import main_table, probe_of
from hwsim.robustness.checks.unmask import Unmasked, unmask
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier, reseed
from hwsim.robustness.evaluate import Evaluation, evaluate
from hwsim.robustness.models import as_classifier
from hwsim.robustness.stochastic import KNOWLEDGE
from hwsim.robustness.suite import attacks_named, check_attacks
from hwsim.robustness.threat import Threat, parse
from hwsim.robustness.warm import warmed
from hwsim.stats.frames import data_frame
from hwsim.stats.interval import Interval, accuracy


@dataclass(frozen=True)
class ThreatResult:
    """What is left under one threat; accuracies are over all images, those wrong without an attack included.

    Attributes:
        clean: accuracy on the untouched images.
        attacks: accuracy under each attack, by name.
        worst: accuracy under the worst attack of each image, classified once more on draws of its own.
        reported: the lowest of these, or what the checks left where that is lower on the same images.
        reported_of: what that was.
        upper_bound: is it an upper bound only, because a check failed or the attacker may only query?
        checks: the checks that unmask, on the first ``checked`` images; none where they were left out.
        worst_images: (N, ...) the image behind ``worst``, the untouched one where nothing fooled.
    """

    threat: Threat
    clean: Interval
    attacks: dict[str, Interval]
    worst: Interval
    reported: Interval
    reported_of: str
    upper_bound: bool
    checks: tuple[Check, ...]
    checked: int
    worst_images: Tensor

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that speak against the attack: the figure is an upper bound."""
        return tuple(check for check in self.checks if not check.passed)


@dataclass(frozen=True)
class AttackResult:
    """What an attack left of a model, one ``ThreatResult`` a budget, in the order requested.

    >>> import hwsim as hw
    >>> result = hw.attack(hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:20], "l2:0.5", "fgsm", checks=False)
    >>> list(result.reported), result.failed_checks
    (['l2:0.5'], {})
    """

    threats: tuple[ThreatResult, ...]
    images: int

    @property
    def reported(self) -> dict[str, Interval]:
        """The accuracy to report, by threat."""
        return {str(result.threat): result.reported for result in self.threats}

    @property
    def failed_checks(self) -> dict[str, tuple[Check, ...]]:
        """Checks that failed, by threat; {} where none did. A figure with a failed check is an upper bound."""
        return {str(result.threat): result.failed_checks for result in self.threats if result.failed_checks}

    def __str__(self) -> str:
        lines = [f"{self.images} images, {self.threats[0].clean} when clean"]
        for result in self.threats:
            bound = "at most " if result.upper_bound else ""
            lines.append(f"{result.threat}: {bound}{result.reported} left, the least over {result.reported_of}")
            lines += [f"  check failed: {check}" for check in result.failed_checks]
        return "\n".join(lines)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``: a row a threat and attack, shares in [0, 1]. InputError without pandas."""
        rows = []
        for result in self.threats:
            named = {"clean": result.clean, **result.attacks, "worst": result.worst, "reported": result.reported}
            for name, interval in named.items():
                rows.append({"threat": str(result.threat), "attack": name, **vars(interval)})
        return data_frame(rows)


def attack(
    model: Any,
    data: Split | tuple[Any, Any],
    threats: str | Threat | Sequence[str | Threat],
    attacks: str | Sequence[Attack] = "quick",
    *,
    seed: int = 0,
    knows: str = "conductances",
    gradient: str = "implicit",
    draws: int = 20,
    eot: int = 10,
    checks: bool = True,
    checked: int = 100,
    solver: Solver = SOLVER,
    phase: Phase = PHASE,
    on_attack: Callable[[str, int, int], None] | None = None,
) -> AttackResult:
    """Attack a model, classify the images again on fresh draws of its noise, and check that the attack works.

    Args:
        model: a network, a torch module, which is differentiated as it is, or a classifier.
        data: images (N, C, H, W) or (N, pixels) in [0, 1] and true labels (N,), as tensors or arrays.
        threats: budgets in pixels of range [0, 1]: "linf:8/255", "l2:0.5", "l1:12", "l0:10" pixels, or ``Threat``.
        attacks: a preset ("pgd", "smoke", "quick", "standard" as AutoAttack's, "sparse" for l0), one attack's name, or
            attacks of ``hwsim.attacks``. Where predictions vary, PGD for the largest margin joins in.
        seed: of the attacks and of a network's read noise.
        knows: of a network on noisy arrays, what the attacker differentiates: the "conductances" without noise, the
            "device" itself, averaged over ``eot`` draws, or "nothing", for attacks by queries.
        gradient: through a network's equilibrium: "implicit", "unrolled-T", "nudged-B", ...
        draws: classifications of an image, where predictions vary.
        checks: run the checks that unmask, on the first ``checked`` images, after attacks that use gradients.
        solver, phase: the relaxation behind a network's predictions, by default ``OddEven()`` sweeps and
            ``Phase(50, average_last=10, stop_early=True)``.
        on_attack: called with (attack's name, attacks done, attacks in all) before each attack.

    Raises InputError for a budget, an attack or a way that there is not, and for an attack that does not fit.

    Carlini et al. 2019 (arXiv 1902.06705) on what an evaluation owes; Croce and Hein 2020 on the attacks.

    >>> import hwsim as hw
    >>> net, test = hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:20]
    >>> result = hw.attack(net, test, "linf:0.1", attacks="pgd-5", checks=False)
    >>> result.reported["linf:0.1"].mean <= result.threats[0].clean.mean
    True
    """
    x, y = as_split(data)
    if not len(x) or draws < 1 or eot < 1 or checked < 1:
        raise InputError(
            "attack: expected at least one image, one draw and one checked image, got "
            f"{len(x)}, {min(draws, eot)} and {checked}"
        )
    if knows not in KNOWN:
        raise InputError(f"attack: expected the attacker's knowledge to be one of {', '.join(KNOWN)}, got {knows!r}")
    classifier, name = as_classifier(model, x, solver=solver, phase=phase), attacks if isinstance(attacks, str) else ""
    used = attacks_named(name) if isinstance(attacks, str) else tuple(attacks)
    used = fitting(used, effort(name)[0], classifier.noisy, blind=knows == "nothing")
    budgets = _parsed(threats)
    pixels, blind = math.prod(x.shape[2:] or x.shape[1:]), knows == "nothing"
    check_attacks(
        used, budgets, classes=classifier.classes, pixels=pixels, name=name, queries_only=blind, checks=checks
    )
    attacked, ways = _attacked(classifier, knows, gradient, eot)
    results = []
    for threat in budgets:
        streams = Streams(seed).child("attack", str(threat))
        reseed(classifier, streams.child("attacked"))
        rng = streams.generator("attack")
        evaluation = evaluate(
            warmed(attacked, x), [classifier], x, y, threat, used, rng, draws=draws, progress=on_attack
        )
        unmasked = None
        if checks and any(each.white_box for each in used):
            own, few = streams.child("checks"), x[:checked]
            reseed(classifier, own)
            unmasked = unmask(
                warmed(attacked, few),
                classifier,
                few,
                y[:checked],
                threat,
                own.generator("attack"),
                probe=probe_of(used, evaluation.attacked),
                reference=ways.reference,
                alternatives={each: warmed(way, few) for each, way in ways.alternatives.items()},
                queries=effort(name)[1],
                draws=min(draws, 10),
            )
            noise = draw_noise(classifier, evaluation.worst_images, y, draws)
            table = main_table(evaluation.clean, evaluation.attacked, used, noise)
            unmasked = replace(unmasked, checks=(*table, *unmasked.checks))
        results.append(_result(evaluation, unmasked, min(checked, len(x)), knows))
    return AttackResult(tuple(results), len(x))


KNOWN = tuple(name for name in KNOWLEDGE if name != "float-weights")
"""What an attacker of one network may know; who knows the weights before programming attacks another network."""


def _parsed(threats: str | Threat | Sequence[str | Threat]) -> list[Threat]:
    budgets = [threats] if isinstance(threats, str | Threat) else list(threats)
    parsed = [parse(budget) if isinstance(budget, str) else budget for budget in budgets]
    if not parsed or len({str(threat) for threat in parsed}) < len(parsed):
        raise InputError(f"attack: expected different threats, at least one, got {budgets}")
    return parsed


def _attacked(classifier: Classifier, knows: str, gradient: str, eot: int) -> tuple[Classifier, Ways]:
    """What the attacker climbs or queries, and other ways to differentiate it."""
    if knows == "nothing" or not isinstance(classifier, EquilibriumClassifier):
        return over_draws(classifier, eot), Ways({}, {})
    net = classifier.net.float_twin() if knows == "conductances" else classifier.net
    return over_draws(surrogate(classifier, gradient, net), eot), other_ways(classifier, net, gradient, eot)


def _result(evaluation: Evaluation, unmasked: Unmasked | None, checked: int, knows: str) -> ThreatResult:
    intervals = {name: _interval(share) for name, share in evaluation.attacked.items()}
    worst = _interval(evaluation.worst)
    # A noisy pick of each image's worst attack can be worse than one attack throughout.
    reported, of = min((worst, *intervals.values()), key=lambda interval: interval.mean), "the attacks"
    # Only what is lower on the same images is a stronger attack, and not easier images.
    if unmasked and unmasked.lowest < min(evaluation.worst[:checked].mean().item(), reported.mean):
        wrong = round((1 - unmasked.lowest) * checked)
        lower = accuracy(np.repeat([0.0, 1.0], [wrong, checked - wrong])[None])
        reported, of = replace(lower, mean=unmasked.lowest), f"the checks, first {checked} images"
    return ThreatResult(
        threat=evaluation.threat,
        clean=_interval(evaluation.clean),
        attacks=intervals,
        worst=worst,
        reported=reported,
        reported_of=of,
        upper_bound=unmasked.upper_bound if unmasked else knows == "nothing",
        checks=unmasked.checks if unmasked else (),
        checked=checked if unmasked else 0,
        worst_images=evaluation.worst_images,
    )


def _interval(share: Tensor) -> Interval:
    """Of the shares (N,) of one instance."""
    return accuracy(share[None].cpu().numpy())
