"""Links: what joins two layers of a Hopfield network, read towards the output and back on the same arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.ebm.energy import Coupling, Writable, examples
from hwsim.errors import InputError
from hwsim.rng import Streams


class Reading(NamedTuple):
    """What a link makes of the layer below it.

    ``switches`` are the places of the maxima where the link pools by maximum: its feedback goes back
    through them.
    """

    drive: Tensor
    switches: Tensor | None = None

    def chosen(self, rows: Tensor) -> Reading:
        """The same of the examples ``rows`` alone."""
        switches = None if self.switches is None else examples(self.switches, rows)
        return Reading(examples(self.drive, rows), switches)


class Link(Protocol):
    """What joins two layers: arrays, read towards the output by ``forward`` and back by ``backward``.

    ``backward`` is the transpose of ``forward`` without the biases; where a link is ``switched``
    (max-pooling), at the switches that ``read`` reports for the layer below. Shapes are without the batch.
    """

    pre_shape: tuple[int, ...]
    post_shape: tuple[int, ...]
    switched: bool

    @property
    def synapse(self) -> Synapse:
        """The array of the weights."""
        ...

    @property
    def bias(self) -> Synapse | None:
        """The digital biases, shape (post, 1); None where the array's own last column is the bias."""
        ...

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The array, and the digital biases where there are any."""
        ...

    @property
    def writables(self) -> tuple[Writable, ...]:
        """What takes the updates of ``couplings``, in the same order."""
        ...

    @property
    def fan_in(self) -> int:
        """Weights that feed one unit, the bias not counted."""
        ...

    def read(self, pre: Tensor) -> Reading: ...

    def forward(self, pre: Tensor) -> Tensor: ...

    def backward(self, post: Tensor, switches: Tensor | None = None) -> Tensor: ...

    def along(self, way: Tensor, switches: Tensor | None = None) -> Tensor:
        """The slope of ``forward`` along ``way`` (B, *pre_shape), at the switches: no biases, linear in ``way``."""
        ...

    def couplings(self, pre: Tensor, post: Tensor, switches: Tensor | None = None) -> tuple[Coupling, ...]: ...

    def replaced(self, synapses: Sequence[Synapse]) -> Link: ...


class Dense:
    """A fully connected link between two layers: one array, and the biases of the layer it feeds.

    Digital biases are a second synapse of shape (post, 1) read with a constant 1. Without one, the
    array's own last column is the bias and is driven by a constant 1 (shape (post, pre + 1)); the
    transpose read of that column feeds nobody and is dropped. ``pre_shape`` is the shape of the layer
    below where that is not a vector; it is flattened for the array.
    """

    switched = False

    def __init__(self, synapse: Synapse, bias: Synapse | None, pre_shape: tuple[int, ...] | None = None) -> None:
        self.synapse = synapse
        self.bias = bias
        self.post = synapse.shape[0]
        self.pre = synapse.shape[1] - (bias is None)
        self.pre_shape = (self.pre,) if pre_shape is None else tuple(pre_shape)
        self.post_shape = (self.post,)
        if torch.Size(self.pre_shape).numel() != self.pre:
            raise InputError(f"network: a layer of shape {self.pre_shape} feeds an array of {self.pre} inputs")

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        return (self.synapse,) if self.bias is None else (self.synapse, self.bias)

    @property
    def writables(self) -> tuple[Writable, ...]:
        return self.synapses

    @property
    def fan_in(self) -> int:
        return self.pre

    def read(self, pre: Tensor) -> Reading:
        return Reading(self.forward(pre))

    def forward(self, pre: Tensor) -> Tensor:
        """(B, *pre_shape) -> (B, post): W pre + b."""
        pre = pre if pre.dim() == 2 else pre.flatten(1)
        if self.bias is None:
            return self.synapse.read(_with_one(pre))
        matrix, bias = _exact(self.synapse), _exact(self.bias)
        if matrix is None or bias is None:
            return self.synapse.read(pre) + bias_of(self.bias, pre).T
        self.synapse.meter.vectors_read += pre.shape[0]
        self.bias.meter.vectors_read += 1
        if self.post < pre.shape[0]:
            return torch.addmm(bias, matrix, pre.T).T  # the order of the factors that takes half the time
        return torch.addmm(bias.T, pre, matrix.T)

    def backward(self, post: Tensor, switches: Tensor | None = None) -> Tensor:
        """(B, post) -> (B, *pre_shape): W^T post."""
        del switches
        read = self.synapse.read_transpose(post)
        if self.bias is None:
            read = read[:, :-1]
        return read if len(self.pre_shape) == 1 else read.unflatten(1, self.pre_shape)

    def backward_onto(self, drive: Tensor, post: Tensor) -> Tensor:
        """(B, pre) and (B, post): drive + W^T post, a new tensor, in one operation where the array is exact."""
        matrix = _exact(self.synapse)
        if matrix is None or self.bias is None or drive.dim() != 2:
            return drive + self.backward(post)
        self.synapse.meter.vectors_read_transpose += post.shape[0]
        return torch.addmm(drive, post, matrix)

    def along(self, way: Tensor, switches: Tensor | None = None) -> Tensor:
        del switches
        way = way.flatten(1)
        return self.synapse.read(way if self.bias else torch.cat([way, way.new_zeros(len(way), 1)], 1))

    @property
    def matrices(self) -> tuple[Tensor, Tensor] | None:
        """The weights (post, pre) and biases (post, 1) that reads are plain products with; None where they are more."""
        if self.bias is None:
            return None
        matrix, bias = _exact(self.synapse), _exact(self.bias)
        return None if matrix is None or bias is None else (matrix, bias)

    def count(self, read: int, read_transpose: int) -> None:
        """Meter reads of so many vectors that were made with ``matrices`` and not through the arrays."""
        self.synapse.meter.vectors_read += read
        self.synapse.meter.vectors_read_transpose += read_transpose
        if read and self.bias is not None:
            self.bias.meter.vectors_read += 1

    def couplings(self, pre: Tensor, post: Tensor, switches: Tensor | None = None) -> tuple[Coupling, ...]:
        del switches
        pre = pre.flatten(1)
        if self.bias is None:
            return (Coupling(self.synapse, _with_one(pre), post),)
        return Coupling(self.synapse, pre, post), Coupling(self.bias, ones_for(pre), post)

    def replaced(self, synapses: Sequence[Synapse]) -> Dense:
        """The same link on other arrays."""
        return Dense(synapses[0], synapses[1] if len(synapses) > 1 else None, self.pre_shape)


def _exact(synapse: Synapse) -> Tensor | None:
    """The matrix that reads of a synapse are plain products with, None where they are more than that."""
    return synapse.matrix if isinstance(synapse, FloatSynapse) else None


def bias_of(bias: Synapse, like: Tensor) -> Tensor:
    """(post, 1): digital biases, read with a constant 1 of the type of ``like``."""
    matrix = _exact(bias)
    if matrix is None:
        return bias.read(like.new_ones(1, 1)).T
    bias.meter.vectors_read += 1
    return matrix


@lru_cache(maxsize=64)
def _ones(rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the call
        return torch.ones(1, 1, dtype=dtype, device=device).expand(rows, 1)


def ones_for(rows: Tensor) -> Tensor:
    """(N, 1): the constant that drives a bias of ``rows`` (N, ...); the same tensor every time, so that it is known."""
    return _ones(len(rows), rows.dtype, rows.device)


def _with_one(pre: Tensor) -> Tensor:
    return torch.cat([pre, pre.new_ones(len(pre), 1)], dim=1)


def with_biases(
    post: int, pre: int, device: Device, streams: Streams, bias: str, bias_device: Device | None
) -> tuple[Synapse, Synapse | None]:
    """A new array and its digital biases, or one array with a column more and None; see ``layered_hopfield``."""
    if bias == "column":
        return device.synapse(post, pre + 1, streams), None
    if bias != "digital":
        raise InputError(f"network.bias: expected 'digital' or 'column', got {bias!r}")
    return device.synapse(post, pre, streams), (bias_device or FloatDevice()).synapse(post, 1, streams.child("bias"))


def uniform_weights(links: Sequence[Link], gain: float, streams: Streams) -> list[Tensor]:
    """Weights uniform within gain / sqrt(fan in) and zero biases, in the order of the links' arrays.

    gain 1 is torch's default (Kaiming with a = sqrt 5); the recipes here use 2.
    """
    weights = []
    for index, link in enumerate(links):
        rng = streams.child("layer", index).generator("init")
        bound = gain / link.fan_in**0.5
        drawn = (torch.rand(link.synapse.shape[0], link.fan_in, generator=rng) * 2 - 1) * bound
        bias = torch.zeros(len(drawn), 1)
        weights += [torch.cat([drawn, bias], 1)] if link.bias is None else [drawn, bias]
    return weights
