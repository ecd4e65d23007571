"""Gradient attacks of our own: FGSM and projected gradient ascent on any classifier's surrogate.

Gradients are taken at images already inside the budget and the box, so no clipping lies between the image and the
loss: a clamp(0, 1) there gives no gradient to pixels that are exactly 0 or 1, and made attacks look 20 points weaker.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.ebm.look import due
from hwsim.errors import InputError
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.threat import Threat
from hwsim.robustness.warm import cold

LOSSES = ("ce", "margin", "probability-margin")


class Attack(Protocol):
    """A way to move images within a budget. Its own word on success is never trusted; see ``evaluate``."""

    @property
    def name(self) -> str: ...

    @property
    def white_box(self) -> bool:
        """Does it use gradients?"""
        ...

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        """Moved copies of ``x`` (B, ...) against the true labels ``y`` (B,)."""
        ...


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """(B,): best wrong score minus the label's score; an example is fooled where it is above zero."""
    label = logits.gather(1, y[:, None])[:, 0]
    wrong = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return wrong - label


def loss_of(logits: Tensor, y: Tensor, loss: str) -> Tensor:
    """(B,): what an untargeted attack climbs. Raises InputError for an unknown loss.

    "ce" is cross-entropy, "margin" the margin of the scores, "probability-margin" that of their softmax, which lets go
    of images that are hopeless or won (PMA: Liu et al. 2024).
    """
    if loss == "margin":
        return margin(logits, y)
    if loss == "probability-margin":
        return margin(logits.softmax(1), y)
    if loss == "ce":
        return functional.cross_entropy(logits, y, reduction="none")
    raise InputError(f"attack loss: expected one of {', '.join(LOSSES)}, got {loss!r}")


def input_gradient(classifier: Classifier, x: Tensor, y: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """(dloss/dx of the shape of ``x``, detached logits (B, classes)) of the surrogate.

    Zero where there is no graph, and in place of what is not finite: a step along NaN would end every attack.
    """
    at = x.detach().clone().requires_grad_(True)
    logits = classifier.differentiable(at)
    gradient = None
    if logits.requires_grad:
        (gradient,) = torch.autograd.grad(loss_of(logits, y, loss).sum(), at, allow_unused=True)
    return (torch.zeros_like(x) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)), logits.detach()


def pgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int,
    rng: torch.Generator,
    restarts: int = 1,
    loss: str = "ce",
    step_size: float | None = None,
    random_start: bool = True,
    targeted: bool = False,
    stop_when_fooled: bool = False,
) -> Tensor:
    """Projected gradient ascent (Madry et al. 2018) away from the true labels ``y``.

    Args:
        steps: gradient steps a restart, >= 1.
        rng: of the random starts.
        restarts: independent starts, >= 1; the best over all of them is kept.
        loss: one of ``LOSSES``, see ``loss_of``.
        step_size: in units of the budget's norm; 2.5 epsilon / steps by default, and 2 epsilon in l0, where a step
            short enough to stay among the pixels of the last one is caught there.
        targeted: go towards the classes ``y`` instead, which are then the wanted ones.
        stop_when_fooled: images leave the batch when they fool, wherever verdicts repeat and no class is wanted.

    Returns the iterate with the largest (targeted: smallest) margin of the surrogate, example by example, of the
    shape of ``x``; on a noisy classifier the one of the largest mean over fresh draws, among each restart's last
    iterate and the one whose own draw was largest.
    Raises InputError for images outside [0, 1] and impossible settings.
    """
    check_images(x, y)
    if steps < 1 or restarts < 1:
        raise InputError(f"pgd: expected steps and restarts of at least 1, got {steps} and {restarts}")
    if step_size is None:
        step_size = threat.epsilon * (2.0 if threat.norm == "l0" else 2.5 / steps)
    away = -1.0 if targeted else 1.0

    def gap(logits: Tensor, rows: Tensor) -> Tensor:
        return away * margin(logits, y[rows]).to(x.dtype)

    leaving = stop_when_fooled and not targeted and not classifier.noisy
    best = _Best(x)
    for _ in range(restarts):
        rows = torch.nonzero(best.reached <= 0)[:, 0] if leaving else torch.arange(len(x), device=x.device)
        start = threat.random_start(x, rng) if random_start else x.clone()
        own, now = _Best(x), start[rows]
        for step in range(1, steps + 1):
            if not len(rows):
                break
            gradient, logits = input_gradient(classifier, now, y[rows], loss)
            own.offer(now, gap(logits, rows), rows)
            now = threat.project(now + away * step_size * threat.steepest(gradient), x[rows])
            if leaving and due(now, step):
                kept = ~confirmed(classifier, own.images[rows], y[rows], own.reached[rows] > 0)
                rows, now = rows[kept], now[kept]
        if not classifier.noisy:
            if len(rows):
                own.offer(now, gap(classifier.differentiable(now).detach(), rows), rows)
            best.offer(own.images, own.reached)
            continue
        # The largest margin of one draw each is luck: the iterate that it picks and the last one are drawn anew.
        for candidate in (own.images, now):
            drawn = [gap(classifier.logits(candidate), rows) for _ in range(REDRAWN)]
            best.offer(candidate, torch.stack(drawn).mean(0))
    return best.images


