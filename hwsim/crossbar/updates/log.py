"""A log of the pulses that every cross-point was sent: wear, which no sum over an array shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwsim.crossbar.averaged import AveragedDevice
from hwsim.crossbar.columns import ColumnwiseDevice
from hwsim.crossbar.reads.kernels import PatchKernels
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, check_weight
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.pulsed import Pulsed, PulseTrains, granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

PULSES = "pulses"
"""Name of the log among what ``conductances`` gives."""
LOG = "pulses.sent"


def logged(device: Device) -> Device:
    """``device`` with a log for each array, inside tiles, twins and scales of columns."""
    if isinstance(device, TiledDevice | TwinDevice | AveragedDevice | ColumnwiseDevice):
        return replace(device, device=logged(device.device))
    return LoggedDevice(device)


@dataclass(frozen=True)
class LoggedDevice(WrappedDevice):
    """A device each of whose arrays counts the pulses of its updates, cross-point by cross-point.

    InputError for a device whose pulses have no size that is known.
    """

    device: Device

    def synapse(self, post: int, pre: int, streams: Streams) -> LoggedUpdates:
        inner = self.device.synapse(post, pre, streams)
        step = granularity(inner)
        if not isinstance(inner, PulseTrains) or step is None or not torch.as_tensor(step).any():
            raise InputError(
                "pulse_log: expected a device moved by pulses of a known size; this one takes exact updates, or sums "
                "them itself (mixed precision)"
            )
        return LoggedUpdates(inner)


class LoggedUpdates(WrappedSynapse):
    """An array and the pulses that its cross-points were sent since it was built, (post, pre), up and down alike.

    Of stochastic trains these are the expected ones, as the meter's are, saturation included; whole pulses are
    counted. In a compound they go to the fast array. Pulses of programming and of transfers are not among them.
    """

    def __init__(self, inner: Synapse) -> None:
        super().__init__(inner)
        self.sent = torch.zeros(inner.shape, dtype=torch.float64)

    @property
    def granularity(self) -> float | Tensor | None:
        return granularity(self.inner)

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        if rate:
            per_unit = self.inner.pulses_per_unit(rate) if isinstance(self.inner, PulseTrains) else 0.0
            sizes = pre.abs(), post.abs()
            k = sizes[0].amax(1) * sizes[1].amax(1) * per_unit
            limit = self.meter.k_limit
            kept = torch.ones_like(k) if limit is None else (limit / k.clamp_min(1e-30)).clamp_max(1.0)
            self.sent += ((sizes[1] * kept[:, None]).T @ sizes[0]).double() * per_unit
        super().update(pre, post, rate)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        PatchKernels(self, window).update(pre, post, rate)

    @torch.no_grad()
    def pulse(self, counts: Tensor) -> None:
        if not isinstance(self.inner, Pulsed):
            raise TypeError(f"{type(self.inner).__name__} takes no whole pulses")
        self.sent += counts.abs()
        self.inner.pulse(counts)

    def conductances(self) -> dict[str, Tensor]:
        return {**super().conductances(), PULSES: self.sent.float()}

    def state_dict(self) -> dict[str, Tensor]:
        return {LOG: self.sent.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if LOG not in state:
            raise ValueError(f"saved state of an array that logs its pulses: expected {LOG}")
        check_weight(state[LOG], self.shape)
        super().load_state_dict({key: value for key, value in state.items() if key != LOG})
        self.sent.copy_(state[LOG])
