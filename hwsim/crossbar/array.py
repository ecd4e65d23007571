"""The array around the devices: units, faults, wires, two reads that differ, programming; all of it off by default."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hwsim.crossbar.circuit import Placeable, Pulse, Seen
from hwsim.crossbar.conductance import Conductances, Programming, pulse_until
from hwsim.crossbar.faults import Faults, stuck
from hwsim.crossbar.levels import Levels
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.wires import SOLVERS, through_wires
from hwsim.crossbar.wrapped import WrappedDevice
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True)
class Array:
    """The physical array that devices are built into.

    Args:
        units: from normalised weights to conductances.
        programming: how devices are written.
        faults: which of them are stuck.
        levels: the conductances that a device can hold; None: any. Programming aims at the closest one, and what
            errors it makes stay around it; an update leaves every device that it moved at one of them.
        wire_resistance_ohm: of one wire segment between neighbouring devices, see ``hwsim.crossbar.wires``; 0: ideal
        wires.
        wire_solver: ``fast`` or ``exact``.
        transpose_mismatch: relative standard deviation, from device to device, between what the forward and what the
            transpose read find in it (two sets of sensing circuits, other voltages across the device).
        offset_std: standard deviation of a constant at every output line of either read, before the converter; in
            normalised outputs, as ``out_noise``.

    Raises InputError for values out of range.

    >>> import hwsim as hw
    >>> array = hw.Array(wire_resistance_ohm=1.0, offset_std=0.01)
    >>> array.exact, hw.Array().exact
    (False, True)
    """

    units: Conductances = field(default_factory=Conductances)
    programming: Programming = field(default_factory=Programming)
    faults: Faults = field(default_factory=Faults)
    levels: Levels | None = None
    wire_resistance_ohm: float = 0.0
    wire_solver: str = "fast"
    transpose_mismatch: float = 0.0
    offset_std: float = 0.0

    def __post_init__(self) -> None:
        for name in ("wire_resistance_ohm", "transpose_mismatch", "offset_std"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"Array.{name}: expected a finite number >= 0, got {getattr(self, name)}")
        if self.wire_solver not in SOLVERS:
            raise InputError(f"Array.wire_solver: expected one of {', '.join(SOLVERS)}, got {self.wire_solver!r}")
        if self.levels is not None:
            self._within(self.levels.levels_uS)

    def _within(self, levels: tuple[float, ...]) -> None:
        low, high = self.units.g_min_uS, self.units.g_max_uS
        if levels[0] < low or levels[-1] > high:
            outside = levels[0] if levels[0] < low else levels[-1]
            raise InputError(
                f"Array.levels_uS: expected levels within g_min_uS = {low:g} and g_max_uS = {high:g}, got {outside:g}"
            )
        if self.units.encoding == "differential" and levels[0] != low:
            raise InputError(
                f"Array.levels_uS: expected g_min_uS = {low:g} as the first level, because the device of a pair that "
                f"is not needed is there, got {levels[0]:g}"
            )

    @property
    def exact(self) -> bool:
        """Do reads find exactly what the devices hold?"""
        return not (self.faults.share or self.wire_resistance_ohm or self.transpose_mismatch or self.offset_std)


@dataclass(frozen=True)
class ArrayDevice(WrappedDevice):
    """A device built into an array. Faults, mismatch and offsets are drawn for each array from stream ``device``.

    >>> import hwsim as hw
    >>> device = hw.ArrayDevice(hw.device("soft-bounds-cell"), hw.Array(offset_std=0.01))
    >>> hw.hopfield([64, 16, 10], device).noisy
    True
    """

    device: Device
    array: Array

    @property
    def ideal(self) -> bool:
        exact = self.array.exact and self.array.programming.scheme == "ideal" and self.array.levels is None
        return self.device.ideal and exact

    def synapse(self, post: int, pre: int, streams: Streams) -> Synapse:
        """An array of the inner device, read and programmed through its circuit. InputError where it has none."""
        synapse = self.device.synapse(post, pre, streams)
        if not isinstance(synapse, Placeable):
            raise InputError(
                f"array: {type(synapse).__name__} computes exactly and has no devices to place in an array; "
                "with `cell: ideal` in place of `float:` it has"
            )
        synapse.place_in(ArrayCircuit(self.array, (post, pre), streams.child("array")))
        return synapse


class ArrayCircuit:
    """The circuit of one array, with what was drawn for it."""

    def __init__(self, array: Array, shape: tuple[int, int], streams: Streams) -> None:
        self.array = array
        devices = array.units.encode(torch.zeros(shape)).shape
        self.faults = array.faults.draw(tuple(devices), streams.child("faults").generator("device"))
        self._last: Tensor | None = None
        rng = streams.child("periphery").generator("device")
        self._mismatch, self._offset, self._offset_transpose = (torch.randn(n, generator=rng) for n in (shape, *shape))
        self._rng = streams.generator("update")

    def devices(self, weight: Tensor) -> Tensor:
        """Conductances in uS, stuck devices included, as ``Conductances.encode`` arranges them."""
        units = self.array.units
        return stuck(units.encode(weight), self.faults, units.g_min_uS, units.g_max_uS, self._last)

    def seen(self, weight: Tensor) -> Seen:
        array = self.array
        forward = weight
        if array.faults.share or array.wire_resistance_ohm:
            segment = array.wire_resistance_ohm * 1e-6  # in 1 / uS
            wired = [through_wires(g, segment, array.wire_solver) for g in self.devices(weight)]
            forward = array.units.decode(torch.stack(wired))
        transpose = forward
        if array.transpose_mismatch:
            transpose = forward * (1 + array.transpose_mismatch * self._mismatch)
        if not array.offset_std:
            return Seen(forward, transpose)
        return Seen(forward, transpose, array.offset_std * self._offset, array.offset_std * self._offset_transpose)

    @property
    def finite(self) -> bool:
        return self.array.levels is not None

    def landed(self, before: Tensor, after: Tensor) -> Tensor:
        if self.array.levels is None:
            return after
        units = self.array.units
        g = self.array.levels.after_update(units.encode(after), self._rng)
        return torch.where(after == before, before, units.decode(g))

    def write(self, target: Tensor, start: Tensor, pulse: Pulse | None) -> tuple[Tensor, int]:
        programming, units = self.array.programming, self.array.units
        if self.array.levels is not None:
            target = units.decode(self.array.levels.nearest(units.encode(target)))
        if programming.scheme == "write-verify" and pulse is not None:
            tolerance = programming.tolerance_uS / units.uS_per_weight
            reached, writes = pulse_until(target, start, tolerance, programming.budget, pulse)
        elif programming.scheme == "ideal":
            reached, writes = target, target.numel()
        else:
            g, writes = programming.shoot(units.encode(target), self._rng)
            reached = units.decode(g)
        if self._last is None and self.array.faults.stuck_last:
            self._last = units.encode(reached)
        return reached, writes

    def conductances(self, weight: Tensor) -> dict[str, Tensor]:
        return self.array.units.named(self.devices(weight))

    def state_dict(self) -> dict[str, Tensor]:
        """What was drawn for this array, what it was first programmed to, and the generator of programming."""
        return {
            "array.faults": self.faults.clone(),
            "array.mismatch": self._mismatch.clone(),
            "array.offset": self._offset.clone(),
            "array.offset_transpose": self._offset_transpose.clone(),
            "array.last": torch.zeros(0) if self._last is None else self._last.clone(),
            "array.rng": self._rng.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.faults, self._mismatch = state["array.faults"].clone(), state["array.mismatch"].clone()
        self._offset, self._offset_transpose = state["array.offset"].clone(), state["array.offset_transpose"].clone()
        self._last = state["array.last"].clone() if state["array.last"].numel() else None
        self._rng.set_state(state["array.rng"])
