"""The linear response of an equilibrium: how it moves under a small nudge, and the exact gradient that this gives.

Under E + beta C an equilibrium moves by ds/dbeta = u with H u = -dC/ds on the units that are free to move, H the
energy's second derivatives there. Equilibrium propagation measures (s+ - s-) / 2 beta, whose limit for beta -> 0 is u;
and since H is symmetric, u is the adjoint of the exact gradient, too. So

    dC/dW = d/dbeta dE/dW (s + beta u)

is both the gradient of the cost at equilibrium and the update of EP at an infinitely small nudge (Scellier and Bengio
2017, theorem 1). dE/dW is bilinear in the states of two layers: half the difference of its values at s + u and s - u
is that slope, so that it is written like any other contrast.

u comes from conjugate gradients on every second block, the others eliminated, with reads of the arrays for products:
one forward and one back a link, like a sweep. At a strict minimum H is positive there. Where it is not, the state is
not settled, or a saddle: such an example keeps what it has when the curvature is lost (Steihaug 1983).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.energy import Cost, Coupling, State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.linearised import Blocks, Linearised
from hwsim.ebm.look import costs_nothing, due
from hwsim.ebm.settle import Phase

LEAST_CURVATURE = 1e-2
"""Curvature along a direction, relative to a unit's own, below which it counts as lost."""


@dataclass(frozen=True)
class Response:
    """How an equilibrium moves.

    Attributes:
        way: u, one tensor a block; zero at units that do not move.
        open: (B,) bool, the examples whose curvature was lost on the way.
        left: (B,) the largest entry of what is left of the equation, relative to the example's own pull.
        products: reads of every link there and back.
    """

    way: State
    open: Tensor
    left: Tensor
    products: int


@torch.no_grad()
def linear_response(energy: GivenInput, s: State, pull: State, phase: Phase, first: State | None = None) -> Response:
    """H u = pull on the free units of ``s``, by at most ``phase.steps`` products.

    A phase that stops early ends where every example's equation holds to ``phase.tolerance``, relative to the largest
    entry of its own pull. ``first`` is a way to go before all others, such as the response of a similar image; how far
    is the equation's to say.
    """
    near = Linearised.at(energy, s)
    kept, rest = near.halves
    g = {i: layer * free for i, (layer, free) in enumerate(zip(pull, near.free, strict=True))}

    def answer(v: Blocks) -> Blocks:
        """What the eliminated blocks make of the kept ones."""
        return {i: layer / near.own[i] for i, layer in near.couple(v, rest).items()}

    def stiff(v: Blocks) -> Blocks:
        """H v in the kept blocks, the others following."""
        back = near.couple(answer(v), kept)
        return {i: near.own[i] * v[i] - back[i] if i in back else near.own[i] * v[i] for i in kept}

    pulled = any(not costs_nothing(g[i]) or bool(g[i].any()) for i in rest)
    right = near.couple({i: g[i] / near.own[i] for i in rest}, kept) if pulled else {}
    left = {i: g[i] + right[i] if i in right else g[i] for i in kept}
    u = {i: torch.zeros_like(layer) for i, layer in left.items()}
    largest = _largest(g).clamp_min(torch.finfo(s[0].dtype).tiny)
    products = 0
    if first is not None:
        way = {i: first[i] * near.free[i] for i in kept}
        turned, products = stiff(way), 1
        curvature = _dot(way, turned)
        sound = curvature > LEAST_CURVATURE * near.own[0] * _dot(way, way)
        share = torch.where(sound, _dot(way, left) / torch.where(sound, curvature, 1.0), 0.0)
        u = {i: _each(share, way[i]) for i in kept}
        left = {i: left[i] - _each(share, turned[i]) for i in kept}
    way, square = left, _dot(left, left)
    moving = torch.ones(len(s[0]), dtype=torch.bool, device=s[0].device)
    opened = ~moving
    while products < phase.steps:
        # News travels one kept block a product: until it has reached them all, that little is left means nothing.
        solved = _largest(left) <= phase.tolerance * largest
        ripe = phase.stop_early and products >= len(kept) and due(solved, products)
        if ripe and bool((solved | opened).all()):
            break
        turned = stiff(way)
        products += 1
        curvature = _dot(way, turned)
        lost = curvature <= LEAST_CURVATURE * near.own[0] * _dot(way, way)
        opened = opened | (moving & lost & (square > 0))
        moving = moving & ~lost
        share = torch.where(moving, square / torch.where(moving, curvature, 1.0), 0.0)
        u = {i: u[i] + _each(share, way[i]) for i in kept}
        left = {i: left[i] - _each(share, turned[i]) for i in kept}
        before, square = square, _dot(left, left)
        keep = torch.where(moving, square / before.clamp_min(torch.finfo(square.dtype).tiny), 0.0)
        way = {i: left[i] + _each(keep, way[i]) for i in kept}
    eliminated = near.couple(u, rest)
    for i in rest:
        u[i] = (g[i] + eliminated[i] if i in eliminated else g[i]) / near.own[i]
    return Response(tuple(u[i] for i in range(len(s))), opened, _largest(left) / largest, products)


def pull_of(cost: Cost, output: Tensor, target: Tensor) -> Tensor:
    """(B, ...): -dC/ds at the last block."""
    linear, stiffness = cost.bowl(output, target)
    return linear - stiffness * output


def response_to(energy: GivenInput, cost: Cost, target: Tensor, s: State, phase: Phase) -> Response:
    """The response of the equilibrium ``s`` to a nudge by ``cost``, a cost on the last block."""
    pulls = (*(torch.zeros_like(layer) for layer in s[:-1]), pull_of(cost, s[-1], target))
    return linear_response(energy, s, pulls, phase)


def contrast_of(
    energy: GivenInput, cost: Cost, target: Tensor, s: State, way: State
) -> tuple[tuple[Coupling, ...], tuple[Coupling, ...]]:
    """Two lists of couplings, in the order of the network's synapses, whose difference is -2 dC/dW of the batch."""

    def side(sign: float) -> tuple[Coupling, ...]:
        moved = tuple(torch.add(layer, step, alpha=sign) for layer, step in zip(s, way, strict=True))
        return (*energy.couplings(moved, at=s), *cost.couplings(s[-1], target, sign))

    return side(1.0), side(-1.0)


def _dot(a: Blocks, b: Blocks) -> Tensor:
    return torch.stack([(a[i] * b[i]).flatten(1).sum(1) for i in a]).sum(0)


def _each(number: Tensor, layer: Tensor) -> Tensor:
    """(B,) times (B, ...)."""
    return number.reshape(-1, *[1] * (layer.dim() - 1)) * layer


def _largest(v: Blocks) -> Tensor:
    """(B,): the largest absolute entry of each example."""
    return torch.stack([layer.abs().flatten(1).amax(1) for layer in v.values()]).amax(0)
