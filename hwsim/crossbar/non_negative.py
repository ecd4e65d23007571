"""Arrays of conductances: what a weight is where nothing is subtracted from the device that holds it.

Elsewhere a weight is a device less its reference, so it takes either sign. In a resistive network the device alone
stands between two nodes, and its conductance is what counts:

    G = g_min + slope (W - W_lowest)

with W the device's weight and W_lowest the least that this very device goes to: devices differ in how far their
reference is from their lowest state, and without a reference that is no difference any more. So no pulse, no variation
and no programming makes a conductance negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from hwsim.crossbar.array import Array, ArrayCircuit, ArrayDevice
from hwsim.crossbar.circuit import Placeable
from hwsim.crossbar.composite import Layout
from hwsim.crossbar.conductance import Conductances
from hwsim.crossbar.reads.readable import ArrayReads
from hwsim.crossbar.synapse import Compensated, Device, Synapse, check_weight
from hwsim.crossbar.tiling import Mapped
from hwsim.crossbar.updates.pulsed import Pulsed
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

BEYOND = 1e6
"""A weight that no bounded device reaches: what an array makes of it are its devices' bounds."""


@runtime_checkable
class TakesLowest(Protocol):
    """A device that can be told the least weight that it holds; exact arithmetic is one."""

    def with_lowest(self, lowest: float) -> Device: ...


@runtime_checkable
class Centred(Protocol):
    """A synapse whose devices are pulled to another weight than 0."""

    @property
    def centre(self) -> Tensor:
        """(post, pre): the weights at which devices are at their reference."""
        ...

    def weight(self) -> Tensor: ...


@dataclass(frozen=True)
class Range:
    """The conductances of a device, and the one that stands for a weight of 1, all > 0.

    Raises InputError for values out of range.
    """

    g_min_uS: float = 0.1
    g_max_uS: float = 10.0
    unit_uS: float = 10.0

    def __post_init__(self) -> None:
        for name in ("g_min_uS", "unit_uS"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"network.{name}: expected a finite conductance > 0, got {getattr(self, name)}")
        if not self.g_min_uS < self.g_max_uS < math.inf:
            raise InputError(f"network.g_max_uS: expected more than g_min_uS = {self.g_min_uS}, got {self.g_max_uS}")

    @property
    def lowest(self) -> float:
        """The weight of ``g_min_uS``."""
        return self.g_min_uS / self.unit_uS

    @property
    def span(self) -> float:
        """From lowest to highest, in weights."""
        return (self.g_max_uS - self.g_min_uS) / self.unit_uS


def non_negative(device: Device, conductances: Range) -> Device:
    """``device`` as conductances, whatever is built around it: tiles, twins, update modes.

    Exact arithmetic gets a lowest weight and no highest; all other devices go from ``g_min_uS`` to ``g_max_uS``.

    >>> import hwsim as hw
    >>> from hwsim.crossbar.non_negative import Range, non_negative
    >>> array = non_negative(hw.device("ecram"), Range(g_min_uS=0.5)).synapse(3, 4, hw.Streams(0))
    >>> array.program(torch.full((3, 4), -1.0))
    >>> round(array.weight().min().item() * 10.0, 6)
    0.5
    """
    if isinstance(device, ArrayDevice):
        return NonNegativeDevice(device.device, conductances, device.array)
    if isinstance(device, WrappedDevice):
        return cast(Device, replace(cast(Any, device), device=non_negative(device.device, conductances)))
    if isinstance(device, TakesLowest):
        return device.with_lowest(conductances.lowest)
    return NonNegativeDevice(device, conductances)


@dataclass(frozen=True)
class NonNegativeDevice(WrappedDevice):
    """A device as conductances, in the array that it is built into.

    Compensation of drift is a digital factor behind a read. A circuit that relaxes by itself has no such place, so
    there is none.
    """

    device: Device
    conductances: Range = field(default_factory=Range)
    array: Array = field(default_factory=Array)

    compensation = ""

    def uncompensated(self) -> NonNegativeDevice:
        """The same: nothing is done against its drift."""
        return self

    @property
    def ideal(self) -> bool:
        return self.device.ideal and self.array.exact and self.array.programming.scheme == "ideal"

    def synapse(self, post: int, pre: int, streams: Streams) -> NonNegativeSynapse:
        """An array with every device at its lowest conductance.

        Raises InputError where the device scales its outputs one by one, which no circuit does.
        """
        for name in ("offset_std", "transpose_mismatch"):
            if getattr(self.array, name):
                raise InputError(
                    f"array.{name}: belongs to the reads of an array, and a circuit that relaxes by itself is not "
                    "read; expected 0"
                )
        device = self.device.uncompensated() if isinstance(self.device, Compensated) else self.device
        low, high = _ends(device.synapse(post, pre, streams))
        inner = device.synapse(post, pre, streams)
        _fix_scale(inner)
        synapse = NonNegativeSynapse(inner, self.conductances, low, high)
        # From now on its scale is the one that all programming has. What is stuck is so at what a user programs.
        synapse.program(torch.full((post, pre), self.conductances.lowest))
        if self.array != Array():
            if not isinstance(inner, Placeable) or not isinstance(inner, ArrayReads):
                raise InputError(f"array: {type(inner).__name__} has no devices to place in an array")
            units = OneDevice(
                g_min_uS=self.conductances.g_min_uS,
                g_max_uS=self.conductances.g_max_uS,
                weight_range=synapse.span / inner.scale,
                lowest=synapse.lowest / inner.scale,
            )
            inner.place_in(ArrayCircuit(replace(self.array, units=units), (post, pre), streams.child("array")))
        synapse.meter.reset()
        return synapse


