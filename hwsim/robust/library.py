"""Attacks of other libraries behind one face: AutoAttack's parts from pyautoattack, HopSkipJump from foolbox.

pyautoattack's APGD, FAB and Square are upstream AutoAttack's. Only these parts are used, not its driver: the
driver's resume is broken and its check for dynamic defences switches trace functions (coverage, debuggers) off.
What remains to guard is a reseed of torch's global generator, kept inside a fork here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.robust.attacks import check_images
from hwsim.robust.classifier import Classifier
from hwsim.robust.threat import Threat

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
"""Names in pyautoattack, which has no l0."""


@dataclass(frozen=True)
class Apgd:
    """Auto-PGD (Croce and Hein 2020).

    Attributes:
        loss: "ce"; "dlr", which needs 3 classes; "targeted", the DLR towards each of ``targets`` classes, 4.
        best_loss: return the point of largest loss instead of the first that fools. For attacks that are judged
            elsewhere (transfer, noise): a point just over the boundary fails there. Not with "targeted".
    """

    loss: str = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 9
    best_loss: bool = False

    white_box = True
    norms = tuple(_NORMS)

    def __post_init__(self) -> None:
        if self.loss not in ("ce", "dlr", "targeted"):
            raise InputError(f"apgd loss: expected ce, dlr or targeted, got {self.loss!r}")
        if self.best_loss and self.loss == "targeted":
            raise InputError("apgd: best_loss goes with loss ce or dlr, not with targeted")

    @property
    def name(self) -> str:
        return f"apgd-{self.loss}"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

        _needs_norm(self, threat)
        needed = {"ce": 2, "dlr": 3, "targeted": 4}[self.loss]
        _needs_classes(self.name, classifier, needed)

        def run(model: Callable[[Tensor], Tensor], images: Tensor, seed: int) -> Tensor:
            common: dict[str, Any] = {
                "n_iter": self.steps,
                "norm": _NORMS[threat.norm],
                "n_restarts": self.restarts,
                "eps": threat.epsilon,
                "seed": seed,
                "device": images.device,
                "use_largereps": threat.norm == "l1",
                "logger": _quiet(),
            }
            if self.loss == "targeted":
                targets = min(self.targets, classifier.classes - 1)
                return APGDAttack_targeted(model, n_target_classes=targets, **common).perturb(images, y)
            return APGDAttack(model, loss=self.loss, **common).perturb(images, y, best_loss=self.best_loss)

        return _run(run, classifier, x, y, threat, rng)


@dataclass(frozen=True)
class Fab:
    """Fast adaptive boundary attack (Croce and Hein 2020), towards each of ``targets`` classes or untargeted."""

    steps: int = 100
    restarts: int = 1
    targets: int = 9
    targeted: bool = True

    white_box = True
    norms = tuple(_NORMS)

    @property
    def name(self) -> str:
        return "fab-targeted" if self.targeted else "fab"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        from pyautoattack.fab_pt import FABAttack_PT

        _needs_norm(self, threat)

        def run(model: Callable[[Tensor], Tensor], images: Tensor, seed: int) -> Tensor:
            attack = FABAttack_PT(
                model,
                norm=_NORMS[threat.norm],
                n_restarts=self.restarts,
                n_iter=self.steps,
                eps=threat.epsilon,
                seed=seed,
                targeted=self.targeted,
                device=images.device,
                n_target_classes=min(self.targets, classifier.classes - 1),
            )
            return attack.perturb(images, y)

        return _run(run, classifier, x, y, threat, rng)


@dataclass(frozen=True)
class Square:
    """Square attack (Andriushchenko et al. 2020): random squares, queries only, no gradient.

    The schedule is the published one from 5000 queries on and is shortened in proportion below.
    """

    queries: int = 5000
    restarts: int = 1

    name = "square"
    white_box = False
    norms = tuple(_NORMS)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        from pyautoattack.square import SquareAttack

        _needs_norm(self, threat)

        def run(model: Callable[[Tensor], Tensor], images: Tensor, seed: int) -> Tensor:
            attack = SquareAttack(
                model,
                norm=_NORMS[threat.norm],
                n_queries=self.queries,
                n_restarts=self.restarts,
                eps=threat.epsilon,
                seed=seed,
                resc_schedule=self.queries < 5000,
                device=images.device,
            )
            return attack.perturb(images, y)

        return _run(run, classifier, x, y, threat, rng)


@dataclass(frozen=True)
class HopSkipJump:
    """HopSkipJump (Chen et al. 2020): decisions only, minimal l2 or linf norm; from foolbox, an extra.

    It needs thousands of queries an image; with few ``steps`` it is far from converged.
    """

    steps: int = 20

    name = "hopskipjump"
    white_box = False
    norms = ("linf", "l2")

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        _needs_norm(self, threat)

        def make() -> Any:
            from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack

            return HopSkipJumpAttack(steps=self.steps, constraint="linf" if threat.norm == "linf" else "l2")

        return _foolbox(make, self.name, classifier, x, y, threat, rng)


@dataclass(frozen=True)
class Ead:
    """Elastic-net attack (Chen et al. 2018): images nearest in l1 by iterated shrinkage; from foolbox, an extra."""

    steps: int = 200
    searches: int = 5

    name = "ead"
    white_box = True
    norms = ("l1",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        _needs_norm(self, threat)

        def make() -> Any:
            from foolbox.attacks.ead import EADAttack

            return EADAttack(binary_search_steps=self.searches, steps=self.steps, decision_rule="L1")

        return _foolbox(make, self.name, classifier, x, y, threat, rng)


@dataclass(frozen=True)
class FmnL0:
    """Fast minimum norm in l0 (Pintor et al. 2021); from foolbox, an extra.

    It counts every channel of a pixel as one, so its images change at most as many pixels as it says.
    """

    steps: int = 200

    name = "fmn-l0"
    white_box = True
    norms = ("l0",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        _needs_norm(self, threat)

        def make() -> Any:
            from foolbox.attacks.fast_minimum_norm import L0FMNAttack

            return L0FMNAttack(steps=self.steps)

        return _foolbox(make, self.name, classifier, x, y, threat, rng)


def _needs_norm(attack: Any, threat: Threat) -> None:
    if threat.norm not in attack.norms:
        raise InputError(f"attack {attack.name}: expected a threat in {' or '.join(attack.norms)}, got {threat.norm}")


def _foolbox(
    make: Callable[[], Any],
    name: str,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
) -> Tensor:
    """One of foolbox's minimal attacks: the nearest image that it found, whatever the budget."""
    try:
        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        attack = make()
    except ImportError:
        raise InputError(f"attack {name} needs foolbox: pip install 'hwsim[attacks]'") from None

    def run(model: Callable[[Tensor], Tensor], images: Tensor, seed: int) -> Tensor:
        del seed
        wrapped = PyTorchModel(_module(model), bounds=classifier.bounds, device=str(images.device))
        return attack(wrapped, images, Misclassification(y), epsilons=None)[0]

    return _run(run, classifier, x, y, threat, rng)


