"""Trains of pulses on the lines of an array, and how many of them meet at each cross-point.

Updates are trains of stochastic pulses on rows and columns (Gokmen & Vlasov, Front. Neurosci. 2016): a cell gets a
pulse where both its lines carry one in the same slot, so the number of pulses of a cross-point is binomial and the
cells of one line share its train, as on the real array and in aihwkit's compiled tiles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_SLOTS = 4096
"""Pulse slots simulated at once; bounds memory for large batches."""


def coincidences(
    pre: Tensor, post: Tensor, k: Tensor, desired_bl: int, substeps: int, rng: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Counts of up and down pulses, each (post, pre), in the order in which the batch sends them.

    A sample gets ceil(k) slots, at most ``desired_bl``; in each a line carries a pulse with probability
    sqrt(k / slots) |x| / |x|max. So a cross-point's expected count is proportional to |pre post| as long as
    k <= desired_bl. Above, rows (``post``) carry k / slots |x| / |x|max, cut at 1, so that their large factors saturate
    and small ones stay exact: measured on aihwkit with ``update_bl_management`` and ``update_management``.

    Args:
        pre, post: (B, n) and (B, m) factors of the update.
        k: (B,) expected counts of the strongest cross-point, from ``Meter.count_train``.
        substeps: number of parts that the slots are split into.
    """
    slots = k.clamp(0, desired_bl).ceil().long()
    sample = torch.repeat_interleave(torch.arange(len(k)), slots)
    if not len(sample):
        return []
    one_sign = bool(pre.min() >= 0)
    density = k / slots.clamp_min(1)  # pulses a slot of the strongest cross-point; above 1 if saturated
    strength = density.clamp_max(1).sqrt_()
    peak_pre, peak_post = (pre if one_sign else pre.abs()).amax(1), post.abs().amax(1)
    p_pre = pre * (strength / peak_pre.clamp_min_(1e-30))[:, None]
    p_post = post * (density / (strength * peak_post).clamp_min_(1e-30))[:, None]
    if one_sign:  # activities: the sign of a pulse is that of its row
        p_post = torch.cat([p_post, -p_post], 1)
    size = min(math.ceil(len(sample) / substeps), MOST_SLOTS)
    counts = []
    for chunk in sample.split(size):
        x, d = p_pre[chunk], p_post[chunk]
        if one_sign:
            x = torch.rand(x.shape, generator=rng, dtype=x.dtype).lt_(x)
            drawn = torch.rand(len(chunk), post.shape[1], generator=rng, dtype=d.dtype)
            counts.append((torch.cat([drawn, drawn], 1).lt_(d).T @ x).split(post.shape[1]))
        else:
            x, d = _pulses(x, rng), _pulses(d, rng)
            net, total = d.T @ x, d.abs().T @ x.abs()
            counts.append(((total + net).mul_(0.5), (total - net).mul_(0.5)))
    return counts


def mean_counts(pre: Tensor, post: Tensor, pulses: float, parts: int) -> list[tuple[Tensor, Tensor]]:
    """Expected counts of up and down pulses in ``parts`` of a batch; a product post x pre of 1 is worth ``pulses``."""
    counts = []
    for x, d in zip(pre.tensor_split(parts), post.tensor_split(parts), strict=True):
        net, total = d.T @ x, d.abs().T @ x.abs()
        counts.append(((total + net).mul_(pulses / 2), (total - net).mul_(pulses / 2)))
    return counts


def _pulses(probability: Tensor, rng: torch.Generator) -> Tensor:
    """Signed pulses, -1, 0 or 1, with the given signed probabilities."""
    fires = torch.rand(probability.shape, generator=rng, dtype=probability.dtype) < probability.abs()
    return probability.sign().mul_(fires)