def confirmed(classifier: Classifier, images: Tensor, y: Tensor, claimed: Tensor) -> Tensor:
    """(B,) bool: which of the images ``claimed`` to fool do so from the classifier's own start."""
    fooled = claimed.clone()
    if bool(fooled.any()):
        index = fooled.nonzero()[:, 0]
        fooled[index] = margin(cold(classifier).logits(images[index]), y[index]) > 0
    return fooled


REDRAWN = 10
"""Fresh draws behind the mean margin by which ``pgd`` keeps an image where the classifier is noisy."""


def put(into: Tensor, rows: Tensor, which: Tensor, values: Tensor) -> None:
    """``into[rows]`` = ``values`` for the entries ``which`` of ``rows``, in one size whatever is in ``which``."""
    into[rows] = torch.where(which.reshape(-1, *[1] * (values.dim() - 1)), values, into[rows])


class _Best:
    """The images of the largest margin so far, one by one."""

    def __init__(self, x: Tensor) -> None:
        self.images = x.clone()
        self.reached = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)

    def offer(self, images: Tensor, reached: Tensor, rows: Tensor | None = None) -> None:
        """Images of the places ``rows``, by default of all, and their margins."""
        rows = torch.arange(len(self.reached), device=reached.device) if rows is None else rows
        better = reached > self.reached[rows]
        put(self.images, rows, better, images)
        put(self.reached, rows, better, reached)


def fgsm(classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, *, loss: str = "ce") -> Tensor:
    """One step of the whole budget from the clean image (Goodfellow et al. 2015)."""
    check_images(x, y)
    gradient, _ = input_gradient(classifier, x, y, loss)
    return threat.project(x + threat.epsilon * threat.steepest(gradient), x)


def check_norm(attack: Any, threat: Threat) -> None:
    """InputError unless the threat's norm is one of the attack's ``norms``."""
    if threat.norm not in attack.norms:
        raise InputError(f"attack {attack.name}: expected a threat in {' or '.join(attack.norms)}, got {threat.norm}")


def check_images(x: Tensor, y: Tensor) -> None:
    """InputError unless ``x`` (B, ...) lies in [0, 1] and ``y`` (B,) are integer labels."""
    if x.dim() < 2 or len(x) != len(y):
        raise InputError(f"attack input: expected images (B, ...) and labels (B,), got {tuple(x.shape)}, {len(y)}")
    if y.dim() != 1 or y.is_floating_point():
        raise InputError(f"attack labels: expected integers of shape (B,), got {y.dtype} of shape {tuple(y.shape)}")
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        low, high = x.min().item(), x.max().item()
        raise InputError(f"attack input: pixels lie in [{low:g}, {high:g}]; scale images to [0, 1]")
