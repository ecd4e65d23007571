"""Resistive networks: nodes joined by conductances, which relax to Kirchhoff's laws by themselves.

With v_0 the sources, G_l >= 0 the conductances between the nodes of layer l - 1, behind bidirectional amplifiers of
gain a_l (voltages times a_l forward, currents over a_l back), and the nodes of layer l, the node voltages minimise

    E(v) = sum_l w_l [ sum_kj G_l[k, j] (a_l v_{l-1, j} - v_{l, k})^2 / 2 + sum_k D_k(v_{l, k}) ]

with w_{l+1} = w_l / a_{l+1}^2: the co-content of the circuit (Millar 1951). Its slope at a node is w_l times the
current that Kirchhoff's law misses there. The last layer's w is 1, so that a nudge is a current into the output
nodes. D is the co-content of the node's diode: ideal diodes bound the voltage from one side, Shockley's have an
exponential. Each layer, the others held, is a bowl for every node on its own, so the solvers of any energy settle
it (Scellier 2024, "A fast algorithm to simulate nonlinear resistive networks", arXiv 2402.11674).

Voltages are in volts. A weight of 1 stands for ``unit_uS`` microsiemens; energies and nudges are in that unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.diode import Diode
from hwsim.ebm.energy import Bound, Cost, Coupling, State
from hwsim.ebm.network import Given, Network
from hwsim.errors import InputError
from hwsim.rng import Streams

SOURCES = 2
"""Constant sources that feed every layer, one of each sign: biases are conductances, too."""


@dataclass(frozen=True)
class Junction:
    """The array between two layers of nodes; its last two columns are fed by the constant sources."""

    synapse: Synapse

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        return (self.synapse,)

    @property
    def pre(self) -> int:
        """Nodes of the layer below."""
        return self.synapse.shape[1] - SOURCES

    @property
    def post(self) -> int:
        """Nodes of the layer above."""
        return self.synapse.shape[0]

    @property
    def pre_shape(self) -> tuple[int, ...]:
        return (self.pre,)

    @property
    def post_shape(self) -> tuple[int, ...]:
        return (self.post,)


class ResistiveNetwork(Network):
    """Layers of nodes between voltage sources and differential outputs.

    Args:
        arrays: conductances >= 0 from layer to layer, shapes (nodes, nodes below + 2), input side first. The first
            has two columns an input (driven by +x and -x), the last two rows a class, whose difference is its score.
        amplifier_gain: A of the bidirectional amplifiers behind every hidden layer, > 0.
        input_V: voltage of an input of 1.
        bias_V: of the constant sources.
        diode: at every hidden node; the first half of a layer's nodes is bounded from below, the rest from above.
        unit_uS: conductance of a weight of 1, in microsiemens.

    Raises InputError for sizes that do not fit and for settings out of range.

    >>> import hwsim as hw, torch
    >>> net = hw.ResistiveNetwork([hw.FloatDevice().synapse(*shape, hw.Streams(0)) for shape in [(6, 10), (4, 8)]])
    >>> net.program(net.initial_weights(1.0, hw.Streams(0)))
    >>> given = net.given(torch.rand(3, 4))
    >>> settled = hw.settle(given, given.start(), solver=hw.UpDown(), phase=hw.Phase(50))
    >>> net.outputs(settled.state).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        arrays: Sequence[Synapse],
        *,
        amplifier_gain: float = 4.0,
        input_V: float = 1.0,
        bias_V: float = 1.0,
        diode: Diode | None = None,
        unit_uS: float = 10.0,
    ) -> None:
        for name, value in {
            "amplifier_gain": amplifier_gain,
            "input_V": input_V,
            "bias_V": bias_V,
            "unit_uS": unit_uS,
        }.items():
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"network.{name}: expected a finite number > 0, got {value}")
        self._links = tuple(Junction(array) for array in arrays)
        if not self.links:
            raise InputError("network: a resistive network needs an array at least, got none")
        if self.links[0].pre % 2 or self.links[-1].post % 2:
            found = (self.links[0].pre, self.links[-1].post)
            raise InputError(f"network: inputs and outputs are differential, so both are even; got {found} nodes")
        for below, above in pairwise(self.links):
            if below.post != above.pre:
                raise InputError(f"network: an array of {below.post} nodes feeds one of {above.pre}")
        self.amplifier_gain = amplifier_gain
        self.input_V = input_V
        self.bias_V = bias_V
        self.diode = diode or Diode()
        self.unit_uS = unit_uS
        self.blocks = len(self.links)
        self.synapses = tuple(link.synapse for link in self.links)

    @property
    def links(self) -> tuple[Junction, ...]:
        return self._links

    @property
    def noisy(self) -> bool:
        """Never: the circuit itself relaxes, and no converter stands between two layers."""
        return False

    @property
    def classes(self) -> int:
        return self.links[-1].post // 2

    def gain(self, layer: int) -> float:
        """The amplifier's between layer ``layer`` - 1 and ``layer``, from 0: sources need none."""
        return self.amplifier_gain if layer else 1.0

    def initial(self, x: Tensor) -> State:
        """All nodes at 0 V."""
        return tuple(x.new_zeros(len(x), link.post) for link in self.links)

    def given(self, x: Tensor, *, hold: bool = True) -> GivenSources:
        """The energy of the nodes with the sources at ``x`` (B, ...), whose entries are in [0, 1] or of either sign.

        ``hold`` makes no difference: sources hold. Conductances are those of this moment. Raises InputError for
        negative ones, for a node that nothing holds at a voltage, and for another number of inputs.
        """
        del hold
        expected = self.links[0].pre // 2
        if x[0].numel() != expected:
            raise InputError(f"network input: expected {expected} values an example, got {x[0].numel()}")
        x = self.input_V * x.flatten(1)
        conductances = [link.synapse.weight().to(x.dtype) for link in self.links]
        for number, matrix in enumerate(conductances):
            if (matrix < 0).any():
                raise InputError(
                    f"array {number}: a conductance is negative ({matrix.min().item():g}); a resistive network needs a "
                    "device whose weights are not, see devices.non_negative"
                )
        return GivenSources(self, torch.cat([x, -x], 1), self._circuit(conductances))

    def _circuit(self, conductances: Sequence[Tensor]) -> Circuit:
        layers = []
        for number, (matrix, link) in enumerate(zip(conductances, self.links, strict=True)):
            joined = matrix.sum(1)
            if number + 1 < len(conductances):
                joined = joined + conductances[number + 1][:, : link.post].sum(0)
            if not (joined > 0).all():
                node = int((joined <= 0).nonzero()[0])
                raise InputError(f"layer {number + 1}, node {node}: no conductance holds it at a voltage, it floats")
            weight = self.amplifier_gain ** (2.0 * (len(conductances) - 1 - number))
            bias = self.bias_V * (matrix[:, -2] - matrix[:, -1])
            layers.append(Layer(matrix[:, : link.pre], matrix, bias, joined, weight, self.gain(number)))
        return Circuit(tuple(layers))

    def outputs(self, s: State) -> Tensor:
        """(B, classes): the differences of the output voltages, in volts."""
        return difference(s[-1])

    def logits(self, s: State, given: Given) -> Tensor:
        """(B, classes): what the output nodes come to, given the layer below."""
        last = self.blocks - 1
        (drive,) = given.drive(s, [last])
        return difference(given.respond(last, drive))

    def cost_of_state(self, cost: Cost) -> Cost:
        """``cost`` of the differences, as a function of the output nodes: its nudge is a current into each."""
        return Differential(cost)

    def mapped(self, change: Callable[[Synapse], Synapse]) -> ResistiveNetwork:
        """The same network with ``change(array)`` in place of every array."""
        return ResistiveNetwork(
            [change(synapse) for synapse in self.synapses],
            amplifier_gain=self.amplifier_gain,
            input_V=self.input_V,
            bias_V=self.bias_V,
            diode=self.diode,
            unit_uS=self.unit_uS,
        )

    def initial_weights(self, gain: float, streams: Streams) -> list[Tensor]:
        """Uniform conductances from 0 to gain / sqrt(nodes below), in units of ``unit_uS``."""
        weights = []
        for index, link in enumerate(self.links):
            rng = streams.child("layer", index).generator("init")
            weights.append(torch.rand(*link.synapse.shape, generator=rng) * gain / link.pre**0.5)
        return weights


