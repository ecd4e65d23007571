"""More ways to differentiate an equilibrium for an attack: by nudging, cut short, and with a leak.

Each has the face of ``equilibrium_gradients.Unrolled`` and ``Implicit``, so any of them is the ``through`` of an
``EquilibriumClassifier``. No one way is the strongest everywhere: report the minimum over several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from hwsim.ebm.energy import Coupling, Energy, State, Wrapped, examples
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.network import Given
from hwsim.ebm.settle import Phase, Solver, Synchronous, settle
from hwsim.errors import InputError
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, Unrolled
from hwsim.learning.simultaneous import Simultaneous


@dataclass(frozen=True)
class Pulled(Wrapped):
    """An energy with a constant force added to every block: E(s) - <pull, s>."""

    energy: Given
    pull: State

    def value(self, s: State) -> Tensor:
        pulled = sum((layer * force).flatten(1).sum(1) for layer, force in zip(s, self.pull, strict=True))
        return self.energy.value(s) - pulled

    def drive(self, s: State, layers: Sequence[int]) -> State:
        return tuple(v + self.pull[i] for i, v in zip(layers, self.energy.drive(s, layers), strict=True))

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self.respond(i, v) for i, v in zip(layers, self.drive(s, layers), strict=True))

    def force(self, s: State) -> State:
        return tuple(f + pull for f, pull in zip(self.energy.force(s), self.pull, strict=True))

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        return self.energy.couplings(s)

    def chosen(self, rows: Tensor, s: State) -> tuple[Pulled, State]:
        energy, s = self.energy.chosen(rows, s)
        return Pulled(energy, tuple(examples(force, rows) for force in self.pull)), s


@dataclass(frozen=True)
class NudgedInput:
    """Equilibrium propagation's own input gradient: what the pixels feel when the loss pulls at the state.

    With g the loss's gradient at the settled state, and s+, s- settled under the forces -beta g and +beta g,

        dL/dx = (F(s-) - F(s+)) / (2 beta),    F = -dE/dx = W_0^T s_1, the first array's transpose read,

    exact for beta -> 0. It needs no unrolling and no weights, only reads: an attack that hardware can run on
    itself. At finite beta it sees over kinks and saturated units. g is brought to length 1 for each example and
    the result scaled back, so ``beta`` is the pull's strength in units of the state; sweep it from .01 to 1.
    """

    beta: float = 0.2
    free: Phase = field(default_factory=lambda: Phase(100, tolerance=1e-5, stop_early=True))
    nudged: Phase = field(default_factory=lambda: Phase(50, tolerance=1e-6, stop_early=True))
    solver: Solver = field(default_factory=Synchronous)

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"NudgedInput.beta: expected a number > 0, got {self.beta}")

    def reach(self, energy: Energy, s: State) -> State:
        given = _given_input(energy)
        free = settle(given, s, solver=self.solver, phase=self.free).state
        with torch.enable_grad():
            return cast(State, _Nudge.apply(given.x, self, given, *(layer.detach() for layer in free)))


class _Nudge(torch.autograd.Function):
    """The settled state as it is; backward settles it twice more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, way: NudgedInput, energy: Given, *free: Tensor) -> State:
        del x
        ctx.way, ctx.energy, ctx.free = way, energy, free
        return tuple(layer.clone() for layer in free)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        way, energy, free = ctx.way, ctx.energy, ctx.free
        with torch.no_grad():
            length = torch.cat([g.flatten(1) for g in grads], 1).norm(dim=1)
            scale = length.clamp_min(torch.finfo(length.dtype).tiny)

            def felt(beta: float) -> Tensor:
                pull = tuple(g * (-beta / scale).reshape(-1, *[1] * (g.dim() - 1)) for g in grads)
                state = settle(Pulled(energy, pull), free, solver=way.solver, phase=way.nudged).state
                return energy.input_force(state)

            slope = (felt(-way.beta) - felt(way.beta)) / (2 * way.beta)
            slope = slope * length.reshape(-1, *[1] * (slope.dim() - 1))
        return (slope, None, None, *(None for _ in grads))


@dataclass(frozen=True)
class Truncated:
    """Settle without a graph, then unroll the last ``steps`` steps only: cheap, biased, often as strong."""

    steps: int
    phase: Phase = field(default_factory=lambda: Phase(100, tolerance=1e-5, stop_early=True))
    solver: Solver = field(default_factory=Synchronous)

    def reach(self, energy: Energy, s: State) -> State:
        settled = settle(energy, s, solver=self.solver, phase=self.phase).state
        return Unrolled(self.steps, self.solver).reach(energy, settled)


@dataclass(frozen=True)
class Leaky:
    """Another way, through units whose slope is smoothed: saturated units leak a gradient.

    States and logits are the network's own; only backwards is clamp(v, 0, 1) replaced by the soft clamp
    T softplus(v / T) - T softplus((v - 1) / T) of temperature T (backward pass differentiable approximation,
    Athalye et al. 2018).
    """

    through: Equilibrium
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"Leaky.temperature: expected a number > 0, got {self.temperature}")

    def reach(self, energy: Energy, s: State) -> State:
        if not isinstance(energy, GivenInput):
            raise InputError("gradient: leaky smooths the slope of clamped units, which a layered Hopfield network has")
        return self.through.reach(_LeakyInput(energy.net, energy.x, energy.held, temperature=self.temperature), s)


@dataclass(frozen=True)
class _LeakyInput(GivenInput):
    """The same energy, whose blocks answer alike and differentiate softly."""

    temperature: float = 0.1

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        state = super().respond(layer, drive, stiffness, out=out)
        if not torch.is_grad_enabled():
            return state
        free = drive / (2 * self.net.c + stiffness)
        inside = torch.sigmoid(free / self.temperature) - torch.sigmoid((free - 1) / self.temperature)
        slope = torch.where(state.detach() == free.detach(), 1.0, inside.detach())
        return state.detach() + slope * (free - free.detach())


def _given_input(energy: Energy) -> Given:
    if not isinstance(energy, Given):
        raise InputError(
            f"input gradient: expected the energy of a network given its input, got {type(energy).__name__}"
        )
    return energy


def settled(steps: int) -> Phase:
    """A phase that stops early and is tight enough for attacks."""
    return Phase(steps, tolerance=1e-5, stop_early=True)


WAYS: dict[str, Equilibrium] = {
    "implicit": Implicit(settled(500), settled(500)),
    "unrolled-10": Unrolled(10),
    "simultaneous-16": Simultaneous(16),
    "unrolled-50": Unrolled(50),
    "truncated-5": Truncated(5),
    "nudged-0.05": NudgedInput(0.05),
    "nudged-0.2": NudgedInput(0.2),
    "nudged-1": NudgedInput(1.0),
    "leaky": Leaky(Truncated(15)),
}
"""Ways to differentiate an equilibrium, by name; the figure to report is the least over several."""


def way_named(name: str) -> Equilibrium:
    """One of ``WAYS``, or any ``unrolled-T``, ``truncated-T``, ``simultaneous-T`` or ``nudged-BETA``.

    Raises InputError otherwise.
    """
    if name in WAYS:
        return WAYS[name]
    kind, _, number = name.partition("-")
    try:
        lengths = {"unrolled": Unrolled, "truncated": Truncated, "simultaneous": Simultaneous}
        if kind in lengths and int(number) >= 1:
            return lengths[kind](int(number))
        if kind == "nudged":
            return NudgedInput(float(number))
    except ValueError:
        pass
    raise InputError(f"gradient: expected one of {', '.join(WAYS)} (or another number), got {name!r}")
