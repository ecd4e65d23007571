"""The one measurement of images: classified on fresh noise, instance by instance and draw by draw.

An attack's own verdict on a noisy model is a lucky draw in either direction and is never reported: images are frozen,
then measured here. Programming noise is fixed on an instance of a device, read noise is drawn anew at every forward
pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.settle import Outcome
from hwsim.errors import InputError
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier

BATCH = 500
"""Images classified at once, which bounds memory."""


@dataclass(frozen=True)
class Measured:
    """What became of B images.

    Attributes:
        right: (instances, draws, B) bool: was the label predicted?
        unsettled_share, noise_floor_share: of all relaxations; 0 where nothing relaxes.
    """

    right: Tensor
    unsettled_share: float = 0.0
    noise_floor_share: float = 0.0

    @property
    def draws(self) -> int:
        """Draws of each instance."""
        return self.right.shape[1]

    @property
    def hits(self) -> list[int]:
        """How often each image was right, over all draws and instances."""
        return self.right.sum((0, 1)).tolist()

    @property
    def hits_by_instance(self) -> list[list[int]]:
        """(instances, B): how often each image was right."""
        return self.right.sum(1).tolist()

    @property
    def hits_by_draw(self) -> list[list[int]]:
        """(instances, draws): how many images were right."""
        return self.right.sum(2).tolist()

    @property
    def share(self) -> Tensor:
        """(B,) share of the draws in which each image was right, over all instances."""
        return self.right.double().mean((0, 1))

    @property
    def accuracy(self) -> float:
        """Mean over instances, draws and images."""
        return self.right.double().mean().item()


def measure(instances: Sequence[Classifier], x: Tensor, y: Tensor, draws: int = 20) -> Measured:
    """Classify images (B, ...) on every instance, ``draws`` times where it is noisy and once where it is not.

    Each instance goes on with its own read noise: its generator must not be the one that an attack drew from.
    """
    if not instances or draws < 1:
        raise InputError(f"measure: expected an instance and a draw at least, got {len(instances)} and {draws}")
    draws = draws if any(instance.noisy for instance in instances) else 1
    ends, right = torch.zeros(len(Outcome)), []
    for instance in instances:
        seen = torch.stack([_classified(instance, x, y, ends) for _ in range(draws if instance.noisy else 1)])
        right.append(seen.expand(draws, -1))
    shares = (ends / ends.sum().clamp(min=1)).tolist()
    unsettled = shares[Outcome.MAX_STEPS] + shares[Outcome.NONFINITE]
    return Measured(torch.stack(right), unsettled, shares[Outcome.NOISE_FLOOR])


def _classified(classifier: Classifier, x: Tensor, y: Tensor, ends: Tensor) -> Tensor:
    """(B,) bool: is the largest score the label's? How relaxations ended is added to ``ends``."""
    right = []
    for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        if isinstance(classifier, EquilibriumClassifier):
            logits, settled = classifier.relaxed(images)
            ends += torch.bincount(settled.outcome.long(), minlength=len(Outcome)).cpu()
        else:
            logits = classifier.logits(images)
        right.append((logits.argmax(1) == labels).cpu())
    return torch.cat(right)
