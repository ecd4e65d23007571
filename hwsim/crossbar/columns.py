"""Columnwise mapping: every output's largest weight takes the whole range, with a digital factor an output.

aihwkit's ``weight_scaling_columnwise``. The factors lie behind the forward read's converters and before those of the
transpose read, so both see the same weights; an output whose weights are small is read with as little noise as the
others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, check_rate, check_weight
from hwsim.crossbar.updates.gain import GainSynapse
from hwsim.crossbar.updates.pulsed import Pulsed
from hwsim.crossbar.wrapped import WrappedDevice
from hwsim.rng import Streams


@dataclass(frozen=True)
class ColumnwiseDevice(WrappedDevice):
    """A device whose arrays are mapped output by output; the factors stay as they are until the next programming."""

    device: Device

    def synapse(self, post: int, pre: int, streams: Streams) -> ColumnwiseSynapse:
        return ColumnwiseSynapse(self.device.synapse(post, pre, streams))


class ColumnwiseSynapse(GainSynapse):
    """An array and the factor of each of its outputs, (post,), of which the largest is 1.

    Unlike a learned gain, a factor is no parameter: an update of the weights is divided by it on its way to the
    devices, so that the weights change as they would on any array.
    """

    def __init__(self, inner: Synapse) -> None:
        super().__init__(inner, 0.0, "output")

    @property
    def granularity(self) -> float | Tensor | None:
        """Of a pulse, in weights: (post, 1); see ``Pulsed``."""
        step = self.inner.granularity if isinstance(self.inner, Pulsed) else None
        return step if step is None or not torch.as_tensor(step).any() else step * self.gain[:, None]

    def pulse(self, counts: Tensor) -> None:
        if not isinstance(self.inner, Pulsed):
            raise TypeError(f"{type(self.inner).__name__} takes no whole pulses")
        self.inner.pulse(counts)

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        self.inner.update(pre, post / self.gain, rate)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        check_rate(rate)
        kernels(self.inner, window).update(pre, post / self.gain[:, None, None], rate)

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        largest = weight.abs().amax(1).to(self.gain)
        of_all = float(largest.max())
        self.gain.copy_(torch.where(largest > 0, largest / of_all, 1.0) if of_all else torch.ones_like(self.gain))
        self._changes += 1
        self.inner.program(weight / self.gain.to(weight)[:, None])
