"""Devices that hold a few conductances only: what programming aims at, and where an update leaves them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.errors import InputError

ROUNDINGS = ("stochastic", "nearest")
_AT = 1e-4
"""A conductance so close to a level, in distances of levels, is at it: rounding errors draw nothing."""


@dataclass(frozen=True)
class Levels:
    """The conductances of a device.

    Args:
        levels_uS: in uS, two or more, rising.
        level_rounding: where an update leaves a device that it moved between two levels. ``stochastic``: at the upper
            one with the probability of its share of the way, so that many small updates add up to their sum in the
            mean; ``nearest``: at the closer one, so that an update of less than half a distance is lost.

    Raises InputError for fewer than two, and for levels that do not rise.
    """

    levels_uS: tuple[float, ...]
    level_rounding: str = "stochastic"

    def __post_init__(self) -> None:
        if len(self.levels_uS) < 2:
            raise InputError(f"Levels.levels_uS: expected two or more levels, got {len(self.levels_uS)}")
        for lower, upper in zip(self.levels_uS, self.levels_uS[1:], strict=False):
            if not lower < upper < math.inf:
                raise InputError(f"Levels.levels_uS: expected rising numbers, got {upper:g} after {lower:g}")
        if self.level_rounding not in ROUNDINGS:
            raise InputError(
                f"Levels.level_rounding: expected one of {', '.join(ROUNDINGS)}, got {self.level_rounding!r}"
            )

    def nearest(self, g: Tensor) -> Tensor:
        """Conductances in uS of any shape -> the closest levels."""
        lower, upper, share = self._between(g)
        return torch.where(share < 0.5, lower, upper)

    def after_update(self, g: Tensor, rng: torch.Generator) -> Tensor:
        """Conductances in uS of any shape -> the levels at which an update leaves them."""
        if self.level_rounding == "nearest":
            return self.nearest(g)
        lower, upper, share = self._between(g)
        share = torch.where(share < _AT, 0.0, torch.where(share > 1 - _AT, 1.0, share))
        return torch.where(torch.rand(g.shape, generator=rng, dtype=g.dtype) < share, upper, lower)

    def _between(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The levels below and above, and the share of the way from the one to the other."""
        levels = torch.tensor(self.levels_uS, dtype=g.dtype)
        above = torch.searchsorted(levels, g.contiguous()).clamp(1, len(levels) - 1)
        lower, upper = levels[above - 1], levels[above]
        return lower, upper, ((g - lower) / (upper - lower)).clamp(0, 1)
