"""Exact gradients of a cost at equilibrium, as a learning rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase, Synchronous, settle
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit
from hwsim.learning.rule import StepStats, per_synapse


def weight_gradient(net: Network, cost: Cost, x: Tensor, labels: Tensor, through: Equilibrium) -> list[Tensor]:
    """dC/dW of the mean cost at the free equilibrium, one tensor for each of ``net.synapses``.

    Taken on the float twin: exact for the weights that the arrays hold, whatever their reads do.
    """
    return _gradient(net, cost, x, labels, through)[0]


class _Found(NamedTuple):
    """The free equilibrium that was differentiated: mean cost, outputs (B, ...), and how far from rest (B,)."""

    cost: Tensor
    output: Tensor
    residual: Tensor


def _gradient(net: Network, cost: Cost, x: Tensor, labels: Tensor, through: Equilibrium) -> tuple[list[Tensor], _Found]:
    twin = net.float_twin()
    parameters = [s.tensor.requires_grad_(True) for s in twin.synapses if isinstance(s, FloatSynapse)]
    with torch.enable_grad():
        given, cost = twin.given(x), twin.cost_of_state(cost)
        state = through.reach(given, given.start())
        value = cost.value(state[-1], cost.encode(labels, state[-1])).mean()
        # Fewer steps than layers leave some weights without influence: their gradient is zero.
        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
    with torch.no_grad():
        state = tuple(layer.detach() for layer in state)
        still = settle(given, state, solver=Synchronous(), phase=Phase(1))
        return list(gradients), _Found(value.detach(), twin.outputs(state), still.residual)


@dataclass(frozen=True)
class ExactGradient:
    """Gradient descent on the cost at equilibrium: the twin that EP approximates, through the same arrays.

    The gradient is taken on the float twin and written through ``update``, one row a column of the
    array, so that it can be compared with EP on any device. Its statistics say how far the state that was
    differentiated still is from rest: what one more synchronous step would move, against ``tolerance``.

    >>> import hwsim as hw
    >>> rule = hw.ExactGradient(hw.Unrolled(10, hw.OddEven()))
    >>> records = hw.train(hw.hopfield([64, 16, 10]), rule, hw.load_data("digits").validation, rates=0.5, epochs=1)
    >>> records[0].epoch
    1
    """

    through: Equilibrium = field(default_factory=Implicit)
    tolerance: float = 1e-3

    def step(
        self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
    ) -> StepStats:
        del rng
        gradients, found = _gradient(net, cost, x, labels, self.through)
        for synapse, gradient, rate in zip(net.synapses, gradients, per_synapse(net, rates), strict=True):
            rows = torch.eye(gradient.shape[1], dtype=gradient.dtype, device=gradient.device)
            synapse.update(rows, -gradient.T, rate)
        net.tick()
        return StepStats(
            cost=found.cost.item(),
            correct=int((found.output.argmax(1) == labels).sum()),
            examples=len(x),
            unsettled_share=(~(found.residual <= self.tolerance)).double().mean().item(),  # NaN has not settled
            residual=found.residual.mean().item(),
        )
