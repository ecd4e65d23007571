"""The periphery of a crossbar's read: the converters, noise and wires around one matrix product.

``ReadPath`` describes one read direction and does what its input and output lines do;
``hwsim.crossbar.reads.vectors`` and
``hwsim.crossbar.reads.images`` put a matrix between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hwsim.errors import InputError

NOISE_MANAGEMENT = ("NONE", "ABS_MAX", "MAX", "CONSTANT")
BOUND_MANAGEMENT = ("NONE", "ITERATIVE")
WEIGHT_NOISE = ("NONE", "ADDITIVE_CONSTANT", "PCM_READ")


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

    >>> import hwsim as hw
    >>> path = hw.ReadPath(inp_bound=1.0, inp_res=1 / 126, out_bound=12.0, out_noise=0.1)
    >>> hw.hopfield([64, 16, 10], hw.CellDevice(hw.device("soft-bounds-cell").cell, forward=path)).noisy
    True
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
    def inp_limit(self) -> float | None:
        """The input converter's bound in its steps; None where nothing can lie beyond it."""
        limit = _limit(self.inp_bound, self.inp_step)
        if limit is None or self.noise_management != "ABS_MAX" or self.nm_thres or self.inp_sto_round:
            return limit
        # Each vector is scaled to the range up to 1, which may fit.
        return None if (round(1 / self.inp_step) if self.inp_step else 1.0) <= limit else limit

    @cached_property
    def out_limit(self) -> float | None:
        """The output converter's bound in its steps; None without a bound."""
        return _limit(self.out_bound, self.out_step)

    def managed(self, x: Tensor) -> tuple[Tensor | float | None, Tensor | None]:
        """Noise management of vectors along dimension 1: alpha, and the mask of vectors that give exact zeros.

        alpha is (B, 1, ...), or a number, or None for 1.
        """
        if self.noise_management == "NONE":
            return None, None
        if self.noise_management == "CONSTANT":
            return self.nm_thres or None, None
        alpha = x.detach()
        alpha = (alpha.abs() if self.noise_management == "ABS_MAX" else alpha).amax(1, keepdim=True)
        if self.nm_thres:
            alpha = alpha.clamp_max(self.nm_thres)
        if float(alpha.min()) > 0:
            return alpha, None
        dead = alpha <= 0
        alpha = torch.where(dead, 1.0, alpha)
        return alpha, dead if self.silent_zero or not self.inp_noise else None

    def driven(self, x: Tensor, alpha: Tensor | float | None, rng: torch.Generator) -> Tensor:
        """What arrives on the input lines, in steps of their converter: every number on its own, given ``alpha``."""
        step_in = self.inp_step or 1.0
        u = x * (1 / step_in if alpha is None else (1 / step_in) / alpha)
        if self.inp_step:
            _round(u, self.inp_sto_round, rng)
        if self.inp_limit is not None:
            u.clamp_(-self.inp_limit, self.inp_limit)
        if self.inp_noise:
            u.add_(torch.randn(u.shape, generator=rng, dtype=u.dtype), alpha=self.inp_noise / step_in)
        return torch.where(u < 0, u * (1 - self.inp_asymmetry), u) if self.inp_asymmetry else u

    def sensed(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """``z``, overwritten: rounded to the output converter's steps, in which it is given; not yet clamped."""
        if self.out_step:
            _round(z, self.out_sto_round, rng)
        return z

    def finished(self, z: Tensor, alpha: Tensor | float | None, dead: Tensor | None, scale: float) -> Tensor:
        """What was sensed as ``z``, overwritten: clamped, and in the units of the result, ``scale`` times."""
        if self.out_limit is not None:
            z.clamp_(-self.out_limit, self.out_limit)
        factor = (self.out_step or 1.0) * self.out_scale * scale
        z.mul_(factor if alpha is None else alpha * factor)
        return z if dead is None else z.masked_fill_(dead, 0.0)


def _step(res: float, bound: float) -> float:
    return 0.0 if res <= 0 else (1 / res if res > 1 else res) * 2 * bound


def _limit(bound: float, step: float) -> float | None:
    if not math.isfinite(bound):
        return None
    return bound / step * (1 + 1e-6) if step else bound  # the tolerance keeps the top code inside


def _round(steps: Tensor, dithered: bool, rng: torch.Generator) -> None:
    if dithered:
        steps += torch.rand(steps.shape, generator=rng, dtype=steps.dtype).sub_(0.5)
    steps.round_()
