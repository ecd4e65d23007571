"""Exact gradients of an equilibrium, by two independent ways: the references for EP and for attacks.

Both give a *differentiable* equilibrium: a state whose autograd graph reaches the input and, on a
float network, the weights. ``Unrolled`` keeps the graph of every step (backpropagation through time);
``Implicit`` solves the adjoint fixed point u = g + J^T u at the settled state (Almeida 1987, Pineda
1987; Bai et al. 2019) and needs memory for one step. They agree only where the state has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from hwsim.ebm.energy import Energy, State
from hwsim.ebm.look import due
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase, Solver, Synchronous, settle


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

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> classifier = hw.EquilibriumClassifier(net, through=hw.Unrolled(10, hw.OddEven()))
    >>> classifier.differentiable(x.requires_grad_()).requires_grad
    True
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
                    step = recomputed(lambda *now: self.solver.step(energy, now)[0], *s, use_reentrant=False)
                    s = cast(State, step)
                else:
                    s = self.solver.step(energy, s)[0]
        return s


@dataclass(frozen=True)
class Implicit:
    """The implicit function theorem at the settled state: u = g + J^T u, J the Jacobian of a synchronous step.

    Every second block is eliminated, as in odd-even sweeps, and the rest solved by generalised conjugate residuals
    (Eisenstat, Elman and Schultz 1983), example by example: they ask for nothing but products with J^T, each as
    many reads as a step of the relaxation, need a third of the products that iterating u asks for, and do not
    mind that saturated units make J unsymmetric. Memory does not grow with the length of the relaxation.

    Attributes:
        phase: the relaxation, which should end settled: ``Phase(500, tolerance=1e-6, stop_early=True)``.
        adjoint: products with J^T at most, and the largest entry of what is left of the equation, relative to
            each example's own incoming gradient, that is small enough to stop at.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> classifier = hw.EquilibriumClassifier(net, through=hw.Implicit(solver=hw.OddEven()))
    >>> classifier.differentiable(x.requires_grad_()).requires_grad
    True
    """

    phase: Phase = field(default_factory=lambda: Phase(500, tolerance=1e-6, stop_early=True))
    adjoint: Phase = field(default_factory=lambda: Phase(500, tolerance=1e-6, stop_early=True))
    solver: Solver = field(default_factory=Synchronous)

    def reach(self, energy: Energy, s: State) -> State:
        settled = tuple(layer.detach() for layer in settle(energy, s, solver=self.solver, phase=self.phase).state)
        with torch.enable_grad():
            out = energy.minimise(settled, range(energy.blocks))
            if not any(layer.requires_grad for layer in out):
                return out
            # The same step once more, from leaves: what the adjoint asks about the state must not reach it twice.
            at = tuple(layer.clone().requires_grad_(True) for layer in settled)
            once = energy.minimise(at, range(energy.blocks))
            flat = _flat(out)
            flat.register_hook(lambda g: _flat(self._adjoint(once, at, _unflat(g, [layer.shape for layer in out]))))
        return _unflat(flat, [layer.shape for layer in out])

    def _adjoint(self, once: State, at: State, incoming: State) -> State:
        """u = incoming + J^T u for the step ``once`` taken at the leaves ``at``."""
        transpose = _Transpose(once, at)
        every = range(len(at))
        kept, rest = _halves(at)
        if transpose.couples(rest):
            kept, rest = every, ()

        def eliminated(u: Blocks) -> Blocks:
            """J^T u in the kept blocks, the others having answered: what they hear of u they say again."""
            heard = transpose(u, every)
            return _sum(_only(heard, kept), transpose(_only(heard, rest), kept))

        g = dict(enumerate(incoming))
        right = _sum(_only(g, kept), transpose(_only(g, rest), kept))
        u = _conjugate_residuals(eliminated, right, self.adjoint, self.adjoint.tolerance * _largest(incoming))
        u |= _sum(_only(g, rest), transpose(u, rest))
        return tuple(u[i] for i in every)


Blocks = dict[int, Tensor]
"""Some blocks of a state, by number; what is absent is zero."""


class _Transpose:
    """Products with J^T, J the Jacobian of the step ``once`` at the leaves ``at``."""

    def __init__(self, once: State, at: State) -> None:
        self._once, self._at = once, at
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, u: Blocks, into: Sequence[int]) -> Blocks:
        """J^T u in the blocks ``into``."""
        total: Blocks = {}
        for block, given in u.items():
            asked = [other for other in into if self._known.get((block, other), True)]
            if not asked or not self._once[block].requires_grad:
                continue
            at = [self._at[other] for other in asked]
            parts = torch.autograd.grad(self._once[block], at, given, retain_graph=True, allow_unused=True)
            for other, part in zip(asked, parts, strict=True):
                self._known[block, other] = part is not None
                if part is not None:
                    total[other] = total[other] + part if other in total else part
        return total

    def couples(self, blocks: Sequence[int]) -> bool:
        """Does one of the blocks depend on another of them, or on itself?"""
        return bool(self({block: torch.zeros_like(self._at[block]) for block in blocks}, blocks))


def _halves(s: State) -> tuple[Sequence[int], Sequence[int]]:
    """Every second block and the others, the half of fewer units first."""
    halves = [range(parity, len(s), 2) for parity in (0, 1)]
    few, many = sorted(halves, key=lambda half: sum(s[i][0].numel() for i in half))
    return (few, many) if len(s) > 1 else (range(0), range(1))


def _conjugate_residuals(product: Callable[[Blocks], Blocks], right: Blocks, phase: Phase, bound: Tensor) -> Blocks:
    """v = right + product(v), until no example's residual exceeds its ``bound`` (B,) anywhere."""
    names = sorted(right)
    if not names:
        return {}
    shapes = [right[name].shape for name in names]
    left = _flat(tuple(right[name] for name in names))
    found, directions = torch.zeros_like(left), list[tuple[Tensor, Tensor, Tensor]]()
    for done in range(phase.steps):
        # News travels one kept block a product: until it has reached them all, that little is left means nothing.
        ripe = phase.stop_early and done >= len(names) and due(left, done)
        if ripe and bool((left.abs().amax(1) <= bound).all()):
            break
        towards = left
        answer = product(dict(zip(names, _unflat(towards, shapes), strict=True)))
        turned = towards - _flat(tuple(answer.get(name, torch.zeros_like(right[name])) for name in names))
        for earlier, image, length in directions:
            share = (turned * image).sum(1, keepdim=True) / length
            towards, turned = towards - share * earlier, turned - share * image
        # An example that is solved has nothing left to go towards.
        length = turned.square().sum(1, keepdim=True).clamp_min(torch.finfo(turned.dtype).tiny)
        directions = [*directions[-_REMEMBERED + 1 :], (towards, turned, length)]
        share = (left * turned).sum(1, keepdim=True) / length
        found, left = found + share * towards, left - share * turned
    return dict(zip(names, _unflat(found, shapes), strict=True))


