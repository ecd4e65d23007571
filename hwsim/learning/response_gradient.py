"""The linear response of an equilibrium as a way to differentiate it: no graph, no matrix, products written as reads.

What the pixels feel of the response to a loss's pull is the loss's gradient; see ``response``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from hwsim.ebm.energy import Energy, State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.settle import OddEven, Phase, Solver, settle
from hwsim.errors import InputError
from hwsim.learning.response import linear_response


@dataclass
class Known:
    """The response that the last backward pass has solved for, one tensor a block; None before there was one."""

    u: State | None = None


@dataclass(frozen=True)
class LinearResponse:
    """A way to differentiate an equilibrium of exact arrays (noisy ones: InputError).

    Attributes:
        adjoint: products at most, and the largest entry left of the equation, relative to each example's pull.
    """

    phase: Phase = field(default_factory=lambda: Phase(500, tolerance=1e-5, stop_early=True))
    adjoint: Phase = field(default_factory=lambda: Phase(100, tolerance=1e-5, stop_early=True))
    solver: Solver = field(default_factory=OddEven)

    def reach(self, energy: Energy, s: State) -> State:
        return self.reach_from(energy, s, Known())

    def reach_from(self, energy: Energy, s: State, known: Known) -> State:
        """The same, where ``known`` is that of a similar image: it is begun with and replaced by the new one."""
        if not isinstance(energy, GivenInput) or energy.noisy:
            raise InputError("linear response: expected a network of exact arrays given its input")
        rest = settle(energy, s, solver=self.solver, phase=self.phase).state
        with torch.enable_grad():
            return cast(State, _Responding.apply(energy.x, self, energy, known, *(layer.detach() for layer in rest)))


class _Responding(torch.autograd.Function):
    """The state as it is; backward solves for its response."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, way: LinearResponse, energy: GivenInput, known: Known, *rest: Tensor) -> State:
        del x
        ctx.way, ctx.energy, ctx.known, ctx.rest = way, energy, known, rest
        return tuple(layer.clone() for layer in rest)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        energy, rest = ctx.energy, ctx.rest
        with torch.no_grad():
            ctx.known.u = u = linear_response(energy, rest, grads, ctx.way.adjoint, ctx.known.u).way
            felt = energy.input_force((u[0], *rest[1:]))
        return (felt, None, None, None, *(None for _ in grads))
