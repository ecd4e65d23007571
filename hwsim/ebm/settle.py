"""Relaxation to equilibrium: solvers, when to stop, and how it ended, example by example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from hwsim.ebm.energy import Relaxable, State, examples


class Outcome(IntEnum):
    """How one example's relaxation ended."""

    SETTLED = 0
    NOISE_FLOOR = 1  # moves by no more than the read noise would move it
    MAX_STEPS = 2  # still on its way, or in a cycle
    NONFINITE = 3


@dataclass(frozen=True)
class Settled:
    """A relaxation's end. Not settling is data, not an exception.

    Attributes:
        state: the free layers, averaged over the last steps where that was asked for.
        outcome: (B,) of ``Outcome`` values.
        steps: (B,) the last solver step in which the example moved by more than the tolerance. A phase
            that does not stop early looks at its last step only, and gives 0 where nothing moved in that one.
        residual: (B,) largest absolute change of a unit in the last step.
    """

    state: State
    outcome: Tensor
    steps: Tensor
    residual: Tensor

    def part(self, rows: slice) -> Settled:
        """The same of some examples."""
        return Settled(
            tuple(layer[rows] for layer in self.state), self.outcome[rows], self.steps[rows], self.residual[rows]
        )

    def share(self, outcome: Outcome) -> float:
        """Share of the examples that ended so."""
        return (self.outcome == outcome).double().mean().item()

    @property
    def unsettled_share(self) -> float:
        """Share of the examples that neither settled nor sit on the noise floor."""
        return (self.outcome >= Outcome.MAX_STEPS).double().mean().item()


class Solver(Protocol):
    """One step towards equilibrium. Solvers hold no state: what a step needs is in its arguments."""

    def step(self, energy: Relaxable, s: State) -> State:
        """The state after one step, in which every block moved once."""
        ...


@dataclass(frozen=True)
class Synchronous:
    """All blocks move at once to their minimisers, by a fraction ``damping`` in (0, 1] of the way.

    Undamped it may end in a 2-cycle; damping 0.5 cannot for a symmetric network whose synchronous
    map has no slope below -3, and it averages read noise.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping)

    def step(self, energy: Relaxable, s: State) -> State:
        blocks = range(energy.blocks)
        targets = energy.minimise(s, blocks)
        if self.damping == 1.0:
            return targets
        return tuple(_move(energy, *moved, self.damping) for moved in zip(blocks, s, targets, strict=True))


@dataclass(frozen=True)
class OddEven:
    """Every second block, the output among them, then the others, each to its exact minimiser: the energy never rises.

    Blocks of one parity do not see each other in a layered network, so each half step is an exact
    block minimisation; one sweep costs as many reads as one synchronous step. The output comes first because a
    nudge acts there: from rest, nothing else has a reason to move.

    ``damping`` up to 2, above 1 as in ``UpDown``.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping, most=_OVERSHOOT)

    def step(self, energy: Relaxable, s: State) -> State:
        new = list(s)
        for first in ((energy.blocks - 1) % 2, energy.blocks % 2):
            blocks = range(first, energy.blocks, 2)
            for block, target in zip(blocks, energy.minimise(tuple(new), blocks), strict=True):
                new[block] = _move(energy, block, new[block], target, self.damping)
        return tuple(new)


