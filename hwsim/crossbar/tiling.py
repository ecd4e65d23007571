"""Arrays have a largest size: a layer beyond it is split into tiles, whose partial reads are digitised and summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.crossbar.reads.kernels import PatchKernels, kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Meter, Synapse, WrappedDevice, check_rate, check_weight
from hwsim.errors import InputError
from hwsim.rng import Streams

MAPPING_SCALES = ("tile", "layer")


class Layout(NamedTuple):
    """How a layer lies on arrays.

    Args:
        tiles: number of arrays.
        utilisation: share of their cross-points that hold a weight; 1 where arrays have no fixed size.
    """

    tiles: int
    utilisation: float


def layout(synapse: Synapse) -> Layout:
    """How a synapse lies on arrays: what it says itself, else it is one array."""
    return getattr(synapse, "layout", Layout(1, 1.0))


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


class TiledSynapse:
    """A (post, pre) layer cut into a grid of arrays of nearly equal size, each with its own converters.

    A read sends every tile its part of the input; what the tiles of one output found, each after its converter, is
    added up in digital. Tiles are programmed and updated on their own, and scaled as the device says. They share one
    ``meter``: its vectors are counted once for every tile that they are sent to.
    """

    def __init__(self, device: TiledDevice, shape: tuple[int, int], streams: Streams) -> None:
        self.shape = shape
        self.device = device
        limits = (device.max_rows or shape[0], device.max_cols or shape[1])
        self._rows, self._cols = (_parts(n, limit) for n, limit in zip(shape, limits, strict=True))
        single = len(self._rows) == len(self._cols) == 1
        self.tiles = [
            [
                device.device.synapse(post, pre, streams if single else streams.child("tile", i, j))
                for j, pre in enumerate(self._cols)
            ]
            for i, post in enumerate(self._rows)
        ]
        fixed = (device.max_rows or max(self._rows)) * (device.max_cols or max(self._cols))
        count = len(self._rows) * len(self._cols)
        self.layout = Layout(count, shape[0] * shape[1] / (count * fixed))
        first = self.tiles[0][0]
        self.noisy = first.noisy
        self.meter: Meter = first.meter
        for tile in self.arrays:
            tile.meter = self.meter
        if hasattr(first, "age"):
            self.age = self._age
        if hasattr(first, "limits"):
            self.limits = self._limits

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        """All tiles, row by row."""
        return tuple(tile for row in self.tiles for tile in row)

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
        return torch.cat([kernels(tile, window).read(images) for tile in self.arrays], 1)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        if len(self._cols) > 1:
            return PatchKernels(self, window).read_transpose(images, size)
        parts = zip(self.arrays, images.split(self._rows, 1), strict=True)
        return _sum(kernels(tile, window).read_transpose(part, size) for tile, part in parts)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        if len(self._cols) > 1:
            PatchKernels(self, window).update(pre, post, rate)
            return
        for tile, part in zip(self.arrays, post.split(self._rows, 1), strict=True):
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
            for tile in self.arrays:
                if isinstance(tile, Mapped):
                    tile.map_to(largest)

    def tick(self) -> None:
        for tile in self.arrays:
            tile.tick()

    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        self._map(weight)
        for row, part in zip(self.tiles, weight.split(self._rows, 0), strict=True):
            for tile, block in zip(row, part.split(self._cols, 1), strict=True):
                tile.program(block.contiguous())  # as a restored one would lie, so that sums round alike

    def _age(self, seconds: float) -> None:
        for tile in self.arrays:
            tile.age(seconds)  # pyright: ignore[reportAttributeAccessIssue] - only there where tiles have it

    def weight(self) -> Tensor:
        return self._joined([[tile.weight() for tile in row] for row in self.tiles])

    def conductances(self) -> dict[str, Tensor]:
        """Each as one matrix; references of a column of tiles stand below each other."""
        grids = [[tile.conductances() for tile in row] for row in self.tiles]
        return {name: self._joined([[tile[name] for tile in row] for row in grids]) for name in grids[0][0]}

    def _limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Conductances with their lowest and highest values, where tiles know them."""
        grids = [[tile.limits() for tile in row] for row in self.tiles]  # pyright: ignore[reportAttributeAccessIssue]

        def joined(name: str, which: int) -> Tensor:
            return self._joined([[tile[name][which] for tile in row] for row in grids])

        return {name: (joined(name, 0), joined(name, 1), joined(name, 2)) for name in grids[0][0]}

    @staticmethod
    def _joined(grid: list[list[Tensor]]) -> Tensor:
        return torch.cat([torch.cat(row, 1) for row in grid], 0)

    def clipped_share(self) -> float:
        cells = self.shape[0] * self.shape[1]
        return sum(tile.clipped_share() * tile.shape[0] * tile.shape[1] for tile in self.arrays) / cells

    def reseed_reads(self, streams: Streams) -> None:
        for name, tile in self._named():
            tile.reseed_reads(streams if len(self.arrays) == 1 else streams.child("tile", *name.split(".")))

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": value for name, tile in self._named() for key, value in tile.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        expected = {name for name, _ in self._named()}
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in expected}
        for key, value in state.items():
            name = ".".join(key.split(".")[:2])
            if name not in expected:
                raise ValueError(f"saved state of a layer of {len(expected)} tiles: unexpected entry {key!r}")
            parts[name][key.removeprefix(name + ".")] = value
        for name, tile in self._named():
            tile.load_state_dict(parts[name])

    def _named(self) -> Iterator[tuple[str, Synapse]]:
        for i, row in enumerate(self.tiles):
            for j, tile in enumerate(row):
                yield f"{i}.{j}", tile


def _parts(length: int, limit: int) -> list[int]:
    """``length`` in as few parts as are at most ``limit`` long, sizes differing by at most one."""
    count = -(-length // limit)
    return [length // count + (i < length % count) for i in range(count)]


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
