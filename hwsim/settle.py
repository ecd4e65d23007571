"""Relaxation to equilibrium: solvers, when to stop, and how it ended, example by example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from hwsim.energy import Energy, State


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
            that does not stop early looks at its last five steps only and gives 0 before them.
        residual: (B,) largest absolute change of a unit in the last step.
    """

    state: State
    outcome: Tensor
    steps: Tensor
    residual: Tensor

    def share(self, outcome: Outcome) -> float:
        """Share of the examples that ended so."""
        return (self.outcome == outcome).double().mean().item()

    @property
    def unsettled_share(self) -> float:
        """Share of the examples that neither settled nor sit on the noise floor."""
        return (self.outcome >= Outcome.MAX_STEPS).double().mean().item()


class Solver(Protocol):
    """One step towards equilibrium. Solvers hold no state: what a step needs is in its arguments."""

    def step(self, energy: Energy, s: State) -> State:
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

    def step(self, energy: Energy, s: State) -> State:
        return _move(s, energy.minimise(s, range(energy.blocks)), self.damping)


@dataclass(frozen=True)
class OddEven:
    """First the even blocks, then the odd ones, each to its exact minimiser: the energy never rises.

    Blocks of one parity do not see each other in a layered network, so each half step is an exact
    block minimisation; one sweep costs as many reads as one synchronous step.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping)

    def step(self, energy: Energy, s: State) -> State:
        new = list(s)
        for parity in (0, 1):
            new[parity::2] = _move(
                tuple(new[parity::2]), energy.minimise(tuple(new), range(parity, energy.blocks, 2)), self.damping
            )
        return tuple(new)


@dataclass(frozen=True)
class UpDown:
    """From the output down to the input side and up again, each block in turn to its minimiser.

    One step carries news through the whole chain, both ways. Going down needs new feedback only, going
    up new drives only, so a step costs as many reads as a synchronous one; links that pool by maximum
    cost twice as many, because their switches move in between. The energy never rises.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping)

    def step(self, energy: Energy, s: State) -> State:
        for layer in (*reversed(range(energy.blocks)), *range(1, energy.blocks)):
            s = (*s[:layer], *_move(s[layer : layer + 1], energy.minimise(s, [layer]), self.damping), *s[layer + 1 :])
        return s


SOLVERS: dict[str, type[Synchronous] | type[OddEven] | type[UpDown]] = {
    "synchronous": Synchronous,
    "odd-even": OddEven,
    "up-down": UpDown,
}


def _check_damping(damping: float) -> None:
    if not 0 < damping <= 1:
        raise ValueError(f"solver damping: expected a number in (0, 1], got {damping}")


def _move(old: State, new: State, damping: float) -> State:
    if damping == 1.0:
        return new
    return tuple(torch.lerp(a, b, damping) for a, b in zip(old, new, strict=True))


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

_WINDOW = 5
"""Steps at the end whose residual is watched in a phase that does not stop early; watching costs time."""


@torch.no_grad()
def settle(energy: Energy, s: State, *, solver: Solver, phase: Phase, watch: Watcher | None = None) -> Settled:
    """Relax ``energy`` from ``s``.

    ``watch(step, state)`` is called after every step, for pictures of a relaxation. A noisy energy is
    stepped once more at the end than ``phase`` says, to see what the noise alone does.
    """
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
        if phase.stop_early or left < _WINDOW:
            residual = _change(last, s)
            moved_at = torch.where(residual > phase.tolerance, done, moved_at)
        settled = phase.stop_early and bool((residual <= phase.tolerance).all())
        if phase.average_last > 1 and (left < phase.average_last or settled):
            averaged += 1
            total = [a.clone() for a in s] if total is None else [t.add_(a) for t, a in zip(total, s, strict=True)]
        if settled:
            break
    outcome = torch.full((batch,), int(Outcome.MAX_STEPS), dtype=torch.int8, device=device)
    if energy.noisy:
        # The same step taken again, from copies so that nothing held is reused, differs by read noise alone. The
        # median over the batch steadies the figure, and an example that diverged does not spoil it for the others.
        noise = _change(solver.step(energy, tuple(layer.clone() for layer in last)), s).nanmedian()
        outcome.masked_fill_(residual <= 2 * noise, int(Outcome.NOISE_FLOOR))
    if averaged > 1 and total is not None:
        s = tuple(t / averaged for t in total)
    outcome.masked_fill_(residual <= phase.tolerance, int(Outcome.SETTLED))
    outcome.masked_fill_(~torch.isfinite(residual), int(Outcome.NONFINITE))
    return Settled(s, outcome, moved_at, residual)


def _change(a: State, b: State) -> Tensor:
    """(B,): the largest absolute difference of a unit; NaN stays NaN."""
    changes = [(x - y).abs_().amax(tuple(range(1, x.dim()))) for x, y in zip(a, b, strict=True)]
    return torch.stack(changes).amax(0)
