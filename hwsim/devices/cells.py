"""Cells in pure torch: what one pulse does to a conductance, vectorised over an array; and the list of all cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hwsim.devices.cell import BaseCell
from hwsim.devices.responses import ExpStepCell, PowerStepCell, TabulatedCell
from hwsim.errors import InputError

__all__ = ["CELLS", "BaseCell", "CubicWindowCell", "IdealCell", "LinearStepCell", "SoftBoundsCell"]


@dataclass(frozen=True)
class IdealCell(BaseCell):
    """Takes exact updates, without bounds: float arithmetic behind the converters of a crossbar."""

    dw_min: float = 0.0
    w_max: float = math.inf
    w_min: float = -math.inf


@dataclass(frozen=True)
class LinearStepCell(BaseCell):
    """Steps that shrink linearly towards the bounds, aihwkit's ``LinearStepDevice`` with multiplicative noise:

        up:    g += dw_min (1 + up_down) (1 - gamma_up g / w_max)
        down:  g -= dw_min (1 - up_down) (1 - gamma_down g / w_min)

    Args:
        gamma_up, gamma_down: relative loss of step size from weight 0 to the bound; 0: constant steps.
        up_down: relative asymmetry of the two steps; ``up_down_dtod`` its absolute spread.
    """

    gamma_up: float = 0.5
    gamma_up_dtod: float = 0.0
    gamma_down: float = 0.5
    gamma_down_dtod: float = 0.0
    up_down: float = 0.0
    up_down_dtod: float = 0.0

    absolute_spread: ClassVar[tuple[str, ...]] = ("up_down",)

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        del rng
        size, slope = self._up if up else self._down
        if isinstance(size, Tensor) and isinstance(slope, Tensor):
            return torch.addcmul(size, slope, g, value=-1)
        return size - slope * g

    @cached_property
    def _up(self) -> tuple[Tensor | float, Tensor | float]:
        """Step at weight 0, and what it loses per unit of g."""
        self._not_zero("w_max")
        size = self.dw_min * (1 + self.up_down)
        return size, size * self.gamma_up / self.w_max

    @cached_property
    def _down(self) -> tuple[Tensor | float, Tensor | float]:
        self._not_zero("w_min")
        size = -self.dw_min * (1 - self.up_down)
        return size, size * self.gamma_down / self.w_min

    def _not_zero(self, name: str) -> None:
        bound = getattr(self, name)
        if isinstance(bound, int | float) and bound == 0:
            cell = type(self).__name__
            raise InputError(f"{cell}.{name}: expected a bound other than 0 for steps that shrink towards it")


@dataclass(frozen=True)
class SoftBoundsCell(LinearStepCell):
    """Steps that vanish at the bounds, aihwkit's ``SoftBoundsDevice``: the linear step with both gammas 1."""

    gamma_up: float = 1.0
    gamma_down: float = 1.0


@dataclass(frozen=True)
class CubicWindowCell(BaseCell):
    """A memristor whose state moves freely inside and ever slower near the end that it moves to.

    With x = (g - w_min) / (w_max - w_min) in [0, 1], a pulse changes g by

        up:    dw_min (1 - x^3) / (1 - 1/8)        down:  -dw_min (1 - (1 - x)^3) / (1 - 1/8)

    the one-sided window function of Biolek et al. (Radioengineering 2009) with p = 3/2, scaled so that a step at the
    middle is dw_min both ways.
    """

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        del rng
        x = (g - self.w_min) / (self.w_max - self.w_min)
        towards = x if up else 1 - x
        return (1 - towards**3) * (self.dw_min * (8 / 7 if up else -8 / 7))


CELLS: dict[str, type[BaseCell]] = {
    "ideal": IdealCell,
    "linear-step": LinearStepCell,
    "soft-bounds": SoftBoundsCell,
    "cubic-window": CubicWindowCell,
    "exp-step": ExpStepCell,
    "power-step": PowerStepCell,
    "tabulated": TabulatedCell,
}
