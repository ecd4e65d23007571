"""Two phases, one array or two: ``TwinDevice`` gives each weight a second array for the negative phase.

On shared hardware both phases of equilibrium propagation run on the same devices in turn, and what is wrong with a
device is the same in both and cancels in their difference. On twin arrays the phases run side by side, each on devices
of its own: twice as fast, but what differs between the arrays looks like a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, WrappedDevice
from hwsim.crossbar.tiling import Layout, layout
from hwsim.rng import Streams

PHASE_HARDWARE = ("shared", "twin")


@dataclass(frozen=True)
class TwinDevice(WrappedDevice):
    """Two arrays of ``device`` for every weight; the first is the one that an array of ``device`` would be."""

    device: Device

    def synapse(self, post: int, pre: int, streams: Streams) -> TwinSynapse:
        return TwinSynapse(
            self.device.synapse(post, pre, streams), self.device.synapse(post, pre, streams.child("twin"))
        )


class TwinSynapse:
    """Two arrays, programmed and updated alike. All reads are of ``positive``, until ``negative`` is asked for."""

    def __init__(self, positive: Synapse, negative: Synapse) -> None:
        self.positive = positive
        self.negative = negative
        self.shape = positive.shape
        self.noisy = positive.noisy
        self.meter = positive.meter
        negative.meter = positive.meter
        if hasattr(positive, "age"):
            self.age = self._age
        if hasattr(positive, "limits"):
            self.limits = positive.limits  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def layout(self) -> Layout:
        one = layout(self.positive)
        return Layout(2 * one.tiles, one.utilisation)

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        """All arrays, those of the negative phase last."""
        return tuple(a for half in (self.positive, self.negative) for a in getattr(half, "arrays", (half,)))

    def read(self, pre: Tensor) -> Tensor:
        return self.positive.read(pre)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self.positive.read_transpose(post)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        return kernels(self.positive, window).read(images)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        return kernels(self.positive, window).read_transpose(images, size)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        for half in (self.positive, self.negative):
            kernels(half, window).update(pre, post, rate)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.positive.update(pre, post, rate)
        self.negative.update(pre, post, rate)

    def tick(self) -> None:
        self.positive.tick()
        self.negative.tick()

    def program(self, weight: Tensor) -> None:
        self.positive.program(weight)
        self.negative.program(weight)

    def _age(self, seconds: float) -> None:
        for half in (self.positive, self.negative):
            half.age(seconds)  # pyright: ignore[reportAttributeAccessIssue] - only there where the halves have it

    def weight(self) -> Tensor:
        return self.positive.weight()

    def conductances(self) -> dict[str, Tensor]:
        twin = {f"{name}.twin": value for name, value in self.negative.conductances().items()}
        return {**self.positive.conductances(), **twin}

    def clipped_share(self) -> float:
        return (self.positive.clipped_share() + self.negative.clipped_share()) / 2

    def reseed_reads(self, streams: Streams) -> None:
        self.positive.reseed_reads(streams)
        self.negative.reseed_reads(streams.child("twin"))

    def state_dict(self) -> dict[str, Tensor]:
        halves = {"positive": self.positive, "negative": self.negative}
        return {f"{name}.{key}": value for name, half in halves.items() for key, value in half.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, half in (("positive", self.positive), ("negative", self.negative)):
            prefix = f"{name}."
            half.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
