"""What every learning rule is, and what a step of one leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network


@dataclass(frozen=True)
class StepStats:
    """What one training step saw, before its update: numbers, or on a GPU tensors without dimensions that hold them.

    Attributes:
        cost: mean cost over the batch at the free state.
        correct: examples whose largest output of the free phase is the label's.
        examples: size of the batch.
        unsettled_share: share of examples still on their way at the end of any phase.
        residual: largest change of a unit in the last step of any phase, mean over the batch.
        open_share: share of examples at no minimum of the energy, where a linear response found that out.
    """

    cost: float | Tensor
    correct: float | Tensor
    examples: int
    unsettled_share: float | Tensor
    residual: float | Tensor
    open_share: float | Tensor = 0.0


@runtime_checkable
class LearningRule(Protocol):
    """One training step on a network whose arrays are changed in place; everything else is a value.

    A rule of one's own is any object with this method.

    >>> import hwsim as hw
    >>> isinstance(hw.EquilibriumProp(), hw.LearningRule), isinstance(hw.ExactGradient(), hw.LearningRule)
    (True, True)
    """

    def step(
        self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
    ) -> StepStats:
        """Learn from a batch: x (B, ...), labels (B,), one rate a link."""
        ...


def per_synapse(net: Network, rates: Sequence[float]) -> list[float]:
    """A link's rate for each of its arrays, biases included."""
    if len(rates) != len(net.links):
        raise ValueError(f"learning rates: expected one for each of {len(net.links)} links, got {len(rates)}")
    return [rate for link, rate in zip(net.links, rates, strict=True) for _ in link.synapses]
