"""A feed-forward convolutional network: the baselines of every EP-CNN, with its widths and its pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class HalfClamp(nn.Module):
    """clamp(v/2, 0, 1), what a unit of the energy-based network answers to a drive v."""

    def forward(self, v: Tensor) -> Tensor:
        return (v / 2).clamp(0.0, 1.0)


ACTIVATIONS = {"relu": nn.ReLU, "half-clamp": HalfClamp}
POOLS = {"none": nn.Identity, "max": lambda: nn.MaxPool2d(2), "average": lambda: nn.AvgPool2d(2)}


class ConvNet(nn.Module):
    """Convolutions, each with a norm, an activation and pooling, then one linear layer.

    Args:
        image: (channels, height, width).
        classes: scores.
        convolutions: maps of channels, kernel (3), stride (1), padding (1) and pool ("none", "max" or "average"), as
            in the card of an energy-based network.
        norm: "batch", or "none", which gives the convolutions biases.
        activation: "relu" or "half-clamp".
        init_gain: weights uniform within gain / sqrt(fan in) and zero biases, as energy-based networks begin; torch's
            own initial weights where None.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        convolutions: Sequence[dict[str, Any]],
        norm: str = "batch",
        activation: str = "relu",
        init_gain: float | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("batch", "none") or activation not in ACTIVATIONS:
            known = " or ".join(ACTIVATIONS)
            raise ValueError(f"norm {norm!r}, activation {activation!r}: expected batch or none, {known}")
        layers: list[nn.Module] = []
        below = image[0]
        for layer in convolutions:
            layers += self._layer(below, norm, activation, **layer)
            below = layer["channels"]
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            units = self.features.eval()(torch.zeros(1, *image)).numel()
        self.features.train()
        self.head = nn.Linear(units, classes)
        if init_gain is not None:
            self._begin(init_gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x.contiguous(memory_format=torch.channels_last)).flatten(1))

    @staticmethod
    def _layer(
        below: int,
        norm: str,
        activation: str,
        *,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        pool: str = "none",
    ) -> list[nn.Module]:
        batch = norm == "batch"
        convolution = nn.Conv2d(below, channels, kernel, stride, padding, bias=not batch)
        normed = [nn.BatchNorm2d(channels)] if batch else []
        return [convolution, *normed, ACTIVATIONS[activation](), POOLS[pool]()]

    @torch.no_grad()
    def _begin(self, gain: float) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = gain / layer.weight[0].numel() ** 0.5
                layer.weight.uniform_(-bound, bound)
                if layer.bias is not None:
                    layer.bias.zero_()
