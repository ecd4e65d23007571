"""The evaluation: attack, clip, check budget and label again, judge on fresh draws, take the worst per example.

No attack's own word is taken. The result is one number an image and attack, so that models can be compared on
the same images and intervals are right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwsim.data.split import as_split
from hwsim.errors import InputError
from hwsim.rng import generator_of
from hwsim.robustness.attacks import Attack, check_images, put
from hwsim.robustness.measure import measure
from hwsim.robustness.models import as_classifier
from hwsim.robustness.suite import attacks_named
from hwsim.robustness.threat import Threat, parse
from hwsim.robustness.warm import cold

Progress = Callable[[str, int, int], None]
"""(attack's name, attacks done, attacks in all), called before each attack and once at the end."""


@dataclass(frozen=True)
class Evaluation:
    """What became of each of B images. Shares are over instances and noise draws; 0 or 1 without noise; on the CPU.

    Attributes:
        clean: (B,) share of draws that found the label of the untouched image.
        attacked: (B,) the same under each attack, by name.
        worst: (B,) the same for ``worst_images``, on draws of their own: picking the attack with the least share
            and reporting that share would count luck as strength.
        worst_images: (B, ...) the image that fooled most often, the untouched one included.
        distance: (B,) how far it was moved, in the threat's norm.
        strayed: share of the images that each attack returned outside the budget, before they were clipped.
        draws: verdicts an image and instance.
    """

    threat: Threat
    clean: Tensor
    attacked: dict[str, Tensor]
    worst: Tensor
    worst_images: Tensor
    distance: Tensor
    strayed: dict[str, float]
    draws: int

    @property
    def clean_accuracy(self) -> float:
        return self.clean.mean().item()

    @property
    def robust_accuracy(self) -> float:
        """Over all images, those wrong without an attack included: the worst case, or a single attack if lower.

        Under noise the worst attack of each image is picked by noisy verdicts and may not be the worst.
        """
        return min(share.mean().item() for share in (self.worst, *self.attacked.values()))

    def accuracies(self) -> dict[str, float]:
        """Mean accuracy untouched, under each attack, and under the worst for each image."""
        means = {name: share.mean().item() for name, share in self.attacked.items()}
        return {"clean": self.clean_accuracy, **means, "worst": self.robust_accuracy}


def evaluate(
    attacked: Any,
    judges: Any,
    x: Any,
    y: Any,
    threat: str | Threat,
    attacks: str | Sequence[Attack],
    rng: int | torch.Generator = 0,
    *,
    draws: int = 20,
    progress: Progress | None = None,
    cascade: bool = False,
) -> Evaluation:
    """Attack ``attacked`` and judge the images on ``judges``; ``attack`` does so with an attacker that fits and checks.

    Models are classifiers, networks or torch modules, see ``accuracy``.

    Args:
        attacked: what attacks see: the model itself, its noise-free twin, an average over draws.
        judges: the model that judges, or one a device instance.
        x, y: images (B, ...) in [0, 1] and their true labels (B,), as tensors or arrays.
        threat: "linf:8/255" or a ``Threat``.
        attacks: a preset's or an attack's name, or attacks of ``hwsim.attacks``; each attacks all images, so that weak
            and strong ones can be compared, unless ``cascade``.
        rng: of the attacks, or its seed.
        draws: verdicts an image and instance where the instance is noisy.
        progress: told of each attack before it starts.
        cascade: give each attack only the images that the ones before left, as AutoAttack's driver does: the worst
            case is as strong and comes sooner; ``attacked`` then says what is left after each. Not for noisy
            judges, on which an image that fell once may stand again (InputError).

    A call depends on its arguments alone: for an evaluation that can be interrupted, call it on slices of the
    images with a generator of each slice's own, and keep what is finished.

    >>> import hwsim as hw
    >>> net, (x, y) = hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:20]
    >>> evaluation = hw.evaluate(net, net, x, y, "linf:0.1", "fgsm")
    >>> evaluation.accuracies()["fgsm"] <= evaluation.clean_accuracy
    True
    """
    x, y = as_split((x, y))
    check_images(x, y)
    threat = parse(threat) if isinstance(threat, str) else threat
    attacks = attacks_named(attacks) if isinstance(attacks, str) else attacks
    rng = generator_of(rng, "attack")
    attacked = as_classifier(attacked, x)
    judges = [as_classifier(judge, x) for judge in (judges if isinstance(judges, list | tuple) else [judges])]
    if not attacks:
        raise InputError("evaluate: expected at least one attack, got none")
    names = [attack.name for attack in attacks]
    if len(set(names)) != len(names):
        raise InputError(f"evaluate: expected attacks of different names, got {', '.join(names)}")
    if cascade and any(judge.noisy for judge in judges):
        raise InputError("evaluate: cascade needs verdicts that repeat; a judge is noisy")
    judges = [cold(judge) for judge in judges]  # no state of an attack leaks into what is reported
    clean = measure(judges, x, y, draws).share
    shares: dict[str, Tensor] = {}
    strayed: dict[str, float] = {}
    worst_images, least = x.clone(), clean.clone()
    tried = [(x, clean)]
    for done, attack in enumerate(attacks):
        if progress is not None:
            progress(attack.name, done, len(attacks))
        rows = torch.nonzero(least > 0)[:, 0] if cascade else torch.arange(len(x))
        share, outside = least.clone(), 0.0
        if len(rows):
            at = rows.to(x.device)
            own, labels = x[at], y[at]
            moved, outside = _kept_inside(attack(attacked, own, labels, threat, rng).detach(), own, threat)
            share[rows] = measure(judges, moved, labels, draws).share
            tried.append((moved, share))
            worse = share[rows] < least[rows]
            put(worst_images, at, worse.to(x.device), moved)
            put(least, rows, worse, share[rows])
        shares[attack.name] = torch.minimum(share, least) if cascade else share
        strayed[attack.name] = outside * len(rows) / max(len(x), 1)
    noisy = [judge for judge in judges if judge.noisy]
    if noisy:
        worst_images, least = _clearly_worst(tried, draws * len(judges))
    if progress is not None:
        progress("", len(attacks), len(attacks))
    return Evaluation(
        threat=threat,
        clean=clean,
        attacked=shares,
        worst=measure(judges, worst_images, y, draws).share,
        worst_images=worst_images,
        distance=threat.distance(worst_images, x).cpu(),
        strayed=strayed,
        draws=draws if noisy else 1,
    )


def _clearly_worst(tried: Sequence[tuple[Tensor, Tensor]], draws: int) -> tuple[Tensor, Tensor]:
    """(images, their shares): those of the best attack, but where another one's is lower by more than noise explains.

    The least of several noisy shares is often a weaker attack's luck, and would stand again on fresh draws.
    """
    images, least = min(tried, key=lambda pair: pair[1].mean().item())
    images, least = images.clone(), least.clone()
    clear = 2 * (0.5 / draws) ** 0.5  # two standard errors of a difference of shares, at their largest
    for moved, share in tried:
        lower = share < least - clear
        images[lower.to(images.device)], least[lower] = moved[lower.to(images.device)], share[lower]
    return images, least


def _kept_inside(moved: Tensor, x: Tensor, threat: Threat) -> tuple[Tensor, float]:
    """(images clipped to the budget and the box, share that needed it); what is not finite counts as unmoved."""
    if moved.shape != x.shape:
        raise InputError(f"attack: expected images of shape {tuple(x.shape)} back, got {tuple(moved.shape)}")
    allowed = threat.allowed(moved, x)
    finite = torch.isfinite(moved).flatten(1).all(1)
    moved = torch.where(finite.reshape(-1, *[1] * (x.dim() - 1)), moved, x)
    return threat.project(moved, x), (~allowed).double().mean().item()
