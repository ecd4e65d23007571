"""Devices around a device and synapses around a synapse: what they do not change is the inner one's."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor

from hwsim.crossbar.composite import Layout, arrays_of, layout
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Ages, Bounded, Device, Meter, Synapse
from hwsim.rng import Streams


class WrappedDevice:
    """What a device around another one has in common with it."""

    device: Device

    @property
    def seedable(self) -> bool:
        return self.device.seedable

    @property
    def trains(self) -> str:
        return self.device.trains

    @property
    def drifts(self) -> bool:
        return self.device.drifts

    @property
    def ideal(self) -> bool:
        return self.device.ideal

    @property
    def unseeded_reads(self) -> tuple[str, ...]:
        return self.device.unseeded_reads

    @property
    def not_exact(self) -> tuple[str, ...]:
        return self.device.not_exact

    @property
    def not_used(self) -> tuple[str, ...]:
        return self.device.not_used


class WrappedSynapse:
    """A synapse that passes everything on to ``inner``."""

    def __init__(self, inner: Synapse) -> None:
        self.inner = inner
        self.shape = inner.shape
        self.noisy = inner.noisy

    def around(self, inner: Synapse) -> Self:
        """The same around another synapse; what it has learned is shared."""
        other = copy.copy(self)
        other.inner = inner
        return other

    @property
    def meter(self) -> Meter:
        return self.inner.meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self.inner.meter = meter

    @property
    def version(self) -> int:
        return self.inner.version

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        return arrays_of(self.inner)

    @property
    def layout(self) -> Layout:
        return layout(self.inner)

    def read(self, pre: Tensor) -> Tensor:
        return self.inner.read(pre)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self.inner.read_transpose(post)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        return kernels(self.inner, window).read(images)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        return kernels(self.inner, window).read_transpose(images, size)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.inner.update(pre, post, rate)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        kernels(self.inner, window).update(pre, post, rate)

    def tick(self) -> None:
        self.inner.tick()

    def program(self, weight: Tensor) -> None:
        self.inner.program(weight)

    def age(self, seconds: float) -> None:
        if isinstance(self.inner, Ages):
            self.inner.age(seconds)

    def weight(self) -> Tensor:
        return self.inner.weight()

    def conductances(self) -> dict[str, Tensor]:
        return self.inner.conductances()

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        return self.inner.limits() if isinstance(self.inner, Bounded) else {}

    def clipped_share(self) -> float:
        return self.inner.clipped_share()

    def reseed_reads(self, streams: Streams) -> None:
        self.inner.reseed_reads(streams)

    def state_dict(self) -> dict[str, Tensor]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.inner.load_state_dict(state)


def innermost_device(device: Device) -> Device:
    """The device inside all others."""
    while isinstance(device, WrappedDevice):
        device = device.device
    return device