class Layer(NamedTuple):
    """One junction as the solvers need it.

    Attributes:
        matrix: (post, pre) conductances to the layer below. ``whole`` has the columns of the sources, too.
        bias: (post,) current of the constant sources into each node at 0 V.
        joined: (post,) all conductances that end at each node, those to the layer above included.
        weight: w_l of the layer's part of the energy.
        gain: of the amplifier below.
    """

    matrix: Tensor
    whole: Tensor
    bias: Tensor
    joined: Tensor
    weight: float
    gain: float


class Circuit(NamedTuple):
    """The conductances of one moment."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class GivenSources:
    """The energy of a resistive network with its sources held, at the conductances of the moment it was made.

    ``sources`` (B, 2 inputs), in volts.
    """

    net: ResistiveNetwork
    sources: Tensor
    circuit: Circuit

    noisy = False

    @property
    def blocks(self) -> int:
        return self.net.blocks

    @property
    def exact_bowls(self) -> bool:
        return self.net.diode.ideal

    def start(self) -> State:
        """Every layer at what the sources and the layer below alone would make of it."""
        s: State = ()
        for number, layer in enumerate(self.circuit.layers):
            drive = layer.weight * (layer.gain * (self._below(s, number) @ layer.matrix.T) + layer.bias)
            s = (*s, self.respond(number, drive))
        return s

    def _below(self, s: State, layer: int) -> Tensor:
        return s[layer - 1] if layer else self.sources

    def _applied(self, s: State, layer: int) -> Tensor:
        """(B, pre + 2): the voltages at the far ends of an array's conductances, amplified."""
        below = self.circuit.layers[layer].gain * self._below(s, layer)
        constant = below.new_tensor([self.net.bias_V, -self.net.bias_V]).expand(len(below), SOURCES)
        return torch.cat([below, constant], 1)

    def value(self, s: State) -> Tensor:
        total = self.sources.new_zeros(len(self.sources))
        for number, layer in enumerate(self.circuit.layers):
            far, near = self._applied(s, number), s[number]
            drops = far.square() @ layer.whole.sum(0) + near.square() @ layer.whole.sum(1)
            power = 0.5 * drops - (near * (far @ layer.whole.T)).sum(1)
            if self._bounded(number):
                power = power + self.net.diode.co_content(self._outward(number, near), self.net.unit_uS).sum(1)
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
        if not self._bounded(layer):
            return drive / curvature
        sign = self._signs(layer)
        diode = self.net.diode
        return sign * diode.rest(sign * drive / part.weight, curvature / part.weight, self.net.unit_uS)

    def _bounded(self, layer: int) -> bool:
        return layer < self.blocks - 1

    def _signs(self, layer: int) -> Tensor:
        """(nodes,): +1 where the diode keeps the voltage up, -1 where it keeps it down."""
        count = self.net.links[layer].post
        return torch.where(torch.arange(count) < (count + 1) // 2, 1.0, -1.0).to(self.sources)

    def _outward(self, layer: int, near: Tensor) -> Tensor:
        return self._signs(layer) * near

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        if not self._bounded(layer) or not self.net.diode.ideal:
            return -math.inf, math.inf
        up = self._signs(layer) > 0
        zero = self.sources.new_zeros(len(up))
        return torch.where(up, zero, -math.inf), torch.where(up, math.inf, zero)

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self.respond(number, self._drive(s, number)) for number in layers)

    def force(self, s: State) -> State:
        """-dE/dv of every block; over ``weight`` it is the current that Kirchhoff's law misses at each node."""
        forces = []
        for number, layer in enumerate(self.circuit.layers):
            force = self._drive(s, number) - layer.weight * layer.joined * s[number]
            if self._bounded(number) and not self.net.diode.ideal:
                sign = self._signs(number)
                force = force + layer.weight * sign * self.net.diode.current(sign * s[number], self.net.unit_uS)
            forces.append(force)
        return tuple(forces)

    def input_force(self, s: State) -> Tensor:
        """(B, inputs): -dE/dx of the unscaled inputs."""
        first = self.circuit.layers[0]
        current = first.weight * (s[0] @ first.matrix - first.matrix.sum(0) * self.sources)
        plus, minus = current.chunk(2, 1)
        return self.net.input_V * (plus - minus)

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        """dE/dG = w/2 (far - near)^2 = -w (near far - far^2/2 - near^2/2): three outer products of local voltages."""
        couplings = []
        for number, (layer, link) in enumerate(zip(self.circuit.layers, self.net.links, strict=True)):
            far, near = self._applied(s, number), s[number]
            half = torch.full_like(near, -0.5)
            pre = torch.cat([far, far.square(), torch.ones_like(far)])
            post = layer.weight * torch.cat([near, half, -0.5 * near.square()])
            couplings.append(Coupling(link.synapse, pre, post))
        return tuple(couplings)

    def chosen(self, rows: Tensor, s: State) -> tuple[GivenSources, State]:
        return replace(self, sources=self.sources[rows]), tuple(layer[rows] for layer in s)


def difference(nodes: Tensor) -> Tensor:
    """(B, 2 classes) -> (B, classes): the first half of the nodes less the second."""
    plus, minus = nodes.chunk(2, 1)
    return plus - minus


@dataclass(frozen=True)
class Differential:
    """A cost of the differences of pairs of nodes, as a cost of the nodes."""

    cost: Cost

    stiffness = None
    """Two nodes share a bowl: one number for each would be wrong on one side of a nudge."""

    def encode(self, labels: Tensor, like: Tensor) -> Tensor:
        return self.cost.encode(labels, difference(like))

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        return self.cost.value(difference(output), target)

    def bowl(self, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """The slope at ``output`` is the cost's; twice the stiffness is the most that a pair can have."""
        inner = difference(output)
        linear, stiffness = self.cost.bowl(inner, target)
        slope = stiffness * inner - linear
        return 2 * stiffness * output - torch.cat([slope, -slope], 1), 2 * stiffness

    def couplings(self, output: Tensor, target: Tensor, beta: float | Tensor) -> tuple[Coupling, ...]:
        return self.cost.couplings(difference(output), target, beta)
