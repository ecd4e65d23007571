"""Energies over the free layers of a network, the cost at its output, and the nudge that joins them.

An energy here is already *given its input*: E(s) = E(x, s) with x held. Its blocks are the layers
s_1..s_L, and in each block, the others held, it is a quadratic bowl

    c |s_l|^2 - <s_l, v_l(s)>,    lower <= s_l <= upper,

so that the drive v_l is all a solver has to ask for and the exact minimiser is clamp(v_l / 2c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

Bound = float | Tensor
"""One number, or one for each unit."""

State = tuple[Tensor, ...]
"""The free layers, input side first; each (B, ...)."""


class Writable(Protocol):
    """What takes a learning rule's update: a synapse, or one seen as the kernels of a convolution."""

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        """W += rate * sum_b post_b pre_b^T."""
        ...


@dataclass(frozen=True)
class Coupling:
    """One array's part in the energy: dE/dW = -sum_b post_b pre_b^T, pre (N, in) and post (N, out).

    The kernels of a convolution take images instead: pre (B, in, H, W), post (B, out, *positions), and
    the sum runs over positions as well. The update is bilinear in either form.
    """

    synapse: Writable
    pre: Tensor
    post: Tensor


class Relaxable(Protocol):
    """What a solver relaxes: blocks that move to their minimisers. All methods work example by example.

    ``exact_bowls``: is the energy in each block a quadratic bowl, or below the one that ``minimise`` works with and
    touching it? Then the energy never rises where a block moves by up to twice the way to its minimiser.
    """

    @property
    def exact_bowls(self) -> bool: ...

    @property
    def blocks(self) -> int:
        """Number of free layers."""
        ...

    @property
    def noisy(self) -> bool:
        """Do two reads of one state differ?"""
        ...

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        """The minimisers of the listed blocks, each with all other blocks held at ``s``; new tensors.

        Exact where the block is a quadratic bowl; a nudge by another cost is minimised by its ``bowl``
        at ``s``, which descends and leaves exactly the same states at rest.
        """
        ...

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        """Lowest and highest state of the units of a block, or of each; infinite where there is no bound."""
        ...

    def value(self, s: State) -> Tensor:
        """(B,): the energy of each example."""
        ...

    def chosen(self, rows: Tensor, s: State) -> tuple[Relaxable, State]:
        """The same for the examples ``rows`` of the batch alone, mostly in ascending order, and their part of ``s``.

        What is held for ``s`` is held for its part as well, so that nothing has to be read anew.
        """
        ...


class Energy(Relaxable, Protocol):
    """An energy over a state. B is the batch; all methods work example by example."""

    def drive(self, s: State, layers: Sequence[int]) -> State:
        """The linear coefficients v_l of the listed blocks, all read from the same state."""
        ...

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        """The minimiser of one block under a drive, with ``stiffness``/2 |s|^2 added to its bowl.

        Written to ``out`` where that is given; it may be ``drive`` itself. Raises ValueError where the bowl is no
        bowl any more (curvature <= 0).
        """
        ...

    def force(self, s: State) -> State:
        """-dE/ds of every block, bounds not considered."""
        ...

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        """What each array sees at this state, in the order of the network's synapses."""
        ...

    def chosen(self, rows: Tensor, s: State) -> tuple[Energy, State]: ...


class Cost(Protocol):
    """A cost on the output block. Targets are what ``encode`` makes of labels.

    ``stiffness``: its curvature, the same for every output, where it is a quadratic without other terms of second
    order; None where it is not.
    """

    @property
    def stiffness(self) -> float | None: ...

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        """(B,) integer labels -> targets of the shape and type of ``like``, the output block."""
        ...

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,): the cost of each example."""
        ...

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """(linear, stiffness) of the quadratic stiffness/2 |s|^2 - <s, linear> whose slope at ``output`` is the cost's.

        Exact everywhere for a quadratic cost; for others the slope is, and the fixed point with it.
        """
        ...

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        """What the arrays that the cost itself reads through see: d(beta C)/dW = -post^T pre. Mostly none."""
        ...


@dataclass(frozen=True)
class Wrapped:
    """An energy around another one: what it does not change is the other's."""

    energy: Energy

    @property
    def blocks(self) -> int:
        return self.energy.blocks

    @property
    def noisy(self) -> bool:
        return self.energy.noisy

    @property
    def exact_bowls(self) -> bool:
        return self.energy.exact_bowls

    def drive(self, s: State, layers: Sequence[int]) -> State:
        return self.energy.drive(s, layers)

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        return self.energy.respond(layer, drive, stiffness, out=out)

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        return self.energy.bounds(layer)


