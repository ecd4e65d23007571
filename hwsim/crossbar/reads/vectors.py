"""The analog read of a crossbar: one matrix product between the converters, noise and wires of its periphery.

``read`` is seeded, vectorised over the batch, and differentiable with respect to its input. It computes what aihwkit's
compiled tiles compute (Rasch et al., AICAS 2021; RPUCuda's ``rpu_forward_backward_pass.cpp``), equal to them in mean
and spread:

    u = clamp(round(x / alpha / step_in), +-inp_bound) + input noise
    y = alpha * out_scale * clamp(round((W u - drop(W, u) + noise(W, u)) / step_out), +-out_bound)

The transpose read is the read of ``weight.T``, so both directions share one array and one code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.synapse import Meter

AT_ONCE = 2**18
"""Numbers that are computed together where there are more: they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Port:
    """One side of an array, from where it is read: all of a read but its input.

    Args:
        weight: (m, n), of m output and n input lines; on the transpose side the array's transpose.
        path: the periphery of its lines.
        rng: the source of every draw.
        meter: counts conversions and saturated ones while its ``count_saturation`` is set; None: nobody counts.
        scale: multiplies the result at no cost (a weight mapping's digital factor).
        offset: (m,) a constant in every output line before its converter; None for none.
    """

    weight: Tensor
    path: ReadPath
    rng: torch.Generator
    meter: Meter | None = None
    scale: float = 1.0
    offset: Tensor | None = None

    @property
    def factor(self) -> float:
        """What the digital side multiplies results by."""
        return self.scale * self.path.out_scale

    def count(self, z: Tensor) -> None:
        """Count the conversions of ``z``, in steps of the output converter and not yet clamped."""
        if self.meter is None or not self.meter.count_saturation:
            return
        self.meter.conversions += z.numel()
        if self.path.out_limit is not None:
            self.meter.saturated += int((z.abs() > self.path.out_limit).sum())


