"""Attacks of other libraries behind one face: AutoAttack's parts from pyautoattack, minimal attacks from foolbox.

pyautoattack's FAB and Square are upstream AutoAttack's. Only these parts are used, not its driver: the
driver's resume is broken and its check for dynamic defences switches trace functions (coverage, debuggers) off.
What remains to guard is a reseed of torch's global generator, kept inside a fork here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import isqrt
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.robustness.attacks import Attack, check_images, check_norm
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.global_draws import GlobalDraws
from hwsim.robustness.threat import Threat

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
"""Names in pyautoattack, which has no l0."""


@dataclass(frozen=True)
class Task:
    """What a library is asked for.

    Attributes:
        model: images (B, C, H, W) -> logits, differentiable where the library asks for gradients.
        images, labels: float32 (B, C, H, W) in [0, 1], and (B,).
        threat: what the images may become.
        seed: of the library's own draws.
        classifier: the attacked one, for what it knows of itself.
    """

    model: Callable[[Tensor], Tensor]
    images: Tensor
    labels: Tensor
    threat: Threat
    seed: int
    classifier: Classifier


class LibraryAttack(ABC):
    """An attack that a library carries out; a subclass is a frozen dataclass of its settings that says how.

    ``package`` is the library, loaded when an attack needs it, and ``install`` what brings it.
    """

    package: ClassVar[str]
    install: ClassVar[str]

    def check_installed(self, hint: str = "") -> None:
        """Raise InputError, with the command that helps and a ``hint``, where the library is not there."""
        try:
            import_module(self.package)
        except ImportError:
            name = cast(Attack, self).name
            raise InputError(f"attack {name} needs {self.package}: pip install '{self.install}'{hint}") from None

    @abstractmethod
    def _moved(self, task: Task) -> Tensor:
        """The images that the library returns."""

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        """The library's images in the shape of ``x``, with a seed from ``rng``, global generators untouched."""
        check_norm(self, threat)
        check_images(x, y)
        if not len(x) or not threat.epsilon:
            return x.clone()
        self.check_installed()
        images = _as_images(x)
        seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))

        def model(batch: Tensor) -> Tensor:
            batch = batch.reshape(len(batch), *x.shape[1:]).to(x.dtype)
            if torch.is_grad_enabled() and batch.requires_grad:
                return _with_graph(classifier, batch)
            return classifier.logits(batch.detach()).clone()  # Square writes into what it gets

        with GlobalDraws(seed).drawing():
            moved = self._moved(Task(model, images.float(), y, threat, seed, classifier))
        return moved.detach().reshape(x.shape).to(x.dtype)


class Autoattack(LibraryAttack):
    """A part of AutoAttack, from pyautoattack."""

    package, install = "pyautoattack", "pyautoattack==0.2.*"
    norms = tuple(_NORMS)
    restarts: int

    def _common(self, task: Task) -> dict[str, Any]:
        """What every part takes."""
        return {
            "norm": _NORMS[task.threat.norm],
            "n_restarts": self.restarts,
            "eps": task.threat.epsilon,
            "seed": task.seed,
            "device": task.images.device,
        }


@dataclass(frozen=True)
class Fab(Autoattack):
    """Fast adaptive boundary attack (Croce and Hein 2020), towards each of ``targets`` classes or untargeted."""

    steps: int = 100
    restarts: int = 1
    targets: int = 9
    targeted: bool = True

    white_box = True

    @property
    def name(self) -> str:
        return "fab-targeted" if self.targeted else "fab"

    def _moved(self, task: Task) -> Tensor:
        from pyautoattack.fab_pt import FABAttack_PT

        targets = min(self.targets, task.classifier.classes - 1)
        settings = {**self._common(task), "n_iter": self.steps, "targeted": self.targeted, "n_target_classes": targets}
        return FABAttack_PT(task.model, **settings).perturb(task.images, task.labels)


@dataclass(frozen=True)
class Square(Autoattack):
    """Square attack (Andriushchenko et al. 2020): random squares, queries only, no gradient.

    The schedule is the published one from 5000 queries on and is shortened in proportion below.
    """

    queries: int = 5000
    restarts: int = 1

    name = "square"
    white_box = False

    def _moved(self, task: Task) -> Tensor:
        from pyautoattack.square import SquareAttack

        settings = {**self._common(task), "n_queries": self.queries, "resc_schedule": self.queries < 5000}
        return SquareAttack(task.model, **settings).perturb(task.images, task.labels)


class Foolbox(LibraryAttack):
    """One of foolbox's minimal attacks, an extra: the nearest image that it found, whatever the budget."""

    package, install = "foolbox", "hwsim[attacks]"

    @abstractmethod
    def _made(self, norm: str) -> Any:
        """foolbox's attack."""

    def _moved(self, task: Task) -> Tensor:
        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        attack = self._made(task.threat.norm)
        bounds, device = task.classifier.bounds, str(task.images.device)
        model = PyTorchModel(_module(task.model), bounds=bounds, device=device)
        return attack(model, task.images, Misclassification(task.labels), epsilons=None)[0]


@dataclass(frozen=True)
class HopSkipJump(Foolbox):
    """HopSkipJump (Chen et al. 2020): decisions only, minimal l2 or linf norm.

    It needs thousands of queries an image; with few ``steps`` it is far from converged.
    """

    steps: int = 20

    name = "hopskipjump"
    white_box = False
    norms = ("linf", "l2")

    def _made(self, norm: str) -> Any:
        from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack

        return HopSkipJumpAttack(steps=self.steps, constraint="linf" if norm == "linf" else "l2")


@dataclass(frozen=True)
class Ead(Foolbox):
    """Elastic-net attack (Chen et al. 2018): images nearest in l1 by iterated shrinkage."""

    steps: int = 200
    searches: int = 5

    name = "ead"
    white_box = True
    norms = ("l1",)

    def _made(self, norm: str) -> Any:
        from foolbox.attacks.ead import EADAttack

        return EADAttack(binary_search_steps=self.searches, steps=self.steps, decision_rule="L1")


@dataclass(frozen=True)
class FmnL0(Foolbox):
    """Fast minimum norm in l0 (Pintor et al. 2021).

    It counts every channel of a pixel as one, so its images change at most as many pixels as it says.
    """

    steps: int = 200

    name = "fmn-l0"
    white_box = True
    norms = ("l0",)

    def _made(self, norm: str) -> Any:
        from foolbox.attacks.fast_minimum_norm import L0FMNAttack

        return L0FMNAttack(steps=self.steps)


class _Clean(torch.autograd.Function):
    """The images themselves; gradients that are not finite are zero backwards, which libraries do not see to."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        del ctx
        return images.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        del ctx
        return grads[0].nan_to_num(0.0, 0.0, 0.0)


def _with_graph(classifier: Classifier, images: Tensor) -> Tensor:
    """Scores with a graph to ``images``, if only one through which nothing passes."""
    scores = classifier.differentiable(cast(Tensor, _Clean.apply(images)))
    return scores + 0.0 * images.flatten(1).sum(1, keepdim=True)


def _as_images(x: Tensor) -> Tensor:
    if x.dim() == 4:
        return x
    side = isqrt(x[0].numel())
    if side * side != x[0].numel():
        raise InputError(f"attack input: expected images (B, C, H, W), got {tuple(x.shape)}, which is no square image")
    return x.reshape(len(x), 1, side, side)


def _module(model: Callable[[Tensor], Tensor]) -> torch.nn.Module:
    class Wrapped(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)

    return Wrapped().eval()
