"""Devices that no pulse moves any more: stuck at the lowest, at the highest or at their last conductance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.errors import InputError

HEALTHY, LOW, HIGH, LAST = 0, 1, 2, 3


@dataclass(frozen=True)
class Faults:
    """Shares of all devices, each in [0, 1], together at most 1.

    Args:
        stuck_low: at the lowest conductance (an open cell).
        stuck_high: at the highest (a shorted one).
        stuck_last: at the conductance that they were first programmed to.
    """

    stuck_low: float = 0.0
    stuck_high: float = 0.0
    stuck_last: float = 0.0

    def __post_init__(self) -> None:
        for name in ("stuck_low", "stuck_high", "stuck_last"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Faults.{name}: expected a share in [0, 1], got {getattr(self, name)}")
        if self.share > 1:
            raise InputError(f"Faults.stuck_low: expected shares that add up to at most 1, got {self.share:g}")

    @property
    def share(self) -> float:
        """Share of devices that are stuck in any way."""
        return self.stuck_low + self.stuck_high + self.stuck_last

    def draw(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Which device has which fault: HEALTHY, LOW, HIGH or LAST, uint8, independently of each other.

        One number is drawn a device whatever the shares, so the same array with a smaller share of one kind has a
        part of the same faults.
        """
        u = torch.rand(shape, generator=rng)
        kinds = torch.zeros(shape, dtype=torch.uint8)
        bound = 0.0
        for kind, share in ((LOW, self.stuck_low), (HIGH, self.stuck_high), (LAST, self.stuck_last)):
            kinds[(u >= bound) & (u < bound + share)] = kind
            bound += share
        return kinds


def stuck(g: Tensor, kinds: Tensor, low: float, high: float, last: Tensor | None) -> Tensor:
    """Conductances ``g`` with those of stuck devices in place; ``last`` None: nothing was programmed yet."""
    g = torch.where(kinds == LOW, low, torch.where(kinds == HIGH, high, g))
    return g if last is None else torch.where(kinds == LAST, last, g)
