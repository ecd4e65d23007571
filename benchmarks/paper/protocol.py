"""White-box attacks by a protocol whose weaknesses can be taken away one at a time.

``LADDER`` begins with the protocol by which the robustness of equilibrium propagation was published (Mansingh et al.,
arXiv 2401.11543, by its code) and mends one thing a rung, in this order:

published       projected gradient ascent on the cross-entropy away from the *predicted* labels, through fewer steps of
                the relaxation than a prediction takes; images may leave [0, 1]; no restarts; the last iterate counts
boxed           images stay in [0, 1]
true-labels     away from the true labels
at-equilibrium  through the gradient at equilibrium
best-iterate    the first iterate that fools counts, else the one that came nearest
mended          restarts from random points on the margin

Each of the last two rungs tries everything that the one before tries, so they cannot find less. For models that answer
alike every time: an image counts as fooled when the judge has been wrong once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack, check_images, input_gradient, margin
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.library import Fab, Square
from hwsim.robustness.threat import Threat, into_ball


@dataclass(frozen=True)
class Protocol:
    """What an attack may do and what counts.

    Attributes:
        box: images stay in [0, 1]; without it only the budget holds them.
        true_labels: the attacker goes away from the label, not from what the model predicts for the clean image: from a
            wrong prediction one may be led back to the label.
        at_equilibrium: gradients are those of the settled state; a choice of the ``attacked`` that it is run on.
        best: the best iterate counts, not the last.
        restarts: are there random starts besides the clean image?
    """

    box: bool = True
    true_labels: bool = True
    at_equilibrium: bool = True
    best: bool = True
    restarts: bool = True


LADDER: dict[str, Protocol] = {
    "published": Protocol(False, False, False, False, False),
    "boxed": Protocol(True, False, False, False, False),
    "true-labels": Protocol(True, True, False, False, False),
    "at-equilibrium": Protocol(True, True, True, False, False),
    "best-iterate": Protocol(True, True, True, True, False),
    "mended": Protocol(),
}


def protocol_named(name: str) -> Protocol:
    """One of ``LADDER``. Raises InputError with the names there are."""
    if name not in LADDER:
        raise InputError(f"protocol: expected one of {', '.join(LADDER)}, got {name!r}")
    return LADDER[name]


def away_from(judge: Classifier, x: Tensor, y: Tensor, protocol: Protocol) -> Tensor:
    """(B,): the labels that an attack goes away from, true or predicted."""
    return y if protocol.true_labels else judge.logits(x).argmax(1)


def pgd_by(
    protocol: Protocol,
    attacked: Classifier,
    judge: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int,
    restarts: int,
    rng: torch.Generator,
) -> Tensor:
    """Images (B, ...) moved by projected gradient ascent of ``steps`` steps of 2.5 epsilon / steps.

    Args:
        attacked: what gradients are taken of.
        judge: the model as it predicts.
        restarts: random starts on the margin after the first, from the clean image on the cross-entropy; not used
            where the protocol has none.

    Raises InputError for images outside [0, 1] and impossible settings.
    """
    check_images(x, y)
    if steps < 1 or restarts < 0:
        raise InputError(f"pgd: expected at least 1 step and 0 restarts, got {steps} and {restarts}")
    labels = away_from(judge, x, y, protocol)
    best, reached = x.clone(), margin(judge.logits(x), labels)
    for start in range(1 + (restarts if protocol.restarts else 0)):
        left = (reached <= 0).nonzero()[:, 0] if protocol.best else torch.arange(len(x), device=x.device)
        if not len(left):
            break
        clean, own = x[left], labels[left]
        now = threat.random_start(clean, rng) if start else clean.clone()
        loss = "margin" if start else "ce"
        for _ in range(steps):
            gradient, _ = input_gradient(attacked, now, own, loss)
            now = now + 2.5 * threat.epsilon / steps * threat.steepest(gradient)
            now = _projected(now, clean, threat, protocol.box)
            if not protocol.best:
                continue
            gap = margin(judge.logits(now), own)
            better = gap > reached[left]
            best[left[better]], reached[left[better]] = now[better], gap[better]
            going = gap <= 0  # what is fooled needs no more steps
            left, clean, own, now = left[going], clean[going], own[going], now[going]
            if not len(left):
                break
        if not protocol.best:
            best[left] = now
    return best


def _projected(now: Tensor, clean: Tensor, threat: Threat, box: bool) -> Tensor:
    if box:
        return threat.project(now, clean)
    delta = into_ball((now - clean).flatten(1), threat.norm, clean.new_full((len(clean), 1), threat.epsilon))
    return clean + delta.reshape(clean.shape)


EFFORTS: dict[str, tuple[int, int, int, bool]] = {
    "smoke": (5, 2, 50, False),
    "quick": (20, 3, 300, False),
    "thorough": (100, 9, 1000, False),
    "standard": (100, 9, 5000, True),
}
"""Effort of an ensemble: steps of APGD, classes that it targets, queries of Square, FAB or not.

``standard`` is AutoAttack's.
"""


def ensemble(protocol: Protocol, effort: str) -> tuple[tuple[Attack, ...], Attack]:
    """(gradient attacks, query attack) of an ensemble. Raises InputError for an unknown effort.

    The published one is APGD on the cross-entropy and on the DLR, and Square (the Adversarial Robustness Toolbox's
    AutoAttack without DeepFool, five restarts and its oversized first step, which are not imitated); the mended one
    AutoAttack's, targeted APGD and FAB.
    """
    if effort not in EFFORTS:
        raise InputError(f"effort: expected one of {', '.join(EFFORTS)}, got {effort!r}")
    steps, targets, queries, fab = EFFORTS[effort]
    square = Square(queries)
    if not protocol.true_labels:
        return (Apgd("ce", steps), Apgd("dlr", steps)), square
    targeted = (Fab(steps, targets=targets),) if fab else ()
    return (Apgd("ce", steps), Apgd("targeted", steps, targets=targets), *targeted), square


def one_after_another(
    attacks: Sequence[tuple[Classifier, Attack]],
    judge: Classifier,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    rng: torch.Generator,
) -> Tensor:
    """Images (B, ...) of several attacks, each on what the ones before left right (Croce and Hein 2020).

    Args:
        attacks: pairs of what an attack sees, its surrogate or the model that answers queries, and the attack.
        judge: the model as it predicts; it decides what is fooled, inside the budget and the box.
        labels: (B,) that they go away from.
    """
    check_images(x, labels)
    moved = x.clone()
    right = judge.logits(x).argmax(1) == labels
    for attacked, attack in attacks:
        left = right.nonzero()[:, 0]
        if not len(left):
            break
        tried = threat.project(attack(attacked, x[left], labels[left], threat, rng).detach(), x[left])
        fooled = judge.logits(tried).argmax(1) != labels[left]
        moved[left[fooled]] = tried[fooled]
        right[left[fooled]] = False
    return moved
