"""Auto-PGD: projected gradient ascent that sets its own steps (Croce and Hein 2020; in l1 Croce and Hein 2021).

Written from the papers. Where verdicts repeat, images that are fooled leave the batch, which is most of them after a
few steps; whether they fool is asked from the classifier's own start, whatever it remembers while it is climbed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hwsim.ebm.look import costs_nothing, due
from hwsim.errors import InputError
from hwsim.robustness.attacks import check_images, check_norm, confirmed, loss_of, put
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.threat import Threat
from hwsim.robustness.warm import cold

LOSSES = ("ce", "dlr", "targeted", "margin", "probability-margin")
_NEEDED = {"dlr": 3, "targeted": 4}
"""Classes that a loss needs; two otherwise."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, rows of the batch) -> (B,), what is climbed."""


@dataclass(frozen=True)
class Apgd:
    """Auto-PGD.

    Attributes:
        loss: "ce"; "dlr", which needs 3 classes; "targeted", the DLR towards each of the ``targets`` largest wrong
            classes in turn, 4; "margin" or "probability-margin".
        best_loss: return the point of largest loss instead of the first that fools. For attacks that are judged
            elsewhere (transfer, noise): a point just over the boundary fails there. Not with "targeted".
        stop_when_fooled: images leave the batch when they fool; otherwise the last image that fooled is returned.
    """

    loss: str = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 9
    best_loss: bool = False
    stop_when_fooled: bool = False

    white_box = True
    norms = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"apgd loss: expected {', '.join(LOSSES[:-1])} or {LOSSES[-1]}, got {self.loss!r}")
        if self.best_loss and self.loss == "targeted":
            raise InputError("apgd: best_loss goes with loss ce or dlr, not with targeted")

    @property
    def name(self) -> str:
        return f"apgd-{self.loss}"

    @property
    def least_classes(self) -> int:
        """How many classes its loss needs."""
        return _NEEDED.get(self.loss, 2)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        check_norm(self, threat)
        check_images(x, y)
        needed = self.least_classes
        if classifier.classes < needed:
            raise InputError(
                f"attack {self.name}: its loss needs at least {needed} classes, the model has {classifier.classes}"
            )
        best = x.clone()
        if not len(x) or not threat.epsilon:
            return best
        scores = cold(classifier).logits(x)
        left = torch.arange(len(x), device=x.device)
        if not self.best_loss:
            left = left[scores.argmax(1) == y]
        towards = scores.scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
        targets = min(self.targets, classifier.classes - 1) if self.loss == "targeted" else 1
        reached = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        for run in range(self.restarts * targets):
            if not len(left):
                break
            climb = _Climb(classifier, x[left], y[left], threat, self._loss(y[left], towards[left, run % targets]))
            ended = climb.run(self.steps, rng, self.stop_when_fooled and not self.best_loss and not classifier.noisy)
            if self.best_loss:
                better = ended.loss > reached[left]
                best[left[better]], reached[left[better]] = ended.largest[better], ended.loss[better]
            else:
                best[left[ended.fooled]] = ended.fooling[ended.fooled]
                left = left[~ended.fooled]
        return best

    def _loss(self, y: Tensor, target: Tensor) -> Loss:
        if self.loss == "dlr":
            return lambda logits, rows: dlr(logits, y[rows])
        if self.loss == "targeted":
            return lambda logits, rows: targeted_dlr(logits, y[rows], target[rows])
        return lambda logits, rows: loss_of(logits, y[rows], self.loss)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(B,): difference of logits ratio: the margin over the gap between the first and the third score."""
    ranked = logits.sort(1).values
    own = logits.gather(1, y[:, None])[:, 0]
    wrong = torch.where(logits.argmax(1) == y, ranked[:, -2], ranked[:, -1])
    return (wrong - own) / (ranked[:, -1] - ranked[:, -3] + 1e-12)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """(B,): the gap between the target's score and the label's, over the spread of the first four scores."""
    ranked = logits.sort(1).values
    gap = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]
    return gap / (ranked[:, -1] - 0.5 * (ranked[:, -3] + ranked[:, -4]) + 1e-12)


@dataclass
class _Images:
    """What is known of the images in work, one entry each; ``rows`` are their places in the batch."""

    rows: Tensor
    x: Tensor
    y: Tensor
    now: Tensor
    before: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    loss: Tensor
    best_loss: Tensor
    checked_loss: Tensor
    step: Tensor
    rises: Tensor
    reduced: Tensor
    sparsity: Tensor

    def chosen(self, rows: Tensor) -> _Images:
        return _Images(*(getattr(self, part.name)[rows] for part in fields(self)))


@dataclass
class _Ended:
    """One run's result: the largest loss and where, which images were fooled and by what."""

    largest: Tensor
    loss: Tensor
    fooled: Tensor
    fooling: Tensor