_REMEMBERED = 12
"""Directions that new ones are made conjugate to."""


def _only(u: Blocks, blocks: Sequence[int]) -> Blocks:
    return {block: u[block] for block in blocks if block in u}


def _sum(a: Blocks, b: Blocks) -> Blocks:
    """Blocks of either, added where both have them."""
    return {block: a[block] + b[block] if block in a and block in b else (a | b)[block] for block in a | b}


def _largest(s: Sequence[Tensor]) -> Tensor:
    """(B,): the largest absolute entry of each example."""
    return torch.stack([layer.abs().flatten(1).amax(1) for layer in s]).amax(0)


def _flat(s: State) -> Tensor:
    return torch.cat([layer.flatten(1) for layer in s], 1)


def _unflat(z: Tensor, shapes: Sequence[torch.Size]) -> State:
    parts = z.split([shape[1:].numel() for shape in shapes], 1)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def equilibrium_logits(
    net: Network, x: Tensor, through: Equilibrium, *, hold_input: bool = True, start: State | None = None
) -> Tensor:
    """(B, outputs): the pre-activation of the output layer at equilibrium, differentiable in ``x``.

    ``start`` is where the relaxation begins, by default the network's own start; see ``infer``.
    """
    with torch.enable_grad():
        given = net.given(x, hold=hold_input)
        return net.logits(through.reach(given, given.start() if start is None else start), given)
