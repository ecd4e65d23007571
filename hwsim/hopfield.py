"""Layered Hopfield networks: the energy of fully connected layers on crossbars.

    E(x, s) = sum_l c |s_l|^2 - sum_l <s_{l+1}, W_l s_l + b_l>,    s_0 = x held        (DESIGN, section 4)
    fixed point:  s_l = clamp((W_{l-1} s_{l-1} + b_{l-1} + W_l^T s_{l+1}) / 2c, 0, 1)

c = 1 is the network of Mansingh et al. (arXiv 2401.11543), activation clamp(v/2, 0, 1); c = 1/2 is
the plain hard sigmoid of Scellier and Bengio 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.energy import Coupling, State
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.synapse import Device, FloatDevice, FloatSynapse, Synapse


class Dense:
    """A fully connected link between two layers: one array, and the biases of the layer it feeds.

    Digital biases are a second synapse of shape (post, 1) read with a constant 1. Without one, the
    array's own last column is the bias and is driven by a constant 1 (shape (post, pre + 1)); the
    transpose read of that column feeds nobody and is dropped.
    """

    def __init__(self, synapse: Synapse, bias: Synapse | None) -> None:
        self.synapse = synapse
        self.bias = bias
        self.post = synapse.shape[0]
        self.pre = synapse.shape[1] - (bias is None)

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        return (self.synapse,) if self.bias is None else (self.synapse, self.bias)

    def forward(self, pre: Tensor) -> Tensor:
        """(B, pre) -> (B, post): W pre + b."""
        if self.bias is None:
            return self.synapse.read(_with_one(pre))
        return self.synapse.read(pre) + self.bias.read(pre.new_ones(1, 1))

    def backward(self, post: Tensor) -> Tensor:
        """(B, post) -> (B, pre): W^T post."""
        read = self.synapse.read_transpose(post)
        return read[:, :-1] if self.bias is None else read

    def couplings(self, pre: Tensor, post: Tensor) -> tuple[Coupling, ...]:
        if self.bias is None:
            return (Coupling(self.synapse, _with_one(pre), post),)
        return Coupling(self.synapse, pre, post), Coupling(self.bias, pre.new_ones(len(pre), 1), post)

    def replaced(self, synapses: Sequence[Synapse]) -> Dense:
        """The same link on other arrays."""
        return Dense(synapses[0], synapses[1] if len(synapses) > 1 else None)


def _with_one(pre: Tensor) -> Tensor:
    return torch.cat([pre, pre.new_ones(len(pre), 1)], dim=1)


class LayeredHopfield:
    """A chain of links from a held input to an output layer, symmetric by construction.

    Args:
        links: input side first; link l joins layer l to layer l + 1.
        c: coefficient of the quadratic term, > 0.
        output: "linear", an output layer without bounds, or "clamped", in [0, 1] like the hidden
            ones. A clamped output saturates, learns less and its zero gradients fake robustness.
    """

    def __init__(self, links: Sequence[Dense], *, c: float = 1.0, output: str = "linear") -> None:
        if c <= 0:
            raise InputError(f"network: c must be > 0, got {c}")
        if output not in ("linear", "clamped"):
            raise InputError(f"network: output must be 'linear' or 'clamped', got {output!r}")
        for below, above in zip(links, links[1:], strict=False):
            if below.post != above.pre:
                raise InputError(f"network: a link of {below.post} units feeds one that expects {above.pre}")
        self.links = tuple(links)
        self.c = c
        self.output = output

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """All arrays, input side first, each followed by its digital biases where it has them."""
        return tuple(synapse for link in self.links for synapse in link.synapses)

    @property
    def noisy(self) -> bool:
        return any(synapse.noisy for synapse in self.synapses)

    def initial(self, x: Tensor) -> State:
        """All layers at zero."""
        return tuple(x.new_zeros(len(x), link.post) for link in self.links)

    def given(self, x: Tensor, *, hold: bool = True) -> GivenInput:
        """The energy over the free layers with the input clamped at ``x`` (B, inputs) or (B, ...).

        ``hold``: read W_0 x + b_0 once and hold it for the whole relaxation and all its phases, as a
        sample-and-hold circuit would; the noise of the one read is then common to all phases and
        cancels in their difference. Otherwise it is read at every step.
        """
        x = x.flatten(1)
        if x.shape[1] != self.links[0].pre:
            raise InputError(f"network input: expected {self.links[0].pre} values an example, got {x.shape[1]}")
        return GivenInput(self, x, self.links[0].forward(x) if hold else None)

    def logits(self, s: State, given: GivenInput) -> Tensor:
        """(B, outputs): the drive from below into the output layer, the pre-activation."""
        return self.links[-1].forward(s[-2]) if len(s) > 1 else given.input_drive()

    def weights(self) -> list[Tensor]:
        """Noiseless copies of what every array holds, in the order of ``synapses``."""
        return [synapse.weight() for synapse in self.synapses]

    def program(self, weights: Sequence[Tensor]) -> None:
        """Write all arrays, each as its device can."""
        for synapse, weight in zip(self.synapses, weights, strict=True):
            synapse.program(weight)

    def tick(self) -> None:
        """The end of a training step on every array."""
        for synapse in self.synapses:
            synapse.tick()

    def reseed_reads(self, streams: Streams) -> None:
        """Start every array's read noise anew; array i takes the streams of the child ``("array", i)``."""
        for index, synapse in enumerate(self.synapses):
            synapse.reseed_reads(streams.child("array", index))

    def float_twin(self) -> LayeredHopfield:
        """The same network with exact copies of the weights that the arrays hold now."""
        links = [link.replaced([FloatSynapse(s.weight()) for s in link.synapses]) for link in self.links]
        return LayeredHopfield(links, c=self.c, output=self.output)


