"""One check, and how far apart two accuracies may be before it means something."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.robustness.classifier import Classifier
from hwsim.robustness.measure import measure

ENOUGH_IMAGES = 100
"""Fewer say little: on 25 images two accuracies may differ by 13 points without meaning anything."""


@dataclass(frozen=True)
class Check:
    """One check: what was measured, in words with figures, and what it means where it did not pass."""

    name: str
    passed: bool
    found: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + ("" if self.passed else f" {self.meaning}")


def tolerance(count: int) -> float:
    """Two images, or two standard errors of a paired difference in which a tenth of the images differ."""
    return max(2 / count, 2 * (0.1 / count) ** 0.5)


def points(share: float) -> str:
    """A difference of shares: ``6.3 points``."""
    return f"{100 * share:.1f} points"


def lower(
    label: str, share: Tensor, reference: str, base: Tensor, allowance: float = 0.0, noise: float = 0.0
) -> tuple[bool, str]:
    """(is ``share`` not clearly below ``base``, both in words), (B,) shares of draws on the same images.

    Clearly: by more than two images and by two standard errors of the paired difference, and by ``allowance``.
    ``noise`` is the standard error of an accuracy over its draws, which may move all images at once.
    """
    gap = base - share
    count = len(gap)
    spread = gap.var(unbiased=False).item() if count > 1 else 0.0
    limit = max(2 / count, 2 * (spread / count + 2 * noise**2) ** 0.5) + allowance
    mean = gap.mean().item()
    words = f"{reference} leaves {base.mean().item():.1%}, {label} {share.mean().item():.1%}"
    if mean > 0:
        inside = "within" if mean <= limit else "beyond"
        words += f": {points(mean)} lower, {inside} the tolerance of {points(limit)} at {count} images"
    return mean <= limit, f"{words}."


def shares(judge: Classifier, x: Tensor, y: Tensor, draws: int = 10) -> Tensor:
    """(B,) share of fresh draws that predict the label; 0 or 1 where the judge is not noisy."""
    return measure([judge], x, y, draws).share


def draw_noise(judge: Classifier, x: Tensor, y: Tensor, draws: int = 10) -> float:
    """Standard error of an accuracy over ``draws``, all images sharing each draw; 0 where nothing is noisy."""
    if not judge.noisy:
        return 0.0
    hits = measure([judge], x, y, max(draws, 10)).hits_by_draw
    return (torch.tensor(hits) / len(x)).std().item() / draws**0.5


def accuracy(judge: Classifier, x: Tensor, y: Tensor, draws: int = 10) -> float:
    """Mean over images and, where the judge is noisy, fresh draws."""
    return shares(judge, x, y, draws).mean().item()


def enough_images(count: int) -> Check:
    """Checks on a handful of images pass whatever the model is."""
    return Check(
        "enough images",
        count >= ENOUGH_IMAGES,
        f"The checks ran on {count} images; two accuracies on them may differ by {points(tolerance(count))}.",
        f"Too few to show much; use {ENOUGH_IMAGES} or more.",
    )
