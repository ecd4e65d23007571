"""All checks on one model and threat, and the least accuracy that anything tried on the way has left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwsim.data.split import as_split
from hwsim.rng import generator_of
from hwsim.robustness.attacks import Attack
from hwsim.robustness.checks.check import Check, draw_noise, enough_images, lower
from hwsim.robustness.checks.gradient import (
    gradient_above_noise,
    gradients_agree,
    has_graph,
    same_scores,
    scores_not_states,
    step_of,
    true_gradient,
    zero_gradients,
)
from hwsim.robustness.checks.relaxing import settles_under_attack
from hwsim.robustness.checks.strength import (
    against_weaker,
    budget_monotone,
    draws_enough,
    huge_budget,
    steps_enough,
)
from hwsim.robustness.checks.verdict import own_verdict, repeatable
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.library import Square
from hwsim.robustness.models import as_classifier
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Fgsm, Pgd, RandomSearch, Transfer, stopping
from hwsim.robustness.surrogates import Alone, FiniteDifferences, StraightThrough
from hwsim.robustness.threat import Threat, parse
from hwsim.robustness.warm import cold

DIRECTIONS = 64
"""Sign directions behind an estimated gradient; all slopes of images of up to 64 pixels."""


@dataclass(frozen=True)
class Unmasked:
    """All checks of one model and threat.

    Attributes:
        lowest: the least accuracy: the worst case for each image over everything that was tried at the budget, or
            less where images one by one leave less.
        accuracies: those of single attackers.
    """

    checks: tuple[Check, ...]
    accuracies: dict[str, float]
    lowest: float

    @property
    def flags(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def upper_bound(self) -> bool:
        """Is the figure an upper bound only?"""
        return bool(self.flags)


def unmask(
    attacked: Any,
    judge: Any,
    x: Any,
    y: Any,
    threat: str | Threat,
    rng: int | torch.Generator = 0,
    *,
    probe: Attack | None = None,
    reference: Mapping[str, Classifier] | None = None,
    alternatives: Mapping[str, Classifier] | None = None,
    transfer_from: Mapping[str, Classifier] | None = None,
    queries: int = 500,
    draws: int = 10,
) -> Unmasked:
    """All checks on one model and threat.

    Args:
        attacked: the model whose gradients the white-box attack used: a classifier, a network or a torch module; what
            it remembers (``Warm``) serves the attacks here as well, while gradients and verdicts are checked without.
        judge: the model that is claimed to be robust.
        x, y: images (B, ...) in [0, 1] and true labels (B,), as tensors or arrays; 100
            or more, about 16 times as many forward and backward passes as steps.
        threat: "linf:8/255" or a ``Threat``; ``rng``: of the attacks, or its seed.
        probe: the white-box attack that was requested; see ``probe_of``.
        reference: another exact way to differentiate the same model (by name), whose gradients must agree.
        alternatives: the same model differentiated in other ways (by name: another T, implicit, nudged, leaky);
            the figure to report is the least over all of them.
        transfer_from: other models whose adversarial images are tried (by name).
        queries, draws: of Square, and verdicts where the judge is noisy.

    Where the gradient fails its checks, straight-through and estimated gradients attack as well; where verdicts depend
    on the batch, images are attacked and judged one by one too.

    >>> import hwsim as hw
    >>> net, (x, y) = hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:4]
    >>> unmasked = hw.unmask(net, net, x, y, "linf:0.1", probe=hw.attacks.Pgd(2), queries=10)
    >>> "enough images" in [check.name for check in unmasked.flags]
    True
    """
    x, y = as_split((x, y))
    threat = parse(threat) if isinstance(threat, str) else threat
    rng = generator_of(rng, "attack")
    attacked, judge = as_classifier(attacked, x), as_classifier(judge, x)
    probe = probe or Pgd(40)
    steps, exact = min(getattr(probe, "steps", 40), 40), cold(attacked)
    climb = Pgd(steps) if judge.noisy else stopping(Pgd(steps))
    checks = [
        enough_images(len(x)),
        own_verdict(judge, x, rng),
        scores_not_states(exact, x, rng),
        *_gradient(exact, x, y, threat, rng),
    ]
    ways = {**(alternatives or {})}
    climbs = all(check.passed for check in checks[3:])
    if not climbs and not isinstance(judge, EquilibriumClassifier):
        ways |= _rescues(exact, x, threat, rng)
    by_queries = SparseRs(queries) if threat.norm == "l0" else Square(queries)
    candidates: list[Attack] = [Fgsm(), RandomSearch(100), by_queries]
    weak = [attack for attack in candidates if attack.name != probe.name]
    weak += [Transfer(source, Pgd(steps), f"transfer from {name}") for name, source in (transfer_from or {}).items()]
    # The same model by another gradient is a transfer in form, and as strong an attacker as the first in knowledge.
    others = [Transfer(way, _climb(way, probe, steps), f"gradient {name}") for name, way in ways.items()]
    margin = [] if probe.name == "pgd-margin" else [climb]
    result = evaluate(attacked, [judge], x, y, threat, [probe, *margin, *weak, *others], rng, draws=draws)
    accuracies, lowest = result.accuracies(), result.robust_accuracy
    own, noise = result.attacked, draw_noise(judge, result.worst_images, y, draws)
    checks += against_weaker(own, [probe.name], [attack.name for attack in weak], noise)
    for attack in (*margin, *others):
        name = attack.label if isinstance(attack, Transfer) else attack.name
        passed, words = lower(name, own[attack.name], probe.name, own[probe.name], 0.03, noise)
        meaning = "Another way to climb the same model is stronger: report the lowest."
        checks.append(Check(f"least over gradients: {name}", passed, words, meaning))
    checks += [
        repeatable(judge, x, result.worst_images, threat, rng),
        huge_budget(attacked, judge, x, y, rng, probe, draws),
        budget_monotone(attacked, judge, x, y, threat, rng, probe, draws),
    ]
    check, left = steps_enough(attacked, judge, x, y, threat, rng, probe, draws, noise)
    checks, lowest = [*checks, check], min(lowest, left)
    if reference:
        name, other = next(iter(reference.items()))
        checks.append(gradients_agree({"attacked": exact, name: other}, x, y))
    if isinstance(judge, EquilibriumClassifier):
        checks.append(settles_under_attack(judge, x, result.worst_images))
    if isinstance(attacked, OverDraws):
        check, left = draws_enough(attacked, judge, x, y, threat, rng, probe, draws, noise)
        checks, lowest = [*checks, check], min(lowest, left)
    elif judge.noisy and attacked.noisy:
        checks.append(gradient_above_noise(exact, x, y))
    if not checks[1].passed:
        accuracies["one by one"] = _one_by_one(attacked, judge, x, y, threat, rng, steps, draws)
        lowest = min(lowest, accuracies["one by one"])
    return Unmasked(tuple(checks), accuracies, lowest)


def _gradient(attacked: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> tuple[Check, ...]:
    """Is there a gradient, everywhere, of the function that predicts, and is it true?"""
    checks = [has_graph(attacked, x), zero_gradients(attacked, x, y, rng), true_gradient(attacked, x, y, threat, rng)]
    return (*checks, *(() if attacked.noisy else (same_scores(attacked, x, rng),)))


def _rescues(attacked: Classifier, x: Tensor, threat: Threat, rng: torch.Generator) -> dict[str, Classifier]:
    """Gradients for a module whose own fails."""
    estimated = FiniteDifferences(attacked, max(step_of(threat, x), 0.01), DIRECTIONS, rng)
    return {"straight-through": StraightThrough(attacked), "by finite differences": estimated}


def _climb(way: Classifier, probe: Attack, steps: int) -> Attack:
    """The requested attack; a shorter climb where every gradient costs a hundred passes."""
    return Pgd(min(steps, 20)) if isinstance(way, FiniteDifferences) else probe


def _one_by_one(
    attacked: Classifier,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    steps: int,
    draws: int,
) -> float:
    result = evaluate(Alone(attacked), [Alone(judge)], x, y, threat, [Pgd(min(steps, 20))], rng, draws=draws)
    return result.robust_accuracy
