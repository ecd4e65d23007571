"""Checks that unmask: signs that an attack failed where a model seems to resist.

After Athalye et al. 2018 (arXiv 1802.00420) and Carlini et al. 2019 (arXiv 1902.06705), with what equilibria and
noisy hardware add: gradient methods that disagree, relaxations that do not settle, and gradients lost in noise.
A result that fails one is reported with the lowest accuracy found and the failed check's words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hwsim.robustness.attacks import Attack, input_gradient, pgd
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import Evaluation, evaluate
from hwsim.robustness.library import Square
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Fgsm, Pgd, RandomSearch, Transfer
from hwsim.robustness.threat import Threat


@dataclass(frozen=True)
class Check:
    """One check: what was found, in words with figures, and what it means where it did not pass."""

    name: str
    passed: bool
    found: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + ("" if self.passed else f" {self.meaning}")


@dataclass(frozen=True)
class Unmasked:
    """All checks of one model and threat.

    ``lowest`` is the accuracy to report: the worst case for each image over everything that was tried at the
    budget; ``accuracies`` those of single attackers.
    """

    checks: tuple[Check, ...]
    accuracies: dict[str, float]
    lowest: float

    @property
    def flags(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)


def zero_gradients(classifier: Classifier, x: Tensor, y: Tensor, limit: float = 0.05) -> Check:
    """Share of images whose input gradient of the margin is exactly zero: attacks cannot leave them."""
    gradient, _ = input_gradient(classifier, x, y, "margin")
    share = (gradient.flatten(1).abs().amax(1) == 0).double().mean().item()
    return Check(
        "zero gradients",
        share <= limit,
        f"{share:.1%} of the images have an input gradient of exactly zero.",
        "Gradient attacks stand still there: attack the pre-activation, through a surrogate that leaks, by queries.",
    )


def scores_not_states(classifier: Classifier, x: Tensor, limit: float = 0.05) -> Check:
    """Share of images whose scores repeat exactly: a saturated, quantised or normalised output, not logits."""
    scores = classifier.logits(x)
    ranked = scores.sort(dim=1).values
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(1).double().mean().item()
    probabilities = bool((scores >= 0).all() and ((scores.sum(1) - 1).abs() < 1e-4).all())
    found = f"{tied:.1%} of the images have classes of exactly equal score"
    return Check(
        "scores, not states",
        tied <= limit and not probabilities,
        found + (", and the scores are probabilities." if probabilities else "."),
        "The loss looks at a saturated or normalised output; give attacks the pre-activation.",
    )


def huge_budget(
    attacked: Classifier, judge: Classifier, x: Tensor, y: Tensor, rng: torch.Generator, steps: int = 40
) -> Check:
    """Accuracy where every pixel may take any value: about zero, or the attack does not work."""
    moved = pgd(attacked, x, y, Threat("linf", 1.0), steps=steps, rng=rng, loss="margin")
    left = _accuracy(judge, moved, y)
    return Check(
        "huge budget",
        left <= 0.05,
        f"{left:.1%} are left where every pixel may take any value.",
        "Any image can be made any other there, so the attack fails; this is no robustness.",
    )


def budget_monotone(
    attacked: Classifier, judge: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator, steps: int = 40
) -> Check:
    """Accuracy at half, once and twice the budget must not rise."""
    left = []
    for factor in (0.5, 1.0, 2.0):
        moved = pgd(attacked, x, y, threat.scaled(factor), steps=steps, rng=rng, loss="margin")
        left.append(_accuracy(judge, moved, y))
    tolerance = _tolerance(len(x))
    return Check(
        "more budget",
        all(b <= a + tolerance for a, b in pairwise(left)),
        "Accuracy at half, once and twice the budget: " + ", ".join(f"{share:.1%}" for share in left) + ".",
        "More budget helps the model: the attack is caught on the way.",
    )


def steps_enough(
    attacked: Classifier, judge: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator, steps: int = 40
) -> Check:
    """Twice the steps must not find much more, nor much less."""
    few, many = (
        _accuracy(judge, pgd(attacked, x, y, threat, steps=count, rng=rng, loss="margin"), y)
        for count in (steps, 2 * steps)
    )
    tolerance = _tolerance(len(x)) + 0.03
    return Check(
        "more steps",
        abs(few - many) <= tolerance,
        f"Accuracy after {steps} and {2 * steps} steps: {few:.1%} and {many:.1%}.",
        "The attack has not converged: use more steps." if many < few else "More steps find less: the climb is lost.",
    )


def gradients_agree(classifiers: Mapping[str, Classifier], x: Tensor, y: Tensor, limit: float = 0.9) -> Check:
    """Median cosine of the input gradients of two ways to differentiate one model, on up to 16 images.

    Where a way is noisy, its own two draws agree to r only, and two ways that are the same to sqrt(r r'). The limit
    is on the cosine over that, so that read noise is not taken for disagreement.
    """
    (first, one), (second, other) = list(classifiers.items())[:2]
    x, y = x[:16], y[:16]

    def gradient(way: Classifier) -> Tensor:
        return input_gradient(way, x, y, "margin")[0].flatten(1)

    def cosine(a: Tensor, b: Tensor) -> float:
        return torch.cosine_similarity(a, b, dim=1).median().item()

    a, b = gradient(one), gradient(other)
    found = f"Median cosine between the {first} and the {second} gradient on {len(x)} images: {cosine(a, b):.3f}"
    noisy = [(name, way, seen) for name, way, seen in ((first, one, a), (second, other, b)) if way.noisy]
    if not noisy:
        meaning = "They agree only where the state settles: relax longer, and trust the lowest accuracy of all ways."
        return Check("gradients agree", cosine(a, b) >= limit, f"{found}.", meaning)
    repeats = {name: cosine(seen, gradient(way)) for name, way, seen in noisy}
    found += "".join(f"; between two draws of the {name} one: {repeat:.3f}" for name, repeat in repeats.items())
    if min(repeats.values()) <= 0.1:
        meaning = "Read noise hides whether they agree: average over more draws, and trust the lowest of all ways."
        return Check("gradients agree", False, f"{found}.", meaning)
    expected = math.sqrt(math.prod(repeats.values()))
    agree = cosine(a, b) >= limit * expected
    if agree and cosine(a, b) < limit:
        found += f", so that noise alone leaves {expected:.3f}: what is missing is read noise, not disagreement"
    meaning = "They differ by more than read noise explains: relax longer, and trust the lowest accuracy of all ways."
    return Check("gradients agree", agree, f"{found}.", meaning)


def settles_under_attack(classifier: EquilibriumClassifier, moved: Tensor, limit: float = 0.05) -> Check:
    """Share of attacked images whose relaxation is still on its way at the end."""
    share = classifier.relaxed(moved)[1].unsettled_share
    return Check(
        "settled under attack",
        share <= limit,
        f"{share:.1%} of the attacked images have not settled.",
        "Their prediction depends on when it is read; relax longer, or say that it is read early.",
    )


def gradient_above_noise(classifier: Classifier, x: Tensor, y: Tensor, limit: float = 0.5) -> Check:
    """Median cosine between two draws of the gradient: what an attacker who does not average climbs."""
    a, b = (input_gradient(classifier, x, y, "margin")[0].flatten(1) for _ in range(2))
    cosine = torch.cosine_similarity(a, b, dim=1).median().item()
    return Check(
        "gradient above noise",
        cosine >= limit,
        f"Median cosine between two draws of the input gradient: {cosine:.2f}.",
        "A single draw's gradient is mostly noise: average over draws (EOT), or attack the noise-free twin.",
    )


def draws_enough(
    attacked: OverDraws,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    steps: int = 40,
    judged: int = 10,
) -> Check:
    """Averaging the gradient over twice the draws must not make the attack much stronger."""
    left = []
    for factor in (1, 2):
        wider = OverDraws(attacked.instances, attacked.draws * factor)
        moved = pgd(wider, x, y, threat, steps=steps, rng=rng, loss="margin")
        left.append(sum(_accuracy(judge, moved, y) for _ in range(judged)) / judged)
    return Check(
        "draws enough",
        left[1] >= left[0] - _tolerance(len(x)) - 0.03,
        f"Accuracy with gradients over {attacked.draws} and {2 * attacked.draws} draws: {left[0]:.1%}, {left[1]:.1%}.",
        "The gradient is not averaged enough: use more draws.",
    )


def weaker_attackers(evaluation: Evaluation, strong: Sequence[str], weak: Sequence[str]) -> tuple[Check, ...]:
    """The best of the ``strong`` attacks against each weak one: one step, random, queries, another model.

    A weak one that leaves clearly less than the strongest white-box one voids the white-box figure.
    """
    accuracies = evaluation.accuracies()
    best = min(strong, key=lambda name: accuracies[name])
    tolerance = _tolerance(len(evaluation.clean))
    return tuple(
        Check(
            f"white box beats {name}",
            accuracies[best] <= accuracies[name] + tolerance,
            f"{best} leaves {accuracies[best]:.1%}, {name} leaves {accuracies[name]:.1%}.",
            "An attacker who knows less does better: the white-box figure is void, gradients are masked.",
        )
        for name in weak
    )


def unmask(
    attacked: Classifier,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    *,
    alternatives: Mapping[str, Classifier] | None = None,
    transfer_from: Mapping[str, Classifier] | None = None,
    steps: int = 40,
    queries: int = 500,
    draws: int = 10,
) -> Unmasked:
    """All checks on one model and threat.

    Args:
        attacked: the classifier whose gradients the white-box attack used.
        judge: the model that is claimed to be robust.
        x, y: images and true labels; 100 or more, about 16 times as many forward and backward passes as steps.
        alternatives: the same model differentiated in other ways (by name: another T, implicit, nudged, leaky);
            the figure to report is the least over all of them.
        transfer_from: other models whose adversarial images are tried (by name).
        steps, queries, draws: of the white-box attack, of Square, and verdicts where the judge is noisy.
    """
    white: list[Attack] = [Pgd(steps, loss="margin")]
    sources = {**(transfer_from or {})}
    by_queries = SparseRs(queries) if threat.norm == "l0" else Square(queries)
    weak: list[Attack] = [Fgsm(), RandomSearch(100), by_queries]
    weak += [Transfer(source, Pgd(steps, loss="margin"), f"transfer from {name}") for name, source in sources.items()]
    # The same model by another gradient is a transfer in form, and as strong an attacker as the first in knowledge.
    others = [
        Transfer(way, Pgd(steps, loss="margin"), f"gradient {name}") for name, way in (alternatives or {}).items()
    ]
    everything = [*white, Pgd(steps, loss="ce"), *weak, *others]
    found = evaluate(attacked, [judge], x, y, threat, everything, rng, draws=draws)
    accuracies = found.accuracies()
    checks = [
        zero_gradients(attacked, x, y),
        scores_not_states(attacked, x),
        huge_budget(attacked, judge, x, y, rng, steps),
        budget_monotone(attacked, judge, x, y, threat, rng, steps),
        steps_enough(attacked, judge, x, y, threat, rng, steps),
        *weaker_attackers(found, ["pgd-margin", "pgd-ce"], [attack.name for attack in weak]),
    ]
    for attack in others:
        lower = accuracies["pgd-margin"] - accuracies[attack.name]
        checks.append(
            Check(
                f"least over gradients: {attack.label}",
                lower <= _tolerance(len(x)) + 0.03,
                f"pgd-margin leaves {accuracies['pgd-margin']:.1%}, by {attack.label} {accuracies[attack.name]:.1%}.",
                "Another way to differentiate the same model is stronger: report the lowest.",
            )
        )
    if alternatives:
        name, other = next(iter(alternatives.items()))
        checks.append(gradients_agree({"attacked": attacked, name: other}, x, y))
    if isinstance(judge, EquilibriumClassifier):
        checks.append(settles_under_attack(judge, found.worst_images))
    if judge.noisy and attacked.noisy:
        checks.append(gradient_above_noise(attacked, x, y))
    if isinstance(attacked, OverDraws):
        checks.append(draws_enough(attacked, judge, x, y, threat, rng, steps, draws))
    return Unmasked(tuple(checks), accuracies, found.robust_accuracy)


def _accuracy(judge: Classifier, x: Tensor, y: Tensor) -> float:
    return (judge.logits(x).argmax(1) == y).double().mean().item()


def _tolerance(count: int) -> float:
    """Two images, or two standard errors of a paired difference in which a tenth of the images differ."""
    return max(2 / count, 2 * (0.1 / count) ** 0.5)
