"""Solvers: one step towards equilibrium, in which every block moves once.

The step that a sweep takes may be longer than to the minimiser (over-relaxation), and the output may be put where an
extrapolation (``Anderson``) or the curvature of the energy (``Newton``) says that it will end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hwsim.ebm.dense import DenseChain
from hwsim.ebm.energy import Relaxable, State, within
from hwsim.ebm.look import seen


class Memory(NamedTuple):
    """What is known of each example from its earlier steps.

    Attributes:
        plain: (B,) bool, the examples that have to take plain sweeps; None where there are none. See ``settle``.
        past: what the solver itself remembers, tensors of (B, ...).
    """

    plain: Tensor | None = None
    past: tuple[Tensor, ...] = ()

    def chosen(self, rows: Tensor) -> Memory:
        """The same of the examples ``rows`` alone."""
        return Memory(None if self.plain is None else self.plain[rows], tuple(t[rows] for t in self.past))


FRESH = Memory()
"""Nothing has happened yet."""


class Solver(Protocol):
    """One step towards equilibrium. What a solver remembers is handed to it and returned."""

    @property
    def bold(self) -> bool:
        """Does it go beyond what is known to descend, so that examples may have to return to plain sweeps?"""
        ...

    @property
    def revisits(self) -> bool:
        """Does a step come back to a block before both of its neighbours have moved?"""
        ...

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        """The state after one step, in which every block moved once."""
        ...


@dataclass(frozen=True)
class Synchronous:
    """All blocks move at once to their minimisers, by a fraction ``damping`` in (0, 1] of the way.

    Undamped it may end in a 2-cycle; damping 0.5 cannot for a symmetric network whose synchronous
    map has no slope below -3, and it averages read noise.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.Synchronous(0.5))[1].unsettled_share < 0.05
    True
    """

    damping: float = 1.0

    bold = False
    revisits = False

    def __post_init__(self) -> None:
        _check_damping(self.damping)

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        blocks = range(energy.blocks)
        targets = energy.minimise(s, blocks)
        if self.damping == 1.0:
            return targets, memory
        return tuple(_move(energy, *moved, self.damping) for moved in zip(blocks, s, targets, strict=True)), memory


@dataclass(frozen=True)
class _Relaxed:
    """Sweeps of exact block minimisations, each block by ``damping`` of the way to its minimiser."""

    damping: float = 1.0

    def __post_init__(self) -> None:
        _check_damping(self.damping, most=_OVERSHOOT)

    @property
    def bold(self) -> bool:
        return self.damping > 1.0


@dataclass(frozen=True)
class OddEven(_Relaxed):
    """Every second block, the output among them, then the others, each to its exact minimiser: the energy never rises.

    Blocks of one parity do not see each other in a layered network, so each half step is an exact
    block minimisation; one sweep costs as many reads as one synchronous step. The output comes first because a
    nudge acts there: from rest, nothing else has a reason to move.

    ``damping`` between 1 and 2 is over-relaxation, moving past the minimiser, within the bounds: the minimiser
    lies in the middle between two states of equal energy, so that the energy does not rise either (Young 1954; with
    bounds, Cryer 1971). ``spectrum.over_relaxation`` says which factor suits a network.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.OddEven())[1].unsettled_share < 0.05
    True
    """

    revisits = False

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        damping = _where_plain(memory, self.damping, s)
        for blocks in _halves(energy):
            s = _moved(energy, s, blocks, damping)
        return s, memory


@dataclass(frozen=True)
class UpDown(_Relaxed):
    """From the output down to the input side and up again, each block in turn to its minimiser.

    One step carries news through the whole chain, both ways. Going down needs new feedback only, going
    up new drives only, so a step costs as many reads as a synchronous one; links that pool by maximum
    cost twice as many, because their switches move in between. The energy never rises.

    ``damping`` between 1 and 2 as in ``OddEven``; it helps less here.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 32, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.UpDown(1.3))[1].unsettled_share < 0.05
    True
    """

    revisits = True

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        damping = _where_plain(memory, self.damping, s)
        for block in (*reversed(range(energy.blocks)), *range(1, energy.blocks)):
            s = _moved(energy, s, [block], damping)
        return s, memory


@dataclass(frozen=True)
class Anderson:
    """Odd-even sweeps whose output is extrapolated from its last ``depth`` sweeps (Anderson 1965; Walker and Ni 2011).

    For each example, the mean of what the last sweeps made of the output, weighted so that the same mean of their
    changes is smallest. An example keeps it where the energy after the other half of the sweep is not above that
    before the step, and takes a plain sweep otherwise.

    Raises ValueError for another depth than 1 to 5.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.Anderson(2))[1].unsettled_share < 0.05
    True
    """

    depth: int = 2

    bold = True
    revisits = False

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= _DEEPEST:
            raise ValueError(f"solver depth: expected a number from 1 to {_DEEPEST}, got {self.depth}")

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        first, _ = _halves(energy)
        swept = _moved(energy, s, first, 1.0)
        before, after = (state[-1].flatten(1).clone() for state in (s, swept))
        olds, news = ([t, *memory.past[i::2]][: self.depth + 1] for i, t in enumerate((before, after)))
        mixed = None if len(olds) == 1 else _mixed(olds, news).view_as(s[-1])
        memory = memory._replace(past=tuple(t for pair in zip(olds, news, strict=True) for t in pair))
        return _accepted(energy, s, swept, mixed, memory.plain), memory


@dataclass(frozen=True)
class Newton:
    """Odd-even sweeps whose output is put where the quadratic that is seen with the present free units is least.

    For exact dense arrays with one hidden layer and an output without bounds: the hidden layer follows the output,
    so the energy is a function of the output alone, whose curvature is a matrix of outputs x outputs an example. An
    example whose matrix is no bowl, or whose energy would rise, takes a plain sweep; other networks take plain
    sweeps altogether.

    >>> import hwsim as hw
    >>> net, x = hw.hopfield([64, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.Newton())[1].unsettled_share < 0.05
    True
    """

    bold = True
    revisits = False

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        first, _ = _halves(energy)
        swept = _moved(energy, s, first, 1.0)
        known = energy.output_curvature(s) if isinstance(energy, DenseChain) else None
        moved = None
        if known is not None:
            curvature, own = known
            factor, failed = torch.linalg.cholesky_ex(curvature)
            force = (own * (swept[-1] - s[-1])).unsqueeze(2)
            way = torch.cholesky_solve(force, factor).squeeze(2)
            moved = torch.where((failed == 0)[:, None], s[-1] + way, torch.nan)
        return _accepted(energy, s, swept, moved, memory.plain), memory


_OVERSHOOT = 2.0
_DEEPEST = 5


def _check_damping(damping: float, most: float = 1.0) -> None:
    if not (0 < damping < most or damping == 1):
        raise ValueError(f"solver damping: expected a number in (0, {most:g}{']' if most == 1 else ')'}, got {damping}")


def _halves(energy: Relaxable) -> tuple[range, range]:
    """Every second block with the output, and the others."""
    return range((energy.blocks - 1) % 2, energy.blocks, 2), range(energy.blocks % 2, energy.blocks, 2)


def _moved(energy: Relaxable, s: State, blocks: Sequence[int], damping: float | Tensor) -> State:
    """The blocks moved together by ``damping`` of the way to their minimisers."""
    new, targets = list(s), energy.minimise(s, blocks)
    for block, target in zip(blocks, targets, strict=True):
        new[block] = (
            target
            if isinstance(damping, float) and damping == 1.0
            else _move(energy, block, new[block], target, damping)
        )
    return tuple(new)


def _where_plain(memory: Memory, damping: float, s: State) -> float | Tensor:
    """(B,) where some examples take plain sweeps: 1 for those; one number otherwise."""
    if memory.plain is None or damping <= 1.0:
        return damping
    return s[0].new_full((len(s[0]),), damping).masked_fill_(memory.plain, 1.0)


def _move(energy: Relaxable, block: int, old: Tensor, target: Tensor, damping: float | Tensor) -> Tensor:
    """From ``old`` by ``damping`` of the way to ``target``, a new tensor that is used up."""
    if isinstance(damping, Tensor):
        target.lerp_(old, (1 - damping).reshape(-1, *[1] * (old.dim() - 1)))
    elif damping == 1.0:
        return target
    else:
        target.lerp_(old, 1 - damping)
    if isinstance(damping, Tensor) or damping > 1.0:
        return within(target, *energy.bounds(block), out=None if torch.is_grad_enabled() else target)
    return target


def _mixed(olds: Sequence[Tensor], news: Sequence[Tensor]) -> Tensor:
    """(B, n): the extrapolated output of Anderson's method; of what the pairs old -> new have in common."""
    changes = [new - old for old, new in zip(olds, news, strict=True)]
    steps = torch.stack([changes[0] - change for change in changes[1:]], 2)  # (B, n, m)
    products, right = steps.transpose(1, 2) @ steps, steps.transpose(1, 2) @ changes[0].unsqueeze(2)
    diagonal, limits = products.diagonal(dim1=1, dim2=2), torch.finfo(products.dtype)
    size = diagonal.sum(1)[:, None, None].clamp_min(limits.tiny)
    # Sweeps that moved alike leave the weights open: a small ridge keeps them small, and those at rest get none.
    ridge = max(_RIDGE, 10 * limits.eps) * torch.eye(products.shape[1], dtype=products.dtype, device=products.device)
    weights, _ = torch.linalg.solve_ex(products / size + ridge, right / size)
    towards = torch.stack([news[0] - new for new in news[1:]], 2)
    return news[0] - (towards @ weights).squeeze(2)


_RIDGE = 1e-10


def _accepted(energy: Relaxable, s: State, swept: State, output: Tensor | None, plain: Tensor | None) -> State:
    """The state after the second half of a sweep, with ``output`` in the last block where the energy allows it.

    ``swept`` is the state after the first half. Where ``output`` is None, or NaN, or the energy would be above that of
    ``s``, or the example is a plain one, the sweep goes on as it began.
    """
    _, second = _halves(energy)
    if output is None:
        return _moved(energy, swept, second, 1.0)
    tried = (*swept[:-1], within(output, *energy.bounds(energy.blocks - 1)))
    tried = _moved(energy, tried, second, 1.0)
    before = energy.value(s)
    better = energy.value(tried) <= before + _ROUNDING * torch.finfo(before.dtype).eps * before.abs()  # not where NaN
    if plain is not None:
        better = better & ~plain
    if seen(better.all()):
        return tried
    swept = _moved(energy, swept, second, 1.0)
    rows = [better.reshape(-1, *[1] * (layer.dim() - 1)) for layer in s]
    return tuple(torch.where(row, a, b) for row, a, b in zip(rows, tried, swept, strict=True))


_ROUNDING = 8.0
"""Last places that an energy may seem to rise by."""
