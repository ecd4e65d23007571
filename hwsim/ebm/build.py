"""Networks made from their sizes: dense and convolutional, with their initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device
from hwsim.ebm.convolution import Conv
from hwsim.ebm.hopfield import LayeredHopfield, Normalise
from hwsim.ebm.links import Dense, Link, with_biases
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True)
class ConvLayer:
    """One convolutional layer: ``channels`` kernels of ``kernel`` x ``kernel``, then 2 x 2 pooling."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: str = "none"

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride) < 1 or self.padding < 0:
            raise InputError(f"convolution: expected channels, kernel, stride >= 1 and padding >= 0, got {self}")


def conv_hopfield(
    image: tuple[int, int, int],
    convolutions: Sequence[ConvLayer],
    dense: Sequence[int],
    device: Device,
    streams: Streams,
    *,
    c: float = 1.0,
    output: str = "linear",
    start: str = "zero",
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> LayeredHopfield:
    """A convolutional network: ``convolutions`` from an ``image`` (channels, H, W), then ``dense`` layers.

    Args:
        dense: sizes of the fully connected layers, the classes last; at least one.
        output, start, normalise: see ``LayeredHopfield``. The network of arXiv 2401.11543 is
            ``output="readout"``, ``start="zero"`` and c = 1 with 3 x 3 max-pooled layers.
        bias, bias_device, streams: see ``layered_hopfield``.

    Raises InputError for layers that do not fit the image and for no dense layer.
    """
    if not dense or min(dense) < 1:
        raise InputError(f"network.dense: expected at least one positive size, classes last, got {list(dense)}")
    links: list[Link] = []
    shape = tuple(image)
    for index, layer in enumerate(convolutions):
        window = Window(shape[0], layer.kernel, layer.stride, layer.padding, constant=bias == "column")
        own = streams.child("layer", index)
        arrays = with_biases(layer.channels, window.fan_in, device, own, bias, bias_device)
        links.append(Conv(*arrays, window, pool=layer.pool, size=(shape[1], shape[2])))
        shape = links[-1].post_shape
    for index, units in enumerate(dense, start=len(links)):
        own = streams.child("layer", index)
        pre = torch.Size(shape).numel()
        links.append(Dense(*with_biases(units, pre, device, own, bias, bias_device), pre_shape=shape))
        shape = links[-1].post_shape
    return LayeredHopfield(links, c=c, output=output, start=start, normalise=normalise)


def layered_hopfield(
    layers: Sequence[int],
    device: Device,
    streams: Streams,
    *,
    c: float = 1.0,
    output: str = "linear",
    start: str = "zero",
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> LayeredHopfield:
    """A network of ``layers`` units, input first, with one array of ``device`` a link.

    Args:
        output, start, normalise: see ``LayeredHopfield``.
        bias: "digital", exact biases beside the array on ``bias_device`` (float by default), or
            "column", one more column of the same array.
        streams: layer l's array gets the streams of the child ``("layer", l)``.

    Raises InputError for fewer than two layers, sizes below one or an unknown bias.
    """
    if len(layers) < 2 or min(layers) < 1:
        raise InputError(f"network.layers: expected at least two positive sizes, input first, got {list(layers)}")
    links = [
        Dense(*with_biases(post, pre, device, streams.child("layer", index), bias, bias_device))
        for index, (pre, post) in enumerate(pairwise(layers))
    ]
    return LayeredHopfield(links, c=c, output=output, start=start, normalise=normalise)


def initial_weights(net: LayeredHopfield, gain: float, streams: Streams) -> list[Tensor]:
    """Uniform weights within gain / sqrt(fan in) and zero biases, in the order of ``net.synapses``.

    gain 1 is torch's default (Kaiming with a = sqrt 5); the recipes here use 2.
    """
    weights = []
    for index, link in enumerate(net.links):
        rng = streams.child("layer", index).generator("init")
        bound = gain / link.fan_in**0.5
        drawn = (torch.rand(link.synapse.shape[0], link.fan_in, generator=rng) * 2 - 1) * bound
        bias = torch.zeros(len(drawn), 1)
        weights += [torch.cat([drawn, bias], 1)] if link.bias is None else [drawn, bias]
    return weights
