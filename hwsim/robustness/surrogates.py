"""Other faces of one classifier, for where its own gradient, or its batch, cannot be trusted.

Each is a classifier around another one. Attacks climb it, and the images are judged on the model as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hwsim.rng import Streams
from hwsim.robustness.classifier import Classifier, reseed


@dataclass(frozen=True)
class Around:
    """A classifier that is another one but for what a subclass changes."""

    inner: Classifier

    @property
    def classes(self) -> int:
        return self.inner.classes

    @property
    def bounds(self) -> tuple[float, float]:
        return self.inner.bounds

    @property
    def noisy(self) -> bool:
        return self.inner.noisy

    def logits(self, x: Tensor) -> Tensor:
        return self.inner.logits(x)

    def differentiable(self, x: Tensor) -> Tensor:
        return self.inner.differentiable(x)

    def reseed(self, streams: Streams) -> None:
        reseed(self.inner, streams)


@dataclass(frozen=True)
class Alone(Around):
    """Every image in a batch of its own."""

    def logits(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner.logits(image) for image in x.split(1)])

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return torch.cat([self.inner.differentiable(image) for image in x.split(1)])


@dataclass(frozen=True)
class StraightThrough(Around):
    """Rounding, signs, detached tensors and switched-off gradients let the gradient through as it is.

    The straight-through estimator (Bengio et al. 2013; BPDA with the identity, Athalye et al. 2018) for whatever
    torch code the forward pass runs. What goes through NumPy or through integers is out of its reach.
    """

    def differentiable(self, x: Tensor) -> Tensor:
        try:
            with torch.enable_grad(), _Through():
                return self.inner.differentiable(x)
        except RuntimeError:  # such as NumPy on a tensor that now needs a gradient
            return self.inner.differentiable(x)


_STEPS = {
    step
    for name in ("round", "floor", "ceil", "trunc", "sign")
    for step in (getattr(torch, name), getattr(Tensor, name), getattr(Tensor, f"{name}_"))
}
_CUTS = {Tensor.detach, torch.detach, Tensor.data.__get__}  # pyright: ignore[reportAttributeAccessIssue]
_SWITCH = torch._C._set_grad_enabled


class _Through(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _SWITCH:
            return None
        if func in _CUTS:
            return args[0]
        if func in _STEPS and args[0].requires_grad:
            before = args[0]
            with torch.no_grad():
                stepped = func(before.clone(), *args[1:], **(kwargs or {}))
            return before + (stepped - before.detach())
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class FiniteDifferences(Around):
    """A gradient from scores alone: differences along orthogonal sign directions, ``step`` pixels to either side.

    With as many directions as pixels it sees every slope; with fewer it sees its share of them, and an unbiased
    estimate of the rest (Spall 1992; Uesato et al. 2018). At the budget's scale it looks over steps and ripples that
    a derivative falls into.

    Attributes:
        step: in pixel units.
        directions: forward passes are twice as many a gradient.
        rng: which directions are tried.
    """

    step: float
    directions: int
    rng: torch.Generator

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return cast(Tensor, _Estimated.apply(x, self))

    def slopes(self, x: Tensor, pull: Tensor) -> Tensor:
        """The gradient of <pull, scores> at ``x``, pull (B, classes)."""
        total = torch.zeros_like(x)
        signs = sign_directions(x[0].numel(), self.directions, self.rng).to(x)
        for direction in signs.reshape(-1, 1, *x.shape[1:]):
            ends = torch.cat([x + self.step * direction, x - self.step * direction])
            above, below = self.inner.logits(ends).chunk(2)
            rise = ((above - below) * pull).sum(1) / (2 * self.step)
            total += rise.reshape(-1, *[1] * (x.dim() - 1)) * direction
        return total / len(signs)


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, way: FiniteDifferences) -> Tensor:
        ctx.way, ctx.x = way, x.detach()
        return way.inner.logits(ctx.x).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        with torch.no_grad():
            return ctx.way.slopes(ctx.x, grads[0]), None


def sign_directions(size: int, count: int, rng: torch.Generator) -> Tensor:
    """(min(count, power of two >= size), size) of +-1: rows of a Hadamard matrix, columns flipped at random.

    All rows together satisfy sum d d^T = rows * identity, so that a gradient is seen whole.
    """
    order = 2 ** math.ceil(math.log2(max(size, 1)))
    rows = torch.randperm(order, generator=rng, device=rng.device)[:count].cpu()
    shared = rows[:, None] & torch.arange(size)
    odd = torch.zeros_like(shared)
    for bit in range(order.bit_length()):
        odd ^= (shared >> bit) & 1
    flips = 1 - 2 * torch.randint(2, (size,), generator=rng, device=rng.device).cpu()
    return ((1 - 2 * odd) * flips).float()
