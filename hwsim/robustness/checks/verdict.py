"""Is a verdict the image's own, and is it the same the next time?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hwsim.robustness.checks.check import Check
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.threat import Threat

PASSES = 24
"""Passes over each kind of images: noise in one of seven passes is missed once in forty, in three of ten never."""


def repeats(classifier: Classifier, x: Tensor, passes: int = PASSES) -> float:
    """Share of ``passes`` further passes over ``x`` whose scores are those of the first, bit for bit."""
    first = classifier.logits(x)
    same = [bool(torch.equal(first, classifier.logits(x))) for _ in range(passes)]
    return sum(same) / len(same)


def off_grid(x: Tensor, rng: torch.Generator, reach: float = 0.02) -> Tensor:
    """Copies of ``x`` moved at random by up to ``reach``: pixels that no data set stores."""
    noise = torch.rand(x.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)
    return (x + reach * (2 * noise - 1)).clamp(0.0, 1.0)


def is_noisy(classifier: Classifier, x: Tensor, rng: torch.Generator, passes: int = PASSES) -> bool:
    """Do many passes over one batch differ, on images of the data or between its grid?"""
    return min(repeats(classifier, images, passes) for images in (x, off_grid(x, rng))) < 1


def repeatable(
    judge: Classifier, x: Tensor, moved: Tensor, threat: Threat, rng: torch.Generator, passes: int = PASSES
) -> Check:
    """Passes over clean, perturbed and attacked images; those that are called deterministic must repeat."""
    few = min(len(x), 16)
    sets = {"clean": x[:few], "perturbed": threat.random_start(x[:few], rng), "attacked": moved[:few]}
    shares = {name: repeats(judge, images, passes) for name, images in sets.items()}
    shares["attacked, whole batch"] = repeats(judge, moved, max(1, passes // 4))
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return Check(
        "deterministic",
        judge.noisy or min(shares.values()) == 1,
        f"Passes that repeat the scores of the first: {listed}"
        + ("; the model is evaluated as a noisy one." if judge.noisy else "."),
        "The model is noisy and was evaluated as if it were not: verdicts are lucky draws.",
    )


def own_verdict(judge: Classifier, x: Tensor, rng: torch.Generator, limit: float = 0.02, draws: int = 8) -> Check:
    """Scores of images alone against those in batches of several sizes and orders.

    The largest difference of a score, in units of the spread of all scores; where the judge is noisy, of means over
    ``draws`` in units of what their noise explains.
    """
    x = x[torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)]
    count = min(len(x), 8 if judge.noisy else 16)
    alone, error = _mean(judge, [image for image in x[:count].split(1)], draws)
    worst, where = 0.0, "no batch"
    spread = alone.std(unbiased=False).item() if len(alone) > 1 else 0.0
    for name, batches, rows in _arrangements(x, count, rng):
        together, other = _mean(judge, batches, draws)
        gap = (together[rows] - alone).abs()
        if judge.noisy:
            unit = (error.square() + other[rows].square()).sqrt().clamp_min(1e-6 * max(spread, 1e-12))
            size = (gap / unit).square().mean().sqrt().item()
        else:
            size = (gap.amax() / max(spread, torch.finfo(gap.dtype).tiny)).item()
        if not size <= worst:  # NaN is a difference
            worst, where = size, name
    unit, bound = ("of what noise explains", 2.0) if judge.noisy else ("of the spread of scores", limit)
    return Check(
        "own verdict",
        worst <= bound,
        f"Scores of {count} images alone and in batches differ by at most {worst:.2g} {unit} ({where}; tolerance "
        f"{bound:g}).",
        "What an image is taken for depends on its batch: attack and judge images one by one.",
    )


def _arrangements(x: Tensor, count: int, rng: torch.Generator) -> Iterator[tuple[str, list[Tensor], Tensor]]:
    """(name, batches, where the first ``count`` images stand in them all)."""
    plain = torch.arange(count, device=x.device)
    for size in sorted({2, 3, 7, len(x) // 2, len(x)} - {0, 1}):
        share = x if size >= count else x[:count]
        yield f"in batches of {size}", list(share.split(size)), plain
    whole = len(x)
    yield f"at the end of {whole}", [x.flip(0)], whole - 1 - plain
    order = torch.randperm(whole, generator=rng, device=rng.device).to(x.device)
    yield f"shuffled among {whole}", [x[order]], order.argsort()[:count]
    yield "twice in a batch", [torch.cat([x[:count], x[:count]])], plain + count
    # The last pass over the images alone shows that nothing was remembered.
    yield "alone once more", list(x[:count].split(1)), plain


def _mean(judge: Classifier, batches: list[Tensor], draws: int) -> tuple[Tensor, Tensor]:
    """(scores, their standard errors) over fresh draws where the judge is noisy."""
    if not judge.noisy:
        scores = torch.cat([judge.logits(batch) for batch in batches])
        return scores, torch.zeros_like(scores)
    seen = torch.stack([torch.cat([judge.logits(batch) for batch in batches]) for _ in range(draws)])
    return seen.mean(0), seen.std(0) / draws**0.5
