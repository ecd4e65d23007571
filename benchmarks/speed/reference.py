"""The straightforward implementation of equilibrium propagation: autograd of the energy at every step.

This is how published code relaxes such networks (Laborieux et al. 2021 and its descendants): the whole
energy is computed, differentiated, and every layer moves to where its slope points. It is kept as the
yardstick of hwsim's own: same weights, same dynamics, same states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Reference:
    """A chain of layers, each (weight, bias): 3 x 3 convolutions with 2 x 2 max-pooling, then dense ones.

    c = 1, hidden layers in [0, 1], a linear output with squared error.
    """

    layers: Sequence[tuple[Tensor, Tensor]]

    def primitive(self, x: Tensor, s: Sequence[Tensor]) -> Tensor:
        """sum_l <s_{l+1}, P(W_l s_l) + b_l>, summed over the batch: the energy without its quadratic term."""
        total = torch.zeros((), dtype=x.dtype)
        for (w, b), below, above in zip(self.layers, (x, *s[:-1]), s, strict=True):
            total = total + (above * layer_drive(w, b, below)).sum()
        return total

    def relax(self, x: Tensor, s: Sequence[Tensor], steps: int, beta: float, target: Tensor) -> list[Tensor]:
        """All layers move at once, ``steps`` times, nudged by ``beta``."""
        for _ in range(steps):
            leaves = [layer.detach().requires_grad_(True) for layer in s]
            *hidden, output = torch.autograd.grad(self.primitive(x, leaves), leaves)
            s = [*((slope / 2).clamp(0, 1) for slope in hidden), (output + beta * target) / (2 + beta)]
        return [layer.detach() for layer in s]

    def start(self, x: Tensor) -> list[Tensor]:
        """All layers at zero, of the shapes that one pass finds."""
        shapes, below = [], x
        for w, b in self.layers:
            below = layer_drive(w, b, below)
            shapes.append(below.shape)
        return [x.new_zeros(shape) for shape in shapes]

    def gradient(self, x: Tensor, labels: Tensor, beta: float, free: int, nudged: int) -> tuple[list[Tensor], list]:
        """(dC/dW by centred equilibrium propagation, the three states): two weight gradients, subtracted."""
        target = functional.one_hot(labels, len(self.layers[-1][0])).to(x.dtype)
        rest = self.relax(x, self.start(x), free, 0.0, target)
        plus, minus = (self.relax(x, rest, nudged, sign * beta, target) for sign in (1, -1))
        slopes = []
        for s in (plus, minus):
            parameters = [p.detach().requires_grad_(True) for layer in self.layers for p in layer]
            layers = list(zip(parameters[::2], parameters[1::2], strict=True))
            slopes.append(torch.autograd.grad(Reference(layers).primitive(x, s), parameters))
        scale = -1 / (2 * beta * len(x))
        return [scale * (a - b) for a, b in zip(*slopes, strict=True)], [rest, plus, minus]


def layer_drive(w: Tensor, b: Tensor, below: Tensor) -> Tensor:
    """What a layer makes of the one below: (out, in, 3, 3) weights convolve and pool, (out, in) ones are dense."""
    if w.dim() == 4:
        return functional.max_pool2d(functional.conv2d(below, w, b, padding=1), 2)
    return functional.linear(below.flatten(1), w, b)
