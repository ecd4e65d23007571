"""Relaxation to equilibrium: solvers, when to stop, and how it ended, example by example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

import torch
from torch import Tensor

from hwsim.ebm.dense import planned
from hwsim.ebm.energy import Relaxable, State, examples
from hwsim.ebm.look import costs_nothing, due
from hwsim.ebm.solver_names import SOLVERS
from hwsim.ebm.solvers import FRESH, OddEven, Solver, Synchronous, UpDown


class Outcome(IntEnum):
    """How one example's relaxation ended.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> hw.infer(net, x)[1].share(hw.Outcome.SETTLED)
    1.0
    """

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

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> settled = hw.infer(net, x)[1]
    >>> [tuple(layer.shape) for layer in settled.state], tuple(settled.residual.shape)
    ([(4, 16), (4, 10)], (4,))
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


@dataclass(frozen=True)
class Phase:
    """How long to relax and what to keep.

    Attributes:
        steps: solver steps at most, >= 1.
        average_last: the state returned is the mean of this many last steps (1: the last one);
            averaging N steps divides the read noise in the state by about sqrt N.
        tolerance: an example that moves no unit by more than this in a step is settled.
        stop_early: end when every example is settled, otherwise always run all steps.

    Raises ValueError for values out of range.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, phase=hw.Phase(1))[1].unsettled_share
    1.0
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


SOLVER = OddEven()
PHASE = Phase(50, average_last=10, stop_early=True)
"""Where nothing else is said, a network predicts after this relaxation: its energy never rises, read noise is averaged
over the last ten states, and it ends early where all examples settle."""

Watcher = Callable[[int, State], None]

_PATIENCE = 4
"""Sweeps in a row without a new lowest residual after which an example takes plain sweeps."""


class _Guard:
    """Returns examples of a bold solver to plain sweeps: where the energy rises or the residual stops falling.

    The energy is looked at only where theory does not say already that it falls, see ``Relaxable.exact_bowls``.
    """

    def __init__(self, energy: Relaxable, s: State) -> None:
        self._lowest = torch.full((len(s[0]),), torch.inf, dtype=s[0].dtype, device=s[0].device)
        self._waiting = torch.zeros(len(s[0]), dtype=torch.long, device=s[0].device)
        self._value = None if energy.exact_bowls else energy.value(s)
        self._plain = torch.zeros(len(s[0]), dtype=torch.bool, device=s[0].device)

    def plain(self, energy: Relaxable, s: State, change: Tensor) -> Tensor | None:
        """(B,) the examples that go on by plain sweeps after a step to ``s`` by ``change``; None: none is seen to."""
        falling = change < self._lowest
        self._lowest = torch.where(falling, change, self._lowest)
        self._waiting = torch.where(falling, 0, self._waiting + 1)
        self._plain = self._plain | (self._waiting >= _PATIENCE)
        if self._value is not None:
            before, self._value = self._value, energy.value(s)
            rounding = 8 * torch.finfo(before.dtype).eps * before.abs()
            self._plain = self._plain | (self._value > before + rounding)
        return None if costs_nothing(self._plain) and not bool(self._plain.any()) else self._plain

    def keep(self, rows: Tensor) -> None:
        """Go on with the examples ``rows`` alone."""
        self._lowest, self._waiting, self._plain = (t[rows] for t in (self._lowest, self._waiting, self._plain))
        self._value = None if self._value is None else self._value[rows]


