"""Reads taken several times and averaged: what hardware can do about read noise at the price of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.rng import Streams


class AveragedReads(WrappedSynapse):
    """An array each of whose reads is the digital mean of ``reads`` reads of another; all else is that array's."""

    def __init__(self, inner: Synapse, reads: int) -> None:
        super().__init__(inner)
        self._reads = reads

    def read(self, pre: Tensor) -> Tensor:
        return self._mean(super().read, pre)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self._mean(super().read_transpose, post)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        return self._mean(lambda repeated: super(AveragedReads, self).read_images(repeated, window), images)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        return self._mean(
            lambda repeated: super(AveragedReads, self).read_images_transpose(repeated, window, size), images
        )

    def _mean(self, read: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        repeated = x.repeat(self._reads, *[1] * (x.dim() - 1))
        return read(repeated).unflatten(0, (self._reads, -1)).mean(0)


@dataclass(frozen=True)
class AveragedDevice(WrappedDevice):
    """A device whose arrays are read ``reads`` times for every read."""

    device: Device
    reads: int

    def synapse(self, post: int, pre: int, streams: Streams) -> AveragedReads:
        return AveragedReads(self.device.synapse(post, pre, streams), self.reads)
