"""Threat models: which perturbations an attacker may add, in units of pixels in [0, 1]."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from hwsim.errors import InputError

NORMS = ("linf", "l2", "l1", "l0")


@dataclass(frozen=True)
class Threat:
    """All images within ``epsilon`` of the clean one in ``norm`` and inside the box [0, 1].

    Args:
        norm: "linf", "l2" or "l1", over all pixels and channels of an image; or "l0", the number of pixels that are
            changed at all, a pixel of an image (C, H, W) being all its channels.
        epsilon: the budget, >= 0; for linf at most 1, for l0 a whole number.

    Raises InputError for an unknown norm or a budget that it cannot have.

    >>> import hwsim as hw
    >>> threat, x = hw.Threat("linf", 0.1), hw.load_data("digits").test.x[:4]
    >>> round(float(threat.distance(threat.project(x + 1, x), x).max()), 3), str(hw.Threat("linf", 8 / 255))
    (0.1, 'linf:8/255')
    """

    norm: str
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InputError(f"threat norm: expected one of {', '.join(NORMS)}, got {self.norm!r}")
        if not 0 <= self.epsilon < math.inf:
            raise InputError(f"threat epsilon: expected a finite number >= 0, got {self.epsilon}")
        if self.norm == "linf" and self.epsilon > 1:
            raise InputError(
                f"threat epsilon: linf budgets are in pixels of range [0, 1], got {self.epsilon:g}; "
                f"for a budget in grey levels write linf:{self.epsilon:g}/255"
            )

        if self.norm == "l0" and self.epsilon != int(self.epsilon):
            raise InputError(f"threat epsilon: l0 budgets are whole numbers of pixels, got {self.epsilon:g}")

    def __str__(self) -> str:
        """As it is written, in grey levels only where a short decimal number does not say it exactly."""
        levels = round(self.epsilon * 255)
        if (
            self.norm == "linf"
            and float(f"{self.epsilon:g}") != self.epsilon
            and abs(levels / 255 - self.epsilon) < 1e-9
        ):
            return f"linf:{levels}/255"
        return f"{self.norm}:{self.epsilon:g}"

    def scaled(self, factor: float) -> Threat:
        """The budget times ``factor``, within what the norm allows; an l0 budget to a whole pixel at least."""
        wide = self.epsilon * factor
        if self.norm == "l0":
            return Threat("l0", max(1, round(wide)))
        return Threat(self.norm, min(wide, 1.0) if self.norm == "linf" else wide)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """(B,): how far each image was moved."""
        if self.norm == "l0":
            return by_pixel((x_adv != x).to(x.dtype)).gt(0).sum(1).to(x.dtype)
        delta = (x_adv - x).flatten(1)
        return delta.abs().amax(1) if self.norm == "linf" else delta.norm(p=int(self.norm[1]), dim=1)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest image within the budget and the box; in l2 of the budget, then clipped, which stays inside it."""
        if self.norm == "l0":
            return _fewest(x_adv, x, int(self.epsilon))
        if self.norm == "l1":
            return _into_l1_and_box(x_adv, x, self.epsilon)
        delta = into_ball((x_adv - x).flatten(1), self.norm, x.new_full((len(x), 1), self.epsilon))
        return (x + delta.reshape(x.shape)).clamp(0.0, 1.0)

    def allowed(self, x_adv: Tensor, x: Tensor, tolerance: float = 1e-5) -> Tensor:
        """(B,) bool: finite, inside the box and within the budget, up to float32 rounding."""
        inside = torch.isfinite(x_adv).flatten(1).all(1)
        inside &= ((x_adv >= -tolerance) & (x_adv <= 1 + tolerance)).flatten(1).all(1)
        return inside & (self.distance(x_adv, x) <= self.epsilon * (1 + tolerance) + tolerance)

    def random_start(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """A point drawn uniformly from the ball around each image, then clipped to the box."""
        flat = x.flatten(1)
        size = flat.shape[1]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)

        if self.norm == "l0":  # any values at pixels drawn without replacement
            chosen = top_pixels(uniform(*by_pixel(x).shape), int(self.epsilon), x)
            return torch.where(chosen, uniform(*x.shape), x)
        if self.norm == "linf":
            delta = (2 * uniform(*flat.shape) - 1) * self.epsilon
        else:
            if self.norm == "l2":
                direction = torch.randn(flat.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)
                direction = direction / direction.norm(dim=1, keepdim=True)
            else:  # exponential magnitudes, normalised, are uniform on the simplex
                direction = -torch.log1p(-uniform(*flat.shape)) * (2 * (uniform(*flat.shape) < 0.5) - 1)
                direction = direction / direction.abs().sum(1, keepdim=True)
            delta = direction * self.epsilon * uniform(len(flat), 1) ** (1 / size)
        return self.project(x + delta.reshape(x.shape), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm in which a loss of this gradient climbs fastest; zero where the gradient is.

        For l1 the exact answer is one pixel; the strongest twentieth shares the step, which climbs far better
        over many steps (Tramer and Boneh 2019). For l0 the gradient itself, at a mean of 1 / epsilon a value: the
        projection then picks the pixels (Croce and Hein 2019).
        """
        flat = gradient.flatten(1)
        tiny = torch.finfo(flat.dtype).tiny
        if self.norm == "linf":
            direction = flat.sign()
        elif self.norm == "l2":
            direction = flat / flat.norm(dim=1, keepdim=True).clamp_min(tiny)
        elif self.norm == "l0":
            direction = flat / (flat.abs().mean(1, keepdim=True).clamp_min(tiny) * max(self.epsilon, 1.0))
        else:
            kept = max(1, flat.shape[1] // 20)
            floor = flat.abs().topk(kept, dim=1).values[:, -1:]
            signs = torch.where(flat.abs() >= floor, flat.sign(), 0.0)
            direction = signs / signs.abs().sum(1, keepdim=True).clamp_min(1.0)
        return direction.reshape(gradient.shape)


def by_pixel(values: Tensor) -> Tensor:
    """(B, pixels): sums over the channels of images (B, C, H, W); rows (B, N) are N pixels."""
    return values.sum(1).flatten(1) if values.dim() == 4 else values.flatten(1)


def top_pixels(scores: Tensor, count: int, like: Tensor) -> Tensor:
    """Bool of the shape of ``like``: all channels of each image's ``count`` pixels of highest score (B, pixels)."""
    count = min(count, scores.shape[1])
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(count, dim=1).indices, True)
    if like.dim() == 4:
        return chosen.reshape(len(like), 1, *like.shape[2:]).expand_as(like)
    return chosen.reshape(like.shape)


