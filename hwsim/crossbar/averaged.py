"""Reads taken several times and averaged: what hardware can do about read noise at the price of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from hwsim.crossbar.synapse import Device, Synapse, WrappedDevice
from hwsim.rng import Streams


class AveragedReads:
    """An array each of whose reads is the digital mean of ``reads`` reads of another; all else is that array's."""

    def __init__(self, synapse: Synapse, reads: int) -> None:
        self._synapse, self._reads = synapse, reads

    def read(self, pre: Tensor) -> Tensor:
        return self._synapse.read(pre.repeat(self._reads, 1)).unflatten(0, (self._reads, -1)).mean(0)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self._synapse.read_transpose(post.repeat(self._reads, 1)).unflatten(0, (self._reads, -1)).mean(0)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_synapse":
            raise AttributeError(name)
        return getattr(self._synapse, name)


@dataclass(frozen=True)
class AveragedDevice(WrappedDevice):
    """A device whose arrays are read ``reads`` times for every read."""

    device: Device
    reads: int

    def synapse(self, post: int, pre: int, streams: Streams) -> Synapse:
        return cast(Synapse, AveragedReads(self.device.synapse(post, pre, streams), self.reads))
