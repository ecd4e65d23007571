"""Does the attack that was requested do what an attack does: more with more, and more than a weaker one?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from hwsim.robustness.attacks import Attack
from hwsim.robustness.checks.check import Check, accuracy, lower, points, shares, tolerance
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Pgd, norms_of
from hwsim.robustness.threat import Threat


def price(attack: Attack) -> int:
    """Gradients an image that an attack takes, about."""
    parts = [getattr(attack, name, 1) for name in ("steps", "restarts")]
    targeted = getattr(attack, "targeted", getattr(attack, "loss", "") == "targeted")
    return parts[0] * parts[1] * (getattr(attack, "targets", 1) if targeted else 1)


def probe_of(attacks: Sequence[Attack], attacked: Mapping[str, Tensor]) -> Attack | None:
    """The requested attack that the checks repeat: the cheapest white-box one that does about as well as the best.

    ``attacked``: (B,) shares that each left, by name. None where none of them uses gradients.
    """
    white = [attack for attack in attacks if attack.white_box and attack.name in attacked]
    if not white:
        return None
    left = {attack.name: attacked[attack.name].mean().item() for attack in white}
    least = min(left.values())
    return min((attack for attack in white if left[attack.name] <= least + NEAR), key=price)


NEAR = 0.02
"""An attack that leaves so much more than the best one is as good for the checks, if it is cheaper."""


def huge_budget(
    attacked: Classifier, judge: Classifier, x: Tensor, y: Tensor, rng: torch.Generator, probe: Attack, draws: int = 1
) -> Check:
    """Accuracy where every pixel may take any value: about zero, or the attack does not work."""
    attack = probe if "linf" in norms_of(probe) else Pgd(getattr(probe, "steps", 40))
    left = accuracy(judge, attack(attacked, x, y, Threat("linf", 1.0), rng), y, draws)
    return Check(
        "huge budget",
        left <= 0.05,
        f"{left:.1%} are left by {attack.name} where every pixel may take any value (tolerance 5%).",
        "Any image can be made any other there, so the attack fails; this is no robustness.",
    )


def budget_monotone(
    attacked: Classifier,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    probe: Attack,
    draws: int = 1,
) -> Check:
    """Accuracy at half, once and twice the budget must not rise."""
    left = [accuracy(judge, probe(attacked, x, y, threat.scaled(f), rng), y, draws) for f in (0.5, 1.0, 2.0)]
    allowed = tolerance(len(x))
    listed = ", ".join(f"{share:.1%}" for share in left)
    return Check(
        "more budget",
        all(b <= a + allowed for a, b in pairwise(left)),
        f"Accuracy at half, once and twice the budget, by {probe.name}: {listed} (tolerance {points(allowed)}).",
        "More budget helps the model: the attack is caught on the way.",
    )


def steps_enough(
    attacked: Classifier,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    probe: Attack,
    draws: int = 1,
    noise: float = 0.0,
) -> tuple[Check, float]:
    """Twice the steps must not find clearly more, nor less; and the least accuracy of the two."""
    few, many = probe, _longer(probe)
    names = [f"{probe.name} of {getattr(attack, 'steps', 1)} steps" for attack in (few, many)]
    left = [shares(judge, attack(attacked, x, y, threat, rng), y, draws) for attack in (few, many)]
    more, words = lower(names[1], left[1], names[0], left[0], noise=noise)
    less, _ = lower(names[0], left[0], names[1], left[1], noise=noise)
    meaning = "More steps find less: the climb is lost." if more else "The attack has not converged: use more steps."
    return Check("more steps", more and less, words, meaning), min(share.mean().item() for share in left)


def _longer(attack: Attack) -> Attack:
    """The attack with twice its steps; a single step grows into ten."""
    if dataclasses.is_dataclass(attack) and not isinstance(attack, type) and hasattr(attack, "steps"):
        return dataclasses.replace(attack, steps=2 * getattr(attack, "steps"))  # noqa: B009
    return Pgd(10)


def draws_enough(
    attacked: OverDraws,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    probe: Attack,
    draws: int = 10,
    noise: float = 0.0,
) -> tuple[Check, float]:
    """Averaging the gradient over four times the draws must not make the attack clearly stronger."""
    counts = [attacked.draws, 4 * attacked.draws]
    wider = [OverDraws(attacked.instances, count) for count in counts]
    left = [shares(judge, probe(averaged, x, y, threat, rng), y, draws) for averaged in wider]
    names = [f"{probe.name} with gradients over {count} draws" for count in counts]
    passed, words = lower(names[1], left[1], names[0], left[0], noise=noise)
    check = Check("draws enough", passed, words, "The gradient is not averaged enough: use more draws.")
    return check, min(share.mean().item() for share in left)


def against_weaker(
    attacked: Mapping[str, Tensor], strong: Sequence[str], weak: Sequence[str], noise: float = 0.0
) -> tuple[Check, ...]:
    """The best of the ``strong`` attacks against each weak one: one step, random, queries, another model.

    ``attacked``: (B,) shares by attack, on the same images. A weak one that leaves clearly less than the strongest
    white-box one voids the white-box figure.
    """
    best = min(strong, key=lambda name: attacked[name].mean().item())
    checks = []
    for name in weak:
        passed, words = lower(name, attacked[name], best, attacked[best], noise=noise)
        meaning = "An attacker who knows less does better: the white-box figure is void, gradients are masked."
        checks.append(Check(f"white box against {name}", passed, words, meaning))
    return tuple(checks)


def main_table(
    clean: Tensor, attacked: Mapping[str, Tensor], attacks: Sequence[Attack], noise: float = 0.0
) -> tuple[Check, ...]:
    """What the requested attacks left, against one another and against the untouched images.

    ``clean`` and ``attacked``, by name: (B,) shares of draws, on the same images; ``noise`` as in ``lower``.
    """
    white = [attack.name for attack in attacks if attack.white_box and attack.name in attacked]
    weak = [attack.name for attack in attacks if not attack.white_box and attack.name in attacked]
    above = {}
    for name, share in attacked.items():
        passed, words = lower("untouched images", clean, name, share, noise=noise)
        if not passed:
            above[name] = words
    below = "No attack leaves more than there is."
    checks = [
        Check(
            "attacked not above clean",
            not above,
            " ".join(above.values()) or below,
            "Attacked images are predicted better than untouched ones: the clean figure, or the evaluation, is wrong.",
        )
    ]
    if white:
        checks += [
            dataclasses.replace(check, name=f"main table: {check.name}")
            for check in against_weaker(attacked, white, weak, noise)
        ]
    return tuple(checks)
