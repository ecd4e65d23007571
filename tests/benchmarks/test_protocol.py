"""The ladder of protocols: what each rung mends, on models where the difference can be worked out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from robust_models import Digits, face, rng
from studies import module_of
from torch import Tensor

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.errors import InputError
from hwsim.robustness.attacks import Attack
from hwsim.robustness.classifier import Classifier, TorchClassifier, correct
from hwsim.robustness.suite import Pgd
from hwsim.robustness.threat import Threat

PROTOCOL = module_of("paper", "protocol")
LADDER, ensemble, pgd_by = PROTOCOL.LADDER, PROTOCOL.ensemble, PROTOCOL.pgd_by
one_after_another, protocol_named = PROTOCOL.one_after_another, PROTOCOL.protocol_named

STEPS = {"steps": 5, "restarts": 2}


class Line(torch.nn.Module):
    """Two pixels, two classes: the second wins where the first pixel is above one half."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), x[:, 0] - 0.5], 1)


class Ridge(torch.nn.Module):
    """The second class wins only where the first pixel is near .6: one step may pass over it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), 0.05 - (x[:, 0] - 0.6).abs()], 1)


def model(module: torch.nn.Module) -> Classifier:
    return TorchClassifier(module, 2)


def test_each_rung_mends_one_thing() -> None:
    for before, after in pairwise(LADDER.values()):
        fields = [field.name for field in dataclasses.fields(before)]
        mended = [name for name in fields if getattr(before, name) != getattr(after, name)]
        assert len(mended) == 1
        assert getattr(after, mended[0]) is True


@pytest.mark.parametrize("name", LADDER)
def test_only_the_published_protocol_leaves_the_box(name: str) -> None:
    """Down from .6 by .9: to -.3 without a box, to 0 in it; the budget holds in both."""
    line, threat = model(Line()), Threat("linf", 0.9)
    x, y = torch.tensor([[0.6, 0.2]]), torch.tensor([1])
    protocol = dataclasses.replace(LADDER[name], best=False)  # else it stops where the label changes
    moved = pgd_by(protocol, line, line, x, y, threat, rng=rng(), steps=5, restarts=0)
    assert moved[0, 0].item() == pytest.approx(-0.3 if name == "published" else 0.0)
    assert threat.distance(moved, x).item() <= 0.9 + 1e-6


def test_predicted_labels_repair_what_was_wrong() -> None:
    """An image on the wrong side: led away from its prediction it is right; true labels leave it wrong."""
    line, threat = model(Line()), Threat("linf", 0.2)
    x, y = torch.tensor([[0.6, 0.5]]), torch.tensor([0])
    assert not correct(line, x, y)
    found = {n: pgd_by(p, line, line, x, y, threat, rng=rng(), **STEPS) for n, p in LADDER.items()}
    right = {name: bool(correct(line, moved, y)) for name, moved in found.items()}
    assert right == {name: name in ("published", "boxed") for name in LADDER}


def test_the_best_iterate_is_kept() -> None:
    """Steps of .25 go from .36 onto the ridge at .61 and back again; the sixth and last is off it."""
    ridge, x, y = model(Ridge()), torch.tensor([[0.36, 0.5]]), torch.tensor([0])
    threat, settings = Threat("linf", 0.6), {"steps": 6, "restarts": 0}
    last = pgd_by(LADDER["at-equilibrium"], ridge, ridge, x, y, threat, rng=rng(), **settings)
    best = pgd_by(LADDER["best-iterate"], ridge, ridge, x, y, threat, rng=rng(), **settings)
    assert last[0, 0].item() == pytest.approx(0.36)
    assert best[0, 0].item() == pytest.approx(0.61)
    assert not correct(ridge, best, y)


def test_later_rungs_find_no_less(net: LayeredHopfield, digits: Digits) -> None:
    """Image by image: what fools by the last iterate fools by the best, and restarts only add."""
    judge, x, y, threat = face(net), digits.test_x[:60], digits.test_y[:60], Threat("linf", 0.1)
    left = []
    for name in ("at-equilibrium", "best-iterate", "mended"):
        moved = pgd_by(protocol_named(name), judge, judge, x, y, threat, rng=rng(), **STEPS)
        assert threat.allowed(moved, x).all()
        left.append(correct(judge, moved, y))
    assert 0 < int(left[0].sum()) < 60
    for before, after in pairwise(left):
        assert not (after & ~before).any()


@dataclass
class Noted:
    """An attack that notes how many images it got and moves them far outside the budget."""

    counts: list[int]
    name: str = "noted"
    white_box: bool = False

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        del classifier, y, threat, rng
        self.counts.append(len(x))
        return x + 5


def test_each_attack_gets_what_is_left_and_stays_in_the_budget() -> None:
    line, counts = model(Line()), list[int]()
    x, y = torch.tensor([[0.45, 0.5], [0.1, 0.5], [0.9, 0.5]]), torch.tensor([0, 0, 0])
    attack: Attack = Noted(counts)
    threat = Threat("linf", 0.1)
    moved = one_after_another([(line, attack), (line, attack)], line, x, y, threat, rng())
    assert counts == [2, 1], "the third is wrong before, the first is fooled by the first attack"
    assert correct(line, moved, y).tolist() == [False, True, False]
    assert threat.allowed(moved, x).all()
    assert moved[2].equal(x[2])


def test_ensembles_and_names(net: LayeredHopfield, digits: Digits) -> None:
    names = {p: [a.name for a in ensemble(LADDER[p], "quick")[0]] for p in ("published", "mended")}
    assert names == {"published": ["apgd-ce", "apgd-dlr"], "mended": ["apgd-ce", "apgd-targeted"]}
    assert [a.name for a in ensemble(LADDER["mended"], "standard")[0]][-1] == "fab-targeted"
    with pytest.raises(InputError, match="effort: expected one of smoke"):
        ensemble(LADDER["mended"], "hasty")
    with pytest.raises(InputError, match="protocol: expected one of published"):
        protocol_named("sloppy")
    judge, x, y = face(net), digits.test_x[:10], digits.test_y[:10]
    with pytest.raises(InputError, match="at least 1 step"):
        pgd_by(LADDER["mended"], judge, judge, x, y, Threat("linf", 0.1), steps=0, restarts=0, rng=rng())
    moved = one_after_another([(judge, Pgd(3))], judge, x, y, Threat("linf", 0.3), rng())
    assert correct(judge, moved, y).sum() < correct(judge, x, y).sum()
