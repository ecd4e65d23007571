"""The symmetry point of a device: where up and down steps are equally large, and whether pulses lead there or away.

Pulses up and down in turn move a device by the sum of its two steps. Where that sum falls through 0 as the conductance
rises, they drive it there from either side; where it rises through 0, they drive it away, to one bound or the other.
Everything that names a symmetry point (fits, plots, figures of merit) asks this one function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EQUAL = 1e-3  # of the largest step; steps that differ by less are equal everywhere, and no point stands out


@dataclass(frozen=True)
class SymmetryPoint:
    """Where alternating pulses lead.

    Args:
        attracting: conductance to which they drive the device; NaN where there is none.
        repelling: conductances from which they drive it away.
    """

    attracting: float = math.nan
    repelling: tuple[float, ...] = ()

    @property
    def exists(self) -> bool:
        """Is there a point that attracts?"""
        return math.isfinite(self.attracting)

    def scaled(self, middle: float, half: float) -> SymmetryPoint:
        """The same in a unit in which conductances are ``middle + half * g``."""
        return SymmetryPoint(middle + half * self.attracting, tuple(middle + half * g for g in self.repelling))

    def __str__(self) -> str:
        if self.exists:
            return f"{self.attracting:.4g}"
        places = ", ".join(f"{g:.3g}" for g in self.repelling)
        return f"none that attracts (repelling at {places})" if places else "none"


def symmetry_point(g: Array, up: Array, down: Array) -> SymmetryPoint:
    """The symmetry point of mean steps.

    Args:
        g: (n,) conductances, rising.
        up, down: (n,) mean change by a pulse; ``up`` >= 0, ``down`` <= 0. NaN where it is not known, as where a bound
            cuts the step short; nothing is concluded across such a gap.

    Of several points that attract, the one nearest to the middle of the known range.
    """
    net = up + down
    known = np.isfinite(net)
    if not known.any() or np.abs(net[known]).max() <= _EQUAL * max(np.abs(up[known]).max(), np.abs(down[known]).max()):
        return SymmetryPoint()
    left, right = net[:-1], net[1:]
    attracting = _crossings(g, net, (left > 0) & (right <= 0))
    repelling = _crossings(g, net, (left < 0) & (right >= 0))
    middle = (g[known][0] + g[known][-1]) / 2
    nearest = min(attracting, key=lambda place: abs(place - middle), default=math.nan)
    return SymmetryPoint(nearest, tuple(repelling))


def _crossings(g: Array, net: Array, between: NDArray[np.bool_]) -> list[float]:
    """Where a line through ``net`` crosses 0, in the intervals ``between``."""
    i = np.flatnonzero(between)
    return [float(place) for place in g[i] + (g[i + 1] - g[i]) * net[i] / (net[i] - net[i + 1])]