def _run(
    attack: Callable[[Callable[[Tensor], Tensor], Tensor, int], Tensor],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
) -> Tensor:
    """Call a library's attack on float32 images (B, C, H, W) with a seed from ``rng``, global generator untouched."""
    check_images(x, y)
    if not len(x) or not threat.epsilon:
        return x.clone()
    images = _as_images(x)
    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))

    def model(batch: Tensor) -> Tensor:
        batch = batch.reshape(len(batch), *x.shape[1:]).to(x.dtype)
        if torch.is_grad_enabled() and batch.requires_grad:
            return classifier.differentiable(batch)
        return classifier.logits(batch.detach()).clone()  # Square writes into what it gets

    with _global_generators_kept():
        torch.manual_seed(seed)
        moved = attack(model, images.float(), seed)
    return moved.detach().reshape(x.shape).to(x.dtype)


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Libraries reseed torch's and NumPy's global generators; give both back as they were."""
    import numpy as np

    state = np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _as_images(x: Tensor) -> Tensor:
    if x.dim() == 4:
        return x
    side = isqrt(x[0].numel())
    if side * side != x[0].numel():
        raise InputError(f"attack input: expected images (B, C, H, W), got {tuple(x.shape)}, which is no square image")
    return x.reshape(len(x), 1, side, side)


def _needs_classes(name: str, classifier: Classifier, needed: int) -> None:
    if classifier.classes < needed:
        raise InputError(f"attack {name}: its loss needs at least {needed} classes, the model has {classifier.classes}")


def _module(model: Callable[[Tensor], Tensor]) -> torch.nn.Module:
    class Wrapped(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)

    return Wrapped().eval()


def _quiet() -> logging.Logger:
    """pyautoattack warns of zero gradients through its logger; ``checks`` counts them in words instead."""
    logger = logging.getLogger("hwsim.robust.pyautoattack")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
