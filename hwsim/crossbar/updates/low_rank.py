"""Updates sent as a few large vectors: the leading factors of a batch's sum, one pulse train each.

The sum over a batch's rows, post^T pre, is kept as ``rank`` pairs of vectors while rows stream in: some rows are
appended to the factors, and a small singular value decomposition, of the product of both triangular factors (QR),
truncates what is there to the leading ``rank``. The matrix itself is never built (Brand, Linear Algebra Appl. 2006,
415:20; for training on emerging memories Gural, Nadeau, Tikekar and Murmann 2020, arXiv 2009.03887).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.composite import layout
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Device, Synapse, check_pulses, check_rate
from hwsim.crossbar.updates.pulsed import mean_granularity
from hwsim.crossbar.wrapped import WrappedDevice, WrappedSynapse
from hwsim.errors import InputError, WorkError
from hwsim.rng import Streams

AT_ONCE = 32
"""Rows appended before the factors are truncated, or as many as there are factors where that is more."""

MOST_TRAINS = 10_000
"""Trains that may stand for one product; one that needs more is no update that a device could take in time."""


@dataclass(frozen=True)
class LowRankDevice(WrappedDevice):
    """A device whose arrays are updated by the ``rank`` leading factors of a training step's sum."""

    device: Device
    rank: int

    def __post_init__(self) -> None:
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
        return LowRankUpdates(self.device.synapse(post, pre, streams), self.rank)


class LowRankUpdates(WrappedSynapse):
    """An array and the factors of the sum of this step's rows, sent at its end.

    A factor whose strongest cross-point expects more pulses than a train may have is sent in several trains, so that
    none saturates. What truncation leaves out is lost; between steps nothing is kept.
    """

    def __init__(self, inner: Synapse, rank: int) -> None:
        super().__init__(inner)
        self._rank = rank
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
            self._append(x, d * rate)

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
            self._pre, self._post = self._pre[:0], self._post[:0]
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
