"""What a network does to pixels before its first layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hwsim.errors import InputError


@dataclass(frozen=True)
class Normalise:
    """Pixels to inputs, channel by channel: (x - mean) / std. Part of the model, so budgets stay in pixel units.

    >>> import hwsim as hw
    >>> normalise = hw.Normalise(mean=(0.3,), std=(0.4,))
    >>> net = hw.hopfield([64, 16, 10], normalise=normalise)
    >>> round(float(normalise(hw.load_data("digits").test.x).mean()), 1)
    0.0
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise InputError(f"network.normalise: expected as many std > 0 as mean, got {self.mean} and {self.std}")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, ...) in [0, 1] -> (B, C, ...). Raises InputError for another number of channels."""
        if x.dim() < 2 or x.shape[1] != len(self.mean):
            raise InputError(f"network.normalise: has {len(self.mean)} channels, got images of {tuple(x.shape[1:])}")
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, std = _constants(self.mean, self.std, x.dtype, x.device)
        return (x - mean.reshape(shape)) / std.reshape(shape)


@lru_cache(maxsize=32)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both where images are, brought there once: a copy from the host for every batch would be waited for."""
    with torch.inference_mode(False):  # they outlive the call
        return torch.tensor(mean, dtype=dtype).to(device), torch.tensor(std, dtype=dtype).to(device)
