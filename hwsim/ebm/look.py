"""What the host may look at while tensors are computed elsewhere.

A number that the host reads from a GPU (``bool``, ``item``, an index made of a mask) makes it wait until all that was
given to the GPU is done, and nothing is given to it meanwhile: a sweep takes less. So on the CPU everything is looked
at, at every step; elsewhere only now and then, and what looking would save is computed. While a CUDA graph is recorded
nothing is looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOOKED_EVERY = 8
"""Steps after which the host looks at what is computed elsewhere."""


def costs_nothing(tensor: Tensor) -> bool:
    """May the host look at a tensor at every step?"""
    return tensor.device.type == "cpu"


def due(tensor: Tensor, step: int) -> bool:
    """May the host look at a tensor after its ``step``-th step, counted from 1?"""
    if costs_nothing(tensor):
        return True
    return step % LOOKED_EVERY == 0 and not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())


def seen(flag: Tensor) -> bool:
    """A flag of no dimension where the host may look at it, False elsewhere."""
    return costs_nothing(flag) and bool(flag)


def fetched(number: Tensor) -> float | Tensor:
    """A number where the host may look at it, elsewhere the tensor that holds it, to be read with others."""
    return number.item() if costs_nothing(number) else number
