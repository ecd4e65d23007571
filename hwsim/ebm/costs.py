"""Costs: what the output of a network should be, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.ebm.energy import Cost, Coupling


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """(B, classes) of the type of ``like``."""
    return like.new_zeros(len(labels), like.shape[1]).scatter_(1, labels[:, None], 1.0)


@dataclass(frozen=True)
class SquaredError:
    """C = |s - y|^2 / 2 against one-hot targets; rows of ``output`` (B, classes).

    >>> import hwsim as hw
    >>> net, x, y = hw.hopfield([64, 16, 10]), *hw.load_data("digits").test[:4]
    >>> outputs, cost = net.outputs(hw.infer(net, x)[1].state), hw.SquaredError()
    >>> cost.value(outputs, cost.encode(y, outputs)).shape
    torch.Size([4])
    """

    stiffness = 1.0

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        return _one_hot(labels, like)

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (output - target).square().flatten(1).sum(1)

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        del output
        return target, 1.0

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        del output, target, beta
        return ()


@dataclass(frozen=True)
class CrossEntropy:
    """C = -sum_k y_k log softmax(s)_k on a linear output block; rows of ``output`` (B, classes).

    >>> import hwsim as hw
    >>> net, rule = hw.hopfield([64, 16, 10], output="readout"), hw.EquilibriumProp(solver=hw.OddEven())
    >>> data = hw.load_data("digits").validation
    >>> len(hw.train(net, rule, data, rates=0.1, epochs=1, cost=hw.CrossEntropy()))
    1
    """

    stiffness = None

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        return _one_hot(labels, like)

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        return -(target * functional.log_softmax(output, 1)).sum(1)

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        # The curvature of log-sum-exp lies in [0, 1/2]. Its middle makes repeated block updates descend to the
        # exact fixed point for every beta > -4c; a larger stiffness overshoots, and diverges, where beta < 0.
        return target - functional.softmax(output, 1) + 0.25 * output, 0.25

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        del output, target, beta
        return ()


class ReadoutLink(Protocol):
    """A link as far as a readout uses it; see ``hopfield.Link``."""

    @property
    def post_shape(self) -> tuple[int, ...]: ...

    def forward(self, pre: Tensor) -> Tensor: ...

    def backward(self, post: Tensor) -> Tensor: ...

    def couplings(self, pre: Tensor, post: Tensor) -> tuple[Coupling, ...]: ...


@dataclass(frozen=True)
class ThroughReadout:
    """A cost on what a link reads from the last free layer: C(W s + b), the link outside the dynamics.

    Its force on the layer is W^T f with f = -dC/d(W s + b), and its own weights learn from it:
    d(beta C)/dW = -beta f s^T.
    """

    link: ReadoutLink
    cost: Cost

    stiffness = None  # W^T W couples the units of the layer

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        return self.cost.encode(labels, like.new_empty(1, *self.link.post_shape))

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        return self.cost.value(self.link.forward(output), target)

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        return self.link.backward(self._force(output, target)), 0.0

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        return self.link.couplings(output, beta * self._force(output, target))

    def _force(self, output: Tensor, target: Tensor) -> Tensor:
        read = self.link.forward(output)
        linear, stiffness = self.cost.bowl(read, target)
        return linear - stiffness * read


def difference(nodes: Tensor) -> Tensor:
    """(B, 2 classes) -> (B, classes): the first half of the nodes less the second."""
    plus, minus = nodes.chunk(2, 1)
    return plus - minus


@dataclass(frozen=True)
class Differential:
    """A cost of the differences of pairs of nodes, as a cost of the nodes."""

    cost: Cost

    stiffness = None
    """Two nodes share a bowl: one number for each would be wrong on one side of a nudge."""

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        return self.cost.encode(labels, difference(like))

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        return self.cost.value(difference(output), target)

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """The slope at ``output`` is the cost's; twice the stiffness is the most that a pair can have."""
        inner = difference(output)
        linear, stiffness = self.cost.bowl(inner, target)
        slope = stiffness * inner - linear
        return 2 * stiffness * output - torch.cat([slope, -slope], 1), 2 * stiffness

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        return self.cost.couplings(difference(output), target, beta)
