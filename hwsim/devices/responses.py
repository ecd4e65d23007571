"""Responses of a conductance to one pulse, vectorised over an array, and the list of all cells.

Linear, soft and cubic steps; and the curved ones that measured devices show: exponential, power law, tabulated. The
equations of these three are those of aihwkit's ``ExpStepDevice``, ``PowStepDevice`` and ``PiecewiseStepDevice`` as
documented; its compiled part differs in that ``up_down`` shrinks the smaller of the two steps and leaves the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hwsim.devices.cell import BaseCell
from hwsim.errors import InputError


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
class ReversalStepCell(LinearStepCell):
    """Linear steps that remember the polarity of the pulses before, as ions that have to turn round do:

        up:    g += linear step (1 + reversal_loss h)          h -> 1 + (h - 1) exp(-1 / reversal_pulses)
        down:  g -= linear step (1 - reversal_loss h)          h -> -1 + (h + 1) exp(-1 / reversal_pulses)

    After a long train h is 1 or -1: the first pulse back is a step times 1 - reversal_loss, and the size recovers over
    ``reversal_pulses`` pulses. ``dw_min`` is the step where up and down pulses come mixed, h = 0. This describes traces
    of organic transistors and other ion devices; it is no model of their physics.

    Args:
        reversal_loss: share of a step, 0 to 1, that a change of polarity costs.
        reversal_pulses: pulses after which all but 1/e of the past is forgotten.
        polarisation: h before the first pulse.
    """

    reversal_loss: float = 0.5
    reversal_pulses: float = 20.0
    polarisation: float = 0.0

    remembers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.reversal_loss <= 1:
            raise InputError(f"ReversalStepCell.reversal_loss: expected in [0, 1], got {self.reversal_loss}")
        if not self.reversal_pulses > 0:
            raise InputError(f"ReversalStepCell.reversal_pulses: expected > 0, got {self.reversal_pulses}")
        if not -1 <= self.polarisation <= 1:
            raise InputError(f"ReversalStepCell.polarisation: expected in [-1, 1], got {self.polarisation}")

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        along = self.polarisation if up else -self.polarisation
        return super().pulse(g, up, rng) * (1 + self.reversal_loss * along)

    def spread(self, shape: tuple[int, int], rng: torch.Generator) -> BaseCell:
        drawn = super().spread(shape, rng)
        return drawn.with_varied({"polarisation": torch.full(shape, float(self.polarisation))})

    def after(self, n_up: Tensor, n_down: Tensor) -> BaseCell:
        count = n_up + n_down
        kept = torch.exp(-count / self.reversal_pulses)
        towards = (n_up - n_down) / count.clamp_min(1e-30)
        return self.with_varied({"polarisation": towards + (self.polarisation - towards) * kept})


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


@dataclass(frozen=True)
class ExpStepCell(BaseCell):
    """Steps that fall off exponentially towards the bounds, as ReRAM's do (aihwkit's ``ExpStepDevice``):

        up:    g += dw_min (1 + up_down) max(0, 1 - A_up exp(gamma_up z))
        down:  g -= dw_min (1 - up_down) max(0, 1 - A_down exp(-gamma_down z))
        z = 2 a g / (w_max - w_min) + b

    Where the exponential is not small at the reference, a step there is smaller than ``dw_min``.

    Args:
        A_up, A_down: share that a step has lost at z = 0.
        gamma_up, gamma_down: how sharply it falls.
        a, b: slope and offset of z.
        up_down: relative asymmetry of the two steps; ``up_down_dtod`` its absolute spread.
    """

    A_up: float = 0.00081
    A_down: float = 0.36833
    gamma_up: float = 12.44625
    gamma_down: float = 12.78785
    a: float = 0.244
    b: float = 0.2425
    up_down: float = 0.0
    up_down_dtod: float = 0.0

    absolute_spread: ClassVar[tuple[str, ...]] = ("up_down",)

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        del rng
        z = g * (2 * self.a / (self.w_max - self.w_min)) + self.b
        if up:
            return (1 - self.A_up * torch.exp(self.gamma_up * z)).clamp_min_(0) * (self.dw_min * (1 + self.up_down))
        return (1 - self.A_down * torch.exp(-self.gamma_down * z)).clamp_min_(0) * (-self.dw_min * (1 - self.up_down))


@dataclass(frozen=True)
class PowerStepCell(BaseCell):
    """Steps that follow a power of the distance to the bound (Fusi & Abbott, Nat. Neurosci. 2007):

        up:    g += dw_min (1 + up_down) (2 w)^gamma_up              w = (w_max - g) / (w_max - w_min)
        down:  g -= dw_min (1 - up_down) (2 (1 - w))^gamma_down      gamma_up, gamma_down = pow_gamma (1 +- pow_up_down)

    ``dw_min`` is the step in the middle of the range; that of aihwkit's ``PowStepDevice`` is the step at the far bound,
    2^gamma times as large.

    Args:
        pow_gamma: the exponent; 1 is the soft-bounds cell.
        pow_up_down: relative asymmetry of the two exponents; ``pow_up_down_dtod`` its absolute spread.
        up_down: relative asymmetry of the two steps; ``up_down_dtod`` its absolute spread.
    """

    pow_gamma: float = 1.0
    pow_gamma_dtod: float = 0.0
    pow_up_down: float = 0.0
    pow_up_down_dtod: float = 0.0
    up_down: float = 0.0
    up_down_dtod: float = 0.0

    absolute_spread: ClassVar[tuple[str, ...]] = ("up_down", "pow_up_down")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pow_gamma >= 0:
            raise InputError(f"PowerStepCell.pow_gamma: expected a number >= 0, got {self.pow_gamma}")

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        del rng
        distance = (self.w_max - g if up else g - self.w_min).clamp_min(0) * (2 / (self.w_max - self.w_min))
        sign = 1 if up else -1
        return (
            distance ** (self.pow_gamma * (1 + sign * self.pow_up_down))
            * (sign * self.dw_min)
            * (1 + sign * self.up_down)
        )


@dataclass(frozen=True)
class TabulatedCell(BaseCell):
    """Steps read off a table and interpolated linearly (aihwkit's ``PiecewiseStepDevice``).

        up:  g += dw_min (1 + up_down) piecewise_up(g)      down:  g -= dw_min (1 - up_down) piecewise_down(g)

    Args:
        piecewise_up, piecewise_down: relative steps, >= 0, at points evenly spaced from w_min to w_max.
        up_down: relative asymmetry of the two steps; ``up_down_dtod`` its absolute spread.
    """

    piecewise_up: tuple[float, ...] = (1.0, 1.0)
    piecewise_down: tuple[float, ...] = (1.0, 1.0)
    up_down: float = 0.0
    up_down_dtod: float = 0.0

    absolute_spread: ClassVar[tuple[str, ...]] = ("up_down",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("piecewise_up", "piecewise_down"):
            values = getattr(self, name)
            if len(values) < 2 or not all(0 <= value < float("inf") for value in values):
                raise InputError(f"TabulatedCell.{name}: expected two or more finite numbers >= 0, got {list(values)}")

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        del rng
        table = torch.tensor(self.piecewise_up if up else self.piecewise_down, dtype=g.dtype)
        last = len(table) - 1
        place = ((g - self.w_min) * (last / (self.w_max - self.w_min))).clamp(0, last)
        node = place.long().clamp_max_(last - 1)
        relative = torch.lerp(table[node], table[node + 1], place - node)
        return relative * (self.dw_min * (1 + self.up_down) if up else -self.dw_min * (1 - self.up_down))


CELLS: dict[str, type[BaseCell]] = {
    "ideal": IdealCell,
    "linear-step": LinearStepCell,
    "reversal-step": ReversalStepCell,
    "soft-bounds": SoftBoundsCell,
    "cubic-window": CubicWindowCell,
    "exp-step": ExpStepCell,
    "power-step": PowerStepCell,
    "tabulated": TabulatedCell,
}
