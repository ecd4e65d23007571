"""Convolutional links of a Hopfield network: kernel banks on crossbars, with pooling.

    E(x, s) = sum_l c |s_l|^2 - sum_l <s_{l+1}, P(W_l * s_l) + b_l>    (docs/concepts/energy.md)

A link's feedback is the transpose of its linear map, P^T and then W^T. Max-pooling is linear only once
its switches are set, the places of the maxima, and they depend on the layer below. What goes back is
the slope at the switches that the layer below sets now. <s, max-pool(v)> is convex in v for s >= 0, so
the block's energy lies below the bowl that this slope gives, touches it at the present state, and
falls when the bowl is minimised (the concave-convex procedure, Yuille and Rangarajan 2003).
Several equilibria may exist then; solvers may end in different ones.

Laborieux et al. 2021 (convolutional equilibrium propagation); Mansingh et al., arXiv 2401.11543.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.energy import Coupling, Writable
from hwsim.ebm.links import Reading, bias_of, ones_for
from hwsim.errors import InputError

POOLS = ("none", "max", "average")
_POOL = 2  # pooling windows are 2 x 2 and do not overlap; an odd last row or column is left out


class Convolution:
    """A convolutional link: one array of shape (out, in * kernel * kernel), pooling, and a bias a channel.

    Args:
        synapse: the array; with ``window.constant`` its last column is the bias.
        bias: digital biases, shape (out, 1), or None where the array's last column holds them.
        window: the kernel's geometry.
        pool: "none", "max" or "average", 2 x 2 windows.
        size: (H, W) of the layer below.

    Raises InputError where an image of that size leaves no position for the window or the pooling.
    """

    def __init__(
        self, synapse: Synapse, bias: Synapse | None, window: Window, *, pool: str, size: tuple[int, int]
    ) -> None:
        if pool not in POOLS:
            raise InputError(f"convolution: pool must be one of {', '.join(POOLS)}, got {pool!r}")
        if synapse.shape[1] != window.columns:
            raise InputError(
                f"convolution: its window has {window.columns} inputs, its array {synapse.shape[1]} columns"
            )
        self.positions = window.size(*size)
        across = self.positions if pool == "none" else tuple(n // _POOL for n in self.positions)
        if min(across) < 1:
            raise InputError(
                f"convolution: a layer of {size[0]} x {size[1]} pixels is too small for kernel {window.kernel}, "
                f"stride {window.stride}, padding {window.padding} and pool {pool!r}; use fewer or wider layers"
            )
        self.synapse = synapse
        self.bias = bias
        self.window = window
        self.pool = pool
        self.size = size
        self.kernels = kernels(synapse, window)
        self.pre_shape = (window.channels, *size)
        self.post_shape = (synapse.shape[0], *across)
        self.switched = pool == "max"

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        return (self.synapse,) if self.bias is None else (self.synapse, self.bias)

    @property
    def writables(self) -> tuple[Writable, ...]:
        return (self.synapse,) if self.bias is None else (self.kernels, self.bias)

    @property
    def fan_in(self) -> int:
        return self.window.fan_in

    def read(self, pre: Tensor) -> Reading:
        drive, switches = self.kernels.read(pre), None
        if self.pool == "max":
            drive, switches = functional.max_pool2d(drive, _POOL, return_indices=True)
        elif self.pool == "average":
            drive = functional.avg_pool2d(drive, _POOL)
        if self.bias is not None:
            bias = bias_of(self.bias, pre).view(1, -1, 1, 1)
            # A noisy read's gradient is its own function, whose output is not to be written into.
            drive = drive + bias if drive.requires_grad else drive.add_(bias)
        return Reading(drive, switches)

    def forward(self, pre: Tensor) -> Tensor:
        """(B, *pre_shape) -> (B, *post_shape): P(W * pre) + b."""
        return self.read(pre).drive

    def backward(self, post: Tensor, switches: Tensor | None = None) -> Tensor:
        """(B, *post_shape) -> (B, *pre_shape): the slope of <post, forward(pre)> in pre, at pre's switches."""
        return self.kernels.read_transpose(self._unpool(post, switches), self.size)

    def along(self, way: Tensor, switches: Tensor | None = None) -> Tensor:
        """(B, *pre_shape) -> (B, *post_shape): the slope of ``forward`` along ``way``, at the switches of its state."""
        slope = self.kernels.read(way)
        if self.window.constant:
            slope = slope - self.kernels.read(torch.zeros_like(way[:1]))
        if self.pool == "average":
            return functional.avg_pool2d(slope, _POOL)
        if self.pool == "none":
            return slope
        if switches is None:
            raise ValueError("the slope of max-pooling needs the switches that the layer below has set")
        return slope.flatten(2).gather(2, switches.flatten(2)).view_as(switches)

    def couplings(self, pre: Tensor, post: Tensor, switches: Tensor | None = None) -> tuple[Coupling, ...]:
        slope = self._unpool(post, switches)
        if self.bias is None:
            # Learning rules add and subtract what couplings hold, and the constant 1 is part of a patch only.
            return (Coupling(self.synapse, self.window.patches(pre), as_rows(slope)),)
        rows = as_rows(post)
        constant = ones_for(rows)
        return Coupling(self.kernels, pre, slope), Coupling(self.bias, constant, rows)

    def replaced(self, synapses: Sequence[Synapse]) -> Convolution:
        """The same link on other arrays."""
        bias = synapses[1] if len(synapses) > 1 else None
        return Convolution(synapses[0], bias, self.window, pool=self.pool, size=self.size)

    def _unpool(self, post: Tensor, switches: Tensor | None) -> Tensor:
        """The transpose of the pooling. Its backward kernels only look at the shape and layout of their input."""
        if self.pool == "none":
            return post
        post = post.contiguous(memory_format=torch.channels_last)
        shape = (len(post), post.shape[1], *self.positions)
        like = torch.empty(shape, dtype=post.dtype, device=post.device, memory_format=torch.channels_last)
        window, padding = [_POOL, _POOL], [0, 0]
        if self.pool == "average":
            return torch.ops.aten.avg_pool2d_backward(post, like, window, window, padding, False, True, None)
        if switches is None:
            raise ValueError("feedback through max-pooling needs the switches that the layer below has set")
        return torch.ops.aten.max_pool2d_with_indices_backward(
            post, like, window, window, padding, [1, 1], False, switches
        )
