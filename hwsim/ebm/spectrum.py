"""How far sweeps may overshoot: the factor that suits a network, from how strongly its free units pull at each other.

Near an equilibrium a sweep acts on the units that are free to move only, and there the energy is a quadratic. Jacobi's
method on it has the spectral radius r, and since blocks of one parity do not see each other, odd-even sweeps that go

    w = 2 / (1 + sqrt(1 - r^2))

of the way are the fastest (Young 1954, chapter 6 of his "Iterative solution of large linear systems", 1971). r^2 is the
largest eigenvalue of the coupling from one half of the blocks to the other and back, and a few steps of Lanczos give it
from below. A factor somewhat too large costs little, a smaller one more, so that the examples with the strongest
coupling count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hwsim.ebm.energy import Relaxable, State
from hwsim.ebm.linearised import Blocks, Linearised
from hwsim.ebm.network import Network
from hwsim.ebm.settle import OddEven, Phase, settle

QUANTILE = 0.75
"""The factor suits the examples up to this quantile of r."""

LARGEST = 1.6
"""Where r is close to 1, or above it because the state is no minimum."""


@torch.no_grad()
def over_relaxation(energy: Relaxable, s: State, rng: torch.Generator, *, products: int = 8) -> float:
    """The factor in [1, ``LARGEST``] that suits the energy near ``s``, a state close to equilibrium; 1 if undefined."""
    radius = coupling_radius(energy, s, rng, products=products)
    radius = radius[torch.isfinite(radius)]
    if not len(radius):
        return 1.0
    r = radius.double().quantile(QUANTILE).item()
    return LARGEST if r >= 1 else min(LARGEST, 2 / (1 + math.sqrt(1 - r * r)))


@torch.no_grad()
def measured_factor(net: Network, x: Tensor, before: float = 1.0) -> float:
    """``over_relaxation`` of a network where it settles on the images ``x``, from sweeps with the factor ``before``.

    1 on noisy arrays. The same network and images give the same factor, whatever was drawn before.
    """
    if net.noisy:
        return 1.0
    given = net.given(x)
    s = settle(given, given.start(), solver=OddEven(before), phase=_NEAR).state
    return over_relaxation(given, s, torch.Generator().manual_seed(0))


_NEAR = Phase(60, tolerance=3e-3, stop_early=True)
"""Close enough to equilibrium for its free units to be known."""


@torch.no_grad()
def coupling_radius(energy: Relaxable, s: State, rng: torch.Generator, *, products: int = 8) -> Tensor:
    """(B,): r of each example by ``products`` steps of Lanczos from a random start, a bound from below.

    Every product reads each link between two blocks once in both directions.
    """
    near = Linearised.at(energy, s)
    kept, rest = near.halves
    if not rest:
        return s[0].new_zeros(len(s[0]))

    def coupled(v: Blocks) -> Blocks:
        answer = near.couple(v, rest)
        back = near.couple({i: layer / near.own[i] for i, layer in answer.items()}, kept)
        return {i: layer / near.own[i] for i, layer in back.items()}

    # Blocks of the kept half may have curvatures of their own: in v sqrt(D) the operator is symmetric.
    roots = {i: math.sqrt(near.own[i]) for i in kept}
    drawn = {i: torch.randn(s[i].shape[1:], generator=rng, dtype=torch.float64, device=rng.device) for i in kept}
    v = {i: drawn[i].to(s[i]) * near.free[i] for i in kept}
    v, _ = _unit(v)
    before: Blocks | None = None
    diagonal, beside = list[Tensor](), list[Tensor]()
    for _ in range(products):
        w = {i: layer * roots[i] for i, layer in coupled({i: v[i] / roots[i] for i in kept}).items()}
        diagonal.append(_dot(v, w))
        w = {i: w[i] - _each(diagonal[-1], v[i]) for i in kept}
        if before is not None:
            w = {i: w[i] - _each(beside[-1], before[i]) for i in kept}
        before, (v, length) = v, _unit(w)
        beside.append(length)
    size = len(diagonal)
    matrix = s[0].new_zeros(len(s[0]), size, size, dtype=torch.float64)
    for i, value in enumerate(diagonal):
        matrix[:, i, i] = value
        if i + 1 < size:
            matrix[:, i, i + 1] = matrix[:, i + 1, i] = beside[i]
    usable = torch.isfinite(matrix).flatten(1).all(1)
    largest = torch.linalg.eigvalsh(torch.where(usable[:, None, None], matrix, 0.0))[:, -1]
    return torch.where(usable, largest.clamp_min(0).sqrt(), torch.nan).to(s[0].dtype)


def _dot(a: Blocks, b: Blocks) -> Tensor:
    return torch.stack([(a[i] * b[i]).flatten(1).sum(1) for i in a]).sum(0)


def _each(number: Tensor, layer: Tensor) -> Tensor:
    """(B,) times (B, ...)."""
    return number.reshape(-1, *[1] * (layer.dim() - 1)) * layer


def _unit(v: Blocks) -> tuple[Blocks, Tensor]:
    """(v of length 1 in every example, the length it had); zero stays zero."""
    length = _dot(v, v).sqrt()
    scale = 1 / length.clamp_min(torch.finfo(length.dtype).tiny ** 0.5)
    return {i: _each(scale, layer) for i, layer in v.items()}, length
