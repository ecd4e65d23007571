"""The sliding window of a convolution, seen from an array of cross-points.

A kernel bank is one array of shape (out, in * kernel * kernel): it reads one patch of the image after
another, so a convolution is patches -> ``read``, its feedback ``read_transpose`` -> fold, and its
update the outer products of all patches. Arithmetic that is exact, or wrapped around something exact,
may do the same on whole images without cutting them into patches, which is several times faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight


@dataclass(frozen=True)
class Window:
    """Where a square kernel looks. Images are (B, channels, H, W), patches (B * positions, columns).

    Attributes:
        channels: of the image below.
        kernel, stride, padding: in pixels; the border is padded with zeros.
        constant: does every patch end with a constant 1, which drives the array's bias column?
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    constant: bool = False

    @property
    def fan_in(self) -> int:
        """Pixels a patch holds."""
        return self.channels * self.kernel**2

    @property
    def columns(self) -> int:
        """Inputs of the array."""
        return self.fan_in + self.constant

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Positions of the window over an image of that size, down and across; below 1 where it does not fit."""
        down, across = ((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in (height, width))
        return down, across

    def patches(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B * positions, columns), one patch a row."""
        cut = functional.unfold(images, self.kernel, padding=self.padding, stride=self.stride)
        rows = cut.transpose(1, 2).flatten(0, 1)
        return torch.cat([rows, rows.new_ones(len(rows), 1)], 1) if self.constant else rows

    def fold(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """(B * positions, columns) -> (B, channels, *size): every pixel is the sum of its places in the patches."""
        down, across = self.size(*size)
        columns = patches[:, : self.fan_in].unflatten(0, (-1, down * across)).transpose(1, 2)
        return functional.fold(columns, size, self.kernel, padding=self.padding, stride=self.stride)

    def channels_last(self, columns: int, place: torch.device) -> Tensor:
        """The array's ``columns`` in the order in which a pixel's channels lie together, see ``fold_last``."""
        order = torch.arange(self.fan_in, device=place).view(self.channels, -1).T.flatten()
        return torch.cat([order, torch.arange(self.fan_in, columns, device=place)])

    def fold_last(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """``fold`` of patches whose columns are in the order of ``channels_last``."""
        (height, width), (down, across) = size, self.size(*size)
        places = patches.view(-1, down, across, patches.shape[1])
        border = 2 * self.padding
        canvas = patches.new_zeros(len(places), height + border, width + border, self.channels)
        for index in range(self.kernel**2):
            top, left = divmod(index, self.kernel)
            rows = slice(top, top + (down - 1) * self.stride + 1, self.stride)
            columns = slice(left, left + (across - 1) * self.stride + 1, self.stride)
            canvas[:, rows, columns] += places[..., index * self.channels : (index + 1) * self.channels]
        inner = canvas[:, self.padding : self.padding + height, self.padding : self.padding + width]
        return inner.permute(0, 3, 1, 2)

    def with_constant(self, constant: bool) -> Window:
        """The same window, with or without a constant 1 at the end of its patches."""
        return replace(self, constant=constant)

    def single_channel(self) -> Window:
        """The same window over images of one channel, without a constant."""
        return replace(self, channels=1, constant=False)

    def correlate(self, images: Tensor, weight: Tensor) -> Tensor:
        """(B, channels, H, W), weight (out, columns) -> (B, out, *positions): what the array makes of all patches."""
        bias = weight[:, -1] if self.constant else None
        kernels = self._kernels(weight)
        return functional.conv2d(packed(images), kernels, bias, stride=self.stride, padding=self.padding)

    def spread(self, images: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, out, *positions), weight (out, columns) -> (B, channels, *size): the transpose of ``correlate``."""
        # Rows of the image that the window never reaches, because the stride skips them, get nothing back.
        reached = [(n - 1) * self.stride + self.kernel - 2 * self.padding for n in images.shape[2:]]
        rest = [n - r for n, r in zip(size, reached, strict=True)]
        kernels = self._kernels(weight)
        return functional.conv_transpose2d(packed(images), kernels, None, self.stride, self.padding, rest)

    def product(self, pre: Tensor, post: Tensor) -> Tensor:
        """(B, channels, H, W) and (B, out, *positions) -> (out, columns): sum over patches of post^T pre."""
        shape = (post.shape[1], self.channels, self.kernel, self.kernel)
        product = conv2d_weight(packed(pre), shape, packed(post), self.stride, self.padding).flatten(1)
        return torch.cat([product, post.sum((0, 2, 3))[:, None]], 1) if self.constant else product

    def _kernels(self, weight: Tensor) -> Tensor:
        return weight[:, : self.fan_in].unflatten(1, (self.channels, self.kernel, self.kernel))


@runtime_checkable
class ImageSynapse(Protocol):
    """What a synapse may offer beside ``Synapse``: its three operations on all patches of images at once.

    Each must do what the synapse does with the patches one by one, in distribution where it is noisy.
    """

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        """(B, channels, H, W) -> (B, out, *positions)."""
        ...

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        """(B, out, *positions) -> (B, channels, *size)."""
        ...

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        """W += rate * sum over patches of post^T pre."""
        ...


def as_rows(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B * H * W, C), one pixel a row, in the order of ``Window.patches``."""
    return images.permute(0, 2, 3, 1).flatten(0, 2)


def as_images(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(B * H * W, C) -> (B, C, H, W) for ``size`` (H, W); channels stay innermost in memory."""
    return rows.unflatten(0, (-1, *size)).permute(0, 3, 1, 2)


def packed(images: Tensor) -> Tensor:
    """The same images with channels innermost in memory."""
    # Channels innermost: convolutions run up to twice, max-pooling up to 16 times as fast on CPUs.
    return images.contiguous(memory_format=torch.channels_last)
