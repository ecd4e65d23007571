"""Physical units at the boundary of an array: conductances in uS, and how devices are brought to them.

Inside, arrays compute with normalised weights. ``Conductances`` says which devices stand for one, ``Programming``
how closely a device reaches the conductance that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.errors import InputError

ENCODINGS = ("differential", "reference-column")
SCHEMES = ("ideal", "single-shot", "write-verify")


@dataclass(frozen=True)
class Conductances:
    """The map between normalised weights and conductances.

    Args:
        encoding: ``differential``: two devices a weight, g_plus - g_minus, the one that is not needed at ``g_min_uS``;
            ``reference-column``: one device a weight, against one more output line, whose devices are at the middle of
            the range. Its current is subtracted from all the others'; in the transpose read it is driven with minus
            the sum of their inputs.
        g_min_uS, g_max_uS: the range of a device.
        read_voltage_V: voltage of an input of 1.
        weight_range: the normalised weight that the full range stands for; devices of an uneven array may exceed it.
    """

    encoding: str = "differential"
    g_min_uS: float = 1.0
    g_max_uS: float = 25.0
    read_voltage_V: float = 0.2
    weight_range: float = 1.0

    def __post_init__(self) -> None:
        self._require("encoding", self.encoding in ENCODINGS, f"one of {', '.join(ENCODINGS)}")
        self._require("g_min_uS", 0 <= self.g_min_uS < math.inf, "a finite conductance >= 0")
        self._require("g_max_uS", self.g_min_uS < self.g_max_uS < math.inf, f"more than g_min_uS = {self.g_min_uS}")
        for name in ("read_voltage_V", "weight_range"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number > 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InputError(f"Conductances.{name}: expected {expected}, got {getattr(self, name)!r}")

    @property
    def uS_per_weight(self) -> float:
        """Change of g_plus - g_minus, or of g, that changes the normalised weight by 1."""
        share = 1.0 if self.encoding == "differential" else 0.5
        return share * (self.g_max_uS - self.g_min_uS) / self.weight_range

    def encode(self, weight: Tensor) -> Tensor:
        """(post, pre) normalised weights -> conductances in uS, none below 0.

        (2, post, pre) of plus and minus devices, or (1, post + 1, pre) with the references last.
        """
        g = weight * self.uS_per_weight
        if self.encoding == "differential":
            return torch.stack([g.clamp_min(0.0), (-g).clamp_min(0.0)]) + self.g_min_uS
        return (torch.cat([g, torch.zeros_like(g[:1])]) + (self.g_min_uS + self.g_max_uS) / 2).clamp_min(0.0)[None]

    def decode(self, g: Tensor) -> Tensor:
        """Conductances in uS, as ``encode`` arranges them -> (post, pre) normalised weights."""
        signed = g[0] - g[1] if self.encoding == "differential" else g[0, :-1] - g[0, -1:]
        return signed / self.uS_per_weight

    def named(self, g: Tensor) -> dict[str, Tensor]:
        """What ``encode`` gives, as matrices with a name."""
        if self.encoding == "differential":
            return {"g_plus_uS": g[0], "g_minus_uS": g[1]}
        return {"g_uS": g[0, :-1], "g_reference_uS": g[0, -1:]}


@dataclass(frozen=True)
class Programming:
    """How a device is written.

    Args:
        scheme: ``ideal``: exactly; ``single-shot``: once, with an error; ``write-verify``: read and written again
            until it is within the tolerance or the budget is spent.
        error_uS: standard deviation of one shot around its target, the same for all conductances.
        tolerance_uS: largest distance from the target that ``write-verify`` accepts.
        budget: most writes of a device, shots or pulses.
    """

    scheme: str = "ideal"
    error_uS: float = 0.0
    tolerance_uS: float = 0.5
    budget: int = 1000

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"Programming.scheme: expected one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        for name in ("error_uS", "tolerance_uS"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"Programming.{name}: expected a finite conductance >= 0, got {getattr(self, name)}")
        if self.budget < 1:
            raise InputError(f"Programming.budget: expected at least 1, got {self.budget}")

    def shoot(self, target: Tensor, rng: torch.Generator) -> tuple[Tensor, int]:
        """Conductances in uS reached from ``target`` by shots that do not depend on where a device was; how many.

        So phase-change memory is written: every shot resets the device first. ``write-verify`` shoots again at the
        devices that missed, and keeps the last shot where the budget ends.
        """
        if self.scheme == "ideal":
            return target, target.numel()
        g, shots = target, 0
        missed = torch.ones_like(target, dtype=torch.bool)
        for _ in range(self.budget if self.scheme == "write-verify" else 1):
            noise = torch.randn(target.shape, generator=rng, dtype=target.dtype) * self.error_uS
            g = torch.where(missed, (target + noise).clamp_min(0.0), g)
            shots += int(missed.sum())
            missed = (g - target).abs() > self.tolerance_uS
            if not missed.any():
                break
        return g, shots


def pulse_until(
    target: Tensor,
    start: Tensor,
    tolerance: float,
    budget: int,
    pulse: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, int]:
    """Write and verify by pulses: the devices reached from ``start``, and the pulses that it took.

    Every round sends one pulse towards the target to each device that is still further than ``tolerance`` from it.

    Args:
        target, start: (post, pre), in the cell's unit.
        pulse: (g, n_up, n_down) -> g, the device's own response.
        budget: most pulses a device.
    """
    g, pulses = start, 0
    for _ in range(budget):
        gap = target - g
        up, down = (gap > tolerance).to(g.dtype), (gap < -tolerance).to(g.dtype)
        sent = int((up + down).sum())
        if not sent:
            break
        pulses += sent
        g = pulse(g, up, down)
    return g, pulses
