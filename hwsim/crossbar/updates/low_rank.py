"""Updates sent as a few large vectors: the leading factors of a batch's sum, one pulse train each.

The sum over a batch's rows, post^T pre, is kept as ``rank`` pairs of vectors while rows stream in: some rows are
appended to the factors, and a small singular value decomposition, of the product of both triangular factors (QR),
truncates what is there to the leading ``rank``. The matrix itself is never built (Brand, Linear Algebra Appl. 2006,
415:20; for training on emerging memories Gural, Nadeau, Tikekar and Murmann 2020, arXiv 2009.03887).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.composite import layout
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Device, Synapse, check_pulses, check_rate, check_weight
from hwsim.crossbar.updates.pulsed import check_momentum, mean_granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError, WorkError
from hwsim.rng import Streams

AT_ONCE = 32
"""Rows appended before the factors are truncated, or as many as there are factors where that is more."""

PRE, POST = "update.pre", "update.post"

MOST_TRAINS = 10_000
"""Trains that may stand for one product; one that needs more is no update that a device could take in time."""


@dataclass(frozen=True)
class LowRankDevice(WrappedDevice):
    """A device whose arrays are updated by the ``rank`` leading factors of a training step's sum.

    Args:
        momentum: in [0, 1). Above 0 the factors are those of a running mean of the steps,
            mean <- momentum mean + (1 - momentum) step, in which read noise cancels.
    """

    device: Device
    rank: int
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_momentum(self.momentum, "low-rank")
        if self.rank < 1:
            raise InputError(f"update: low-rank: expected a number of factors >= 1, got {self.rank}")
        if self.device.trains != "in-situ":
            raise InputError(
                "update: low-rank: expected a device that updates act on; this one is trained in digital "
                f"({self.device.trains}), where every update is exact"
            )

    def synapse(self, post: int, pre: int, streams: Streams) -> LowRankUpdates:
        """An array with its factors at zero. InputError for more factors than the array has rows or columns."""
        if self.rank > min(post, pre):
            raise InputError(
                f"update: low-rank: an array of {post} x {pre} has sums of rank {min(post, pre)} at most, "
                f"got {self.rank} factors; `accumulate` keeps all of them"
            )
        return LowRankUpdates(self.device.synapse(post, pre, streams), self.rank, self.momentum)


class LowRankUpdates(WrappedSynapse):
    """An array and the factors of the sum of this step's rows, sent at its end.

    A factor whose strongest cross-point expects more pulses than a train may have is sent in several trains, so that
    none saturates. What truncation leaves out is lost. Between steps nothing is kept but, with a momentum, the factors.
    """

    def __init__(self, inner: Synapse, rank: int, momentum: float = 0.0) -> None:
        super().__init__(inner)
        self._rank, self._momentum = rank, momentum
        like = inner.weight()
        self._pre, self._post = like.new_zeros(0, self.shape[1]), like.new_zeros(0, self.shape[0])

    period = 1

    @property
    def digital_bytes(self) -> int:
        """Digital memory beside the array: the factors and the rows appended to them."""
        return 4 * (self._rank + max(AT_ONCE, self._rank)) * sum(self.shape)

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        self.meter.vectors_updated += len(pre) * layout(self).tiles
        if rate == 0:
            return
        size = max(AT_ONCE, self._rank)
        for x, d in zip(pre.split(size), post.split(size), strict=True):
            self._append(x, d * (rate * (1 - self._momentum)))

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        self.update(window.patches(pre), as_rows(post), rate)

    def _append(self, pre: Tensor, post: Tensor) -> None:
        pre, post = torch.cat([self._pre, pre]), torch.cat([self._post, post])
        check_pulses(float(pre.abs().amax() * post.abs().amax()))
        self.meter.digital_products += len(pre) ** 2 * sum(self.shape)  # of the two QR decompositions
        self._pre, self._post = truncated(pre, post, self._rank)

    @torch.no_grad()
    def tick(self) -> None:
        if len(self._pre):
            counted = self.meter.vectors_updated
            self.inner.update(*self._trains(), 1.0)
            self.meter.vectors_updated = counted  # rows of the learning rule, not the factors that stand for them
            kept, share = len(self._pre) if self._momentum else 0, math.sqrt(self._momentum)
            self._pre, self._post = self._pre[:kept] * share, self._post[:kept] * share
        super().tick()

    def _trains(self) -> tuple[Tensor, Tensor]:
        """The factors, those that would saturate a train repeated at a part of their size."""
        step, limit = mean_granularity(self.inner), self.meter.k_limit
        if not step or limit is None:
            return self._pre, self._post
        pulses = self._pre.abs().amax(1) * self._post.abs().amax(1) / step
        repeats = (pulses / limit).ceil().clamp_min(1)
        most = float(repeats.max())
        if not most <= MOST_TRAINS:
            raise WorkError(
                f"a low-rank update needs {most:.3g} trains for one product, at most {MOST_TRAINS:,} are sent: smaller "
                "rates or a larger beta"
            )
        times = repeats.long()
        return self._pre.repeat_interleave(times, 0), (self._post / repeats[:, None]).repeat_interleave(times, 0)

    def program(self, weight: Tensor) -> None:
        super().program(weight)
        self._pre, self._post = self._pre[:0], self._post[:0]

    def state_dict(self) -> dict[str, Tensor]:
        if not self._momentum:
            return super().state_dict()
        own = {name: _filled(factors, self._rank) for name, factors in ((PRE, self._pre), (POST, self._post))}
        return {**own, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._momentum:
            if not {PRE, POST} <= set(state):
                raise ValueError(f"saved state of an array with factors of a running mean: expected {PRE} and {POST}")
            pre, post = state[PRE], state[POST]
            check_weight(pre, (self._rank, self.shape[1]))
            check_weight(post, (self._rank, self.shape[0]))
            kept = int((pre.any(1) & post.any(1)).sum())  # factors come first, rows of zeros after them
            self._pre, self._post = pre[:kept].clone(), post[:kept].clone()
            state = {key: value for key, value in state.items() if key not in (PRE, POST)}
        super().load_state_dict(state)


def _filled(factors: Tensor, rank: int) -> Tensor:
    """(rank, n): the factors, with rows of zeros after them."""
    return torch.cat([factors, factors.new_zeros(rank - len(factors), factors.shape[1])])


def truncated(pre: Tensor, post: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(k, n) and (k, m): the best approximation of post^T pre, of rows (N, n) and (N, m), by k <= ``rank`` products.

    Factors are orthogonal, in falling order, and share their singular value equally. Products below the rounding error
    of the largest are left out.
    """
    q_pre, r_pre = torch.linalg.qr(pre.T)
    q_post, r_post = torch.linalg.qr(post.T)
    left, sizes, right = torch.linalg.svd(r_post @ r_pre.T)
    kept = int((sizes > sizes[:1] * torch.finfo(sizes.dtype).eps).sum().clamp_max(rank)) if len(sizes) else 0
    root = sizes[:kept].sqrt()[:, None]
    return root * (right[:kept] @ q_pre.T), root * (left[:, :kept].T @ q_post.T)
