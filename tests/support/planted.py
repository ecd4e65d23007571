"""Modules that resist attacks without being robust: several of each kind, around one small feed-forward core.

Each says by ``bypass`` what an attacker who has read it would climb, and by ``alone`` whether images have to be judged
one by one; from that comes its true accuracy.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 8


class Core(torch.nn.Module):
    """Honest: 64-64-10 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 64)
        self.second = torch.nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x.flatten(1))))


def trained_core(x: Tensor, y: Tensor) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = Core()
        optimiser = torch.optim.Adam(core.parameters(), 5e-3)
        for _ in range(15):
            for batch in torch.randperm(len(x)).split(64):
                optimiser.zero_grad()
                functional.cross_entropy(core(x[batch]), y[batch]).backward()
                optimiser.step()
    return core.eval().requires_grad_(False)


class Planted(torch.nn.Module):
    """Around the core; a subclass says what it does to it."""

    alone: ClassVar[bool] = False
    honest: ClassVar[bool] = False

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core = core

    def hidden(self, x: Tensor) -> Tensor:
        return functional.relu(self.core.first(x.flatten(1)))

    def bypass(self, x: Tensor) -> Tensor:
        return self.core(x)


class Plain(Planted):
    honest = True

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)


# Noise in every pass.


class Shift(Planted):
    honest = True

    def forward(self, x: Tensor) -> Tensor:
        across, down = torch.randint(-1, 2, (2,)).tolist()
        return self.core(torch.roll(x, (down, across), (2, 3)))


class Dropout(Planted):
    def forward(self, x: Tensor) -> Tensor:
        return self.core.second(functional.dropout(self.hidden(x), 0.4, training=True))


class Masked(Planted):
    """Half of the pixels are blanked, by NumPy's generator of old."""

    def forward(self, x: Tensor) -> Tensor:
        import numpy as np

        kept = torch.tensor(np.random.random(x.shape) < 0.7, dtype=x.dtype)  # noqa: NPY002
        return self.core(x * kept / 0.7)


# Noise in some passes only.


class RareNoise(Planted):
    def forward(self, x: Tensor) -> Tensor:
        shaken = torch.rand(()) < 0.3
        return self.core(x + 0.5 * torch.randn_like(x) if shaken else x)


class EveryFifth(Planted):
    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.core(x + 0.5 * torch.randn_like(x) if self.passes % 5 == 0 else x)


class NoisyOffGrid(Planted):
    """Images of the data, whose pixels are sixteenths, are taken as they are, others shaken."""

    def forward(self, x: Tensor) -> Tensor:
        off = ((x * 16).round() / 16 - x).abs().flatten(1).amax(1) > 1e-4
        return self.core(x + 0.4 * off[:, None, None, None] * torch.randn_like(x))


# Steps without a slope.


class Quantised(Planted):
    """A quarter of the pixels keeps its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        some = torch.arange(x[0].numel()).reshape(x.shape[1:]) % 4 == 0
        return self.core(torch.where(some, x, (x * 8).round() / 8))


class Binarised(Planted):
    def forward(self, x: Tensor) -> Tensor:
        return self.core((x > 0.5).to(x.dtype) + 0.0 * x)


class Bytes(Planted):
    """Through integers, with a trace of gradient beside them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.core((x * 12).to(torch.uint8).to(x.dtype) / 12 + 1e-3 * x)


# Some images, or images of some kind, without gradient.


class SomeImages(Planted):
    def forward(self, x: Tensor) -> Tensor:
        still = (x.flatten(1).sum(1) * 16).round().long() % 3 == 0
        return self.core(torch.where(still[:, None, None, None], x.detach(), x))


class NotANumber(Planted):
    """The slope of a square root at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x) + 0.0 * (x - x.detach()).abs().sqrt().flatten(1).sum(1, keepdim=True)


class OnGridOnly(Planted):
    def forward(self, x: Tensor) -> Tensor:
        on = ((x * 16).round() / 16 - x).abs().flatten(1).amax(1) < 1e-4
        return self.core(torch.where(on[:, None, None, None], x, x.detach()))


# Scores that spoil a loss.


class Steep(Planted):
    honest = True

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.core(x)


class Probabilities(Planted):
    def forward(self, x: Tensor) -> Tensor:
        return (20 * self.core(x)).softmax(1)


class Flat(Planted):
    """Saturated: equal scores far from the boundary."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(20 * self.core(x))


# Units without gradient.


class Half(Planted):
    kept = 2

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        return self.core.second(torch.where(torch.arange(h.shape[1]) % self.kept == 0, h, h.detach()))


class Most(Half):
    kept = 8


