"""Our own attacks as values, transfer, and the presets: what ``evaluate`` takes a list of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwsim.errors import InputError
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack, check_images, check_norm, confirmed, fgsm, input_gradient, margin, pgd, put
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.library import Ead, Fab, FmnL0, HopSkipJump, LibraryAttack, Square
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.threat import NORMS, Threat, into_ball
from hwsim.robustness.warm import Warm


@dataclass(frozen=True)
class Fgsm:
    """One gradient step; see ``fgsm``."""

    loss: str = "ce"

    name = "fgsm"
    white_box = True

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        del rng
        return fgsm(classifier, x, y, threat, loss=self.loss)


@dataclass(frozen=True)
class Pgd:
    """Projected gradient ascent; see ``pgd``."""

    steps: int = 40
    restarts: int = 1
    loss: str = "margin"
    step_size: float | None = None
    random_start: bool = True
    stop_when_fooled: bool = False

    white_box = True

    @property
    def name(self) -> str:
        return f"pgd-{self.loss}"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        settings = {name: getattr(self, name) for name in ("steps", "restarts", "loss", "step_size", "random_start")}
        return pgd(classifier, x, y, threat, rng=rng, stop_when_fooled=self.stop_when_fooled, **settings)


@dataclass(frozen=True)
class RandomSearch:
    """The best of ``draws`` random points of the budget's surface: what a real attack must beat by far."""

    draws: int = 100

    name = "random-search"
    white_box = False

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        check_images(x, y)
        best, reached = x.clone(), margin(classifier.logits(x), y)
        rows = torch.arange(len(x), device=x.device)
        for _ in range(self.draws):
            towards = torch.randn(x.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)
            candidate = threat.project(x + threat.epsilon * threat.steepest(towards), x)
            gap = margin(classifier.logits(candidate), y)
            put(best, rows, gap > reached, candidate)
            reached = torch.maximum(reached, gap)
        return best


@dataclass(frozen=True)
class Fmn:
    """Fast minimum norm (Pintor et al. 2021): the nearest fooling image, in the threat's norm.

    ``nearest`` gives the distribution of distances. As an attack within a budget, images that need more come back
    clipped to it; being on the boundary, they are weak elsewhere. Some images are not fooled at all: report how many.
    """

    steps: int = 100
    step_size: float = 0.3
    shrink: float = 0.05

    name = "fmn"
    white_box = True
    norms = ("linf", "l2", "l1")

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        del rng
        check_norm(self, threat)
        return threat.project(self.nearest(classifier, x, y, threat.norm)[0], x)

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, norm: str) -> tuple[Tensor, Tensor]:
        """(fooling images, their distance (B,) in ``norm``); infinite, and the image itself, where none was found."""
        check_images(x, y)
        measure, shape = Threat(norm, 0.0), (-1, *[1] * (x.dim() - 1))
        dual = {"linf": 1, "l2": 2, "l1": math.inf}[norm]
        best, least = x.clone(), torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        budget, now = least.clone(), x.clone()

        def confirm(images: Tensor, claimed: Tensor) -> Tensor:
            return confirmed(classifier, images, y, claimed) if isinstance(classifier, Warm) else claimed

        for step in range(self.steps):
            cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            gradient, _ = input_gradient(classifier, now, y, "margin")
            gap, distance = margin(classifier.logits(now), y), measure.distance(now, x)
            closer = confirm(now, (gap > 0) & (distance < least))
            best[closer], least[closer] = now[closer], distance[closer]
            steepness = gradient.flatten(1).norm(p=dual, dim=1).clamp_min(1e-12)
            shrink = self.shrink * cosine
            outwards = torch.where(least.isinf(), distance - gap / steepness, budget * (1 + shrink))
            inwards = torch.minimum(budget, least) * (1 - shrink)
            budget = torch.where(gap > 0, inwards, outwards)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(shape)
            moved = (now + self.step_size * cosine * gradient / length - x).flatten(1)
            moved = into_ball(moved, norm, budget.clamp(0.0, float(moved.shape[1]))[:, None])
            now = (x + moved.reshape(x.shape)).clamp(0.0, 1.0)
        gap = margin(classifier.logits(now), y)
        distance = measure.distance(now, x)
        closer = confirm(now, (gap > 0) & (distance < least))
        best[closer], least[closer] = now[closer], distance[closer]
        return best, least


@dataclass(frozen=True)
class Transfer:
    """An attack on another model, its images brought here: needs no gradient and no query of this one."""

    source: Classifier
    attack: Attack
    label: str = "transfer"

    white_box = False

    @property
    def name(self) -> str:
        return f"{self.label}:{self.attack.name}"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        del classifier
        return self.attack(self.source, x, y, threat, rng)


def stopping(attack: Attack) -> Attack:
    """The attack, letting go of images that are fooled where it can: for verdicts that repeat on the very model."""
    return replace(attack, stop_when_fooled=True) if isinstance(attack, Pgd | Apgd) else attack


