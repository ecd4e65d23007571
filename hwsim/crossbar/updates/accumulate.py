"""Updates summed in digital and written as whole pulses: the traffic of a batch never reaches the devices.

The mixed-precision scheme of Nandakumar et al. (Front. Neurosci. 2020, 14:406), for any device that pulses move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.composite import Composite
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Device, Synapse, check_rate, check_weight
from hwsim.crossbar.updates.pulsed import Pulsed, granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

SUM, STEPS = "update.sum", "update.steps"
BYTES = 4  # of a float32 in digital memory


@dataclass(frozen=True)
class AccumulatedDevice(WrappedDevice):
    """A device whose arrays have a digital sum each, written to the devices every ``every`` training steps.

    InputError for devices that are trained digitally anyway.
    """

    device: Device
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"update: accumulate: expected a number of steps >= 1, got {self.every}")
        if self.device.trains != "in-situ":
            raise InputError(
                "update: accumulate: expected a device that updates act on; this one is trained in digital "
                f"({self.device.trains}), where every update is exact"
            )

    def synapse(self, post: int, pre: int, streams: Streams) -> AccumulatedUpdates:
        """An array with its sum at zero. InputError where the size of a pulse is unknown."""
        inner = self.device.synapse(post, pre, streams)
        if isinstance(inner, Composite):
            raise InputError(
                "update: accumulate: a sum belongs to one array; UpdateMode puts it inside tiles and twins"
            )
        if granularity(inner) is None:
            raise InputError(
                f"update: accumulate: {type(inner).__name__} does not say how far one pulse moves a weight; a device "
                "that sums its updates itself (mixed precision) has no use for it"
            )
        return AccumulatedUpdates(inner, self.every)


class AccumulatedUpdates(WrappedSynapse):
    """An array and its digital sum chi, (post, pre), in weights.

    Every ``every`` steps the whole pulses in chi are sent row by row, trunc(chi / granularity) to each cross-point and
    at most as many as a train may have; the rest stays in chi. Exact devices take all of it. Programming clears chi.
    """

    def __init__(self, inner: Synapse, every: int) -> None:
        super().__init__(inner)
        self._every = every
        self._sum = torch.zeros_like(inner.weight())
        self._steps = 0
        self._rate = 0.0  # of the last update, for the weight decay of exact arrays

    @property
    def digital_bytes(self) -> int:
        """Digital memory beside the array."""
        return BYTES * self._sum.numel()

    @property
    def period(self) -> int:
        return self._every

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self._add(post.T @ pre, len(pre), rate)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        self._add(window.product(pre, post), len(post) * post.shape[2:].numel(), rate)

    def _add(self, product: Tensor, vectors: int, rate: float) -> None:
        check_rate(rate)
        self.meter.vectors_updated += vectors
        self.meter.digital_products += vectors * product.numel()
        self._sum.add_(product, alpha=rate)
        self._rate = rate or self._rate

    @torch.no_grad()
    def tick(self) -> None:
        self._steps += 1
        if self._steps >= self._every:
            self._write()
            self._steps = 0
        super().tick()

    def _write(self) -> None:
        if not isinstance(self.inner, Pulsed) or self.inner.granularity is None:
            raise TypeError("an array with a digital sum takes whole pulses")
        step = self.inner.granularity
        if isinstance(step, float) and step == 0:
            self._write_exactly()
            return
        counts = (self._sum / step).trunc_()
        if self.meter.k_limit is not None:
            counts.clamp_(-self.meter.k_limit, self.meter.k_limit)
        self._sum.addcmul_(counts, torch.as_tensor(step, dtype=counts.dtype), value=-1)
        self.inner.pulse(counts)

    def _write_exactly(self) -> None:
        if self._rate:
            counted = self.meter.vectors_updated
            self.inner.update(torch.eye(self.shape[1]).to(self._sum), self._sum.T / self._rate, self._rate)
            self.meter.vectors_updated = counted  # rows of the learning rule
            self._sum.zero_()

    def program(self, weight: Tensor) -> None:
        super().program(weight)
        self._sum.zero_()
        self._steps = 0

    def state_dict(self) -> dict[str, Tensor]:
        return {SUM: self._sum.clone(), STEPS: torch.tensor(self._steps), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        missing = {SUM, STEPS} - set(state)
        if missing:
            raise ValueError(f"saved state of an array with a digital sum: expected {', '.join(sorted(missing))}")
        check_weight(state[SUM], self.shape)
        super().load_state_dict({key: value for key, value in state.items() if key not in (SUM, STEPS)})
        self._sum.copy_(state[SUM])
        self._steps = int(state[STEPS])
