"""Arrays have a largest size: a layer beyond it is split into tiles, whose partial reads are digitised and summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.crossbar.composite import Composite, Layout
from hwsim.crossbar.reads.kernels import PatchKernels, kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, check_rate, check_weight
from hwsim.crossbar.wrapped import WrappedDevice
from hwsim.errors import InputError
from hwsim.rng import Streams

MAPPING_SCALES = ("tile", "layer")


@runtime_checkable
class Mapped(Protocol):
    """An array whose weights are mapped to a range."""

    def map_to(self, largest: float) -> None:
        """Take ``largest`` for the largest |weight| from now on."""
        ...


@dataclass(frozen=True)
class TiledDevice(WrappedDevice):
    """A device whose arrays have at most ``max_rows`` outputs and ``max_cols`` inputs; None: no limit.

    ``mapping_scale``: which largest weight programming maps to the end of the range, that of each ``tile`` on its own,
    or that of the ``layer``, so that one digital factor serves all its tiles.

    Raises InputError for sizes below 1 and for an unknown scale.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10], hw.TiledDevice(hw.device("soft-bounds-cell"), max_cols=32))
    >>> len(net.synapses[0].arrays)
    2
    """

    device: Device
    max_rows: int | None = None
    max_cols: int | None = None
    mapping_scale: str = "tile"

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_cols"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise InputError(f"TiledDevice.{name}: expected at least 1, got {limit}")
        if self.mapping_scale not in MAPPING_SCALES:
            known = ", ".join(MAPPING_SCALES)
            raise InputError(f"TiledDevice.mapping_scale: expected one of {known}, got {self.mapping_scale!r}")

    def synapse(self, post: int, pre: int, streams: Streams) -> TiledSynapse:
        """A layer on as few tiles as hold it. A single tile is drawn like an array without a limit."""
        return TiledSynapse(self, (post, pre), streams)


class TiledSynapse(Composite):
    """A (post, pre) layer cut into a grid of arrays of nearly equal size, each with its own converters.

    A read sends every tile its part of the input; the outputs of all tiles of a row, each after its converter, are
    added up in digital. Tiles are programmed and updated on their own, and scaled as the device says.
    """

    def __init__(self, device: TiledDevice, shape: tuple[int, int], streams: Streams) -> None:
        self.device = device
        self._rows, self._cols = tile_sizes(shape[0], device.max_rows), tile_sizes(shape[1], device.max_cols)
        count = len(self._rows) * len(self._cols)
        self.tiles = [
            [
                device.device.synapse(post, pre, streams if count == 1 else streams.child("tile", i, j))
                for j, pre in enumerate(self._cols)
            ]
            for i, post in enumerate(self._rows)
        ]
        super().__init__(shape, {f"{i}.{j}": tile for i, row in enumerate(self.tiles) for j, tile in enumerate(row)})
        fixed = (device.max_rows or max(self._rows)) * (device.max_cols or max(self._cols))
        self.layout = Layout(count, shape[0] * shape[1] / (count * fixed))

    def read(self, pre: Tensor) -> Tensor:
        parts = pre.split(self._cols, 1)
        return torch.cat([_sum(tile.read(x) for tile, x in zip(row, parts, strict=True)) for row in self.tiles], 1)

    def read_transpose(self, post: Tensor) -> Tensor:
        parts, columns = post.split(self._rows, 1), zip(*self.tiles, strict=True)
        return torch.cat(
            [_sum(tile.read_transpose(d) for tile, d in zip(column, parts, strict=True)) for column in columns], 1
        )

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        """All patches; tiles that hold whole patches take the images, parts of patches have to be cut."""
        if len(self._cols) > 1:
            return PatchKernels(self, window).read(images)
        return torch.cat([kernels(tile, window).read(images) for tile in self.parts.values()], 1)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        if len(self._cols) > 1:
            return PatchKernels(self, window).read_transpose(images, size)
        parts = zip(self.parts.values(), images.split(self._rows, 1), strict=True)
        return _sum(kernels(tile, window).read_transpose(part, size) for tile, part in parts)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        if len(self._cols) > 1:
            PatchKernels(self, window).update(pre, post, rate)
            return
        for tile, part in zip(self.parts.values(), post.split(self._rows, 1), strict=True):
            kernels(tile, window).update(pre, part, rate)
        self._updated()

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        for row, d in zip(self.tiles, post.split(self._rows, 1), strict=True):
            for tile, x in zip(row, pre.split(self._cols, 1), strict=True):
                tile.update(x, d, rate)
        self._updated()

    def _updated(self) -> None:
        # Arrays that are trained digitally are mapped anew with every update.
        if self.device.trains == "hardware-aware" and self.device.mapping_scale == "layer":
            self._map(self.weight())

    def _map(self, weight: Tensor) -> None:
        """Give all tiles the scale of the layer's ``weight``, where the device asks for it; float needs none."""
        if self.device.mapping_scale == "layer":
            largest = float(weight.abs().max())
            for tile in self.parts.values():
                if isinstance(tile, Mapped):
                    tile.map_to(largest)

    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        self._map(weight)
        for row, part in zip(self.tiles, weight.split(self._rows, 0), strict=True):
            for tile, block in zip(row, part.split(self._cols, 1), strict=True):
                tile.program(block.contiguous())  # as a restored one would lie, so that sums round alike

    def weight(self) -> Tensor:
        return self._joined([[tile.weight() for tile in row] for row in self.tiles])

    def conductances(self) -> dict[str, Tensor]:
        """Each as one matrix; references of a column of tiles stand below each other."""
        grids = [[tile.conductances() for tile in row] for row in self.tiles]
        return {name: self._joined([[tile[name] for tile in row] for row in grids]) for name in grids[0][0]}

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Conductances with their lowest and highest values, joined as ``conductances``."""
        of_tiles = self.part_limits()
        grids = [[of_tiles[f"{i}.{j}"] for j in range(len(self._cols))] for i in range(len(self._rows))]

        def joined(name: str, which: int) -> Tensor:
            return self._joined([[tile[name][which] for tile in row] for row in grids])

        return {name: (joined(name, 0), joined(name, 1), joined(name, 2)) for name in grids[0][0]}

    @staticmethod
    def _joined(grid: list[list[Tensor]]) -> Tensor:
        return torch.cat([torch.cat(row, 1) for row in grid], 0)

    def read_streams(self, name: str, streams: Streams) -> Streams:
        return streams if len(self.parts) == 1 else streams.child("tile", *name.split("."))


def tile_sizes(length: int, limit: int | None) -> list[int]:
    """``length`` in as few parts as are at most ``limit`` long, sizes differing by at most one."""
    count = -(-length // limit) if limit else 1
    return [length // count + (i < length % count) for i in range(count)]


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
