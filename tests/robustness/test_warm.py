"""Attacks that remember equilibria: cheaper, as strong, and without a trace in what is reported."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from robust_models import Digits, Shaken, face, rng
from torch import Tensor

from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase
from hwsim.learning.equilibrium_gradients import Implicit, Unrolled
from hwsim.learning.response_gradient import LinearResponse
from hwsim.rng import Streams
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack, input_gradient
from hwsim.robustness.checks.verdict import own_verdict, repeatable
from hwsim.robustness.classifier import EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.library import Square
from hwsim.robustness.suite import Fmn, Pgd, RandomSearch, stopping
from hwsim.robustness.threat import Threat
from hwsim.robustness.warm import Memory, Warm, cold, warmed

LINF = Threat("linf", 0.1)
TIGHT = Phase(500, tolerance=1e-5, stop_early=True)


def exact(net: LayeredHopfield) -> EquilibriumClassifier:
    return EquilibriumClassifier(net, OddEven(), TIGHT, Implicit(TIGHT, TIGHT, OddEven()))


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    taken = [0]
    plain = OddEven.step

    def step(self: OddEven, energy: object, s: tuple[Tensor, ...], *memory: object) -> object:
        taken[0] += len(s[0])
        return plain(self, energy, s, *memory)  # type: ignore[arg-type]

    monkeypatch.setattr(OddEven, "step", step)
    return taken


@pytest.mark.parametrize(
    ("attack", "most"),
    [
        (Pgd(20), 0.6),
        (stopping(Pgd(20)), 0.6),
        (Apgd("ce", 20), 0.6),
        (Apgd("targeted", 10, targets=2), 0.6),
        (Square(100), 0.6),
        (RandomSearch(20), 0.8),
        (Fmn(20), 0.6),
    ],
    ids=lambda v: f"{v.name}{getattr(v, 'stop_when_fooled', '') or ''}" if hasattr(v, "name") else "",
)
def test_an_attack_that_remembers_is_as_strong_in_fewer_steps(
    attack: Attack, most: float, net: LayeredHopfield, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, taken, left, steps = digits.test_x, digits.test_y, counting(monkeypatch), [], []
    for attacked in (exact(net), warmed(exact(net), x)):
        taken[0] = 0
        moved = attack(attacked, x, y, LINF, rng())
        steps.append(taken[0])
        left.append((exact(net).logits(moved).argmax(1) == y).double().mean().item())
    assert isinstance(attacked, Warm)
    assert left[1] <= left[0] + 0.011
    assert steps[1] <= most * steps[0]


def bistable() -> LayeredHopfield:
    """Two layers that hold each other up once they are up: what they say depends on where they begin."""
    net = layered_hopfield((64, 6, 10), FloatDevice(), Streams(0), output="clamped")
    net.program([0.8 * weight for weight in net.initial_weights(6.0, Streams(0))])
    return net


def test_no_state_of_an_attack_leaks_into_a_verdict(digits: Digits) -> None:
    """Planted: a judge that begins at the states of the attack. It predicts otherwise, and is evaluated cold."""
    x, y = digits.test_x, digits.test_y
    judge = replace(exact(bistable()), phase=Phase(200, tolerance=1e-4, stop_early=True))
    leaking = Warm(judge, judge, judge)
    other = (x + 0.08 * torch.randn(x.shape, generator=rng())).clamp(0, 1)
    leaking.logits(other)
    leaked = leaking.logits(x)
    assert (leaked - judge.logits(x)).abs().max() > 0.05
    attacks = [Pgd(3), RandomSearch(3)]
    found = evaluate(leaking, [leaking], x, y, LINF, attacks, rng())
    assert torch.equal(found.clean == 1, judge.logits(x).argmax(1) == y)
    assert torch.equal(found.worst == 1, judge.logits(found.worst_images).argmax(1) == y)

    @dataclass(frozen=True)
    class Hidden:
        """The same leak where ``cold`` cannot see it."""

        inner: Warm
        classes, bounds, noisy = 10, (0.0, 1.0), False

        def logits(self, x: Tensor) -> Tensor:
            return self.inner.logits(x)

        def differentiable(self, x: Tensor) -> Tensor:
            return self.inner.differentiable(x)

    hidden = Hidden(Warm(judge, judge, judge))
    checks = [own_verdict(hidden, x, rng()), repeatable(hidden, x, other, LINF, rng(), passes=4)]
    assert not all(check.passed for check in checks)


def test_images_that_are_not_near_begin_at_rest(net: LayeredHopfield, digits: Digits) -> None:
    x = digits.test_x[:20]
    warm = warmed(exact(net), x)
    assert isinstance(warm, Warm)
    warm.logits(x)
    near = warm.memory.nearest((x + 0.02).clamp(0, 1))
    assert near is not None
    assert bool(near[1].all())
    far = warm.memory.nearest(1 - x)
    assert far is not None
    assert not bool(far[1].any())
    assert torch.allclose(warm.logits(1 - x), exact(net).logits(1 - x), atol=0.02)
    assert Memory().nearest(x) is None


def test_a_search_begins_at_its_incumbent(net: LayeredHopfield, digits: Digits) -> None:
    """After a candidate that was turned down, the next one begins at the incumbent, not at it."""
    x = digits.test_x[:5]
    warm = warmed(exact(net), x)
    assert isinstance(warm, Warm)
    warm.logits(x)
    first, second = x.clone(), x.clone()
    first[:, :, :3], second[:, :, 5:] = 1 - first[:, :, :3], 1 - second[:, :, 5:]
    warm.logits(first * 0.2 + x * 0.8)
    found = warm.memory.nearest(second * 0.2 + x * 0.8)
    assert found is not None
    assert torch.equal(found[0].images, x.flatten(1))
    taken = warm.memory.nearest(first * 0.2 + x * 0.8)
    assert taken is not None
    assert torch.equal(taken[0].images, (first * 0.2 + x * 0.8).flatten(1))


def test_the_linear_response_is_the_implicit_gradient(net: LayeredHopfield, digits: Digits) -> None:
    x, y = digits.test_x[:20], digits.test_y[:20]
    fine = Phase(500, tolerance=1e-7, stop_early=True)
    expected, _ = input_gradient(face(net, through=Implicit(fine, fine, OddEven())), x, y, "margin")
    way = LinearResponse(fine, Phase(200, tolerance=1e-7, stop_early=True), OddEven(1.2))
    found, _ = input_gradient(face(net, through=way), x, y, "margin")
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_what_does_not_gain_by_a_memory_has_none(net: LayeredHopfield, digits: Digits) -> None:
    x = digits.test_x[:8]
    unrolled = face(net, through=Unrolled(5))
    assert warmed(unrolled, x) is unrolled
    early = face(net, phase=Phase(2), through=Implicit())
    assert warmed(early, x) is early  # it is read before it settles: its equilibrium says something else
    shaken = Shaken(face(net), 0.1, rng())
    assert warmed(shaken, x) is shaken
    assert cold(warmed(exact(net), x)) == exact(net)