def _fewest(x_adv: Tensor, x: Tensor, count: int) -> Tensor:
    """The nearest image in l2 that differs from ``x`` in at most ``count`` pixels and lies in the box."""
    inside = x_adv.clamp(0.0, 1.0)
    gained = by_pixel((x_adv - x).square() - (x_adv - inside).square())  # by keeping a pixel
    return torch.where(top_pixels(gained, count, x), inside, x)


def into_ball(delta: Tensor, norm: str, budget: Tensor) -> Tensor:
    """The nearest point to each row of ``delta`` (B, N) within ``budget`` (B, 1) of zero."""
    if norm == "linf":
        return delta.clamp(-budget, budget)
    if norm == "l2":
        length = delta.norm(dim=1, keepdim=True).clamp_min(torch.finfo(delta.dtype).tiny)
        return delta * (budget / length).clamp_max(1.0)
    # Soft thresholding (Duchi et al. 2008).
    sizes = delta.abs()
    ranked = sizes.sort(dim=1, descending=True).values
    excess = (ranked.cumsum(1) - budget) / torch.arange(1, delta.shape[1] + 1, dtype=delta.dtype, device=delta.device)
    last = (ranked > excess).sum(1, keepdim=True).clamp_min(1) - 1
    threshold = excess.gather(1, last).clamp_min(0.0)
    return delta.sign() * (sizes - threshold).clamp_min(0.0)


def _into_l1_and_box(x_adv: Tensor, x: Tensor, budget: float) -> Tensor:
    """The nearest image within an l1 distance and the box at once (Croce and Hein 2021).

    Pixel i moves by clamp(|d_i| - t, 0, room_i), room being what the box leaves in its direction, with the least
    t >= 0 that keeps the budget. The sum of the moves is a falling line between the points |d_i| and |d_i| - room_i,
    so t lies between two of them. Clipping after a projection onto the ball alone would leave budget unused.
    """
    clean, delta = x.flatten(1).double(), (x_adv - x).flatten(1).double()  # sums of thousands of pixels
    size, room = delta.abs(), torch.where(delta > 0, 1 - clean, clean).clamp_min(0.0)
    kinks, order = torch.cat([size - room, size], 1).sort(dim=1)
    # Beyond |d| - room a pixel's move falls by one per t, beyond |d| not any more.
    turns = torch.cat([torch.ones_like(size), -torch.ones_like(size)], 1).gather(1, order)
    slope = turns.cumsum(1)
    gaps = kinks.diff(dim=1)
    sums = room.sum(1, keepdim=True) - torch.cat([torch.zeros_like(gaps[:, :1]), (slope[:, :-1] * gaps).cumsum(1)], 1)
    last = ((sums > budget).sum(1, keepdim=True) - 1).clamp_min(0)
    excess = (sums.gather(1, last) - budget).clamp_min(0.0) / slope.gather(1, last).clamp_min(1.0)
    threshold = (kinks.gather(1, last) + excess).clamp_min(0.0)
    threshold = torch.where(sums[:, :1] > budget, threshold, torch.zeros_like(threshold))
    moves = torch.minimum((size - threshold).clamp_min(0.0), room)
    return (clean + delta.sign() * moves).clamp(0.0, 1.0).reshape(x.shape).to(x.dtype)


def parse(text: str) -> Threat:
    """``linf:8/255``, ``l2:0.5``, ``l1:12`` or ``l0:10`` as a threat. Raises InputError that says what is wrong."""
    match = re.fullmatch(r"\s*([A-Za-z0-9]+)\s*:\s*(.+?)\s*", text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"threat: expected NORM:EPSILON such as linf:8/255 or l2:0.5, got {text!r}")
    norm, budget = match.group(1).lower(), match.group(2)
    if norm not in NORMS:
        raise InputError(f"threat {text!r}: expected a norm among {', '.join(NORMS)}, got {match.group(1)!r}")
    try:
        epsilon = float(Fraction(budget.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"threat {text!r}: expected a number or a fraction after the colon, got {budget!r}") from None
    return Threat(norm, epsilon)
