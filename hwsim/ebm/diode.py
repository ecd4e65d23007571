"""Diodes at the nodes of a resistive network: ideal, or Shockley's exponential.

A diode lets current into its node where the voltage falls below 0 V (turned round, out of it where it rises above), so
that it bounds the voltage from one side. With saturation current I_s, ideality n and thermal voltage V_T

    i(v) = I_s (exp(-v / (n V_T)) - 1)        into a node at v volts

(Shockley 1949). The voltage of a node with conductance q and short-circuit current d is then the root of
q v = d + i(v), which Wright's omega function gives (Corless and Jeffrey 2002).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.errors import InputError

THERMAL_V = 1.380649e-23 * 300.0 / 1.602176634e-19
"""k T / q at 300 K."""

_EXPONENT = 60.0
"""Beyond this exponent, far past any settled voltage, current and co-content go on without an exponential."""


@dataclass(frozen=True)
class Diode:
    """An ideal diode, or with ``saturation_A`` one of Shockley's.

    Args:
        saturation_A: saturation current in amperes; None: ideal.
        ideality: n, from 1 to 2 for real diodes.

    Raises InputError for values out of range.

    >>> import hwsim as hw
    >>> hw.Diode().ideal, hw.Diode(saturation_A=1e-12, ideality=1.5).ideal
    (True, False)
    """

    saturation_A: float | None = None
    ideality: float = 1.0

    def __post_init__(self) -> None:
        if self.saturation_A is not None and not 1e-30 <= self.saturation_A <= 1.0:
            raise InputError(f"network.diode.saturation_A: expected amperes from 1e-30 to 1, got {self.saturation_A:g}")
        if not 0.1 <= self.ideality <= 100:
            raise InputError(f"network.diode.ideality: expected a number from 0.1 to 100, got {self.ideality:g}")

    @property
    def ideal(self) -> bool:
        return self.saturation_A is None

    @property
    def scale_V(self) -> float:
        """n V_T: the voltage over which the current changes by a factor e."""
        return self.ideality * THERMAL_V

    def _saturation(self, unit_uS: float) -> float:
        """The saturation current in the unit of the energy: that of 1 V over a weight of 1."""
        assert self.saturation_A is not None
        return self.saturation_A / (unit_uS * 1e-6)

    def current(self, v: Tensor, unit_uS: float) -> Tensor:
        """Into the node; 0 for an ideal diode, whose bound takes whatever current it needs."""
        if self.ideal:
            return torch.zeros_like(v)
        exponent = -v / self.scale_V
        inside = exponent.clamp_max(_EXPONENT)
        return self._saturation(unit_uS) * (inside.exp() * (1 + (exponent - inside)) - 1)

    def co_content(self, v: Tensor, unit_uS: float) -> Tensor:
        """-integral of the current over the voltage, 0 at 0 V."""
        if self.ideal:
            return torch.zeros_like(v)
        exponent = -v / self.scale_V
        inside = exponent.clamp_max(_EXPONENT)
        over = exponent - inside
        grown = inside.exp() * (1 + over + 0.5 * over.square()) - 1
        return self._saturation(unit_uS) * (self.scale_V * grown + v)

    def rest(self, current: Tensor, conductance: Tensor, unit_uS: float) -> Tensor:
        """The voltage at which a node rests that is fed ``current`` and held by ``conductance`` to 0 V."""
        open_V = current / conductance
        if self.ideal:
            return open_V.clamp_min(0.0)
        saturation = self._saturation(unit_uS)
        slope = conductance * self.scale_V
        base = (current - saturation) / slope
        # v = n V_T (base + omega(z)), omega + ln omega = z: no exponential that could overflow
        return self.scale_V * (base + omega((saturation / slope).log() - base))


def omega(z: Tensor) -> Tensor:
    """Wright's omega function of real numbers: the root w > 0 of w + ln w = z, to the precision of the type."""
    small = z.clamp_max(1.0).exp()
    large = z.clamp_min(math.e)
    w = torch.where(z < 1, small / (1 + small), torch.where(z < math.e, z.clamp_min(0.6) * 0.6, large - large.log()))
    w = w.clamp_min(torch.finfo(z.dtype).tiny)
    for _ in range(4):  # Fritsch, Shafer and Crowley 1973: fourth order
        r = z - w - w.log()
        t = (1 + w) * (1 + w + 2 * r / 3)
        w = w * (1 + r / (1 + w) * (t - r / 2) / (t - r))
        w = w.clamp_min(torch.finfo(z.dtype).tiny)
    # Far to the left w is the exponential itself, and its logarithm would be rounding alone.
    return torch.where(z < math.log(torch.finfo(z.dtype).eps) - 2, z.clamp_max(0.0).exp(), w)
