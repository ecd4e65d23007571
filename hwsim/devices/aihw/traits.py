"""What an aihwkit configuration means to whoever builds, reads and writes its tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from aihwkit.simulator.configs import DigitalRankUpdateRPUConfig
from aihwkit.simulator.configs.compounds import TransferCompound
from aihwkit.simulator.parameters.enums import PulseType

from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.devices.aihw.readpath import not_covered, read_path


@dataclass(frozen=True, eq=False)
class TileTraits:
    """A configuration whose tile is trained in place; ``AihwDevice`` says what the fields are."""

    config: Any
    programming: str = "ideal"
    compiled_reads: bool = False

    @cached_property
    def unseeded_reads(self) -> tuple[str, ...]:
        """The directions that the compiled tile has to read, each with the setting that makes it so."""
        if self.compiled_reads:
            return ("forward: compiled_reads is set", "backward: compiled_reads is set")
        reasons = []
        for name in ("forward", "backward"):
            io = getattr(self.config, name, None)
            reason = None if io is None else not_covered(io, transpose=name == "backward")
            if reason:
                reasons.append(f"{name}: {reason}")
        return tuple(reasons)

    def path(self, name: str) -> ReadPath | None:
        """The torch read path of direction ``forward`` or ``backward``; None where the compiled tile reads."""
        if any(reason.startswith(name) for reason in self.unseeded_reads):
            return None
        io = getattr(self.config, name, None)
        return ReadPath() if io is None else read_path(io, transpose=name == "backward")

    @cached_property
    def pulsed(self) -> bool:
        """Does the compiled part draw random pulses or write noise?"""
        update = getattr(self.config, "update", None)
        exact = update is None or update.pulse_type in (PulseType.NONE, PulseType.NONE_WITH_DEVICE)
        return not exact and type(self.config.device).__name__ not in ("IdealDevice", "FloatingPointDevice")

    @property
    def seedable(self) -> bool:
        return not (self.pulsed or self.unseeded_reads)

    @property
    def ideal(self) -> bool:
        path = self.path("forward"), self.path("backward")
        return not self.pulsed and all(p is not None and p.ideal for p in path)

    @cached_property
    def write_noise(self) -> bool:
        """Does what is read differ from what was written?"""
        return any(getattr(device, "write_noise_std", 0.0) > 0 for device in nested(self.config.device))

    @cached_property
    def noisy_store(self) -> bool:
        """Does write noise move the stored weights? In compound cells aihwkit stores what it reads back."""
        return self.write_noise and len(list(nested(self.config.device))) > 1

    @cached_property
    def movable(self) -> bool:
        """Can a weight be set without a change to what else its cell holds (other devices, digital sums)?"""
        if isinstance(self.config, DigitalRankUpdateRPUConfig):
            return False
        cell = self.config.device
        return not self.noisy_store if isinstance(cell, TransferCompound) else len(list(nested(cell))) == 1

    @cached_property
    def not_exact(self) -> tuple[str, ...]:
        """What a resumed array does not get back exactly, in words; the pulses that follow are never the same."""
        reasons = []
        if self.write_noise:
            moves = ", and moves the stored weights" if self.noisy_store else ""
            reasons.append(f"write noise is drawn again{moves}")
        if isinstance(self.config, DigitalRankUpdateRPUConfig):
            reasons.append("the digital accumulator of a mixed-precision device restarts at zero")
        return tuple(reasons)


def nested(device: Any) -> Iterator[Any]:
    """A device and every device inside it."""
    yield device
    for field in fields(device) if is_dataclass(device) else ():
        value = getattr(device, field.name)
        for part in value if isinstance(value, list) else [value]:
            if is_dataclass(part) and (hasattr(part, "dw_min") or "unit_cell" in field.name or field.name == "device"):
                yield from nested(part)
