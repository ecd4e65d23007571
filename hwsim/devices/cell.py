"""What all cells of a crossbar share: spread, cycle-to-cycle noise, bounds, leak and drift.

A researcher's device is one small frozen dataclass: fields for its parameters and ``pulse``. A field ``X_dtod``
beside a field ``X`` is the relative device-to-device spread of X, drawn once for every cross-point; inside ``pulse``
``self.X`` then is a tensor of the array's shape.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from hwsim.crossbar.cell_array import bounded
from hwsim.errors import InputError, NotCovered


@dataclass(frozen=True)
class BaseCell:
    """A programmable conductance g, in the cell's own unit; weight 0 is ``reference``.

    Args:
        dw_min: mean change of g by one pulse at the reference; 0 for exact, pulseless updates.
        dw_min_dtod: its relative spread from device to device.
        dw_min_std: relative standard deviation of each pulse (cycle to cycle).
        w_max, w_min: bounds of g, and ``w_max_dtod``, ``w_min_dtod`` their relative spread.
        lifetime: g decays to the reference by 1/lifetime each training step; infinite: no leak.
        drift_nu, drift_nu_dtod: after t seconds g - w_min falls by (t / 1 s)^-nu; 0: no drift.
        read_noise: standard deviation of each read of g.
        reference: g that stands for weight 0.

    Raises InputError for values out of range.

    >>> from dataclasses import dataclass
    >>> import hwsim as hw
    >>> @dataclass(frozen=True)
    ... class Saturating(hw.BaseCell):
    ...     def pulse(self, g, up, rng):
    ...         return self.dw_min * ((self.w_max - g) if up else (self.w_min - g))
    >>> hw.hopfield([64, 16, 10], hw.CellDevice(Saturating(dw_min=2e-3))).synapses[0].meter.programmed
    1
    """

    dw_min: float = 1e-3
    dw_min_dtod: float = 0.0
    dw_min_std: float = 0.0
    w_max: float = 1.0
    w_max_dtod: float = 0.0
    w_min: float = -1.0
    w_min_dtod: float = 0.0
    lifetime: float = math.inf
    drift_nu: float = 0.0
    drift_nu_dtod: float = 0.0
    read_noise: float = 0.0
    reference: float = 0.0

    absolute_spread: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[bool] = False  # does ``after`` change anything?
    nonidealities: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Name -> the fields, with the values that switch it off, of what is not ideal about a cell of one's own."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_dtod", "_std")) and not 0 <= value < math.inf:
                raise InputError(f"{name}.{field.name}: expected a finite number >= 0, got {value}")
        if not self.w_min < self.w_max:
            raise InputError(f"{name}.w_min: expected less than w_max = {self.w_max}, got {self.w_min}")
        if not self.w_min <= self.reference <= self.w_max:
            raise InputError(f"{name}.reference: expected in [{self.w_min}, {self.w_max}], got {self.reference}")
        for low, what in (("dw_min", self.dw_min), ("drift_nu", self.drift_nu), ("read_noise", self.read_noise)):
            if not 0 <= what < math.inf:
                raise InputError(f"{name}.{low}: expected a finite number >= 0, got {what}")
        if not self.lifetime > 1:
            raise InputError(f"{name}.lifetime: expected a number of training steps > 1, got {self.lifetime}")

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        """The mean change of g, (post, pre), by one pulse up or down; the one method that a new cell must have.

        Base classes add the cycle-to-cycle noise ``dw_min_std``; draw only other noise from ``rng``.
        """
        raise NotCovered(f"{type(self).__name__} needs a method pulse(g, up, rng)")

    def step(self, g: Tensor, n_up: Tensor, n_down: Tensor, rng: torch.Generator) -> Tensor:
        """g after ``n_up`` and ``n_down`` pulses, (post, pre), all of them responding as at the start.

        Pulses add up, and so do the variances of their noise; the sum stays within the bounds.
        """
        up, down = self.pulse(g, True, rng), self.pulse(g, False, rng)
        change, fall = n_up * up, n_down * down
        if self.dw_min_std:
            variance = (change * up).addcmul_(fall, down)
            noise = torch.randn(g.shape, generator=rng, dtype=g.dtype)
            change.addcmul_(noise, variance.sqrt_(), value=self.dw_min_std)
        return bounded(change.add_(fall).add_(g), *self.bounds())

    def after(self, n_up: Tensor, n_down: Tensor) -> BaseCell:
        """The cell that these pulses, (post, pre) each, leave behind beside g; itself where only g remembers them.

        What it remembers is a field that differs from cross-point to cross-point, so it is saved with the array.
        """
        del n_up, n_down
        return self

    def bounds(self) -> tuple[Tensor | float, Tensor | float]:
        """Lowest and highest g."""
        return self.w_min, self.w_max

    def leak(self, g: Tensor, rng: torch.Generator) -> Tensor:
        """g one training step later; the same tensor if nothing leaks."""
        del rng
        return g if math.isinf(self.lifetime) else g + (self.reference - g) / self.lifetime

    @property
    def drifts(self) -> bool:
        """Does g change with the time since it was programmed?"""
        return isinstance(self.drift_nu, Tensor) or self.drift_nu > 0

    def drift(self, g: Tensor, seconds: float) -> Tensor:
        """g ``seconds`` after it was programmed to ``g``: a power law from 1 s on (PCM: Ielmini et al. 2007)."""
        if not self.drifts or seconds <= 1:
            return g
        return self.w_min + (g - self.w_min) * float(seconds) ** -torch.as_tensor(self.drift_nu)

    def spread(self, shape: tuple[int, int], rng: torch.Generator) -> BaseCell:
        """The same cell with every field X that has a spread X_dtod > 0 drawn for each cross-point.

        Spreads are relative and keep the sign of X (a draw beyond zero is mirrored), except those of the fields
        in ``absolute_spread``.
        """
        drawn = {}
        for field in fields(self):
            std = getattr(self, field.name + "_dtod", 0.0)
            if std and not field.name.endswith("_dtod"):
                mean = getattr(self, field.name)
                if field.name in self.absolute_spread:
                    drawn[field.name] = mean + std * torch.randn(shape, generator=rng)
                else:
                    drawn[field.name] = mean * (1 + std * torch.randn(shape, generator=rng)).abs_()
        return self.with_varied(drawn)

    def varied(self) -> dict[str, Tensor]:
        """Parameters that differ from device to device, by field."""
        return {field.name: v for field in fields(self) if isinstance(v := getattr(self, field.name), Tensor)}

    def with_varied(self, varied: dict[str, Tensor]) -> BaseCell:
        """A copy with these per-cross-point parameters in place of the common ones."""
        cell = copy.copy(self)
        for name in list(vars(cell)):
            if isinstance(getattr(type(cell), name, None), cached_property):
                del vars(cell)[name]  # worked out from parameters that are about to change
        for name, value in varied.items():
            object.__setattr__(cell, name, value)
        return cell
