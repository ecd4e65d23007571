"""Models that the robustness tests attack: a small network trained by EP, and three known to mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import Phase, settle
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Unrolled
from hwsim.learning.rule import LearningRule
from hwsim.rng import Streams
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier

EP = EquilibriumProp(beta=0.5, free=Phase(10), nudged=Phase(5))


@dataclass(frozen=True)
class Digits:
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def trained(digits: Digits, output: str, rule: LearningRule | None = None) -> LayeredHopfield:
    streams, epochs = Streams(0), 6
    net = layered_hopfield((64, 64, 10), FloatDevice(momentum=0.9), streams, output=output)
    net.program(net.initial_weights(2.0, streams))
    rule, rng = rule or EP, streams.generator("data")
    for epoch in range(epochs):
        decay = 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for batch in torch.randperm(len(digits.x), generator=rng).split(32):
            rule.step(net, SquaredError(), digits.x[batch], digits.y[batch], (0.5 * decay, 0.2 * decay), rng)
    return net


def face(net: LayeredHopfield, **changes: object) -> EquilibriumClassifier:
    """A cheap surrogate: these nets settle in about 25 steps."""
    return EquilibriumClassifier(net, **{"phase": Phase(50), "through": Unrolled(30), **changes})


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class StateReadout(EquilibriumClassifier):
    """Scores are the output layer's state; with a clamped output it saturates."""

    def logits(self, x: Tensor) -> Tensor:
        given = self.net.given(x)
        return settle(given, given.start(), solver=self.solver, phase=self.phase).state[-1]

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            given = self.net.given(x)
            return self.through.reach(given, given.start())[-1]


def quantised(x: Tensor) -> Tensor:
    """Nine grey levels, the gradient of rounding left at zero."""
    return (x * 8).round() / 8


@dataclass(frozen=True)
class Shaken:
    """A model whose input trembles anew in every pass."""

    inner: Classifier
    sigma: float
    source: torch.Generator

    noisy = True
    bounds = (0.0, 1.0)

    @property
    def classes(self) -> int:
        return self.inner.classes

    def logits(self, x: Tensor) -> Tensor:
        return self.inner.logits(self._shaken(x))

    def differentiable(self, x: Tensor) -> Tensor:
        return self.inner.differentiable(self._shaken(x))

    def _shaken(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn(x.shape, generator=self.source)
