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
from hwsim.crossbar.updates.pulsed import Pulsed, ScalesUpdates, check_momentum, granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError
from hwsim.rng import Streams

SUM, STEPS, MEAN = "update.sum", "update.steps", "update.mean"
BYTES = 4  # of a float32 in digital memory


@dataclass(frozen=True)
class AccumulatedDevice(WrappedDevice):
    """A device whose arrays have a digital sum each, written to the devices every ``every`` training steps.

    Args:
        momentum: in [0, 1). Above 0 a running mean of the steps goes into the sum in place of each step itself:
            mean <- momentum mean + (1 - momentum) step. Rates keep their meaning, and noise of reads,
            which differs from step to step, sends fewer pulses to and fro.

    InputError for devices that are trained digitally anyway.
    """

    device: Device
    every: int = 1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"update: accumulate: expected a number of steps >= 1, got {self.every}")
        check_momentum(self.momentum, "accumulate")
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
        if isinstance(inner, ScalesUpdates) and inner.scales_updates:
            raise InputError(
                "update: accumulate: this device scales every update by those before it (auto_scale), so that whole "
                "pulses are not what reaches it; `per-sample` and `low-rank` go with it"
            )
        return AccumulatedUpdates(inner, self.every, self.momentum)


class AccumulatedUpdates(WrappedSynapse):
    """An array and its digital sum chi, (post, pre), in weights.

    Every ``every`` steps the whole pulses in chi are sent row by row, trunc(chi / granularity) to each cross-point and
    at most as many as a train may have; the rest stays in chi. Exact devices take all of it. Programming clears chi.
    With a momentum a second matrix holds the running mean of the steps, which is what chi sums.
    """

    def __init__(self, inner: Synapse, every: int, momentum: float = 0.0) -> None:
        super().__init__(inner)
        self._every, self._momentum = every, momentum
        self._sum = torch.zeros_like(inner.weight())
        self._mean = torch.zeros_like(self._sum) if momentum else None
        self._steps = 0
        self._rate = 0.0  # of the last update, for the weight decay of exact arrays

    @property
    def digital_bytes(self) -> int:
        """Digital memory beside the array."""
        return BYTES * self._sum.numel() * (1 if self._mean is None else 2)

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
        if self._mean is None:
            self._sum.add_(product, alpha=rate)
        else:
            self._mean.add_(product, alpha=rate * (1 - self._momentum))
        self._rate = rate or self._rate

    @torch.no_grad()
    def tick(self) -> None:
        if self._mean is not None:
            self._sum.add_(self._mean)
            self._mean.mul_(self._momentum)
            self.meter.digital_products += self._mean.numel()
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
        for matrix in self._matrices().values():
            matrix.zero_()
        self._steps = 0

    def _matrices(self) -> dict[str, Tensor]:
        """What lies in digital memory, by its name in a saved state."""
        return {SUM: self._sum} | ({} if self._mean is None else {MEAN: self._mean})

    def state_dict(self) -> dict[str, Tensor]:
        own = {name: matrix.clone() for name, matrix in self._matrices().items()}
        return {**own, STEPS: torch.tensor(self._steps), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        own = self._matrices()
        missing = {*own, STEPS} - set(state)
        if missing:
            raise ValueError(f"saved state of an array with a digital sum: expected {', '.join(sorted(missing))}")
        for name in own:
            check_weight(state[name], self.shape)
        super().load_state_dict({key: value for key, value in state.items() if key not in (*own, STEPS)})
        for name, matrix in own.items():
            matrix.copy_(state[name])
        self._steps = int(state[STEPS])
