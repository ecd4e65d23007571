"""Modules that mask, planted: each is attacked to within five points of its truth, or its figure is an upper bound."""

from __future__ import annotations

import pytest
import torch
from planted import KINDS, Core, Plain, Planted, Shift, trained_core
from robust_models import Digits, rng

from hwsim.robustness.apgd import Apgd
from hwsim.robustness.checks.check import Check
from hwsim.robustness.checks.strength import main_table, probe_of
from hwsim.robustness.checks.unmask import unmask
from hwsim.robustness.checks.verdict import is_noisy
from hwsim.robustness.classifier import Classifier, TorchClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.library import Square
from hwsim.robustness.measure import measure
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Pgd
from hwsim.robustness.surrogates import Alone
from hwsim.robustness.threat import Threat

LINF = Threat("linf", 0.1)
REQUESTED = (Apgd("ce", 10), Apgd("targeted", 10, targets=3), Square(100))


@pytest.fixture(scope="module")
def core(digits: Digits) -> Core:
    return trained_core(digits.x, digits.y)


def reported(module: Planted, digits: Digits, draws: int = 3) -> tuple[float, list[Check]]:
    """(figure, flags) as an evaluation of ``REQUESTED`` with its checks gives them."""
    x, y = digits.test_x, digits.test_y
    noisy = is_noisy(TorchClassifier(module, 10), x[:32], rng())
    judge = TorchClassifier(module, 10, noisy=noisy)
    attacked: Classifier = OverDraws((judge,), 4) if noisy else judge
    requested = (*REQUESTED, Pgd(10)) if noisy else REQUESTED  # as a job does
    found = evaluate(attacked, [judge], x, y, LINF, requested, rng(), draws=5)
    probe = probe_of(requested, found.attacked)
    result = unmask(attacked, judge, x, y, LINF, rng(), probe=probe, queries=100, draws=draws)
    table = main_table(found.clean, found.attacked, requested)
    return min(found.robust_accuracy, result.lowest), [c for c in (*table, *result.checks) if not c.passed]


class Bypass(torch.nn.Module):
    def __init__(self, module: Planted) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module.bypass(x)


def truth(module: Planted, digits: Digits) -> float:
    """What an attacker who has read the module leaves, images judged as each deserves."""
    x, y = digits.test_x, digits.test_y
    judge: Classifier = TorchClassifier(module, 10, noisy=True)
    judge = Alone(judge) if module.alone else judge
    attacked = TorchClassifier(Bypass(module), 10)
    moved = [x, *(Pgd(40, loss=loss)(attacked, x, y, LINF, rng()) for loss in ("margin", "ce"))]
    if module.honest:
        moved.append(Pgd(20)(OverDraws((judge,), 4), x, y, LINF, rng(2)))
    shares = torch.stack([measure([judge], images, y, 10).share for images in moved])
    worst = torch.stack(moved)[shares.argmin(0), torch.arange(len(x))]
    return measure([judge], worst, y, 20).accuracy  # anew: the least of several draws is luck


CASES = [(kind, planted) for kind, several in KINDS.items() for planted in several]


@pytest.mark.parametrize(("kind", "planted"), CASES, ids=[f"{k}-{p.__name__}" for k, p in CASES])
def test_a_planted_module_is_attacked_to_its_truth_or_flagged(
    kind: str, planted: type[Planted], core: Core, digits: Digits
) -> None:
    module = planted(core).eval()
    figure, flags = reported(module, digits)
    assert flags or figure <= truth(module, digits) + 0.05, kind


@pytest.mark.parametrize("planted", [Plain, Shift])
def test_an_honest_module_is_not_flagged(planted: type[Planted], core: Core, digits: Digits) -> None:
    flags = reported(planted(core).eval(), digits, draws=12)[1]
    assert not flags, [str(check) for check in flags]