@dataclass(frozen=True)
class Nudged(Wrapped):
    """E + beta C: an energy like any other, so a solver never sees beta. C acts on the last block.

    ``beta`` is one number, or (B,) one for each example: both phases of a contrast relax in one batch so. For a
    network with a readout, C is ``net.cost_of_state(cost)``.
    """

    cost: Cost
    target: Tensor
    beta: float | Tensor

    @property
    def exact_bowls(self) -> bool:
        return self.energy.exact_bowls and self.cost.stiffness is not None

    @property
    def own_stiffness(self) -> float | None:
        """What the nudge adds to the output's own curvature; None where that is not one number."""
        if self.cost.stiffness is None or isinstance(self.beta, Tensor):
            return None
        return self.beta * self.cost.stiffness

    def value(self, s: State) -> Tensor:
        return self.energy.value(s) + self.beta * self.cost.value(s[-1], self.target)

    def force(self, s: State) -> State:
        free = self.energy.force(s)
        linear, stiffness = self.cost.bowl(s[-1], self.target)
        return (*free[:-1], free[-1] + self._beta(s[-1]) * (linear - stiffness * s[-1]))

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        last = self.energy.blocks - 1
        if last not in layers:
            return self.energy.minimise(s, layers)
        (drive,) = self.energy.drive(s, [last])
        moved = self._pulled(drive, s[-1])
        below = iter(self.energy.minimise(s, [layer for layer in layers if layer != last]))
        return tuple(moved if layer == last else next(below) for layer in layers)

    def _pulled(self, drive: Tensor, output: Tensor) -> Tensor:
        """The minimiser of the last block under its drive and the nudge."""
        linear, stiffness = self.cost.bowl(output, self.target)
        beta = self._beta(output)
        each = isinstance(beta, Tensor)
        drive = torch.addcmul(drive, linear, beta) if each else torch.add(drive, linear, alpha=beta)
        out = None if torch.is_grad_enabled() else drive
        return self.energy.respond(self.energy.blocks - 1, drive, beta * stiffness, out=out)

    def _beta(self, output: Tensor) -> float | Tensor:
        """What multiplies a block example by example."""
        return self.beta.reshape(-1, *[1] * (output.dim() - 1)) if isinstance(self.beta, Tensor) else self.beta

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        return (*self.energy.couplings(s), *self.cost.couplings(s[-1], self.target, self._beta(s[-1])))

    def chosen(self, rows: Tensor, s: State) -> tuple[Nudged, State]:
        energy, s = self.energy.chosen(rows, s)
        beta = self.beta[rows] if isinstance(self.beta, Tensor) else self.beta
        return replace(self, energy=energy, target=self.target[rows], beta=beta), s


@dataclass(frozen=True)
class Clamped(Wrapped):
    """An energy whose last block is held at ``output``: its other blocks relax around it."""

    output: Tensor

    def value(self, s: State) -> Tensor:
        return self.energy.value(s)

    def force(self, s: State) -> State:
        return (*self.energy.force(s)[:-1], torch.zeros_like(s[-1]))

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        last = self.energy.blocks - 1
        below = iter(self.energy.minimise(s, [layer for layer in layers if layer != last]))
        return tuple(self.output.clone() if layer == last else next(below) for layer in layers)

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        return self.energy.couplings(s)

    def chosen(self, rows: Tensor, s: State) -> tuple[Clamped, State]:
        energy, s = self.energy.chosen(rows, s)
        return Clamped(energy, self.output[rows]), s


def examples(layer: Tensor, rows: Tensor) -> Tensor:
    """The examples ``rows`` of a layer; images keep their channels innermost in memory, or get them so."""
    if layer.dim() != 4:
        return layer.index_select(0, rows)
    return layer.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)  # several times as fast as layer[rows]


def within(layer: Tensor, low: Bound, high: Bound, *, out: Tensor | None = None) -> Tensor:
    """A layer moved into its bounds; the layer itself where there are none."""
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return torch.clamp(layer, torch.as_tensor(low).to(layer), torch.as_tensor(high).to(layer), out=out)
    return torch.clamp(layer, low, high, out=out) if math.isfinite(low) or math.isfinite(high) else layer
