"""Networks made from their sizes: dense and convolutional, with their initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device
from hwsim.ebm.convolution import Convolution
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.links import Dense, Link, with_biases
from hwsim.ebm.normalise import Normalise
from hwsim.ebm.predictive import PredictiveCoding
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True)
class Conv:
    """One convolutional layer of a network: kernels of ``kernel`` x ``kernel`` pixels, then pooling.

    Args:
        channels: how many kernels, at least 1.
        kernel, stride: in pixels, at least 1; ``padding``: pixels of zeros around the image, at least 0.
        pool: "none", or "max" or "average" over windows of 2 x 2 pixels.

    Raises InputError for sizes out of range. Laborieux et al. 2021 train such networks by EP.

    >>> import hwsim as hw
    >>> net = hw.hopfield([(3, 32, 32), hw.Conv(8, pool="max"), 10])
    >>> [link.post_shape for link in net.links]
    [(8, 16, 16), (10,)]
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: str = "none"

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride) < 1 or self.padding < 0:
            raise InputError(f"convolution: expected channels, kernel, stride >= 1 and padding >= 0, got {self}")


Layer = int | tuple[int, int, int] | Conv
"""Units of a vector, an image (channels, H, W) as the input, or a convolution."""


def hopfield(
    layers: Sequence[Layer],
    device: Device | Sequence[Device] | None = None,
    seed: int | Streams = 0,
    *,
    gain: float = 2.0,
    c: float = 1.0,
    output: str = "linear",
    start: str = "zero",
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> LayeredHopfield:
    """A layered Hopfield network with its initial weights, one array of ``device`` a link.

    The energy is that of Scellier and Bengio 2017 (Front Comput Neurosci 11:24), with c and outputs as in Mansingh et
    al. (arXiv 2401.11543); see ``LayeredHopfield``.

    Args:
        layers: input first, classes last: ``[64, 128, 10]`` units, or ``[(3, 32, 32), Conv(32), Conv(64), 10]`` for
            images (channels, H, W), convolutions before dense layers. Images may be given as they are or flat.
        device: of the arrays, one for all or one a link; exact float arithmetic by default.
        seed: of the devices and the weights, or ``Streams``.
        gain: weights are uniform within gain / sqrt(fan in), biases zero.
        c: of the energy's quadratic term c |s|^2, > 0; a hidden unit is clamp(drive / 2c, 0, 1).
        output: "linear", "clamped", or "readout", a last layer outside the dynamics.
        start: where relaxations begin, all layers at "zero" or one "feed-forward" pass.
        bias: "digital", biases beside the array on ``bias_device`` (float by default), or "column", one more column of
            the array itself.
        normalise: what the network does to pixels first; nothing by default.

    Raises InputError for layers that do not fit together.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 128, 10], hw.FloatDevice(), seed=0)
    >>> [tuple(weight.shape) for weight in net.weights()]
    [(128, 64), (128, 1), (10, 128), (10, 1)]
    """
    streams = seed if isinstance(seed, Streams) else Streams(seed)
    net = layered_hopfield(
        layers,
        FloatDevice() if device is None else device,
        streams,
        c=c,
        output=output,
        start=start,
        bias=bias,
        bias_device=bias_device,
        normalise=normalise,
    )
    net.program(net.initial_weights(gain, streams))
    return net


def layered_hopfield(
    layers: Sequence[Layer],
    device: Device | Sequence[Device],
    streams: Streams,
    *,
    c: float = 1.0,
    output: str = "linear",
    start: str = "zero",
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> LayeredHopfield:
    """The network of ``hopfield`` with its arrays as they are made: nothing is programmed yet.

    ``streams``: layer l's array gets the streams of the child ``("layer", l)``.
    """
    links = _chain(layers, device, streams, bias, bias_device)
    return LayeredHopfield(links, c=c, output=output, start=start, normalise=normalise)


def predictive_coding(
    layers: Sequence[Layer],
    device: Device | Sequence[Device] | None = None,
    seed: int | Streams = 0,
    *,
    gain: float = 2.0,
    c: float = 1.0,
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> PredictiveCoding:
    """A predictive coding network with its initial weights, one array of ``device`` a link.

    Whittington and Bogacz 2017; trained by equilibrium propagation in arXiv 2606.03584. Arguments are those of
    ``hopfield``. Raises InputError for layers that do not fit together.

    >>> import hwsim as hw
    >>> net, data = hw.predictive_coding([64, 32, 10], gain=3.0), hw.load_data("digits").validation
    >>> rule = hw.EquilibriumProp(0.1, free=hw.Phase(1), nudged=hw.Phase(5), solver=hw.ErrorSweeps())
    >>> len(hw.train(net, rule, data, rates=0.1, epochs=1))
    1
    """
    streams = seed if isinstance(seed, Streams) else Streams(seed)
    device = FloatDevice() if device is None else device
    net = predictive(layers, device, streams, c=c, bias=bias, bias_device=bias_device, normalise=normalise)
    net.program(net.initial_weights(gain, streams))
    return net


def predictive(
    layers: Sequence[Layer],
    device: Device | Sequence[Device],
    streams: Streams,
    *,
    c: float = 1.0,
    bias: str = "digital",
    bias_device: Device | None = None,
    normalise: Normalise | None = None,
) -> PredictiveCoding:
    """The network of ``predictive_coding`` with its arrays as they are made; streams as in ``layered_hopfield``."""
    return PredictiveCoding(_chain(layers, device, streams, bias, bias_device), c=c, normalise=normalise)


def _chain(
    layers: Sequence[Layer],
    device: Device | Sequence[Device],
    streams: Streams,
    bias: str,
    bias_device: Device | None,
) -> list[Link]:
    """The links between the layers on new arrays."""
    shape, above = _checked(layers)
    devices = [device] * len(above) if isinstance(device, Device) else list(device)
    if len(devices) != len(above):
        raise InputError(f"network: expected one device or {len(above)}, one a link, got {len(devices)}")
    links: list[Link] = []
    for layer in above:
        own, on = streams.child("layer", len(links)), devices[len(links)]
        if isinstance(layer, Conv):
            window = Window(shape[0], layer.kernel, layer.stride, layer.padding, constant=bias == "column")
            arrays = with_biases(layer.channels, window.fan_in, on, own, bias, bias_device)
            links.append(Convolution(*arrays, window, pool=layer.pool, size=(shape[1], shape[2])))
        else:
            arrays = with_biases(layer, math.prod(shape), on, own, bias, bias_device)
            links.append(Dense(*arrays, pre_shape=shape))
        shape = links[-1].post_shape
    return links


def _checked(layers: Sequence[Layer]) -> tuple[tuple[int, ...], list[int | Conv]]:
    """(shape of the input, the layers above it); InputError where they do not follow each other."""
    first, above = (layers[0], [each for each in layers[1:] if not isinstance(each, tuple)]) if layers else (0, [])
    shape = first if isinstance(first, tuple) else () if isinstance(first, Conv) else (first,)
    dense = [layer for layer in above if not isinstance(layer, Conv)]
    sizes = [*shape, *dense]
    if not dense or len(shape) not in (1, 3) or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise InputError(
            "network.layers: expected an input, units or an image (channels, H, W), and at least one layer of units "
            f"above it, all sizes at least 1; got {list(layers)}"
        )
    convolved = len(dense) < len(above)
    if above[-len(dense) :] != dense or (convolved and len(shape) == 1) or len(above) < len(layers) - 1:
        raise InputError(
            f"network.layers: expected convolutions right above an image (channels, H, W); got {list(layers)}"
        )
    return shape, above