@torch.no_grad()
def settle(
    energy: Relaxable, s: State, *, solver: Solver = SOLVER, phase: Phase = PHASE, watch: Watcher | None = None
) -> Settled:
    """Relax ``energy`` from the state ``s``, one tensor (B, ...) a free layer.

    By default by ``OddEven()`` sweeps, ``Phase(50, average_last=10, stop_early=True)``: at most 50, fewer where all
    examples settle, and the mean of the last ten states.

    A phase that stops early lets go of each example when it is settled, so that what becomes of it does not depend
    on the others in its batch. Where reads are noisy, or states are averaged, it goes on until all are settled. On a
    GPU the batch keeps its size and it is looked at every few steps whether any example still moves (``look``).

    A solver that is ``bold`` is guarded: an example whose energy rises, or whose residual has not fallen for
    some steps, goes on by plain sweeps.

    ``watch(step, state)`` is called after every step, for pictures of a relaxation. A noisy energy is
    stepped once more at the end than ``phase`` says, to see what the noise alone does.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> given = net.given(x)
    >>> settled = hw.settle(given, given.start(), solver=hw.OddEven(), phase=hw.Phase(50, stop_early=True))
    >>> bool((given.value(settled.state) <= given.value(given.start())).all())
    True
    """
    energy = energy if solver.revisits else planned(energy)
    if phase.stop_early and phase.average_last == 1 and not energy.noisy:
        each = _settle_each if costs_nothing(s[0]) else _settle_masked
        return each(energy, s, solver, phase, watch)
    batch, device = len(s[0]), s[0].device
    moved_at = torch.zeros(batch, dtype=torch.long, device=device)
    total: list[Tensor] | None = None
    averaged = 0
    last = s
    residual = torch.full((batch,), torch.inf, device=device)
    memory = FRESH
    guard = _Guard(energy, s) if solver.bold and not (energy.exact_bowls and phase.steps <= _PATIENCE) else None
    for done in range(1, phase.steps + 1):
        last, (s, memory) = s, solver.step(energy, s, memory)
        if watch is not None:
            watch(done, tuple(layer.clone() for layer in s))
        left = phase.steps - done
        if phase.stop_early or guard or not left:  # watching costs time
            residual = _change(last, s)
            moved_at = torch.where(residual > phase.tolerance, done, moved_at)
        if guard:
            memory = memory._replace(plain=guard.plain(energy, s, residual))
        settled = phase.stop_early and due(residual, done) and bool((residual <= phase.tolerance).all())
        if phase.average_last > 1 and (left < phase.average_last or settled):
            averaged += 1
            total = [a.clone() for a in s] if total is None else [t.add_(a) for t, a in zip(total, s, strict=True)]
        if settled:
            break
    noise = None
    if energy.noisy:
        # The same step taken again, from copies so that nothing held is reused, differs by read noise alone. The
        # median over the batch steadies the figure, and an example that diverged does not spoil it for the others.
        noise = _change(solver.step(energy, tuple(layer.clone() for layer in last))[0], s).nanmedian()
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
    memory, guard = FRESH, _Guard(energy, s) if solver.bold else None
    for done in range(1, phase.steps + 1):
        last, (s, memory) = s, solver.step(energy, s, memory)
        if watch is not None:
            shown = tuple(layer.clone() for layer in whole or s)
            watch(done, _merged(shown, rows, moving, s) if whole else shown)
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
        if guard:
            memory = memory._replace(plain=guard.plain(energy, s, change))
        if left <= (1 - _SPARED) * len(rows):
            index = still.nonzero()[:, 0]
            energy, s = energy.chosen(index, s)
            memory = memory.chosen(index)
            if guard:
                guard.keep(index)
            rows, moving = rows[index], moving[index]
    s = s if whole is None else _merged(whole, rows, moving, s)
    return Settled(s, _outcome(residual, phase), moved_at, residual)


def _settle_masked(energy: Relaxable, s: State, solver: Solver, phase: Phase, watch: Watcher | None) -> Settled:
    """The same in a batch of one size: all examples take every step, and each keeps the state in which it settled."""
    batch, device = len(s[0]), s[0].device
    moved_at = torch.zeros(batch, dtype=torch.long, device=device)
    residual = torch.full((batch,), torch.inf, dtype=s[0].dtype, device=device)
    moving = torch.ones(batch, dtype=torch.bool, device=device)
    kept: State | None = None
    memory, guard = FRESH, _Guard(energy, s) if solver.bold else None
    for done in range(1, phase.steps + 1):
        last, (s, memory) = s, solver.step(energy, s, memory)
        kept = s if kept is None else tuple(map(partial(_where, moving), s, kept))
        if watch is not None:
            watch(done, tuple(layer.clone() for layer in kept))
        change = _change(last, s)
        residual = torch.where(moving, change, residual)
        moved_at = torch.where(moving & (change > phase.tolerance), done, moved_at)
        moving = moving & ~(change <= phase.tolerance)  # NaN is not settled
        if done == phase.steps or (due(moving, done) and not bool(moving.any())):
            break
        if guard:
            memory = memory._replace(plain=guard.plain(energy, s, change))
    return Settled(kept or s, _outcome(residual, phase), moved_at, residual)


def _where(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The examples ``rows`` (B,) of ``a``, the others of ``b``."""
    return torch.where(rows.reshape(-1, *[1] * (a.dim() - 1)), a, b)


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
    return outcome.masked_fill_(~(residual < torch.inf), int(Outcome.NONFINITE))  # nor is NaN


__all__ = [
    "SOLVERS",
    "OddEven",
    "Outcome",
    "Phase",
    "Settled",
    "Solver",
    "Synchronous",
    "UpDown",
    "Watcher",
    "settle",
]


def _change(a: State, b: State) -> Tensor:
    """(B,): the largest absolute difference of a unit; NaN stays NaN."""
    changes = [(x - y).abs_().amax(tuple(range(1, x.dim()))) for x, y in zip(a, b, strict=True)]
    return torch.stack(changes).amax(0)
