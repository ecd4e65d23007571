"""Random numbers for a batch of images, one generator an image.

An image's corruption then depends on its own seed alone, not on which images share its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Array = np.ndarray


class Draws:
    """Independent draws for each of ``count`` images; seeds come from ``rng``, one an image in order."""

    def __init__(self, count: int, rng: torch.Generator) -> None:
        seeds = torch.randint(2**62, (count,), generator=rng, device=rng.device)
        self._generators = [np.random.default_rng(seed) for seed in seeds.tolist()]

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Array:
        """(B, *shape) standard normal."""
        return self._stack(lambda g: g.standard_normal(shape, dtype=np.float32))

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """(B, *shape) uniform in [low, high)."""
        return low + (high - low) * self._stack(lambda g: g.random(shape, dtype=np.float32))

    def integers(self, low: int, high: int, *shape: int) -> Array:
        """(B, *shape) integers in [low, high)."""
        return self._stack(lambda g: g.integers(low, high, shape))

    def poisson(self, rate: Array) -> Array:
        """(B, ...) Poisson counts of the given rates."""
        return np.stack([g.poisson(own) for g, own in zip(self._generators, rate, strict=True)]).astype(np.float32)

    def _stack(self, draw: Callable[[np.random.Generator], Array]) -> Array:
        return np.stack([np.asarray(draw(g)) for g in self._generators])
