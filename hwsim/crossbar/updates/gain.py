"""A digital gain behind an array, learned, and shared by both read directions.

Devices cannot hold large weights where pulses pull them back; a gain can. With W the array's weights and g its gain the
link reads g W forward and W^T g back, so the energy stays one: -<post, g W pre>. Its derivative in g is the local
product -<post, W pre>, which equilibrium propagation contrasts between its phases as it does post pre^T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, check_rate, check_weight
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

PER = ("layer", "output")
GAIN = "update.gain"
LEAST = 1e-3
"""Smallest gain: none becomes zero, where nothing would be learned any more, or negative."""


@dataclass(frozen=True)
class GainDevice(WrappedDevice):
    """A device whose layers have a gain.

    Args:
        rate: learning rate of the gain for a rate of 1 of the weights; 0: it stays.
        per: one gain a ``layer``, or one an ``output``: scales of the columns of conductances. An output's gain acts
            behind the forward read and before the converters of the transpose read. Programming then maps the largest
            weight of every output to the same conductance.
    """

    device: Device
    rate: float
    per: str = "layer"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < math.inf:
            raise InputError(f"gain_rate: expected a finite number >= 0, got {self.rate}")
        if self.per not in PER:
            raise InputError(f"gain_per: expected one of {', '.join(PER)}, got {self.per!r}")

    @property
    def ideal(self) -> bool:
        return False

    def synapse(self, post: int, pre: int, streams: Streams) -> GainSynapse:
        return GainSynapse(self.device.synapse(post, pre, streams), self.rate, self.per)


class GainSynapse(WrappedSynapse):
    """A layer with its gain, (1,) or (post,); weights are those that reads find, gain included.

    An update reads the layer once more, at the inputs that it is about to send, and moves the gain at the end of the
    step. The weights' own share follows the chain rule: W += rate g post^T pre.
    """

    def __init__(self, inner: Synapse, rate: float, per: str) -> None:
        super().__init__(inner)
        self._rate = rate
        like = inner.weight()
        self.gain = like.new_ones(inner.shape[0] if per == "output" else 1)
        self._step = torch.zeros_like(self.gain)
        self._changes = 0

    @property
    def version(self) -> int:
        return self.inner.version + self._changes

    def read(self, pre: Tensor) -> Tensor:
        return super().read(pre) * self.gain

    def read_transpose(self, post: Tensor) -> Tensor:
        return self._back(post, super().read_transpose)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        return super().read_images(images, window) * self.gain[:, None, None]

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        bank = kernels(self.inner, window)
        if len(self.gain) == 1:
            return bank.read_transpose(images, size) * self.gain
        return bank.read_transpose(images * self.gain[:, None, None], size)

    def _back(self, post: Tensor, read) -> Tensor:
        return read(post) * self.gain if len(self.gain) == 1 else read(post * self.gain)

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        if self._rate and rate:
            self._learn((post * self.inner.read(pre)).sum(0), rate)
        self.inner.update(pre, post * self.gain, rate)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        check_rate(rate)
        bank = kernels(self.inner, window)
        if self._rate and rate:
            self._learn((post * bank.read(pre)).sum((0, 2, 3)), rate)
        bank.update(pre, post * self.gain[:, None, None], rate)

    def _learn(self, products: Tensor, rate: float) -> None:
        """``products`` (post,): what each output contributes to <post, W pre>."""
        change = products if len(self.gain) > 1 else products.sum()
        self._step.add_(change, alpha=self._rate * rate)

    @torch.no_grad()
    def tick(self) -> None:
        super().tick()
        if self._step.any():
            self.gain.add_(self._step).clamp_min_(LEAST)
            self._step.zero_()
            self._changes += 1

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        self._step.zero_()
        self.gain.fill_(1.0)
        largest = weight.abs().amax(1).to(self.gain)
        if len(self.gain) > 1 and float(largest.max()):
            self.gain.copy_((largest / largest.max()).clamp_min(LEAST))
        self._changes += 1
        self.inner.program(weight / self.gain.to(weight)[:, None])

    def weight(self) -> Tensor:
        return self.inner.weight() * self.gain[:, None]

    def state_dict(self) -> dict[str, Tensor]:
        return {GAIN: self.gain.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if GAIN not in state or state[GAIN].shape != self.gain.shape:
            raise ValueError(f"saved state of a layer with {len(self.gain)} gains: expected {GAIN} of that length")
        super().load_state_dict({key: value for key, value in state.items() if key != GAIN})
        self.gain.copy_(state[GAIN])
        self._step.zero_()
        self._changes += 1