def read(port: Port, x: Tensor) -> Tensor:
    """One analog read, (B, n) -> (B, m).

    The gradient with respect to ``x`` is straight through, see ``StraightThrough``. Weights get no gradient.
    """
    weight, offset = port.weight, port.offset
    if port.path.ideal:
        return scaled(x @ weight.T if offset is None else torch.addmm(offset, x, weight.T), port.factor)
    if x.requires_grad and torch.is_grad_enabled():
        return straight_through(x, port, partial(_read_and_kept, port), torch.matmul)
    at_once = max(1, AT_ONCE // max(weight.shape))
    if len(x) < 2 * at_once:
        return _read(port, x)
    result = torch.empty(len(x), len(weight), dtype=torch.result_type(x, weight), device=x.device)
    for part, target in zip(x.split(at_once), result.split(at_once), strict=True):
        target.copy_(_read(port, part))
    return result


Kept = tuple[Tensor, Tensor, Tensor]
"""The result of a read, and the masks of the outputs and of the inputs that lay inside their converters' ranges."""


def straight_through(
    x: Tensor, port: Port, compute: Callable[[Tensor], Kept], adjoint: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``compute(x)``'s result, differentiable; ``adjoint(slope, weight)`` is the transpose of the exact product."""
    return cast(Tensor, StraightThrough.apply(x, port.weight, port.factor, compute, adjoint))


class StraightThrough(torch.autograd.Function):
    """The gradient of a read with respect to its input: that of its matrix product between two clamps.

    Rounding and noise count as the identity, the clamps as what they are (no gradient through a clipped line), and
    wires as ideal.
    """

    @staticmethod
    def forward(ctx, x, weight, factor, compute, adjoint):
        y, passed, inside = compute(x)
        ctx.save_for_backward(weight, passed, inside)
        ctx.factor, ctx.adjoint = factor, adjoint
        return y

    @staticmethod
    def backward(ctx, *grad_outputs):
        weight, passed, inside = ctx.saved_tensors
        return scaled(ctx.adjoint(grad_outputs[0] * passed, weight) * inside, ctx.factor), None, None, None, None


def scaled(y: Tensor, factor: float) -> Tensor:
    return y if factor == 1.0 else y * factor


def _read(port: Port, x: Tensor) -> Tensor:
    z, alpha, dead = _outputs(port, x)
    return port.path.finished(z, alpha, dead, port.scale)


def _read_and_kept(port: Port, x: Tensor) -> Kept:
    z, alpha, dead = _outputs(port, x)
    passed = z.abs() <= (port.path.out_limit or math.inf)
    magnitude = x.abs() if alpha is None else x.abs() / alpha
    return port.path.finished(z, alpha, dead, port.scale), passed, magnitude <= port.path.inp_bound


def _outputs(port: Port, x: Tensor) -> tuple[Tensor, Tensor | float | None, Tensor | None]:
    """Outputs in converter steps before they are clamped, what the inputs were divided by, and the silent vectors."""
    alpha, dead = port.path.managed(x)
    z = _pass(port, x, alpha)
    limit = port.path.out_limit
    if port.path.bound_management == "ITERATIVE" and limit is not None:
        z, alpha = _halve_until_inside(port, x, alpha, z, limit)
    port.count(z)
    return z, alpha, dead


def _pass(port: Port, x: Tensor, alpha: Tensor | float | None) -> Tensor:
    """One pass through the array; outputs in units of the output step, not yet clamped."""
    weight, path = port.weight, port.path
    step_in, step_out = path.inp_step or 1.0, path.out_step or 1.0
    u = path.driven(x.detach(), alpha, port.rng)
    gain = step_in / step_out
    std = _noise_std(weight, u, path)
    if std is None:
        z = torch.mm(u, weight.T).mul_(gain)
    else:
        noise = torch.randn(len(u), len(weight), generator=port.rng, dtype=u.dtype)
        if isinstance(std, Tensor):
            z = torch.addmm(noise.mul_(std), u, weight.T, beta=1 / step_out, alpha=gain)
        else:
            z = torch.addmm(noise, u, weight.T, beta=std / step_out, alpha=gain)
    if path.ir_drop:
        z -= _ir_drop(weight, u, path).mul_(gain)
    if port.offset is not None:
        z += port.offset / step_out
    return path.sensed(z, port.rng)


def _noise_std(weight: Tensor, u: Tensor, path: ReadPath) -> Tensor | float | None:
    """Standard deviation at the output lines: output noise and referred weight noise, which add in variance."""
    if path.w_noise_type == "NONE" or not path.w_noise:
        return path.out_noise or None
    squares = u.square()
    pcm = path.w_noise_type == "PCM_READ"
    power = torch.mm(squares, weight.abs().T) if pcm else squares.sum(1, keepdim=True)
    return power.mul_((path.w_noise * (path.inp_step or 1.0)) ** 2).add_(path.out_noise**2).sqrt_()


def _ir_drop(weight: Tensor, u: Tensor, path: ReadPath) -> Tensor:
    """Output lost along the wires, in input steps: aihwkit's fit of the steady state, the first input farthest away."""
    n = u.shape[1]
    a = torch.mm(u.abs(), weight.abs().T).mul_((path.inp_step or 1.0) * n / path.ir_drop_g_ratio)
    share = a * (a * (0.05 * a - 0.2) + 0.5)
    position = 1 - torch.arange(n, dtype=u.dtype) / n
    return torch.mm(u * (1 - position**2), weight.T).mul_(share).mul_(path.ir_drop)


def _halve_until_inside(
    port: Port, x: Tensor, alpha: Tensor | float | None, z: Tensor, limit: float
) -> tuple[Tensor, Tensor | float | None]:
    """Read the vectors that hit the bound again at 1/2, 1/4, ... of their input, each only as often as it needs."""
    most = float(port.path.max_bm_factor)
    if port.path.inp_step:
        most = min(most, port.path.max_bm_res / port.path.inp_step)
    rows = (z.abs().amax(1) > limit).nonzero()[:, 0]
    reduction = 1.0
    if not len(rows):
        return z, alpha
    each = torch.ones(len(x), 1, dtype=x.dtype) * (1.0 if alpha is None else alpha)
    while len(rows) and reduction <= most:
        reduction *= 2
        each[rows] *= 2
        z[rows] = _pass(port, x[rows], each[rows])
        rows = rows[z[rows].abs().amax(1) > limit]
    return z, each
