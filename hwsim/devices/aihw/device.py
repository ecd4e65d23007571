"""aihwkit's pulsed devices as a device: what of a configuration can be had, and its arrays."""

from __future__ import annotations

from dataclasses import dataclass

from aihwkit.simulator.configs import InferenceRPUConfig

from hwsim.devices.aihw.pair import check_pair
from hwsim.devices.aihw.synapse import AihwSynapse
from hwsim.devices.aihw.traits import TileTraits
from hwsim.errors import InputError
from hwsim.rng import Streams

PROGRAMMING = ("ideal", "pulsed")


@dataclass(frozen=True, eq=False)
class AihwDevice(TileTraits):
    """Any aihwkit configuration whose tile is trained in place (``SingleRPUConfig``, ``UnitCellRPUConfig``, ...).

    Args:
        config: the aihwkit configuration; copied for every array and never changed.
            ``device.construction_seed`` is mixed into the seed of every array's device variation.
        programming: how ``program`` writes: ``ideal`` sets every device exactly, up to its bounds;
            ``pulsed`` reads and pulses until the mean error of a read is below 1 % (aihwkit's write-verify).
        compiled_reads: read by the compiled tile even where the torch path covers the settings; slower, unseeded.
    """

    trains = "in-situ"
    drifts = False
    not_used = ()

    def __post_init__(self) -> None:
        check_pair()
        if self.programming not in PROGRAMMING:
            raise InputError(
                f"AihwDevice.programming: expected one of {', '.join(PROGRAMMING)}, got {self.programming!r}"
            )
        if isinstance(self.config, InferenceRPUConfig):
            name = type(self.config).__name__
            raise InputError(f"{name} has no devices that pulses could train; use AihwInferenceDevice for it")
        ranges = getattr(getattr(self.config, "pre_post", None), "input_range", None)
        if ranges is not None and ranges.enable:
            raise InputError("pre_post.input_range.enable: expected false; learned input ranges are not simulated here")
        if getattr(self.config.mapping, "learn_out_scaling", False):
            raise InputError("mapping.learn_out_scaling: expected false; learned output scales are not simulated here")

    def synapse(self, post: int, pre: int, streams: Streams) -> AihwSynapse:
        """An array of its own devices (stream ``device``), read with stream ``read``."""
        return AihwSynapse(self, (post, pre), streams)
