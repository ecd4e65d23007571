"""Weights go into aihwkit's own layers and come back, and both read alike: in mean, and in spread over read noise."""

from __future__ import annotations

import pytest
import torch
from aihwkit.simulator.configs import FloatingPointRPUConfig

from hwsim.cards.device import device
from hwsim.crossbar.reads.window import Window
from hwsim.devices.aihw.layers import analog_conv, analog_linear, weights_of
from hwsim.errors import InputError
from hwsim.rng import Streams

DRAWS = 1500


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_linear_layer_reads_as_the_array_does() -> None:
    ecram = device("ecram")
    array = ecram.synapse(5, 8, Streams(0))
    array.program(0.2 * torch.randn(5, 8, generator=rng(1)))
    layer = analog_linear(array.weight(), None, ecram.config)  # type: ignore[attr-defined]
    x = torch.rand(1, 8, generator=rng(2))
    ours = array.read(x.expand(DRAWS, -1))
    theirs = layer(x.expand(DRAWS, -1)).detach()
    spread = ours.std(0)
    assert (spread > 0.01).all()
    error = spread * (2 / DRAWS) ** 0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 6 * error + 1e-3).all()
    assert ((theirs.std(0) / spread - 1).abs() < 0.15).all()


@pytest.mark.parametrize("bias", [True, False])
def test_weights_come_back(bias: bool) -> None:
    config = FloatingPointRPUConfig()  # devices have bounds of their own, drawn anew: they would clip some weights
    weight, digital = 0.05 * torch.randn(5, 8, generator=rng(3)), torch.randn(5, generator=rng(4)) if bias else None
    back, its_bias = weights_of(analog_linear(weight, digital, config))
    torch.testing.assert_close(back, weight, rtol=1e-5, atol=1e-6)
    assert (its_bias is None) == (digital is None)
    if digital is not None and its_bias is not None:
        torch.testing.assert_close(its_bias, digital)


def test_a_convolution_has_its_kernels_as_rows() -> None:
    config = FloatingPointRPUConfig()  # devices have bounds of their own, drawn anew: they would clip some weights
    window = Window(2, 3, 2, 1)
    weight = 0.05 * torch.randn(4, window.fan_in, generator=rng(5))
    layer = analog_conv(weight, None, config, kernel=3, stride=2, padding=1)
    torch.testing.assert_close(weights_of(layer)[0], weight, rtol=1e-5, atol=1e-6)
    images = torch.rand(2, 2, 8, 8, generator=rng(6))
    exact = torch.nn.functional.conv2d(images, weight.reshape(4, 2, 3, 3), stride=2, padding=1)
    torch.testing.assert_close(layer(images).detach(), exact, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="kernel 4"):
        analog_conv(weight, None, config, kernel=4, stride=1, padding=0)