@dataclass(frozen=True)
class UpDown:
    """From the output down to the input side and up again, each block in turn to its minimiser.

    One step carries news through the whole chain, both ways. Going down needs new feedback only, going
    up new drives only, so a step costs as many reads as a synchronous one; links that pool by maximum
    cost twice as many, because their switches move in between. The energy never rises.

    ``damping`` between 1 and 2 is over-relaxation, moving past the minimiser, within the bounds: the minimiser
    lies in the middle between two states of equal energy. It takes about a third fewer steps at 1.2 to 1.4 where
    units of neighbouring layers pull at each other (Young 1954; with bounds, Cryer 1971).
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping, most=_OVERSHOOT)

    def step(self, energy: Relaxable, s: State) -> State:
        for block in (*reversed(range(energy.blocks)), *range(1, energy.blocks)):
            (target,) = energy.minimise(s, [block])
            s = (*s[:block], _move(energy, block, s[block], target, self.damping), *s[block + 1 :])
        return s


SOLVERS: dict[str, type[Synchronous] | type[OddEven] | type[UpDown]] = {
    "synchronous": Synchronous,
    "odd-even": OddEven,
    "up-down": UpDown,
}


_OVERSHOOT = 2.0


def _check_damping(damping: float, most: float = 1.0) -> None:
    if not (0 < damping < most or damping == 1):
        raise ValueError(f"solver damping: expected a number in (0, {most:g}{']' if most == 1 else ')'}, got {damping}")


def _move(energy: Relaxable, block: int, old: Tensor, target: Tensor, damping: float) -> Tensor:
    """From ``old`` by ``damping`` of the way to ``target``, a new tensor that is used up."""
    if damping == 1.0:
        return target
    target.lerp_(old, 1 - damping)
    if damping > 1.0:
        low, high = energy.bounds(block)
        if math.isfinite(low) or math.isfinite(high):
            target.clamp_(low, high)
    return target


@dataclass(frozen=True)
class Phase:
    """How long to relax and what to keep.

    Attributes:
        steps: solver steps at most, >= 1.
        average_last: the state returned is the mean of this many last steps (1: the last one);
            averaging N steps divides the read noise in the state by about sqrt N.
        tolerance: an example that moves no unit by more than this in a step is settled.
        stop_early: end when every example is settled, otherwise always run all steps.
    """

    steps: int
    average_last: int = 1
    tolerance: float = 1e-3
    stop_early: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"phase steps: expected at least 1, got {self.steps}")
        if not 1 <= self.average_last <= self.steps:
            raise ValueError(f"phase average_last: expected 1 to steps ({self.steps}), got {self.average_last}")
        if self.tolerance <= 0:
            raise ValueError(f"phase tolerance: expected a number > 0, got {self.tolerance}")


Watcher = Callable[[int, State], None]


@torch.no_grad()
def settle(energy: Relaxable, s: State, *, solver: Solver, phase: Phase, watch: Watcher | None = None) -> Settled:
    """Relax ``energy`` from ``s``.

    A phase that stops early lets go of each example when it is settled, so that what becomes of it does not depend
    on the others in its batch. Where reads are noisy, or states are averaged, it goes on until all are settled.

    ``watch(step, state)`` is called after every step, for pictures of a relaxation. A noisy energy is
    stepped once more at the end than ``phase`` says, to see what the noise alone does.
    """
    if phase.stop_early and phase.average_last == 1 and not energy.noisy:
        return _settle_each(energy, s, solver, phase, watch)
    batch, device = len(s[0]), s[0].device
    moved_at = torch.zeros(batch, dtype=torch.long, device=device)
    total: list[Tensor] | None = None
    averaged = 0
    last = s
    residual = torch.full((batch,), torch.inf, device=device)
    for done in range(1, phase.steps + 1):
        last, s = s, solver.step(energy, s)
        if watch is not None:
            watch(done, s)
        left = phase.steps - done
        if phase.stop_early or not left:  # watching costs time
            residual = _change(last, s)
            moved_at = torch.where(residual > phase.tolerance, done, moved_at)
        settled = phase.stop_early and bool((residual <= phase.tolerance).all())
        if phase.average_last > 1 and (left < phase.average_last or settled):
            averaged += 1
            total = [a.clone() for a in s] if total is None else [t.add_(a) for t, a in zip(total, s, strict=True)]
        if settled:
            break
    noise = None
    if energy.noisy:
        # The same step taken again, from copies so that nothing held is reused, differs by read noise alone. The
        # median over the batch steadies the figure, and an example that diverged does not spoil it for the others.
        noise = _change(solver.step(energy, tuple(layer.clone() for layer in last)), s).nanmedian()
    if averaged > 1 and total is not None:
        s = tuple(t / averaged for t in total)
    return Settled(s, _outcome(residual, phase, noise), moved_at, residual)


_SPARED = 0.25
"""Share of the examples in work that have to be settled before the others are put together: copying costs time."""


def _settle_each(energy: Relaxable, s: State, solver: Solver, phase: Phase, watch: Watcher | None) -> Settled:
    """Relax every example until it is settled; those in work become fewer."""
    batch, device = len(s[0]), s[0].device
    moved_at = torch.zeros(batch, dtype=torch.long, device=device)
    residual = torch.full((batch,), torch.inf, dtype=s[0].dtype, device=device)
    whole: State | None = None  # the batch as far as it has settled
    rows = torch.arange(batch, device=device)  # of the batch, in work
    moving = torch.ones(batch, dtype=torch.bool, device=device)  # of those in work
    for done in range(1, phase.steps + 1):
        last, s = s, solver.step(energy, s)
        if watch is not None:
            watch(done, s if whole is None else _merged(tuple(layer.clone() for layer in whole), rows, moving, s))
        change = _change(last, s)
        at, moved = rows[moving], change[moving]
        residual[at] = moved
        moved_at[at[moved > phase.tolerance]] = done
        still = moving & ~(change <= phase.tolerance)  # NaN is not settled
        left = int(still.sum())
        if left == 0 or done == phase.steps:
            break
        if left < len(at):
            whole = _merged(whole, rows, moving & ~still, s)
        moving = still
        if left <= (1 - _SPARED) * len(rows):
            index = still.nonzero()[:, 0]
            energy, s = energy.chosen(index, s)
            rows, moving = rows[index], moving[index]
    s = s if whole is None else _merged(whole, rows, moving, s)
    return Settled(s, _outcome(residual, phase), moved_at, residual)


def _merged(whole: State | None, rows: Tensor, which: Tensor, s: State) -> State:
    """``whole`` with the examples ``which`` of ``s`` put in their places ``rows`` of the batch."""
    if whole is None:  # nothing has been put together yet, so s is the whole batch
        whole = tuple(torch.empty_like(layer) for layer in s)
    index = which.nonzero()[:, 0]
    for into, layer in zip(whole, s, strict=True):
        into[rows[index]] = examples(layer, index)
    return whole


def _outcome(residual: Tensor, phase: Phase, noise: Tensor | None = None) -> Tensor:
    outcome = torch.full(residual.shape, int(Outcome.MAX_STEPS), dtype=torch.int8, device=residual.device)
    if noise is not None:
        outcome.masked_fill_(residual <= 2 * noise, int(Outcome.NOISE_FLOOR))
    outcome.masked_fill_(residual <= phase.tolerance, int(Outcome.SETTLED))
    return outcome.masked_fill_(~torch.isfinite(residual), int(Outcome.NONFINITE))


def _change(a: State, b: State) -> Tensor:
    """(B,): the largest absolute difference of a unit; NaN stays NaN."""
    changes = [(x - y).abs_().amax(tuple(range(1, x.dim()))) for x, y in zip(a, b, strict=True)]
    return torch.stack(changes).amax(0)