@dataclass(frozen=True)
class GivenInput:
    """The energy of a layered Hopfield network with its input held."""

    net: LayeredHopfield
    x: Tensor
    held_drive: Tensor | None

    @property
    def blocks(self) -> int:
        return len(self.net.links)

    @property
    def noisy(self) -> bool:
        return self.net.noisy

    def input_drive(self) -> Tensor:
        """(B, units of layer 1): W_0 x + b_0, held or read anew."""
        return self.held_drive if self.held_drive is not None else self.net.links[0].forward(self.x)

    def value(self, s: State) -> Tensor:
        energy = self.net.c * sum(layer.square().sum(1) for layer in s)
        energy = energy - (s[0] * self.input_drive()).sum(1)
        for link, below, above in zip(self.net.links[1:], s, s[1:], strict=False):
            energy = energy - (above * link.forward(below)).sum(1)
        return energy

    def drive(self, s: State, layers: Sequence[int]) -> State:
        links, last = self.net.links, len(s) - 1
        drives = []
        for layer in layers:
            drive = links[layer].forward(s[layer - 1]) if layer else self.input_drive()
            drives.append(drive if layer == last else drive + links[layer + 1].backward(s[layer + 1]))
        return tuple(drives)

    def respond(self, layer: int, drive: Tensor, stiffness: float = 0.0) -> Tensor:
        curvature = 2 * self.net.c + stiffness
        if curvature <= 0:
            raise InputError(
                f"nudge: beta times the cost's stiffness, {stiffness:g}, turns the output's bowl upside down; "
                f"expected more than {-2 * self.net.c:g}, so use a smaller beta"
            )
        state = drive / curvature
        bounded = layer < self.blocks - 1 or self.net.output == "clamped"
        return state.clamp(0.0, 1.0) if bounded else state

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self.respond(layer, v) for layer, v in zip(layers, self.drive(s, layers), strict=True))

    def force(self, s: State) -> State:
        drives = self.drive(s, range(self.blocks))
        return tuple(v - 2 * self.net.c * layer for v, layer in zip(drives, s, strict=True))

    def input_force(self, s: State) -> Tensor:
        """(B, inputs): -dE/dx = W_0^T s_1, what the first array sends back to the pixels."""
        return self.net.links[0].backward(s[0])

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        below = (self.x, *s[:-1])
        return tuple(
            c for link, pre, post in zip(self.net.links, below, s, strict=True) for c in link.couplings(pre, post)
        )


def layered_hopfield(
    layers: Sequence[int],
    device: Device,
    streams: Streams,
    *,
    c: float = 1.0,
    output: str = "linear",
    bias: str = "digital",
    bias_device: Device | None = None,
) -> LayeredHopfield:
    """A network of ``layers`` units, input first, with one array of ``device`` a link.

    Args:
        bias: "digital", exact biases beside the array on ``bias_device`` (float by default), or
            "column", one more column of the same array.
        streams: layer l's array gets the streams of the child ``("layer", l)``.

    Raises InputError for fewer than two layers, sizes below one or an unknown bias.
    """
    if len(layers) < 2 or min(layers) < 1:
        raise InputError(f"network.layers: expected at least two positive sizes, input first, got {list(layers)}")
    if bias not in ("digital", "column"):
        raise InputError(f"network.bias: expected 'digital' or 'column', got {bias!r}")
    links = []
    for index, (pre, post) in enumerate(zip(layers, layers[1:], strict=False)):
        own = streams.child("layer", index)
        if bias == "column":
            links.append(Dense(device.synapse(post, pre + 1, own), None))
        else:
            digital = (bias_device or FloatDevice()).synapse(post, 1, own.child("bias"))
            links.append(Dense(device.synapse(post, pre, own), digital))
    return LayeredHopfield(links, c=c, output=output)


def initial_weights(net: LayeredHopfield, gain: float, streams: Streams) -> list[Tensor]:
    """Uniform weights within gain / sqrt(fan in) and zero biases, in the order of ``net.synapses``.

    gain 1 is torch's default (Kaiming with a = sqrt 5); the recipes here use 2.
    """
    weights = []
    for index, link in enumerate(net.links):
        rng = streams.child("layer", index).generator("init")
        bound = gain / link.pre**0.5
        drawn = (torch.rand(link.post, link.pre, generator=rng) * 2 - 1) * bound
        bias = torch.zeros(link.post, 1)
        weights += [torch.cat([drawn, bias], 1)] if link.bias is None else [drawn, bias]
    return weights
