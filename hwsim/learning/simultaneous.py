"""Gradients through states before rest: the adjoint relaxes beside the state, not after it.

Yang, Pang and Liu (NeurIPS 2022) attack equilibrium models so: where a model's gradient at rest is masked, those on the
way there may not be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from hwsim.ebm.energy import Energy, State
from hwsim.ebm.solvers import FRESH, Solver, Synchronous


@dataclass(frozen=True)
class Simultaneous:
    """``steps`` solver steps from the given state, with the adjoint u <- g + J(s_t)^T u taken along the same states.

    g is the loss's gradient at the last state, J(s_t) the Jacobian of a synchronous step at the t-th. Equal to the
    implicit gradient once both have settled; before that it is the gradient of neither end nor way, which is the point.
    Memory: one state a step.
    """

    steps: int
    solver: Solver = field(default_factory=Synchronous)

    def reach(self, energy: Energy, s: State) -> State:
        way = [tuple(layer.detach() for layer in s)]
        memory = FRESH
        with torch.no_grad():
            for _ in range(self.steps):
                now, memory = self.solver.step(energy, way[-1], memory)
                way.append(tuple(layer.detach() for layer in now))
        blocks = range(energy.blocks)
        with torch.enable_grad():
            out = energy.minimise(way[-1], blocks)
            if not any(layer.requires_grad for layer in out):
                return out
            shapes = [layer.shape for layer in out]
            flat = torch.cat([layer.flatten(1) for layer in out], 1)

        def adjoint(g: torch.Tensor) -> torch.Tensor:
            incoming = _parts(g, shapes)
            u = incoming
            for state in way:
                with torch.enable_grad():
                    at = tuple(layer.clone().requires_grad_(True) for layer in state)
                    step = energy.minimise(at, blocks)
                    back = torch.autograd.grad(step, at, u, allow_unused=True)
                u = tuple(a if b is None else a + b for a, b in zip(incoming, back, strict=True))
            return torch.cat([layer.flatten(1) for layer in u], 1)

        flat.register_hook(adjoint)
        return _parts(flat, shapes)


def _parts(flat: torch.Tensor, shapes: list[torch.Size]) -> State:
    parts = flat.split([shape[1:].numel() for shape in shapes], 1)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
