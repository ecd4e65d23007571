"""Two layers of weights and a ReLU between them."""

from __future__ import annotations

import math

import torch


class Layers(torch.nn.Sequential):
    """Images of any shape to scores."""

    def __init__(self, image: tuple[int, int, int], classes: int, hidden: int) -> None:
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(math.prod(image), hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(hidden, classes),
        )