PRESETS: dict[str, tuple[Attack, ...]] = {
    "pgd": (Pgd(40, loss="ce"), Pgd(40, loss="margin"), Pgd(40, loss="probability-margin")),
    "smoke": (Apgd("ce", 10), Square(200)),
    "quick": (Apgd("ce", 50), Apgd("targeted", 50, targets=3), Square(1000)),
    # What few pixels can do: the l0 counterpart of the standard ensemble.
    "sparse": (Pgd(100, loss="ce"), Pgd(100, restarts=3, loss="margin"), SparseRs(5000)),
    # AutoAttack's standard ensemble; the worst case over its parts is AutoAttack's robust accuracy.
    "standard": (Apgd("ce", 100), Apgd("targeted", 100), Fab(100), Square(5000)),
}
SINGLE: dict[str, Attack] = {
    "fgsm": Fgsm(),
    "apgd-ce": Apgd("ce"),
    "apgd-dlr": Apgd("dlr"),
    "apgd-targeted": Apgd("targeted"),
    "fab": Fab(targeted=False),
    "fab-targeted": Fab(),
    "fmn": Fmn(),
    "square": Square(),
    "hopskipjump": HopSkipJump(),
    "ead": Ead(),
    "fmn-l0": FmnL0(),
    "sparse-rs": SparseRs(),
    "random-search": RandomSearch(),
}


def attacks_named(name: str) -> tuple[Attack, ...]:
    """The attacks of a preset, or a single one; ``pgd-STEPS``, ``square-QUERIES`` and ``sparse-rs-QUERIES`` as well.

    Raises InputError with the names there are.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in SINGLE:
        return (SINGLE[name],)
    kind, _, number = name.rpartition("-")
    if number.isdecimal() and int(number) >= 1:
        sized: dict[str, tuple[Attack, ...]] = {
            "pgd": tuple(Pgd(int(number), loss=loss) for loss in ("ce", "margin", "probability-margin")),
            "square": (Square(int(number)),),
            "sparse-rs": (SparseRs(int(number)),),
        }
        if kind in sized:
            return sized[kind]
    names = ", ".join((*PRESETS, *SINGLE))
    raise InputError(f"attack: expected one of {names}, or pgd-STEPS, square-QUERIES; got {name!r}")


def norms_of(attack: Attack) -> tuple[str, ...]:
    """The norms that an attack works in; all where it does not say."""
    return tuple(getattr(attack.attack if isinstance(attack, Transfer) else attack, "norms", NORMS))


def least_classes(attack: Attack) -> int:
    """How many classes an attack needs."""
    return getattr(attack.attack if isinstance(attack, Transfer) else attack, "least_classes", 2)


def check_attacks(
    attacks: Sequence[Attack],
    threats: Sequence[Threat],
    *,
    classes: int,
    pixels: int,
    name: str = "",
    queries_only: bool = False,
    checks: bool = False,
) -> None:
    """InputError where attacks do not fit: a threat's norm or size, too few classes, an attacker without gradients.

    And where the library that carries one out is not installed; the ``checks`` that unmask query with Square.
    """
    of = f" of attack {name}" if name else ""
    for threat in threats:
        if threat.norm == "l0" and threat.epsilon > pixels:
            raise InputError(f"threat {threat}: the images have {pixels} pixels; expected at most as many")
        if strange := [attack.name for attack in attacks if threat.norm not in norms_of(attack)]:
            works = [
                name for name in (*PRESETS, *SINGLE) if all(threat.norm in norms_of(a) for a in attacks_named(name))
            ]
            raise InputError(
                f"threat {threat}: {', '.join(strange)}{of} do not work in {threat.norm}; "
                f"expected one of {', '.join(works)}"
            )
    if few := [attack.name for attack in attacks if classes < least_classes(attack)]:
        most = max(map(least_classes, attacks))
        works = [
            other
            for other in (*PRESETS, *SINGLE)
            if all(
                classes >= least_classes(a) and all(threat.norm in norms_of(a) for threat in threats)
                for a in attacks_named(other)
            )
        ]
        raise InputError(
            f"attack: {', '.join(few)}{of} need{'s' * (len(few) == 1)} at least {most} classes, "
            f"and the model has {classes}; expected one of {', '.join(works)}"
        )
    if queries_only and (climbing := [attack.name for attack in attacks if attack.white_box]):
        blind = [name for name, attack in SINGLE.items() if not attack.white_box]
        raise InputError(
            f"an attacker who knows nothing (--knows nothing) has no gradients, which {', '.join(climbing)} need; "
            f"expected attacks by queries ({', '.join(blind)}), or more knowledge"
        )
    for attack in attacks:
        own = attack.attack if isinstance(attack, Transfer) else attack
        if isinstance(own, LibraryAttack):
            own.check_installed()
    white = any(attack.white_box for attack in attacks)
    if checks and white and any(threat.norm != "l0" for threat in threats):
        Square().check_installed(", or leave out the checks, which query with it")