def _fix_scale(synapse: Synapse) -> None:
    """One and the same scale whatever is programmed."""
    if isinstance(synapse, Mapped):
        try:
            synapse.map_to(1.0)
        except InputError as error:
            raise InputError(
                "device: scales every output of an array by a digital factor of its own, which a circuit that relaxes "
                "by itself cannot have; set mapping.weight_scaling_columnwise to false"
            ) from error


def _ends(trial: Synapse) -> tuple[Tensor, Tensor]:
    """(post, pre) lowest and highest weights of the devices of an array that is used up for finding out."""
    _fix_scale(trial)
    reached = []
    for sign in (-1.0, 1.0):
        trial.program(torch.full(trial.shape, sign * BEYOND))
        reached.append(trial.weight())
    return reached[0], reached[1]


@dataclass(frozen=True)
class OneDevice(Conductances):
    """One device a weight, and no reference: ``lowest`` (post, pre) stands for ``g_min_uS``.

    ``weight_range`` is the way from there to ``g_max_uS``.
    """

    lowest: Tensor = field(default_factory=lambda: torch.zeros(1))

    @property
    def uS_per_weight(self) -> float:
        return (self.g_max_uS - self.g_min_uS) / self.weight_range

    def encode(self, weight: Tensor) -> Tensor:
        return (self.g_min_uS + self.uS_per_weight * (weight - self.lowest)).clamp_min(0.0)[None]

    def decode(self, g: Tensor) -> Tensor:
        return (g[0] - self.g_min_uS) / self.uS_per_weight + self.lowest

    def named(self, g: Tensor) -> dict[str, Tensor]:
        return {"g_uS": g[0]}


LOWEST, SPAN = "conductance.lowest", "conductance.span"


class NonNegativeSynapse(WrappedSynapse):
    """An array whose weights are conductances in the range's unit; its devices are those of ``inner``.

    Attributes:
        lowest: (post, pre) weights of ``inner`` that stand for the lowest conductance.
        span: the way from there to the highest, the mean of all devices.
    """

    def __init__(self, inner: Synapse, conductances: Range, low: Tensor, high: Tensor) -> None:
        super().__init__(inner)
        self.conductance_range = conductances
        # A device without a bound begins at 0, and what programming maps to its end is 1.
        self._bounded = low > -BEYOND / 2
        self.lowest = torch.where(self._bounded, low, torch.zeros_like(low))
        self.span = float((torch.where(high < BEYOND / 2, high, torch.ones_like(high)) - self.lowest).mean())

    @property
    def _slope(self) -> float:
        """Conductance, in its unit, of a weight of 1 of ``inner``."""
        return self.conductance_range.span / self.span

    @property
    def centre(self) -> Tensor:
        """(post, pre) conductances where devices are at their reference, a weight of 0."""
        return self.conductance_range.lowest - self._slope * self.lowest

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        return (self,)

    @property
    def layout(self) -> Layout:
        return Layout(1, 1.0)

    def read(self, pre: Tensor) -> Tensor:
        return self._slope * self.inner.read(pre) + pre @ self.centre.T.to(pre)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self._slope * self.inner.read_transpose(post) + post @ self.centre.to(post)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.inner.update(pre, post / self._slope, rate)

    @property
    def granularity(self) -> float | Tensor | None:
        step = self.inner.granularity if isinstance(self.inner, Pulsed) else None
        return None if step is None else step * self._slope

    def pulse(self, counts: Tensor) -> None:
        """See ``updates.pulsed.Pulsed``. InputError for a device that takes no whole pulses."""
        if not isinstance(self.inner, Pulsed):
            raise InputError(f"update: {type(self.inner).__name__} takes no whole pulses")
        self.inner.pulse(counts)

    @torch.no_grad()
    def tick(self) -> None:
        """The end of a step; devices without a bound, whose updates are exact, are brought back to the lowest."""
        if not bool(self._bounded.all()):
            short = (self.lowest - self.inner.weight()).clamp_min(0.0)
            if bool(short.any()):
                self.inner.update(torch.eye(self.shape[1]), short.T.contiguous(), 1.0)
        self.inner.tick()

    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        above = (weight.to(self.lowest) - self.conductance_range.lowest).clamp_min(0.0)
        self.inner.program(self.lowest + above / self._slope)

    def weight(self) -> Tensor:
        return (self._slope * self.inner.weight() + self.centre).clamp_min(0.0)

    def conductances(self) -> dict[str, Tensor]:
        return {"G_uS": self.weight() * self.conductance_range.unit_uS, **self.inner.conductances()}

    def clipped_share(self) -> float:
        """Share of devices within 1 % of their highest conductance; the lowest one is where a weight of 0 belongs."""
        near = [(high - value <= 0.01 * (high - low)).float() for value, low, high in self.limits().values()]
        return float(torch.stack(near).mean()) if near else 0.0

    def state_dict(self) -> dict[str, Tensor]:
        own = {LOWEST: self.lowest.clone(), SPAN: torch.tensor(self.span, dtype=torch.float64)}
        return {**own, **self.inner.state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if LOWEST not in state or SPAN not in state:
            raise ValueError(f"saved state of an array of conductances: expected {LOWEST} and {SPAN}")
        self.inner.load_state_dict({key: value for key, value in state.items() if key not in (LOWEST, SPAN)})
        self.lowest, self.span = state[LOWEST].clone(), float(state[SPAN])
