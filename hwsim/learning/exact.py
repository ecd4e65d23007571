"""Exact gradients of a cost at equilibrium, as a learning rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse, is_exact
from hwsim.ebm.energy import Cost, Writable
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.look import fetched
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase, Synchronous, settle
from hwsim.learning.ep import written
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit
from hwsim.learning.response import contrast_of, response_to
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


Rows = list[tuple[Tensor, Tensor]]
"""Factors (pre, post) of an update."""


@torch.no_grad()
def _responded(
    net: LayeredHopfield, cost: Cost, x: Tensor, labels: Tensor, way: Implicit
) -> tuple[list[tuple[Writable, Rows]], _Found, float | Tensor]:
    """What to write to every array for the gradient by linear response, where it was taken, and the open share."""
    exact = all(is_exact(synapse) for synapse in net.synapses)
    twin = net if exact else net.mapped(lambda synapse: FloatSynapse(synapse.weight()))
    given, cost = twin.given(x), twin.cost_of_state(cost)
    state = settle(given, given.start(), solver=way.solver, phase=way.phase).state
    target = cost.encode(labels, state[-1])
    response = response_to(given, cost, target, state, way.adjoint)
    pairs = zip(*contrast_of(given, cost, target, state, response.way), strict=True)
    factors = [[(pre, post / (2 * len(x))) for pre, post in written(*pair, "difference")] for pair in pairs]
    still = settle(given, state, solver=Synchronous(), phase=Phase(1))
    found = _Found(cost.value(state[-1], target).mean(), twin.outputs(state), still.residual)
    arrays = [array for link in net.links for array in link.writables]
    return list(zip(arrays, factors, strict=True)), found, fetched(response.open.sum().double()) / len(x)


@dataclass(frozen=True)
class ExactGradient:
    """Gradient descent on the cost at equilibrium: the twin that EP approximates, through the same arrays.

    The gradient is taken on the float twin and written through ``update``, so that it can be compared with EP on any
    device. On layered Hopfield networks ``Implicit`` stands for the linear response of the equilibrium, by the phases
    and the solver that it names (``response``; no graph is recorded), written like a contrast of EP; all else goes
    through autograd, and is written one row a column of the array. The statistics say how far the state that was
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
        open_share: float | Tensor = 0.0
        if isinstance(self.through, Implicit) and isinstance(net, LayeredHopfield):
            writes, found, open_share = _responded(net, cost, x, labels, self.through)
        else:
            gradients, found = _gradient(net, cost, x, labels, self.through)
            arrays = zip(net.synapses, gradients, strict=True)
            writes = [(s, [(torch.eye(g.shape[1], dtype=g.dtype, device=g.device), -g.T)]) for s, g in arrays]
        for (array, rows), rate in zip(writes, per_synapse(net, rates), strict=True):
            for pre, post in rows:
                array.update(pre, post, rate)
        net.tick()
        return StepStats(
            cost=fetched(found.cost),
            correct=fetched((found.output.argmax(1) == labels).sum()),
            examples=len(x),
            unsettled_share=fetched((~(found.residual <= self.tolerance)).double().mean()),  # NaN has not settled
            residual=fetched(found.residual.mean()),
            open_share=open_share,
        )
