"""The analog read of a crossbar: converters, noise and wires around one matrix product.

``ReadPath`` describes the periphery of one read direction, ``read`` is the read itself: seeded, vectorised over the
batch, differentiable with respect to its input. It computes what aihwkit's compiled tiles compute
(Rasch et al., AICAS 2021; RPUCuda's ``rpu_forward_backward_pass.cpp``), equal to them in mean and spread:

    u = clamp(round(x / alpha / step_in), +-inp_bound) + input noise
    y = alpha * out_scale * clamp(round((W u - drop(W, u) + noise(W, u)) / step_out), +-out_bound)

The transpose read is the read of ``weight.T``, so both directions share one array and one code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.synapse import Meter

NOISE_MANAGEMENT = ("NONE", "ABS_MAX", "MAX", "CONSTANT")
BOUND_MANAGEMENT = ("NONE", "ITERATIVE")
WEIGHT_NOISE = ("NONE", "ADDITIVE_CONSTANT", "PCM_READ")
AT_ONCE = 2**18
"""Numbers that are computed together where there are more: they stay in the processor's cache."""


@dataclass(frozen=True)
class ReadPath:
    """The periphery of one read direction. Names and meanings are aihwkit's; the defaults are an exact read.

    Inputs and outputs are normalised: an input of 1 is a full-scale voltage, an output of 1 the current of one
    cross-point of weight 1 at full scale.

    Args:
        inp_bound: the digital-to-analog converter clips inputs here; > 0, infinity for none.
        inp_res: its step relative to its range 2 inp_bound, or the number of steps if above 1; <= 0: continuous.
        inp_sto_round: round stochastically (dithered) instead of to the nearest step.
        inp_noise: standard deviation of Gaussian noise added to every input line after the converter.
        inp_asymmetry: negative inputs are scaled by 1 - inp_asymmetry.
        out_bound, out_res, out_sto_round: the same for the analog-to-digital converter.
        out_noise: standard deviation of Gaussian noise on every output line, before the converter.
        out_scale: digital factor on the result.
        w_noise: read noise of the weights, drawn anew for each read and referred to the output.
        w_noise_type: ``ADDITIVE_CONSTANT``: every weight has the standard deviation ``w_noise``;
            ``PCM_READ``: w_noise sqrt|W|, as in phase-change memory.
        ir_drop: strength of the voltage drop along the output wires (aihwkit's cubic fit); 0 for none, 1 is physical.
        ir_drop_g_ratio: conductance of a wire segment over the largest conductance of a device.
        noise_management: the factor alpha by which a vector is divided before and multiplied after the array:
            its largest magnitude (``ABS_MAX``), its largest value (``MAX``), or ``nm_thres`` (``CONSTANT``).
        nm_thres: largest alpha allowed (0: any); with ``CONSTANT``, alpha itself (0: 1).
        bound_management: ``ITERATIVE`` reads a vector whose output hit the bound again at half the input, up to
            the limits ``max_bm_factor`` and ``max_bm_res``.
        silent_zero: with noise management, an all-zero vector gives exact zeros even under input noise.
        is_perfect: ignore all but ``out_scale``.
    """

    inp_bound: float = math.inf
    inp_res: float = 0.0
    inp_sto_round: bool = False
    inp_noise: float = 0.0
    inp_asymmetry: float = 0.0
    out_bound: float = math.inf
    out_res: float = 0.0
    out_sto_round: bool = False
    out_noise: float = 0.0
    out_scale: float = 1.0
    w_noise: float = 0.0
    w_noise_type: str = "NONE"
    ir_drop: float = 0.0
    ir_drop_g_ratio: float = 1.0 / 0.35 / 5e-6
    noise_management: str = "NONE"
    nm_thres: float = 0.0
    bound_management: str = "NONE"
    max_bm_factor: int = 1000
    max_bm_res: float = 0.25
    silent_zero: bool = False
    is_perfect: bool = False

    def __post_init__(self) -> None:
        for name in ("inp_bound", "out_bound"):
            self._require(name, getattr(self, name) > 0, "a number > 0")
        for name in ("inp_noise", "out_noise", "w_noise", "ir_drop", "nm_thres"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "a finite number >= 0")
        for name in ("ir_drop_g_ratio", "max_bm_res", "max_bm_factor"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number > 0")
        for name, known in (
            ("noise_management", NOISE_MANAGEMENT),
            ("bound_management", BOUND_MANAGEMENT),
            ("w_noise_type", WEIGHT_NOISE),
        ):
            self._require(name, getattr(self, name) in known, f"one of {', '.join(known)}")
        for side in ("inp", "out"):
            stepped = getattr(self, f"{side}_res") > 0
            bounded = math.isfinite(getattr(self, f"{side}_bound"))
            self._require(f"{side}_bound", bounded or not stepped, f"a finite bound, because {side}_res sets steps")
        self._require("inp_asymmetry", 0 <= self.inp_asymmetry <= 1, "a number in [0, 1]")
        self._require("out_scale", math.isfinite(self.out_scale) and self.out_scale != 0, "a finite number, not 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InputError(f"ReadPath.{name}: expected {expected}, got {getattr(self, name)!r}")

    @cached_property
    def ideal(self) -> bool:
        """Is the read nothing but a matrix product (times ``out_scale``)?"""
        limited = math.isfinite(self.inp_bound) or math.isfinite(self.out_bound)
        return self.is_perfect or not (limited or self.noisy or self.inp_asymmetry or self.ir_drop)

    @cached_property
    def noisy(self) -> bool:
        """Do two reads of the same array differ?"""
        dithered = (self.inp_sto_round and self.inp_res > 0) or (self.out_sto_round and self.out_res > 0)
        weight_noise = self.w_noise_type != "NONE" and self.w_noise > 0
        return not self.is_perfect and bool(self.inp_noise or self.out_noise or weight_noise or dithered)

    @cached_property
    def inp_step(self) -> float:
        """Width of one input step, 0 if continuous."""
        return _step(self.inp_res, self.inp_bound)

    @cached_property
    def out_step(self) -> float:
        """Width of one output step, 0 if continuous."""
        return _step(self.out_res, self.out_bound)

    @cached_property
    def clips_inputs(self) -> bool:
        """Can an input lie beyond its converter's bound? Not where each vector is scaled to a range that it fits."""
        limit = _limit(self.inp_bound, self.inp_step)
        scaled = self.noise_management == "ABS_MAX" and not self.nm_thres and not self.inp_sto_round
        return limit is not None and not (scaled and (round(1 / self.inp_step) if self.inp_step else 1.0) <= limit)


def _step(res: float, bound: float) -> float:
    return 0.0 if res <= 0 else (1 / res if res > 1 else res) * 2 * bound


def read(
    weight: Tensor,
    x: Tensor,
    path: ReadPath,
    rng: torch.Generator,
    meter: Meter | None = None,
    scale: float = 1.0,
    offset: Tensor | None = None,
) -> Tensor:
    """One analog read, (m, n) x (B, n) -> (B, m).

    The gradient with respect to ``x`` is straight through: rounding and noise count as the identity, the two
    clamps as what they are (no gradient through a clipped line), wires as ideal. Weights get no gradient.
    Every draw is from ``rng``. ``scale`` multiplies the result at no cost (a weight mapping's digital factor).
    ``offset`` (m,) is a constant in every output line before its converter.
    Conversions and saturated ones are added to ``meter`` while its ``count_saturation`` is set.
    """
    if path.ideal:
        factor = scale * path.out_scale
        y = x @ weight.T if offset is None else torch.addmm(offset, x, weight.T)
        return y if factor == 1.0 else y * factor
    if x.requires_grad and torch.is_grad_enabled():
        return cast(Tensor, _StraightThrough.apply(x, weight, path, rng, meter, scale, offset))
    at_once = max(1, AT_ONCE // max(weight.shape))
    if len(x) < 2 * at_once:
        return _read(weight, x, path, rng, meter, scale, offset)
    result = torch.empty(len(x), len(weight), dtype=torch.result_type(x, weight), device=x.device)
    for part, target in zip(x.split(at_once), result.split(at_once), strict=True):
        target.copy_(_read(weight, part, path, rng, meter, scale, offset))
    return result


def _read(
    weight: Tensor,
    x: Tensor,
    path: ReadPath,
    rng: torch.Generator,
    meter: Meter | None,
    scale: float,
    offset: Tensor | None,
) -> Tensor:
    z, alpha, dead = _outputs(weight, x, path, rng, meter, offset)
    return finished(z, alpha, dead, path, scale)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, path, rng, meter, scale, offset):
        z, alpha, dead = _outputs(weight, x, path, rng, meter, offset)
        passed = z.abs() <= (output_limit(path) or math.inf)
        magnitude = x.abs() if alpha is None else x.abs() / alpha
        ctx.save_for_backward(weight, passed, magnitude <= path.inp_bound)
        ctx.factor = scale * path.out_scale
        return finished(z, alpha, dead, path, scale)

    @staticmethod
    def backward(ctx, *grad_outputs):
        weight, passed, inside = ctx.saved_tensors
        grad = (grad_outputs[0] * passed) @ weight * inside
        return grad if ctx.factor == 1.0 else grad * ctx.factor, None, None, None, None, None, None


def _outputs(
    weight: Tensor, x: Tensor, path: ReadPath, rng: torch.Generator, meter: Meter | None, offset: Tensor | None
) -> tuple[Tensor, Tensor | float | None, Tensor | None]:
    """Outputs in converter steps before they are clamped, what the inputs were divided by, and the silent vectors."""
    limit = output_limit(path)
    alpha, dead = noise_management(x, path)
    z = _pass(weight, x, alpha, path, rng, offset)
    if path.bound_management == "ITERATIVE" and limit is not None:
        z, alpha = _halve_until_inside(weight, x, alpha, z, limit, path, rng, offset)
    if meter is not None and meter.count_saturation:
        meter.conversions += z.numel()
        if limit is not None:
            meter.saturated += int((z.abs() > limit).sum())
    return z, alpha, dead


def finished(z: Tensor, alpha: Tensor | float | None, dead: Tensor | None, path: ReadPath, scale: float) -> Tensor:
    """``z``, overwritten: clamped and in the units of the result."""
    limit = output_limit(path)
    if limit is not None:
        z.clamp_(-limit, limit)
    factor = (path.out_step or 1.0) * path.out_scale * scale
    z.mul_(factor if alpha is None else alpha * factor)
    return z if dead is None else z.masked_fill_(dead, 0.0)


def _pass(
    weight: Tensor,
    x: Tensor,
    alpha: Tensor | float | None,
    path: ReadPath,
    rng: torch.Generator,
    offset: Tensor | None,
) -> Tensor:
    """One pass through the array; outputs in units of the output step, not yet clamped."""
    step_in, step_out = path.inp_step or 1.0, path.out_step or 1.0
    u = converted_input(x.detach(), alpha, path, rng)
    gain = step_in / step_out
    std = _noise_std(weight, u, step_in, path)
    if std is None:
        z = torch.mm(u, weight.T).mul_(gain)
    else:
        noise = torch.randn(len(u), len(weight), generator=rng, dtype=u.dtype)
        if isinstance(std, Tensor):
            z = torch.addmm(noise.mul_(std), u, weight.T, beta=1 / step_out, alpha=gain)
        else:
            z = torch.addmm(noise, u, weight.T, beta=std / step_out, alpha=gain)
    if path.ir_drop:
        z -= _ir_drop(weight, u, step_in, path).mul_(gain)
    if offset is not None:
        z += offset / step_out
    return converted_output(z, path, rng)


def converted_input(x: Tensor, alpha: Tensor | float | None, path: ReadPath, rng: torch.Generator) -> Tensor:
    """What arrives on the input lines, in steps of their converter: every number on its own, given ``alpha``."""
    step_in = path.inp_step or 1.0
    limit = _limit(path.inp_bound, path.inp_step)
    to_steps = 1 / step_in if alpha is None else (1 / step_in) / alpha
    u = x * to_steps
    if path.inp_step:
        if path.inp_sto_round:
            u += torch.rand(u.shape, generator=rng, dtype=u.dtype).sub_(0.5)
        u.round_()
    if limit is not None and path.clips_inputs:
        u.clamp_(-limit, limit)
    if path.inp_noise:
        u.add_(torch.randn(u.shape, generator=rng, dtype=u.dtype), alpha=path.inp_noise / step_in)
    if path.inp_asymmetry:
        u = torch.where(u < 0, u * (1 - path.inp_asymmetry), u)
    return u


def converted_output(z: Tensor, path: ReadPath, rng: torch.Generator) -> Tensor:
    """``z``, overwritten: rounded to the output converter's steps, in which it is given; not yet clamped."""
    if path.out_step:
        if path.out_sto_round:
            z += torch.rand(z.shape, generator=rng, dtype=z.dtype).sub_(0.5)
        z.round_()
    return z


def output_limit(path: ReadPath) -> float | None:
    """The output converter's bound in its steps; None without a bound."""
    return _limit(path.out_bound, path.out_step)


def _limit(bound: float, step: float) -> float | None:
    """A converter's bound in its steps; None without a bound."""
    if not math.isfinite(bound):
        return None
    return bound / step * (1 + 1e-6) if step else bound  # the tolerance keeps the top code inside


def noise_management(x: Tensor, path: ReadPath) -> tuple[Tensor | float | None, Tensor | None]:
    """The factor alpha, (B, 1, ...) or a number or None for 1, and the mask of vectors that give exact zeros.

    Vectors lie along dimension 1.
    """
    if path.noise_management == "NONE":
        return None, None
    if path.noise_management == "CONSTANT":
        return path.nm_thres or None, None
    alpha = x.detach()
    alpha = (alpha.abs() if path.noise_management == "ABS_MAX" else alpha).amax(1, keepdim=True)
    if path.nm_thres:
        alpha = alpha.clamp_max(path.nm_thres)
    if float(alpha.min()) > 0:
        return alpha, None
    dead = alpha <= 0
    alpha = torch.where(dead, 1.0, alpha)
    return alpha, dead if path.silent_zero or not path.inp_noise else None


def _noise_std(weight: Tensor, u: Tensor, step: float, path: ReadPath) -> Tensor | float | None:
    """Standard deviation at the output lines: output noise and referred weight noise, which add in variance."""
    if path.w_noise_type == "NONE" or not path.w_noise:
        return path.out_noise or None
    squares = u.square()
    pcm = path.w_noise_type == "PCM_READ"
    power = torch.mm(squares, weight.abs().T) if pcm else squares.sum(1, keepdim=True)
    return power.mul_((path.w_noise * step) ** 2).add_(path.out_noise**2).sqrt_()


def _ir_drop(weight: Tensor, u: Tensor, step: float, path: ReadPath) -> Tensor:
    """Output lost along the wires, in input steps: aihwkit's fit of the steady state, the first input farthest away."""
    n = u.shape[1]
    a = torch.mm(u.abs(), weight.abs().T).mul_(step * n / path.ir_drop_g_ratio)
    share = a * (a * (0.05 * a - 0.2) + 0.5)
    position = 1 - torch.arange(n, dtype=u.dtype) / n
    return torch.mm(u * (1 - position**2), weight.T).mul_(share).mul_(path.ir_drop)


def _halve_until_inside(
    weight: Tensor,
    x: Tensor,
    alpha: Tensor | float | None,
    z: Tensor,
    limit: float,
    path: ReadPath,
    rng: torch.Generator,
    offset: Tensor | None,
) -> tuple[Tensor, Tensor | float | None]:
    """Read the vectors that hit the bound again at 1/2, 1/4, ... of their input, each only as often as it needs."""
    most = float(path.max_bm_factor)
    if path.inp_step:
        most = min(most, path.max_bm_res / path.inp_step)
    rows = (z.abs().amax(1) > limit).nonzero()[:, 0]
    reduction = 1.0
    if not len(rows):
        return z, alpha
    each = torch.ones(len(x), 1, dtype=x.dtype) * (1.0 if alpha is None else alpha)
    while len(rows) and reduction <= most:
        reduction *= 2
        each[rows] *= 2
        z[rows] = _pass(weight, x[rows], each[rows], path, rng, offset)
        rows = rows[z[rows].abs().amax(1) > limit]
    return z, each
