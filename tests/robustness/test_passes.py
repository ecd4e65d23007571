"""Passes are counted before they are made: against attacks on a classifier that counts and that nothing fools."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack
from hwsim.robustness.library import Fab, Square
from hwsim.robustness.passes import passes_of
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.suite import Fgsm, Fmn, Pgd, RandomSearch, Transfer
from hwsim.robustness.threat import parse

IMAGES, CLASSES = 6, 5


@dataclass
class Counting:
    """Scores that hardly depend on the image; ``gradients`` and ``queries`` count images."""

    classes: int = CLASSES
    bounds: tuple[float, float] = (0.0, 1.0)
    noisy: bool = False
    counted: dict[str, int] = field(default_factory=lambda: {"gradients": 0, "queries": 0})

    def _scores(self, x: Tensor) -> Tensor:
        scores = 1e-3 * x.flatten(1)[:, : self.classes]
        return scores + torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), self.classes)

    def logits(self, x: Tensor) -> Tensor:
        self.counted["queries"] += len(x)
        return self._scores(x).detach()

    def differentiable(self, x: Tensor) -> Tensor:
        self.counted["gradients"] += len(x)
        return self._scores(x)


@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        (Pgd(20, restarts=2), "linf:0.1"),
        (Pgd(20, stop_when_fooled=True), "linf:0.1"),
        (Apgd("ce", 30), "linf:0.1"),
        (Apgd("targeted", 30, targets=3), "l2:0.5"),
        (Apgd("targeted", 20), "linf:0.1"),  # nine classes where there are four wrong ones
        (Fab(30), "linf:0.1"),
        (Square(100), "linf:0.1"),
        (RandomSearch(50), "linf:0.1"),
        (Fgsm(), "linf:0.1"),
        (Fmn(30), "l2:0.5"),
        (SparseRs(80), "l0:3"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_attacks_take_what_is_counted(attack: Attack, threat: str) -> None:
    x, y = torch.rand(IMAGES, 1, 4, 4, generator=torch.manual_seed(0)), torch.zeros(IMAGES, dtype=torch.long)
    classifier = Counting()
    attack(classifier, x, y, parse(threat), torch.Generator().manual_seed(0))
    expected = passes_of(attack, CLASSES)
    for kind in ("gradients", "queries"):
        made = classifier.counted[kind] / IMAGES
        assert getattr(expected, kind) == pytest.approx(made, rel=0.1, abs=6), kind


def test_transfer_takes_what_its_attack_takes() -> None:
    attack = Pgd(40)
    assert passes_of(Transfer(Counting(), attack), CLASSES) == passes_of(attack, CLASSES)
    assert passes_of(replace(attack, stop_when_fooled=True), CLASSES).leaves == "climb"
