"""Two phases, one array or two: ``TwinDevice`` gives each weight a second array for the negative phase.

On shared hardware both phases of equilibrium propagation run on the same devices in turn, and what is wrong with a
device is the same in both and cancels in their difference. On twin arrays the phases run side by side, each on devices
of its own: twice as fast, but what differs between the arrays looks like a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hwsim.crossbar.composite import Composite, Layout, layout
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.rng import Streams


@dataclass(frozen=True)
class TwinDevice(WrappedDevice):
    """Two arrays of ``device`` for every weight; the first is the one that an array of ``device`` would be.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10], hw.TwinDevice(hw.device("soft-bounds-cell")))
    >>> len(net.synapses[0].arrays)
    2
    """

    device: Device

    def synapse(self, post: int, pre: int, streams: Streams) -> TwinSynapse:
        return TwinSynapse(
            self.device.synapse(post, pre, streams), self.device.synapse(post, pre, streams.child("twin"))
        )


class TwinSynapse(Composite):
    """Two arrays, programmed and updated alike. All reads are of ``positive``; who wants ``negative`` names it."""

    def __init__(self, positive: Synapse, negative: Synapse) -> None:
        super().__init__(positive.shape, {"positive": positive, "negative": negative})
        self.positive = positive
        self.negative = negative

    @property
    def layout(self) -> Layout:
        half = layout(self.positive)
        return Layout(2 * half.tiles, half.utilisation)

    def read(self, pre: Tensor) -> Tensor:
        return self.positive.read(pre)

    def read_transpose(self, post: Tensor) -> Tensor:
        return self.positive.read_transpose(post)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        return kernels(self.positive, window).read(images)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        return kernels(self.positive, window).read_transpose(images, size)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        for half in self.parts.values():
            kernels(half, window).update(pre, post, rate)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        for half in self.parts.values():
            half.update(pre, post, rate)

    def program(self, weight: Tensor) -> None:
        for half in self.parts.values():
            half.program(weight)

    def weight(self) -> Tensor:
        return self.positive.weight()

    def conductances(self) -> dict[str, Tensor]:
        twin = {f"{name}.twin": value for name, value in self.negative.conductances().items()}
        return {**self.positive.conductances(), **twin}

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        return self.part_limits()["positive"]

    def read_streams(self, name: str, streams: Streams) -> Streams:
        return streams if name == "positive" else streams.child("twin")


def second_half(synapse: Synapse) -> Synapse:
    """What the negative phase reads in place of ``synapse``: its second half, or itself where there is none."""
    if isinstance(synapse, TwinSynapse):
        return synapse.negative
    if isinstance(synapse, WrappedSynapse):
        inner = second_half(synapse.inner)
        return synapse if inner is synapse.inner else synapse.around(inner)
    return synapse
