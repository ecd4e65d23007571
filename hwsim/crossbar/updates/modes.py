"""The ways in which an update can be written, by name, and a device that writes in one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.crossbar.averaged import AveragedDevice
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.crossbar.updates.low_rank import LowRankDevice
from hwsim.crossbar.updates.pooled import PooledDevice
from hwsim.crossbar.updates.pulsed import check_momentum
from hwsim.errors import InputError

PER_SAMPLE, ACCUMULATE, LOW_RANK, POOLED = "per-sample", "accumulate", "low-rank", "pooled"
MODES = (PER_SAMPLE, ACCUMULATE, LOW_RANK, POOLED)
MOMENTUM = "momentum"
_NUMBERS = {ACCUMULATE: 1, POOLED: 2}  # what the number after a mode is by default
_MEANS = {
    ACCUMULATE: "training steps between two writes",
    LOW_RANK: "factors sent a step",
    POOLED: "positions a side of a block",
}


@dataclass(frozen=True)
class UpdateMode:
    """A way to write updates.

    Args:
        name: ``per-sample``: a train of pulses for every row of the learning rule; ``accumulate``: a digital sum,
            whole pulses of which are written every ``number`` steps; ``low-rank``: the ``number`` leading factors of a
            step's sum; ``pooled``: one train for ``number`` x ``number`` positions of a convolution.
        number: what belongs to the mode; None: the usual one, 1 step or 2 x 2 positions.
        momentum: of a running mean of the steps, which ``accumulate`` then sums and whose factors ``low-rank`` then
            sends; 0: the steps themselves.

    InputError for an unknown name, for a number that is missing, unwanted or below 1, and for a momentum out of [0, 1).

    >>> import hwsim as hw
    >>> device = hw.UpdateMode("accumulate").device(hw.device("soft-bounds-cell"))
    >>> hw.hopfield([64, 16, 10], device).noisy
    True
    """

    name: str = PER_SAMPLE
    number: int | None = None
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in MODES:
            raise InputError(f"update: expected one of {', '.join(MODES)}, got {self.name!r}")
        if self.momentum and self.name not in (ACCUMULATE, LOW_RANK):
            raise InputError(
                f"update: a momentum belongs to {ACCUMULATE} and {LOW_RANK}, which keep something between steps, "
                f"not to {self.name}"
            )
        check_momentum(self.momentum, self.name)
        if self.name == PER_SAMPLE and self.number is not None:
            raise InputError(f"update: {PER_SAMPLE} takes no number, got {self.number}")
        if self.name == LOW_RANK and self.number is None:
            raise InputError(f"update: {LOW_RANK} needs the number of {_MEANS[LOW_RANK]}, such as `{LOW_RANK}: 4`")
        if self.number is not None and self.number < (2 if self.name == POOLED else 1):
            least = 2 if self.name == POOLED else 1
            raise InputError(f"update: {self.name}: expected {_MEANS[self.name]} >= {least}, got {self.number}")

    def __str__(self) -> str:
        number = self.number or 1 if self.momentum else self.number  # a momentum is said after a number
        text = self.name if number is None else f"{self.name}: {number}"
        return f"{text}, {MOMENTUM}: {self.momentum:g}" if self.momentum else text

    @property
    def period(self) -> int:
        """Training steps between two writes."""
        return self.number or 1 if self.name == ACCUMULATE else 1

    def device(self, device: Device) -> Device:
        """``device``, written to in this way. InputError where it cannot be.

        A digital sum belongs to each array, tiles and twins included; factors and blocks belong to the layer.
        """
        number = self.number or _NUMBERS.get(self.name, 1)
        if self.name == ACCUMULATE:
            if isinstance(device, TiledDevice | TwinDevice | AveragedDevice):
                return replace(device, device=self.device(device.device))
            return AccumulatedDevice(device, number, self.momentum)
        if self.name == LOW_RANK:
            return LowRankDevice(device, number, self.momentum)
        return PooledDevice(device, number) if self.name == POOLED else device
