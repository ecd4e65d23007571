"""What aihwkit's noise models leave to their user: ages that were measured, and single devices as one matrix."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from aihwkit.inference.converter.conductance import SingleDeviceConductanceConverter
from aihwkit.inference.noise.reram import ReRamWan2022NoiseModel
from torch import Tensor

from hwsim.errors import InputError


def measured_ages(noise_model: Any) -> tuple[float, ...]:
    """The ages that a noise model was measured at, in seconds, rising; none for laws that hold at every age.

    Raises InputError for what is no age.
    """
    if not isinstance(noise_model, ReRamWan2022NoiseModel):
        return ()
    for age in noise_model.coeff_dic:
        if isinstance(age, bool) or not isinstance(age, int | float) or not 0 < age < math.inf:
            raise InputError(f"noise_model.coeff_dic: expected ages in seconds > 0 before the lists, got {age!r}")
    return tuple(sorted(float(age) for age in noise_model.coeff_dic))


def own_noise_model(noise_model: Any) -> Any:
    """A copy for one array; where a weight is a single device, with a converter that takes every matrix."""
    noise_model = copy.deepcopy(noise_model)
    if isinstance(noise_model.g_converter, SingleDeviceConductanceConverter):
        noise_model.g_converter = SingleDevices(noise_model.g_converter.g_max, noise_model.g_converter.g_min)
    return noise_model


class SingleDevices(SingleDeviceConductanceConverter):
    """One device a weight, as aihwkit has it: the lowest weight at ``g_min``, the highest at ``g_max``.

    aihwkit gives NaN for a matrix of equal weights, which here are all at ``g_min``, and treats its rows as devices of
    a weight.
    """

    @torch.no_grad()
    def convert_to_conductances(self, weights: Tensor) -> tuple[list[Tensor], dict[str, Any]]:
        lowest = weights.min()
        span = weights.max() - lowest
        scale = (self.g_max - self.g_min) / (span if float(span) else torch.ones_like(span))
        return [(weights - lowest) * scale + self.g_min], {"scale_ratio": scale, "min": lowest}

    @torch.no_grad()
    def convert_back_to_weights(self, conductances: list[Tensor], params: dict[str, Any]) -> Tensor:
        return super().convert_back_to_weights(conductances[0], params)