class _Climb:
    """One run from one random start."""

    def __init__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, loss: Loss) -> None:
        self.classifier, self.x, self.y, self.threat, self.loss = classifier, x, y, threat, loss
        self.largest_step = threat.epsilon * (1.0 if threat.norm == "l1" else 2.0)

    def run(self, steps: int, rng: torch.Generator, leaving: bool) -> _Ended:
        ended = _Ended(
            self.x.clone(),
            self.x.new_full((len(self.x),), -torch.inf),
            torch.zeros(len(self.x), dtype=torch.bool, device=self.x.device),
            self.x.clone(),
        )
        work = self._begin(rng)
        work = self._judged(work, ended, leaving and costs_nothing(self.x))
        sparse = self.threat.norm == "l1"
        window = max(1, int((0.04 if sparse else 0.22) * steps))
        shrink, least = max(1, int(0.03 * steps)), max(1, int(0.06 * steps))
        since = 0
        for step in range(steps):
            if not len(work.rows):
                break
            self._move(work, 0.75 if step else 1.0)
            self._climbed(work)
            work = self._judged(work, ended, leaving and due(self.x, step + 1))
            since += 1
            if since == window:
                if sparse:
                    self._adapt_sparsity(work)
                else:
                    self._adapt_step(work, window)
                    window = max(window - shrink, least)
                since = 0
        self._note(work, ended)
        return ended

    def _begin(self, rng: torch.Generator) -> _Images:
        x, threat = self.x, self.threat
        if threat.norm == "l1":
            now = threat.project(x + torch.randn(x.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x), x)
        else:
            now = (x + threat.epsilon * self._unit(self._drawn(rng))).clamp(0.0, 1.0)
        rows = torch.arange(len(x), device=x.device)
        loss, gradient, self.scores = self._climb_at(now, rows)
        size = x[0].numel()
        ones = torch.ones_like(loss)
        return _Images(
            rows, x, self.y, now, now, gradient, now.clone(), gradient.clone(), loss, loss.clone(), loss.clone(),
            ones * self.largest_step, 0 * ones, ones.bool(), torch.stack([0.2 * ones, size * ones], 1),
        )  # fmt: skip

    def _drawn(self, rng: torch.Generator) -> Tensor:
        shape, like = self.x.shape, {"generator": rng, "device": rng.device, "dtype": self.x.dtype}
        drawn = 2 * torch.rand(shape, **like) - 1 if self.threat.norm == "linf" else torch.randn(shape, **like)
        return drawn.to(self.x.device)

    def _unit(self, delta: Tensor) -> Tensor:
        norm = torch.inf if self.threat.norm == "linf" else 2
        length = delta.flatten(1).norm(p=norm, dim=1).clamp_min(1e-12)
        return delta / _each(length, delta)

    def _climb_at(self, now: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, its gradient, scores), where there is no gradient zero."""
        at = now.detach().clone().requires_grad_(True)
        scores = self.classifier.differentiable(at)
        loss, gradient = self.loss(scores, rows), None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), at, allow_unused=True)
        gradient = torch.zeros_like(now) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
        return loss.detach(), gradient, scores.detach()

    def _move(self, work: _Images, inertia: float) -> None:
        drift = work.now - work.before
        work.before = work.now
        if self.threat.norm == "l1":
            work.now = self.threat.project(work.now + self._sparse_step(work), work.x)
            return
        # Over a square, the sign of the gradient; over a ball, its direction.
        uphill = work.gradient.sign() if self.threat.norm == "linf" else self._unit(work.gradient)
        ahead = self.threat.project(work.now + _each(work.step, uphill) * uphill, work.x)
        work.now = self.threat.project(work.now + (ahead - work.now) * inertia + drift * (1 - inertia), work.x)

    def _sparse_step(self, work: _Images) -> Tensor:
        """The largest entries of the gradient, an equal step each; how many adapts."""
        flat = work.gradient.flatten(1)
        size = flat.shape[1]
        ranked = flat.abs().sort(1).values
        kept = ((1 - work.sparsity[:, 0]) * size).clamp(0, size - 1).long()
        floor = ranked.gather(1, kept[:, None])
        signs = torch.where(flat.abs() >= floor, flat.sign(), torch.zeros_like(flat))
        step = signs / (signs.abs().sum(1, keepdim=True) + 1e-10) * work.step[:, None]
        return step.reshape(work.now.shape)

    def _climbed(self, work: _Images) -> None:
        loss, work.gradient, self.scores = self._climb_at(work.now, work.rows)
        work.rises += (loss > work.loss).to(loss.dtype)
        work.loss = loss
        better = _each(loss > work.best_loss, work.now)
        work.best = torch.where(better, work.now, work.best)
        work.best_gradient = torch.where(better, work.gradient, work.best_gradient)
        work.best_loss = torch.maximum(work.best_loss, loss)

    def _adapt_step(self, work: _Images, window: int) -> None:
        """Half the step where the loss rose too seldom, or nothing better was found at an unchanged step."""
        seldom = work.rises <= 0.75 * window
        stuck = ~work.reduced & (work.checked_loss >= work.best_loss)
        halved = seldom | stuck
        work.reduced, work.checked_loss = halved, work.best_loss.clone()
        work.rises = torch.zeros_like(work.rises)
        work.step = torch.where(halved, work.step / 2, work.step)
        back = _each(halved, work.now)
        work.now = torch.where(back, work.best, work.now)
        work.gradient = torch.where(back, work.best_gradient, work.gradient)

    def _adapt_sparsity(self, work: _Images) -> None:
        """Fewer pixels and the whole step again where the best image has become sparser; a shorter step elsewhere."""
        size = work.x[0].numel()
        changed = (work.best != work.x).flatten(1).sum(1).to(work.loss.dtype)
        sparser = changed / work.sparsity[:, 1] < 0.95
        shorter = (work.step / 1.5).clamp_min(self.largest_step / 10)
        work.step = torch.where(sparser, torch.full_like(work.step, self.largest_step), shorter)
        work.sparsity = torch.stack([changed / size / 1.5, changed.clamp_min(1.0)], 1)
        back = _each(sparser, work.now)
        work.now = torch.where(back, work.best, work.now)
        work.gradient = torch.where(back, work.best_gradient, work.gradient)

    def _judged(self, work: _Images, ended: _Ended, leaving: bool) -> _Images:
        """Note the images that fool, asked again from the classifier's own start; where ``leaving`` they go."""
        fools = self.scores.argmax(1) != work.y
        if leaving:
            fools = confirmed(self.classifier, work.now, work.y, fools)
        put(ended.fooled, work.rows, fools, fools)
        put(ended.fooling, work.rows, fools, work.now)
        if not leaving or not bool(fools.any()):
            return work
        self._note(work, ended)
        kept = ~fools
        self.scores = self.scores[kept]
        return work.chosen(kept)

    @staticmethod
    def _note(work: _Images, ended: _Ended) -> None:
        ended.largest[work.rows], ended.loss[work.rows] = work.best, work.best_loss


def _each(number: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...)."""
    return number.reshape(-1, *[1] * (like.dim() - 1))
