"""Exact arrays: float is just another device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Meter, check_keys, check_rate, check_weight
from hwsim.rng import Streams


@dataclass(frozen=True)
class FloatDevice:
    """Exact arithmetic, with the digital optimiser that software training is used to.

    Args:
        momentum: heavy-ball coefficient in [0, 1); applied once a ``tick``.
        weight_decay: L2 coefficient, >= 0; the weights shrink by ``rate * weight_decay`` with the first
            update of a step, however many calls the step is written in.
        dtype: of the weights; float64 for theory.
        place: the torch device that computes, such as "cuda".
        lowest: no weight is less; what programs or updates an array below it leaves it there.

    >>> import hwsim as hw
    >>> hw.hopfield([64, 16, 10], hw.FloatDevice(momentum=0.9)).noisy
    False
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    dtype: torch.dtype = torch.float32
    place: str = "cpu"
    lowest: float = -math.inf

    seedable = True
    trains = "in-situ"
    drifts = False
    ideal = True
    unseeded_reads = not_exact = not_used = ()

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"FloatDevice.momentum: expected a number in [0, 1), got {self.momentum}")
        if self.weight_decay < 0:
            raise ValueError(f"FloatDevice.weight_decay: expected a number >= 0, got {self.weight_decay}")
        if not self.lowest < math.inf:
            raise ValueError(f"FloatDevice.lowest: expected a number, or -inf for none, got {self.lowest}")

    def with_lowest(self, lowest: float) -> FloatDevice:
        """The same, with no weight below ``lowest``."""
        return replace(self, lowest=lowest)

    def synapse(self, post: int, pre: int, streams: Streams) -> FloatSynapse:
        """Weights at zero, or at the lowest where that is more; ``streams`` are not used, float has no randomness."""
        del streams
        weight = torch.full((post, pre), max(self.lowest, 0.0), dtype=self.dtype, device=self.place)
        return FloatSynapse(weight, self.momentum, self.weight_decay, self.lowest)


class FloatSynapse:
    """A plain weight matrix. Its reads carry a gradient to ``tensor`` when that requires one.

    It offers the operations of ``ImageSynapse`` as well: exact arithmetic needs no patches.
    """

    noisy = False
    rounded = False
    """Are the products of its reads computed in fewer bits than its weights have?"""

    def __init__(
        self, weight: Tensor, momentum: float = 0.0, weight_decay: float = 0.0, lowest: float = -math.inf
    ) -> None:
        self.tensor = weight
        self.shape = (weight.shape[0], weight.shape[1])
        self.meter = Meter()
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._lowest = lowest
        self._velocity = torch.zeros_like(weight, requires_grad=False)
        self._begun = False  # has this training step written anything yet?

    @property
    def version(self) -> int:
        return self.tensor._version  # counted by torch: whoever writes into the tensor is seen

    @property
    def matrix(self) -> Tensor | None:
        """What reads are products with, and nothing else; None for a subclass, which may add to them."""
        return self.tensor if type(self) is FloatSynapse else None

    def read(self, pre: Tensor) -> Tensor:
        self.meter.vectors_read += pre.shape[0]
        if self.shape[0] < pre.shape[0]:
            return (self.tensor @ pre.T).T  # the order of the factors that takes half the time
        return pre @ self.tensor.T

    def read_transpose(self, post: Tensor) -> Tensor:
        self.meter.vectors_read_transpose += post.shape[0]
        return post @ self.tensor

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.meter.vectors_updated += len(pre)
        check_rate(rate)
        if self._direct:
            self.tensor.addmm_(post.T, pre, alpha=rate)
            self._bound()
        else:
            first = self._begin()
            self._velocity.addmm_(post.T, pre, beta=self._momentum if first else 1.0, alpha=rate)
            self._decay(rate, first)

    @property
    def granularity(self) -> float:
        return 0.0

    def pulse(self, counts: Tensor) -> None:
        raise ValueError(f"an exact array takes no pulses, got {int(counts.abs().sum())}")

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        read = window.correlate(images, self.tensor)
        self.meter.vectors_read += len(read) * read.shape[2:].numel()
        return read

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        self.meter.vectors_read_transpose += len(images) * images.shape[2:].numel()
        return window.spread(images, self.tensor, size)

    @torch.no_grad()
    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        self.meter.vectors_updated += len(post) * post.shape[2:].numel()
        check_rate(rate)
        product = window.product(pre, post)
        if self._direct:
            self.tensor.add_(product, alpha=rate)
            self._bound()
            return
        first = self._begin()
        if first:
            self._velocity.mul_(self._momentum)
        self._velocity.add_(product, alpha=rate)
        self._decay(rate, first)

    @property
    def _direct(self) -> bool:
        """Do updates go into the weights at once? Momentum and decay gather a step first, and write it in ``tick``."""
        return not (self._momentum or self._weight_decay)

    def _bound(self) -> None:
        if self._lowest > -math.inf:
            self.tensor.clamp_min_(self._lowest)

    def _begin(self) -> bool:
        """Is this the first update of a training step?"""
        first, self._begun = not self._begun, True
        return first

    def _decay(self, rate: float, first: bool) -> None:
        if first and self._weight_decay:
            self._velocity.add_(self.tensor, alpha=-rate * self._weight_decay)

    @torch.no_grad()
    def tick(self) -> None:
        # v <- mu v + step, W <- W + v; the first update of a step has brought the mu along.
        if self._direct:
            return
        if not self._begun:
            self._velocity.mul_(self._momentum)
        self.tensor.add_(self._velocity)
        self._bound()
        self._begun = False

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        self.tensor.copy_(weight)
        self._bound()
        self._restart(torch.zeros_like(self._velocity))

    def weight(self) -> Tensor:
        return self.tensor.detach().clone()

    def conductances(self) -> dict[str, Tensor]:
        return {"weight": self.weight()}

    def clipped_share(self) -> float:
        return 0.0

    def reseed_reads(self, streams: Streams) -> None:
        del streams

    def state_dict(self) -> dict[str, Tensor]:
        return {"weight": self.weight(), "velocity": self._velocity.clone()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        check_keys(state, {"weight", "velocity"}, "float synapse")
        check_weight(state["weight"], self.shape)
        check_weight(state["velocity"], self.shape)
        self.tensor.copy_(state["weight"])
        self._restart(state["velocity"])

    def _restart(self, velocity: Tensor) -> None:
        """Between two training steps, with this momentum; an unfinished step is forgotten."""
        self._velocity.copy_(velocity)
        self._begun = False


def is_exact(synapse: object) -> bool:
    """Are the reads of a synapse plain products with its matrix, and nothing else, in whatever precision?"""
    return isinstance(synapse, FloatSynapse) and (synapse.matrix is not None or synapse.rounded)
