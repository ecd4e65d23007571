"""Learning rates in pulses: every layer is sent the same number a row, over all of training.

The size of a row's factors differs from layer to layer and falls as training goes on, so one rate in weights is many
pulses here and none there. Rasch, Carta, Fagbohungbe and Gokmen (Nat. Commun. 2024, 15:7133) scale each layer's rate by
running means of its largest factors; aihwkit calls it ``auto_scale``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, check_rate
from hwsim.crossbar.updates.pulsed import mean_granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

MOMENTUM = 0.99
LARGEST = "update.largest"


@dataclass(frozen=True)
class NormalisedDevice(WrappedDevice):
    """A device whose updates take a rate of 1 for ``pulses`` expected at a row's strongest cross-point, in the mean.

    ``momentum`` is that of the running mean, in calls of ``update``. InputError for a device whose pulses have no size.
    """

    device: Device
    pulses: float
    momentum: float = MOMENTUM

    def __post_init__(self) -> None:
        if not 0 <= self.pulses < math.inf:
            raise InputError(f"rate_pulses: expected a finite number >= 0, got {self.pulses}")
        if not 0 <= self.momentum < 1:
            raise InputError(f"rate_pulses: expected a momentum in [0, 1), got {self.momentum}")

    def synapse(self, post: int, pre: int, streams: Streams) -> NormalisedUpdates:
        inner = self.device.synapse(post, pre, streams)
        if not mean_granularity(inner):
            raise InputError(
                "rate_pulses: expected a device moved by pulses of a known size; give `rates` for this one"
            )
        return NormalisedUpdates(inner, self.pulses, self.momentum)


class NormalisedUpdates(WrappedSynapse):
    """An array whose rates are in pulses.

    With s the change of a weight by a pulse and m the running mean over rows of |pre|max |post|max, a rate of 1 is
    pulses s / m in weights. m is the mean of the product, because the factored difference of two phases pairs a large
    factor with a small one.
    """

    def __init__(self, inner: Synapse, pulses: float, momentum: float) -> None:
        super().__init__(inner)
        self._pulses, self._momentum = pulses, momentum
        self._largest = 0.0  # before the first update
        self.rate_factor = 1.0
        """What a rate was multiplied by in the last update, to be in weights."""

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        super().update(pre, post, self._in_weights(rate, pre.abs().amax(1) * post.abs().amax(1)))

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        check_rate(rate)
        pixels = pre.abs().amax(1, keepdim=True)
        patches = functional.max_pool2d(pixels, window.kernel, window.stride, window.padding)
        if window.constant:
            patches = patches.clamp_min(1.0)
        largest = patches * post.abs().amax(1, keepdim=True)
        super().update_images(pre, post, self._in_weights(rate, largest.flatten()), window)

    def _in_weights(self, rate: float, largest: Tensor) -> float:
        sent = largest[largest > 0]
        if len(sent):
            now = float(sent.mean())
            self._largest = now if not self._largest else self._momentum * self._largest + (1 - self._momentum) * now
        self.rate_factor = self._pulses * mean_granularity(self.inner) / self._largest if self._largest else 0.0
        return rate * self.rate_factor

    def state_dict(self) -> dict[str, Tensor]:
        return {LARGEST: torch.tensor(self._largest, dtype=torch.float64), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if LARGEST not in state:
            raise ValueError(f"saved state of an array with rates in pulses: expected {LARGEST}")
        super().load_state_dict({key: value for key, value in state.items() if key != LARGEST})
        self._largest = float(state[LARGEST])
