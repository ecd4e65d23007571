"""Weights into and out of aihwkit's own layers, for those who go on there or come from there."""

from __future__ import annotations

from typing import Any

import torch
from aihwkit.nn import AnalogConv2d, AnalogLinear
from torch import Tensor

from hwsim.errors import InputError


def analog_linear(weight: Tensor, bias: Tensor | None, config: Any) -> AnalogLinear:
    """An ``AnalogLinear`` of an RPUConfig that holds these weights.

    Args:
        weight: (post, pre), as ``Synapse.weight`` gives it.
        bias: (post,) or (post, 1); digital, as hwsim's biases are by default.
        config: such as ``hw.device("ecram").config``, or what `hwsim device export` writes.
    """
    layer = AnalogLinear(weight.shape[1], weight.shape[0], bias=bias is not None, rpu_config=config)
    layer.set_weights(weight.detach(), None if bias is None else bias.detach().flatten())
    return layer


def analog_conv(
    weight: Tensor, bias: Tensor | None, config: Any, *, kernel: int, stride: int, padding: int
) -> AnalogConv2d:
    """An ``AnalogConv2d`` of an RPUConfig whose kernels are the rows of ``weight`` (channels, in x kernel x kernel)."""
    channels, fan_in = weight.shape
    if fan_in % kernel**2:
        raise InputError(f"kernel {kernel}: expected a divisor of the array's {fan_in} inputs by its square")
    layer = AnalogConv2d(
        fan_in // kernel**2, channels, kernel, stride=stride, padding=padding, bias=bias is not None, rpu_config=config
    )
    layer.set_weights(weight.detach(), None if bias is None else bias.detach().flatten())
    return layer


def weights_of(layer: AnalogLinear | AnalogConv2d) -> tuple[Tensor, Tensor | None]:
    """(weight (post, pre), bias (post,) or None) of an analog layer, as ``Network.program`` takes them.

    Kernels come as rows, (channels, in x kernel x kernel).
    """
    weight, bias = layer.get_weights()
    weight = torch.as_tensor(weight).detach().clone()
    return weight.flatten(1), None if bias is None else torch.as_tensor(bias).detach().clone()
