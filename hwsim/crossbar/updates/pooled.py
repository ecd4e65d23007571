"""Patches of neighbouring positions sent as one: their inputs averaged, their errors summed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.crossbar.composite import layout
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Device, Synapse, check_rate
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True)
class PooledDevice(WrappedDevice):
    """A device whose kernel banks get one pulse train for ``size`` x ``size`` positions of the window.

    Vectors without a position, those of a dense layer, are sent as they are.
    """

    device: Device
    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 2:
            raise InputError(f"update: pooled: expected a block of at least 2 x 2 positions, got {self.size}")
        if self.device.trains != "in-situ":
            raise InputError(
                "update: pooled: expected a device that updates act on; this one is trained in digital "
                f"({self.device.trains}), where every update is exact"
            )

    def synapse(self, post: int, pre: int, streams: Streams) -> PooledUpdates:
        return PooledUpdates(self.device.synapse(post, pre, streams), self.size)


class PooledUpdates(WrappedSynapse):
    """A kernel bank whose patches are pooled before they are sent.

    sum_p post_p pre_p^T of a block becomes (sum_p post_p) (mean_p pre_p)^T: exact where the patches of a block are
    equal, or their errors; what they have of each other's difference is lost. Blocks at the border are smaller.
    """

    def __init__(self, inner: Synapse, size: int) -> None:
        super().__init__(inner)
        self._size = size

    period = 1

    @property
    def digital_bytes(self) -> int:
        """Digital memory beside the array: the running sums of one block."""
        return 4 * sum(self.shape)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        check_rate(rate)
        positions = len(post) * post.shape[2:].numel()
        patches = window.patches(pre).unflatten(0, (len(post), *post.shape[2:])).permute(0, 3, 1, 2)
        means = _blocks(patches, self._size)
        counts = _blocks(torch.ones_like(post[:1, :1]), self._size, total=True)
        sums = _blocks(post, self._size) * counts
        self.meter.digital_products += positions * sum(self.shape)
        counted = self.meter.vectors_updated
        self.inner.update(as_rows(means), as_rows(sums), rate)
        self.meter.vectors_updated = counted + positions * layout(self).tiles


def _blocks(images: Tensor, size: int, *, total: bool = False) -> Tensor:
    """Means over blocks of positions, or how many positions each has."""
    if total:
        return functional.avg_pool2d(images, size, ceil_mode=True, divisor_override=1)
    return functional.avg_pool2d(images, size, ceil_mode=True, count_include_pad=False)
