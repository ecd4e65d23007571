"""Images with their labels, as every function that takes data takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwsim.errors import InputError


@dataclass(frozen=True)
class Split:
    """Images ``x`` (N, C, H, W) or rows (N, pixels), floats in [0, 1], and their labels ``y`` (N,), int64.

    It unpacks as a pair, its length is N, and a slice or a tensor of indices gives the split of those images.
    """

    x: Tensor
    y: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        yield self.x
        yield self.y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, images: slice | Tensor) -> Split:
        return Split(self.x[images], self.y[images])

    def to(self, place: str) -> Split:
        """The same where torch computes."""
        return Split(self.x.to(place), self.y.to(place))


def as_split(data: Any) -> Split:
    """A pair of images and labels, tensors, arrays or lists, as a ``Split``.

    Raises InputError unless there are as many whole, non-negative labels as images, and all pixels are finite.
    """
    try:
        x, y = data
    except (TypeError, ValueError):
        raise InputError(f"data: expected a pair (images, labels), got {type(data).__name__}") from None
    x, y = as_images(x), torch.as_tensor(y)
    if y.dim() != 1 or len(y) != len(x):
        raise InputError(f"data: expected a label for each of {len(x)} images, got labels of shape {tuple(y.shape)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or (len(y) and y.min() < 0):
        raise InputError("data: expected labels that are whole numbers from 0 on")
    return Split(x, y.long())


def as_images(x: Any) -> Tensor:
    """Images (N, ...), a tensor, an array or lists, as a tensor of floats; float64 stays what it is.

    Raises InputError for a single image, whole numbers (grey levels 0 to 255 are no pixels in [0, 1]), NaN or infinity.
    """
    try:
        x = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"images: expected numbers (N, ...), got {type(x).__name__} ({error})") from None
    if x.dim() < 2:
        raise InputError(f"images: expected (N, C, H, W) or (N, pixels), got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise InputError(f"images: expected floats in [0, 1], got {x.dtype}; divide grey levels by 255")
    if not torch.isfinite(x).all():
        raise InputError("images: expected finite pixels, got NaN or infinity")
    return x if x.dtype == torch.float64 else x.float()
