"""Exact dense networks in memory laid out for them: the same energy, the same sweeps, a fraction of the time.

A small dense network spends its time on starting operations and on fresh memory, not on arithmetic. Here products are
scaled by the bowl's curvature and added to what is constant in a relaxation (the input's drive, biases, a nudge) in one
operation; targets are written into buffers that are used again; and a layer of fewer units than the batch has examples
lies in memory unit by unit, because that order of the factors takes half the time. States are (B, n) like everywhere.

``planned`` takes this form wherever it is exact: all arrays that the relaxation reads are plain matrices with digital
biases, and the input is held. Every other energy stays as it is, and so it does for solvers that come back to a block
while half of its drive still stands: the general path keeps the two halves apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import torch
from torch import Tensor

from hwsim.ebm.energy import Bound, Coupling, Energy, Nudged, Relaxable, State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.linearised import free_units
from hwsim.ebm.links import Dense


@overload
def planned(energy: Energy) -> Energy: ...


@overload
def planned(energy: Relaxable) -> Relaxable: ...


def planned(energy: Relaxable) -> Relaxable:
    """``energy`` in this form where it has one, with memory of its own for the states; otherwise as it is."""
    if isinstance(energy, DenseChain):
        return energy.fresh()
    if isinstance(energy, Nudged):
        chain, stiffness = planned(energy.energy), energy.cost.stiffness
        if not isinstance(chain, DenseChain) or stiffness is None:
            return energy
        beta = energy.beta[:, None] if isinstance(energy.beta, Tensor) else energy.beta
        return chain.nudged(energy.target * beta, stiffness * beta)  # the pull of a quadratic cost is its target
    if type(energy) is not GivenInput or energy.held is None or torch.is_grad_enabled():
        return energy
    links = [link for link in energy.net.links[: energy.blocks] if isinstance(link, Dense)]
    matrices = [pair for link in links if (pair := link.matrices)]
    if len(matrices) < energy.blocks:
        return energy
    drive, scale = energy.input_drive(), 1 / (2 * energy.net.c)
    biases = [bias.T.expand(len(drive), -1) for _, bias in matrices[1:]]
    blocks = [_Block.of(constant * scale, scale, energy.bounds(i)) for i, constant in enumerate((drive, *biases))]
    return DenseChain(energy, links, [weight for weight, _ in matrices], blocks)


@dataclass(slots=True)
class _Block:
    """One block: what is constant in its minimiser, and memory for its states.

    Attributes:
        constant: its minimiser without neighbours and bounds, as it lies in memory: (B, n), or (n, B) if ``upright``.
        scale: what a drive is multiplied by, 1 over the bowl's curvature.
        factor: what is left of that where examples differ, (B, 1) or 1.
        bounds: lowest and highest state of a unit.
        buffers: three, used in turn: the state before a step is still looked at, and a step may try two.
    """

    constant: Tensor
    upright: bool
    scale: float
    factor: Tensor | float
    bounds: tuple[float, float]
    buffers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, constant: Tensor, scale: float, bounds: tuple[float, float], factor: Tensor | float = 1.0) -> _Block:
        """With a ``constant`` of (B, n)."""
        upright = constant.shape[1] < constant.shape[0]
        return cls((constant.T if upright else constant).contiguous(), upright, scale, factor, bounds)

    @property
    def bounded(self) -> bool:
        return self.bounds[1] < torch.inf

    def fresh(self) -> _Block:
        """The same with buffers of its own."""
        return _Block(self.constant, self.upright, self.scale, self.factor, self.bounds)

    def next(self) -> tuple[Tensor, Tensor]:
        """The buffer that was written longest ago, as it lies and as a state (B, n)."""
        if len(self.buffers) < 3:
            lying = torch.empty_like(self.constant)
            self.buffers.append((lying, lying.T if self.upright else lying))
        else:
            self.buffers.append(self.buffers.pop(0))
        return self.buffers[-1]

    def as_state(self) -> Tensor:
        """(B, n): the constant."""
        return self.constant.T if self.upright else self.constant


class DenseChain:
    """The energy of a chain of plain matrices with its input held; see ``energy.Energy`` for what it offers."""

    noisy = False
    exact_bowls = True

    def __init__(
        self,
        given: GivenInput,
        links: Sequence[Dense],
        weights: Sequence[Tensor],
        blocks: Sequence[_Block],
        stiffness: Tensor | float = 0.0,
        rows: Tensor | None = None,
    ) -> None:
        self.blocks = len(blocks)
        self._rows = rows  # of the examples that are given; None for all of them
        self.respond = given.respond
        self._given, self._links, self._blocks, self._stiffness = given, links, blocks, stiffness
        self._weights, self._transposed = weights, [weight.T for weight in weights]

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        return self._blocks[layer].bounds

    def nudged(self, pull: Tensor, stiffness: Tensor | float) -> DenseChain:
        """With ``pull`` (B, n) added to the drive of the last block and ``stiffness`` (B, 1) to its curvature."""
        block, own = self._blocks[-1], 2 * self._given.net.c
        self._given.check_bowl(stiffness)
        factor, constant = own / (own + stiffness), torch.add(block.as_state(), pull, alpha=block.scale)
        if isinstance(factor, Tensor):
            last = _Block.of(constant, block.scale, block.bounds, factor)
        else:
            last = _Block.of(constant * factor, block.scale * factor, block.bounds)
        return self._with([*(below.fresh() for below in self._blocks[:-1]), last], stiffness, self._rows)

    def _with(self, blocks: Sequence[_Block], stiffness: Tensor | float, rows: Tensor | None) -> DenseChain:
        return DenseChain(self._given, self._links, self._weights, blocks, stiffness, rows)

    def fresh(self) -> DenseChain:
        """The same with memory of its own: what one relaxation left is not touched by another."""
        return self._with([block.fresh() for block in self._blocks], self._stiffness, self._rows)

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple([self._minimiser(s, layer) for layer in layers])

    def _minimiser(self, s: State, layer: int) -> Tensor:
        block, lying = self._blocks[layer], self._blocks[layer].constant
        out, state = block.next()
        if layer:
            below = s[layer - 1]
            factors = (self._weights[layer], below.T) if block.upright else (below, self._transposed[layer])
            lying = torch.addmm(lying, *factors, alpha=block.scale, out=out)
            self._links[layer].count(state.shape[0], 0)
        if layer + 1 < self.blocks:
            above, weight = s[layer + 1], self._weights[layer + 1]
            factors = (self._transposed[layer + 1], above.T) if block.upright else (above, weight)
            lying = torch.addmm(lying, *factors, alpha=block.scale, out=out)
            self._links[layer + 1].count(0, state.shape[0])
        if lying is not out:  # a single block: what drives it is constant
            out.copy_(lying)
        if isinstance(block.factor, Tensor):
            state.mul_(block.factor)
        return state.clamp_(*block.bounds) if block.bounded else state

    def value(self, s: State) -> Tensor:
        c, energy = self._given.net.c, s[-1].new_zeros(len(s[-1]))
        for layer, state in enumerate(s):
            energy += ((c * state - self._from_below(s, layer)) * state).sum(1)
        return energy + (0.5 * self._stiffness * s[-1].square()).sum(1)

    def _from_below(self, s: State, layer: int) -> Tensor:
        """(B, n): what a block is driven by from below, and by the nudge."""
        drive = self._blocks[layer].as_state() / self._blocks[layer].scale
        if layer == 0:
            return drive
        self._links[layer].count(len(drive), 0)
        return torch.addmm(drive, s[layer - 1], self._transposed[layer])

    def drive(self, s: State, layers: Sequence[int]) -> State:
        drives = []
        for layer in layers:
            drives.append(self._from_below(s, layer))
            if layer + 1 < self.blocks:
                drives[-1] = torch.addmm(drives[-1], s[layer + 1], self._weights[layer + 1])
                self._links[layer + 1].count(0, len(s[0]))
        return tuple(drives)

    def force(self, s: State) -> State:
        drives, own = self.drive(s, range(self.blocks)), 2 * self._given.net.c
        forces = [v - own * layer for v, layer in zip(drives, s, strict=True)]
        return (*forces[:-1], forces[-1] - self._stiffness * s[-1])

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        x = self._given.x if self._rows is None else self._given.x[self._rows]
        layers = zip(self._links, (x, *s[:-1]), s, strict=True)
        return tuple(coupling for link, pre, post in layers for coupling in link.couplings(pre, post))

    def chosen(self, rows: Tensor, s: State) -> tuple[DenseChain, State]:
        blocks = []
        for block in self._blocks:
            factor = block.factor[rows] if isinstance(block.factor, Tensor) else block.factor
            constant = block.as_state().index_select(0, rows)
            blocks.append(_Block.of(constant, block.scale, block.bounds, factor))
        stiffness = self._stiffness[rows] if isinstance(self._stiffness, Tensor) else self._stiffness
        own = rows if self._rows is None else self._rows[rows]
        return self._with(blocks, stiffness, own), tuple(layer.index_select(0, rows) for layer in s)

    def output_curvature(self, s: State) -> tuple[Tensor, Tensor | float] | None:
        """((B, n, n), the output's own curvature): the energy's in an output that its one hidden layer follows at once.

        None for other depths and an output with bounds.
        """
        if self.blocks != 2 or self._given.net.output != "linear":
            return None
        hidden, weight = 2 * self._given.net.c, self._weights[1]
        free = free_units(s[0], *self.bounds(0))
        # The n (n + 1) / 2 products of two rows, as one product of matrices.
        first, second = torch.triu_indices(len(weight), len(weight), device=weight.device)
        upper = free @ (weight[first] * weight[second]).T / hidden
        curvature = weight.new_zeros(len(free), len(weight), len(weight))
        curvature[:, first, second] = curvature[:, second, first] = -upper
        own = hidden + self._stiffness
        curvature.diagonal(dim1=1, dim2=2).add_(own)
        return curvature, own
