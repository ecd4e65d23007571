"""Attacks that change few pixels and those by any amount: l0 threats. PGD goes there too, see ``Threat.project``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.look import due
from hwsim.robustness.attacks import check_images, check_norm, margin, put
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.threat import Threat, by_pixel, top_pixels

_SCHEDULE = ((50, 2), (200, 4), (500, 5), (1000, 6), (2000, 8), (4000, 10), (6000, 12), (8000, 15), (10_000, 20))
"""(queries of 10,000, divisor): the share of the pixels that is swapped is ``first_share`` over the divisor."""


@dataclass(frozen=True)
class SparseRs:
    """Sparse random search (Croce et al. 2022): queries only, pixels at the corners of the colour cube.

    Attributes:
        queries: forward passes an image at most; the published schedule is stretched to them.
        first_share: of the pixels that are swapped at first, the published 0.3.
    """

    queries: int = 5000
    first_share: float = 0.3

    name = "sparse-rs"
    white_box = False
    norms = ("l0",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        check_images(x, y)
        check_norm(self, threat)
        count = min(int(threat.epsilon), by_pixel(x).shape[1])
        best = x.clone()
        if not count or not len(x):
            return best

        def uniform(like: Tensor) -> Tensor:
            return torch.rand(like.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)

        chosen = top_pixels(uniform(by_pixel(x)), count, x)
        best = torch.where(chosen, uniform(x).round(), x)
        reached = margin(classifier.logits(best), y)
        left = torch.arange(len(x), device=x.device)
        for query in range(1, self.queries):
            if due(x, query):
                left = torch.nonzero(reached <= 0)[:, 0]
            if not len(left):
                break
            free = by_pixel(x).shape[1] - count
            swapped = max(1, min(int(count * self._share(query)), free or count))
            clean, now, taken = x[left], best[left], chosen[left]
            mine = by_pixel(taken.to(x.dtype)) > 0
            order = uniform(mine)
            removed = top_pixels(order.masked_fill(~mine, -1.0), swapped, clean) & taken
            # Where no pixel is free, colours are drawn anew in place.
            added = top_pixels(order.masked_fill(mine, -1.0), swapped, clean) if free else removed
            candidate = torch.where(removed, clean, now)
            candidate = torch.where(added, uniform(clean).round(), candidate)
            gap = margin(classifier.logits(candidate), y[left])
            better = gap >= reached[left]
            put(best, left, better, candidate)
            put(reached, left, better, gap.to(reached.dtype))
            put(chosen, left, better, taken & ~removed | added)
        return best

    def _share(self, query: int) -> float:
        at = query * 10_000 / max(self.queries, 1)
        return self.first_share / next(divisor for until, divisor in _SCHEDULE if at <= until)
