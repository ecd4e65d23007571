"""What an attack sees of a model: scores to judge by, and scores with a gradient to climb.

The two faces differ on purpose. ``logits`` is what the hardware answers, noise included; ``differentiable`` is the
attacker's surrogate of it. An attack may climb one classifier and be judged on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.ebm.inference import infer
from hwsim.ebm.network import Network
from hwsim.ebm.settle import PHASE, SOLVER, Phase, Settled, Solver
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, equilibrium_logits
from hwsim.rng import Streams
from hwsim.robustness.global_draws import GlobalDraws

Prepare = Callable[[Tensor], Tensor]
"""A differentiable map from images in [0, 1] to what the model expects (a normalisation)."""


class Classifier(Protocol):
    """A model of images x (B, ...) with pixels in ``bounds``."""

    @property
    def classes(self) -> int:
        """Number of scores."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of a pixel; (0, 1) for all models here."""
        ...

    @property
    def noisy(self) -> bool:
        """Do two calls on one image differ?"""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """(B, classes): the scores predictions are made from, without a graph, noisy where the model is."""
        ...

    def differentiable(self, x: Tensor) -> Tensor:
        """(B, classes): scores with an autograd graph to ``x``, the surrogate that an attack climbs."""
        ...


@runtime_checkable
class Reseedable(Protocol):
    """A classifier whose noise can be started anew."""

    def reseed(self, streams: Streams) -> None: ...


def reseed(classifier: Classifier, streams: Streams) -> None:
    """Start the classifier's noise anew, where it lets itself be seeded."""
    if isinstance(classifier, Reseedable):
        classifier.reseed(streams)


@dataclass(frozen=True)
class EquilibriumClassifier:
    """A layered Hopfield network judged at equilibrium.

    Both faces score by the *pre-activation* of the output layer: a saturating output state has zero gradients
    nearly everywhere, which makes attacks fail without making the network robust.

    Attributes:
        solver, phase: the relaxation behind ``logits``.
        through: the way to differentiate; ``Implicit`` is exact where the state settles.
        hold_input: read the input drive once an inference, or at every step.
        prepare: normalisation between pixels and network, if any.

    >>> import hwsim as hw
    >>> model = hw.EquilibriumClassifier(hw.hopfield([64, 16, 10]), solver=hw.OddEven())
    >>> model.logits(hw.load_data("digits").test.x[:4]).shape
    torch.Size([4, 10])
    """

    net: Network
    solver: Solver = SOLVER
    phase: Phase = PHASE
    through: Equilibrium = field(default_factory=Implicit)
    hold_input: bool = True
    prepare: Prepare | None = None

    bounds = (0.0, 1.0)

    @property
    def classes(self) -> int:
        return self.net.classes

    @property
    def noisy(self) -> bool:
        return self.net.noisy

    def logits(self, x: Tensor) -> Tensor:
        return self.relaxed(x)[0]

    def relaxed(self, x: Tensor) -> tuple[Tensor, Settled]:
        """(logits, how the relaxation behind them ended)."""
        x = x if self.prepare is None else self.prepare(x)
        return infer(self.net, x, solver=self.solver, phase=self.phase, hold_input=self.hold_input)

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if self.prepare is None else self.prepare(x)
            return equilibrium_logits(self.net, x, self.through, hold_input=self.hold_input)

    def reseed(self, streams: Streams) -> None:
        self.net.reseed_reads(streams)


@dataclass(frozen=True)
class TorchClassifier:
    """A torch module (B, ...) -> (B, classes), called in evaluation mode; its own mode stays as it is.

    What it draws from global generators comes from ``draws``: seeded, and without a trace outside. A forward pass that
    leaves no graph gives scores without one; ``input_gradient`` is zero then, and the checks say so.

    >>> import hwsim as hw
    >>> import torch
    >>> model = hw.TorchClassifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), classes=10)
    >>> model.logits(hw.load_data("digits").test.x[:4]).shape
    torch.Size([4, 10])
    """

    module: torch.nn.Module
    classes: int
    noisy: bool = False
    prepare: Prepare | None = None
    draws: GlobalDraws = field(default_factory=GlobalDraws, compare=False, repr=False)

    bounds = (0.0, 1.0)

    def logits(self, x: Tensor) -> Tensor:
        with torch.no_grad(), self.draws.drawing():
            return self._scores(x)

    def differentiable(self, x: Tensor) -> Tensor:
        try:
            with torch.enable_grad(), self.draws.drawing():
                return self._scores(x)
        except RuntimeError:
            # Such as x.numpy() of what needs a gradient. What fails without a gradient as well is raised from here.
            return self.logits(x.detach())

    def reseed(self, streams: Streams) -> None:
        self.draws.restart(streams.seed_of("read"))

    def _scores(self, x: Tensor) -> Tensor:
        with _evaluating(self.module):
            scores = self.module(x if self.prepare is None else self.prepare(x))
        return scores.clone() if scores.is_inference() else scores


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """The module in evaluation mode; every part of it returns to the mode that it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def correct(classifier: Classifier, x: Tensor, y: Tensor, batch: int = 1000) -> Tensor:
    """(B,) bool: is the largest score the label's? In chunks of ``batch`` images."""
    pairs = zip(x.split(batch), y.split(batch), strict=True)
    return torch.cat([classifier.logits(images).argmax(1) == labels for images, labels in pairs])
