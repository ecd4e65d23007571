"""Networks made from their sizes: dense and convolutional, with their initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse
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


class NetworkOptions(TypedDict, total=False):
    """What a network may have beside its sizes.

    Attributes:
        c, output, start, normalise: see ``LayeredHopfield``.
        bias: "digital", exact biases beside the array on ``bias_device`` (float by default), or
            "column", one more column of the same array.
        bias_device: the device of digital biases.
    """

    c: float
    output: str
    start: str
    bias: str
    bias_device: Device | None
    normalise: Normalise | None


def layered_hopfield(
    layers: Sequence[int], device: Device | Sequence[Device], streams: Streams, **options: Unpack[NetworkOptions]
) -> LayeredHopfield:
    """A network of ``layers`` units, input first, with one array of ``device`` a link; or one device a link.

    Layer l's array gets the streams of the child ``("layer", l)``. Raises InputError for fewer than two layers, sizes
    below one or an unknown bias.
    """
    if len(layers) < 2 or min(layers) < 1:
        raise InputError(f"network.layers: expected at least two positive sizes, input first, got {list(layers)}")
    return _network((layers[0],), (), layers[1:], device, streams, **options)


def conv_hopfield(
    image: tuple[int, int, int],
    convolutions: Sequence[ConvLayer],
    dense: Sequence[int],
    device: Device | Sequence[Device],
    streams: Streams,
    **options: Unpack[NetworkOptions],
) -> LayeredHopfield:
    """A convolutional network: ``convolutions`` from an ``image`` (channels, H, W), then ``dense`` layers.

    ``dense`` has the sizes of the fully connected layers, the classes last; at least one. The network of
    arXiv 2401.11543 is ``output="readout"``, ``start="zero"`` and c = 1 with 3 x 3 max-pooled layers. Streams are those
    of ``layered_hopfield``. Raises InputError for layers that do not fit the image and for no dense layer.
    """
    if not dense or min(dense) < 1:
        raise InputError(f"network.dense: expected at least one positive size, classes last, got {list(dense)}")
    return _network(tuple(image), convolutions, dense, device, streams, **options)


def _network(
    shape: tuple[int, ...],
    convolutions: Sequence[ConvLayer],
    dense: Sequence[int],
    device: Device | Sequence[Device],
    streams: Streams,
    *,
    bias: str = "digital",
    bias_device: Device | None = None,
    c: float = 1.0,
    output: str = "linear",
    start: str = "zero",
    normalise: Normalise | None = None,
) -> LayeredHopfield:
    links: list[Link] = []
    count = len(convolutions) + len(dense)
    devices = [device] * count if isinstance(device, Device) else list(device)
    if len(devices) != count:
        raise InputError(f"network: expected one device or {count}, one a link, got {len(devices)}")

    def arrays(post: int, pre: int) -> tuple[Synapse, Synapse | None]:
        return with_biases(post, pre, devices[len(links)], streams.child("layer", len(links)), bias, bias_device)

    for layer in convolutions:
        channels, *size = shape
        window = Window(channels, layer.kernel, layer.stride, layer.padding, constant=bias == "column")
        drives = arrays(layer.channels, window.fan_in)
        links.append(Conv(*drives, window, pool=layer.pool, size=(size[0], size[1])))
        shape = links[-1].post_shape
    for units in dense:
        links.append(Dense(*arrays(units, torch.Size(shape).numel()), pre_shape=shape))
        shape = links[-1].post_shape
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
