"""The energy of a circuit of conductances, amplifiers and diodes, its sources held: see ``resistive``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.diode import Diode
from hwsim.ebm.energy import Bound, Coupling, State
from hwsim.ebm.power import Power
from hwsim.errors import InputError

SOURCES = 2
"""Constant sources that feed every layer, one of each sign: biases are conductances, too."""


class Layer(NamedTuple):
    """One junction as the solvers need it.

    Attributes:
        matrix: (post, pre) conductances to the layer below. ``whole`` has the columns of the sources, too.
        bias: (post,) current of the constant sources into each node at 0 V.
        joined: (post,) all conductances that end at each node, those to the layer above included.
        weight: w_l of the layer's part of the energy.
        gain: of the amplifier below.
        sign: (post,) +1 where the diode keeps the voltage up, -1 where it keeps it down; None at outputs.
        synapse: the array that holds the conductances.
    """

    matrix: Tensor
    whole: Tensor
    bias: Tensor
    joined: Tensor
    weight: float
    gain: float
    sign: Tensor | None
    synapse: Synapse


@dataclass(frozen=True)
class Circuit:
    """The conductances of one moment, and what else the circuit is made of; names are those of ``ResistiveNetwork``."""

    layers: tuple[Layer, ...]
    diode: Diode
    input_V: float
    bias_V: float
    unit_uS: float


@dataclass(frozen=True)
class GivenSources:
    """The energy of a resistive network with its input ``x`` (B, ...) held, at the conductances it was made with.

    ``sources`` (B, 2 inputs), in volts, are what the input makes of the sources.
    """

    circuit: Circuit
    x: Tensor
    sources: Tensor

    noisy = False

    @classmethod
    def of(cls, circuit: Circuit, x: Tensor) -> GivenSources:
        volts = circuit.input_V * x.flatten(1)
        return cls(circuit, x, torch.cat([volts, -volts], 1))

    @property
    def blocks(self) -> int:
        return len(self.circuit.layers)

    @property
    def exact_bowls(self) -> bool:
        return self.circuit.diode.ideal

    def start(self) -> State:
        """Every layer at what the sources and the layer below alone would make of it."""
        s: State = ()
        for number, layer in enumerate(self.circuit.layers):
            drive = layer.weight * (layer.gain * (self._below(s, number) @ layer.matrix.T) + layer.bias)
            s = (*s, self.respond(number, drive))
        return s

    def _below(self, s: State, layer: int) -> Tensor:
        return s[layer - 1] if layer else self.sources

    def applied(self, s: State, layer: int) -> Tensor:
        """(B, pre + 2): the voltages at the far ends of an array's conductances, amplified."""
        below = self.circuit.layers[layer].gain * self._below(s, layer)
        constant = below.new_tensor([self.circuit.bias_V, -self.circuit.bias_V]).expand(len(below), SOURCES)
        return torch.cat([below, constant], 1)

    def value(self, s: State) -> Tensor:
        total = self.sources.new_zeros(len(self.sources))
        for number, layer in enumerate(self.circuit.layers):
            far, near = self.applied(s, number), s[number]
            drops = far.square() @ layer.whole.sum(0) + near.square() @ layer.whole.sum(1)
            power = 0.5 * drops - (near * (far @ layer.whole.T)).sum(1)
            if (sign := self._sign(number)) is not None:
                power = power + self.circuit.diode.co_content(sign * near, self.circuit.unit_uS).sum(1)
            total = total + layer.weight * power
        return total

    def drive(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self._drive(s, number) for number in layers)

    def _drive(self, s: State, number: int) -> Tensor:
        layer = self.circuit.layers[number]
        current = layer.gain * (self._below(s, number) @ layer.matrix.T) + layer.bias
        if number + 1 < self.blocks:
            above = self.circuit.layers[number + 1]
            current = current + (s[number + 1] @ above.matrix) / above.gain
        return layer.weight * current

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        del out
        part = self.circuit.layers[layer]
        curvature = part.weight * part.joined + stiffness
        if not (curvature > 0).all():
            least = stiffness.min().item() if isinstance(stiffness, Tensor) else stiffness
            raise InputError(
                f"nudge: beta times the cost's stiffness, {least:g}, is more than the conductances at an output node "
                f"({(part.weight * part.joined).min().item():g}) hold; use a smaller beta"
            )
        sign = self._sign(layer)
        if sign is None:
            return drive / curvature
        diode = self.circuit.diode
        return sign * diode.rest(sign * drive / part.weight, curvature / part.weight, self.circuit.unit_uS)

    def _sign(self, layer: int) -> Tensor | None:
        return self.circuit.layers[layer].sign

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        sign = self._sign(layer)
        if sign is None or not self.circuit.diode.ideal:
            return -math.inf, math.inf
        zero = torch.zeros_like(sign)
        return torch.where(sign > 0, zero, -math.inf), torch.where(sign > 0, math.inf, zero)

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self.respond(number, self._drive(s, number)) for number in layers)

    def force(self, s: State) -> State:
        """-dE/dv of every block; over ``weight`` it is the current that Kirchhoff's law misses at each node."""
        forces = []
        for number, layer in enumerate(self.circuit.layers):
            force = self._drive(s, number) - layer.weight * layer.joined * s[number]
            sign = self._sign(number)
            if sign is not None and not self.circuit.diode.ideal:
                force = force + layer.weight * sign * self.circuit.diode.current(sign * s[number], self.circuit.unit_uS)
            forces.append(force)
        return tuple(forces)

    @torch.no_grad()
    def power(self, s: State) -> Power:
        """What the circuit draws at the voltages ``s``; given and taken agree where these are at rest."""
        unit_S = self.circuit.unit_uS * 1e-6
        heat, diodes, sources, amplifiers = (self.x.new_zeros(len(self.x)) for _ in range(4))
        for number, layer in enumerate(self.circuit.layers):
            far, near = self.applied(s, number), s[number]
            drops = far.square() @ layer.whole.sum(0) + near.square() @ layer.whole.sum(1)
            heat += unit_S * (drops - 2 * (near * (far @ layer.whole.T)).sum(1))
            out_W = unit_S * far * (far * layer.whole.sum(0) - near @ layer.whole)  # at the far end of every column
            inputs = layer.matrix.shape[1]
            from_below = out_W[:, :inputs].sum(1)
            sources += out_W[:, inputs:].sum(1) + (from_below if number == 0 else 0.0)
            amplifiers += from_below * (1 - 1 / layer.gain**2) if number else 0.0
            if layer.sign is not None:
                current = layer.sign * unit_S * self.circuit.diode.current(layer.sign * near, self.circuit.unit_uS)
                diodes -= (current * near).sum(1)
        return Power(heat, diodes, sources, amplifiers)

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        """dE/dG = w/2 (far - near)^2 = -w (near far - far^2/2 - near^2/2): three outer products of local voltages."""
        couplings = []
        for number, layer in enumerate(self.circuit.layers):
            far, near = self.applied(s, number), s[number]
            half = torch.full_like(near, -0.5)
            pre = torch.cat([far, far.square(), torch.ones_like(far)])
            post = layer.weight * torch.cat([near, half, -0.5 * near.square()])
            couplings.append(Coupling(layer.synapse, pre, post))
        return tuple(couplings)

    def input_force(self, s: State) -> Tensor:
        """-dE/dx: what the sources of an input feel, times the volts of an input of 1."""
        first = self.circuit.layers[0]
        felt = first.weight * (s[0] @ first.matrix - self.sources * first.matrix.sum(0))
        plus, minus = felt.chunk(2, 1)
        return (self.circuit.input_V * (plus - minus)).reshape(self.x.shape)

    def chosen(self, rows: Tensor, s: State) -> tuple[GivenSources, State]:
        return replace(self, x=self.x[rows], sources=self.sources[rows]), tuple(layer[rows] for layer in s)
