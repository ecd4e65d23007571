"""Exact gradients of an equilibrium, by two independent ways: the references for EP and for attacks.

Both give a *differentiable* equilibrium: a state whose autograd graph reaches the input and, on a
float network, the weights. ``Unrolled`` keeps the graph of every step (backpropagation through time);
``Implicit`` solves the adjoint fixed point u = g + J^T u at the settled state (Almeida 1987, Pineda
1987; Bai et al. 2019) and needs memory for one step. They agree only where the state has settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from hwsim.energy import Cost, Energy, State
from hwsim.hopfield import LayeredHopfield
from hwsim.learn import StepStats, per_synapse
from hwsim.settle import Phase, Solver, Synchronous, settle
from hwsim.synapse import FloatSynapse


class Equilibrium(Protocol):
    """A way to differentiate through a relaxation."""

    def reach(self, energy: Energy, s: State) -> State:
        """The equilibrium reached from ``s``, with a graph to whatever ``energy`` depends on."""
        ...


@dataclass(frozen=True)
class Unrolled:
    """Backpropagation through ``steps`` solver steps from the given state.

    ``checkpoint`` recomputes each step in the backward pass instead of keeping it, which makes
    memory grow by one state a step instead of one graph a step. Not for noisy networks, whose second
    reads differ (ValueError).
    """

    steps: int
    solver: Solver = field(default_factory=Synchronous)
    checkpoint: bool = False

    def reach(self, energy: Energy, s: State) -> State:
        if self.checkpoint and energy.noisy:
            raise ValueError("Unrolled.checkpoint recomputes reads, which differ on a noisy network; leave it off")
        with torch.enable_grad():
            for _ in range(self.steps):
                if self.checkpoint:
                    step = recomputed(lambda *now: self.solver.step(energy, now), *s, use_reentrant=False)
                    s = cast(State, step)
                else:
                    s = self.solver.step(energy, s)
        return s


@dataclass(frozen=True)
class Implicit:
    """The implicit function theorem at the settled state.

    Attributes:
        phase: the relaxation, which should end settled: ``Phase(500, tolerance=1e-6, stop_early=True)``.
        adjoint: length and tolerance (relative to the incoming gradient) of the adjoint's iteration.
        damping: fraction of the way of each adjoint step; 0.5 also converges where the synchronous
            map alternates.
    """

    phase: Phase = field(default_factory=lambda: Phase(500, tolerance=1e-6, stop_early=True))
    adjoint: Phase = field(default_factory=lambda: Phase(500, tolerance=1e-6, stop_early=True))
    solver: Solver = field(default_factory=Synchronous)
    damping: float = 0.5

    def reach(self, energy: Energy, s: State) -> State:
        shapes = [layer.shape for layer in s]
        settled = settle(energy, s, solver=self.solver, phase=self.phase).state
        flat = _flat(settled).detach()

        def block_map(z: Tensor) -> Tensor:
            return _flat(energy.minimise(_unflat(z, shapes), range(energy.blocks)))

        with torch.enable_grad():
            out = block_map(flat)
            if out.requires_grad:
                at = flat.clone().requires_grad_(True)
                once = block_map(at)
                out.register_hook(lambda g: self._adjoint(once, at, g, energy.blocks))
        return _unflat(out, shapes)

    def _adjoint(self, once: Tensor, at: Tensor, incoming: Tensor, blocks: int) -> Tensor:
        u = incoming
        bound = self.adjoint.tolerance * incoming.abs().amax().clamp_min(torch.finfo(incoming.dtype).tiny)
        for done in range(1, self.adjoint.steps + 1):
            # A single block depends on no other: nothing comes back.
            (back,) = torch.autograd.grad(once, at, u, retain_graph=True, allow_unused=True, materialize_grads=True)
            new = torch.lerp(u, incoming + back, self.damping)
            moved = (new - u).abs().amax()
            u = new
            # News travels one block an iteration, damped ones later: until it has reached them all, that little moves
            # means nothing.
            if self.adjoint.stop_early and done * self.damping >= blocks and moved <= bound:
                break
        return u


def _flat(s: State) -> Tensor:
    return torch.cat([layer.flatten(1) for layer in s], 1)


def _unflat(z: Tensor, shapes: Sequence[torch.Size]) -> State:
    parts = z.split([shape[1:].numel() for shape in shapes], 1)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def equilibrium_logits(net: LayeredHopfield, x: Tensor, through: Equilibrium, *, hold_input: bool = True) -> Tensor:
    """(B, outputs): the pre-activation of the output layer at equilibrium, differentiable in ``x``."""
    with torch.enable_grad():
        given = net.given(x, hold=hold_input)
        return net.logits(through.reach(given, given.start()), given)


def weight_gradient(net: LayeredHopfield, cost: Cost, x: Tensor, labels: Tensor, through: Equilibrium) -> list[Tensor]:
    """dC/dW of the mean cost at the free equilibrium, one tensor for each of ``net.synapses``.

    Taken on the float twin: exact for the weights that the arrays hold, whatever their reads do.
    """
    return _gradient(net, cost, x, labels, through)[0]


class _Found(NamedTuple):
    """The free equilibrium that was differentiated: mean cost, outputs (B, ...), and how far from rest (B,)."""

    cost: Tensor
    output: Tensor
    residual: Tensor


def _gradient(
    net: LayeredHopfield, cost: Cost, x: Tensor, labels: Tensor, through: Equilibrium
) -> tuple[list[Tensor], _Found]:
    twin = net.float_twin()
    parameters = [s.tensor.requires_grad_(True) for s in twin.synapses if isinstance(s, FloatSynapse)]
    with torch.enable_grad():
        given, cost = twin.given(x), twin.judged(cost)
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
    """

    through: Equilibrium = field(default_factory=Implicit)
    tolerance: float = 1e-3

    def step(
        self, net: LayeredHopfield, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
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