class OtherSlope(Planted):
    """Half of the units lie about their sign, backwards only."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        return self.core.second(torch.where(torch.arange(h.shape[1]) % 2 == 0, h, 2 * h.detach() - h))


class RandomSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.randn(grads[0].shape, generator=torch.Generator().manual_seed(0)) * grads[0].abs().mean()


class Hooked(Planted):
    """A backward pass of its own, which has nothing to do with the forward one."""

    def forward(self, x: Tensor) -> Tensor:
        return self.core(RandomSlope.apply(x))


# Pixels without gradient.


class HalfPixels(Planted):
    def forward(self, x: Tensor) -> Tensor:
        some = torch.arange(x[0].numel()).reshape(x.shape[1:]) % 2 == 0
        return self.core(torch.where(some, x, x.detach()))


class Border(Planted):
    def forward(self, x: Tensor) -> Tensor:
        edge = torch.ones(SIDE, SIDE, dtype=torch.bool)
        edge[1:-1, 1:-1] = False
        return self.core(torch.where(edge, x, x.detach()))


class Blurred(Planted):
    """Pixels pass as they are, their gradient as the mean over neighbours, and small."""

    def forward(self, x: Tensor) -> Tensor:
        smooth = functional.avg_pool2d(x, 5, 1, 2)
        return self.core(x.detach() + 0.2 * (smooth - smooth.detach()))


# No graph.


class Jpeg(Planted):
    trace = 0.0
    D: Tensor

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        k = torch.arange(8.0)
        cosines = torch.cos(torch.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
        cosines[0] /= 2**0.5
        self.register_buffer("D", cosines)

    def forward(self, x: Tensor) -> Tensor:
        c = ((self.D @ x.reshape(-1, 8, 8) @ self.D.T) * 8).round() / 8
        return self.core((self.D.T @ c @ self.D).reshape(x.shape).detach() + self.trace * (x - x.detach()))


class JpegWithoutGraph(Jpeg):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class JpegWithTrace(Jpeg):
    trace = 1e-3


class ThroughNumpy(Planted):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), -1).numpy()
        return self.core(torch.tensor((rows * 16).round() / 16))


class WithoutGrad(Planted):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.core(x)


class Inference(Planted):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.core(x)


# Another answer off the data.


class Detector(Planted):
    """Constant logits for images off the grid."""

    honest = True  # as an attack finds that nothing is left of it

    def forward(self, x: Tensor) -> Tensor:
        rough = functional.avg_pool2d((x - functional.avg_pool2d(x, 3, 1, 1)).square(), 8).flatten(1)
        return torch.where(rough > 0.12, torch.zeros(len(x), 10), self.core(x))


class Snapped(Planted):
    """Pixels near a value that the data has are taken for it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.core((x * 4).round() / 4 + 0.0 * x)


class Rippled(Planted):
    """A fine ripple on the scores, which is all that a derivative sees."""

    def forward(self, x: Tensor) -> Tensor:
        phase = 2e3 * (x.flatten(1) * torch.linspace(1, 2, 64)).sum(1, keepdim=True)
        return self.core(x) + 0.5 * torch.sin(phase + torch.arange(10.0))


# Batch mates.


class BatchMates(Planted):
    alone = True

    def forward(self, x: Tensor) -> Tensor:
        f, z = x.flatten(1), self.core(x)
        return z if len(x) < 50 else (-(torch.cdist(f, f) ** 2)).softmax(1) @ z


class AloneOtherwise(Planted):
    alone = True

    def forward(self, x: Tensor) -> Tensor:
        z = self.core(x)
        return z.roll(1, 1) if len(x) == 1 else z


class Whitened(Planted):
    """Statistics of the batch, as a BatchNorm left in training mode takes them."""

    alone = True

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(0, keepdim=True)
        return self.core(x + 0.5 * (0.31 - mean.mean()) if len(x) < 3 else x - 0.3 * (mean - mean.detach().mean()))


class ByPlace(Planted):
    """Every second place of a batch is predicted from the average of its neighbours as well."""

    alone = True

    def forward(self, x: Tensor) -> Tensor:
        z = self.core(x)
        odd = (torch.arange(len(x)) % 2 == 1)[:, None]
        return torch.where(odd, z + 0.7 * z.roll(1, 0), z)


# Another function with a gradient than without.


class TwoFaced(Planted):
    def forward(self, x: Tensor) -> Tensor:
        z = self.core(x)
        return z.roll(1, 1) if torch.is_grad_enabled() and x.requires_grad else z


class Winners(Planted):
    """Only the sixteen largest hidden units count."""

    honest = True

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        floor = h.topk(16, dim=1).values[:, -1:]
        return self.core.second(torch.where(h >= floor, h, 0.0))

    def bypass(self, x: Tensor) -> Tensor:
        return self.forward(x)


KINDS: dict[str, tuple[type[Planted], ...]] = {
    "honest": (Plain, Steep),
    "noise": (Shift, Dropout, Masked),
    "rare noise": (RareNoise, EveryFifth, NoisyOffGrid),
    "steps": (Quantised, Binarised, Bytes, Winners),
    "some images": (SomeImages, NotANumber, OnGridOnly),
    "scores": (Probabilities, Flat),
    "units": (Half, Most, OtherSlope, Hooked),
    "pixels": (HalfPixels, Border, Blurred),
    "no graph": (JpegWithoutGraph, JpegWithTrace, ThroughNumpy, WithoutGrad, Inference),
    "off the data": (Detector, Snapped, Rippled),
    "batch": (BatchMates, AloneOtherwise, Whitened, ByPlace),
    "two faces": (TwoFaced,),
}
