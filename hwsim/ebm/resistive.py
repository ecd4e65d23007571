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
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.circuit import SOURCES, Circuit, GivenSources, Layer
from hwsim.ebm.costs import Differential, difference
from hwsim.ebm.diode import Diode
from hwsim.ebm.energy import Cost, State
from hwsim.ebm.network import Given, Network
from hwsim.errors import InputError
from hwsim.rng import Streams


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
        conductances = [_held(link.synapse).to(x.dtype) for link in self.links]
        for number, matrix in enumerate(conductances):
            if (matrix < 0).any():
                raise InputError(
                    f"array {number}: a conductance is negative ({matrix.min().item():g}); a resistive network needs a "
                    "device whose weights are not, see devices.non_negative"
                )
        return GivenSources.of(self._circuit(conductances), x)

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
            sign = None if number == self.blocks - 1 else _signs(joined)
            below = matrix[:, : link.pre]
            layers.append(Layer(below, matrix, bias, joined, weight, self.gain(number), sign, link.synapse))
        return Circuit(tuple(layers), self.diode, self.input_V, self.bias_V, self.unit_uS)

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

    def float_twin(self) -> ResistiveNetwork:
        """The same with exact copies of the conductances, which cannot become negative either."""
        return self.mapped(lambda synapse: FloatSynapse(synapse.weight(), lowest=0.0))

    def initial_weights(self, gain: float, streams: Streams) -> list[Tensor]:
        """Uniform conductances from 0 to gain / sqrt(nodes below), in units of ``unit_uS``."""
        weights = []
        for index, link in enumerate(self.links):
            rng = streams.child("layer", index).generator("init")
            weights.append(torch.rand(*link.synapse.shape, generator=rng) * gain / link.pre**0.5)
        return weights


def _held(synapse: Synapse) -> Tensor:
    """The conductances of this moment; where somebody differentiates by them, the tensor itself."""
    matrix = synapse.matrix if isinstance(synapse, FloatSynapse) else None
    return matrix if matrix is not None and matrix.requires_grad else synapse.weight()


def _signs(nodes: Tensor) -> Tensor:
    """(nodes,): the first half of a layer's nodes is bounded from below, +1, the rest from above, -1."""
    return torch.where(torch.arange(len(nodes)) < (len(nodes) + 1) // 2, 1.0, -1.0).to(nodes)
