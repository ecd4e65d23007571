"""Exact arrays whose reads are computed in fewer bits: what a GPU does several times as fast, and what that costs.

Weights, states, sums over neighbours and updates stay what they are; the two factors of a read's product are rounded,
and so is its result. Contrasts of states, which are small differences, feel it; a linear response hardly does. The
measured effect stands in benchmarks/gpu/README.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Synapse

PRECISIONS = ("float32", "tf32", "bf16")
"""Of products: 23, 10 and 7 bits of mantissa. TF32 is a mode of NVIDIA's GPUs alone (``jobs.place.products_in``)."""


class ReducedSynapse(FloatSynapse):
    """The weights of another exact array, read in bfloat16. Updates and meters are those of the array itself."""

    rounded = True

    def __init__(self, synapse: FloatSynapse) -> None:
        super().__init__(synapse.tensor, synapse._momentum, synapse._weight_decay)
        self.meter, self._velocity = synapse.meter, synapse._velocity

    @staticmethod
    def factor(values: Tensor) -> Tensor:
        """What a factor of a product becomes."""
        return values.to(torch.bfloat16)

    def read(self, pre: Tensor) -> Tensor:
        self.meter.vectors_read += pre.shape[0]
        return (self.factor(pre) @ self.factor(self.tensor).T).to(self.tensor.dtype)

    def read_transpose(self, post: Tensor) -> Tensor:
        self.meter.vectors_read_transpose += post.shape[0]
        return (self.factor(post) @ self.factor(self.tensor)).to(self.tensor.dtype)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        read = window.correlate(self.factor(images), self.factor(self.tensor))
        self.meter.vectors_read += len(read) * read.shape[2:].numel()
        return read.to(self.tensor.dtype)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        self.meter.vectors_read_transpose += len(images) * images.shape[2:].numel()
        return window.spread(self.factor(images), self.factor(self.tensor), size).to(self.tensor.dtype)


def reduced(synapse: Synapse) -> Synapse:
    """An exact array's weights read in bfloat16; biases, which are added and not multiplied, and others as they are."""
    if not isinstance(synapse, FloatSynapse) or synapse.shape[1] == 1:
        return synapse
    return ReducedSynapse(synapse)
