from __future__ import annotations

import logging
import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import trained_core
from robust_models import Digits, Shaken, rng
from torch import Tensor

from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack, _Best, fgsm, loss_of, margin, pgd
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier, TorchClassifier, correct
from hwsim.robustness.library import Ead, Fab, FmnL0, HopSkipJump, Square
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.suite import (
    PRESETS,
    SINGLE,
    Fgsm,
    Fmn,
    Pgd,
    RandomSearch,
    Transfer,
    attacks_named,
    check_attacks,
    norms_of,
    stopping,
)
from hwsim.robustness.threat import Threat

LINF = Threat("linf", 0.1)


def left(model: Classifier, moved: Tensor, y: Tensor) -> float:
    return correct(model, moved, y).double().mean().item()


def linear(classes: int = 10) -> TorchClassifier:
    layer = torch.nn.Linear(16, classes)
    torch.nn.init.normal_(layer.weight, generator=rng(3))
    module = torch.nn.Sequential(torch.nn.Flatten(), layer)
    return TorchClassifier(module.requires_grad_(False), classes)


@given(
    norm=st.sampled_from(["linf", "l2", "l1", "l0"]),
    epsilon=st.floats(0, 1),
    steps=st.integers(1, 5),
    loss=st.sampled_from(["ce", "margin"]),
    seed=st.integers(0, 2**32),
)
def test_pgd_stays_within_budget_and_box(norm: str, epsilon: float, steps: int, loss: str, seed: int) -> None:
    x = torch.rand(6, 1, 4, 4, generator=rng(seed)).round(decimals=1)
    y = torch.randint(10, (6,), generator=rng(seed))
    threat = Threat(norm, round(16 * epsilon) if norm == "l0" else epsilon)
    moved = pgd(linear(), x, y, threat, steps=steps, rng=rng(seed), loss=loss, restarts=2)
    assert bool(threat.allowed(moved, x).all())


def test_pgd_finds_the_optimum_of_a_linear_model() -> None:
    """On two classes the strongest linf image is known: every pixel at the edge of budget or box."""
    model = linear(2)
    x = torch.rand(20, 1, 4, 4, generator=rng(1)).round(decimals=1)
    y = torch.zeros(20, dtype=torch.long)
    moved = pgd(model, x, y, LINF, steps=20, rng=rng(), loss="margin")
    weight = model.module[1].weight
    direction = (weight[1] - weight[0]).sign().reshape(1, 1, 4, 4)
    assert torch.allclose(moved, (x + 0.1 * direction).clamp(0, 1), atol=1e-6)


def clamped_inside(model: TorchClassifier, x: Tensor, y: Tensor) -> Tensor:
    """PGD with the planted mistake: the gradient is taken through clamp(x + delta, 0, 1)."""
    delta = torch.zeros_like(x)
    for _ in range(20):
        delta.requires_grad_(True)
        inside = x + delta
        loss = margin(model.differentiable(torch.where((inside > 0) & (inside < 1), inside, inside.detach())), y).sum()
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta + 0.0125 * gradient.sign()).clamp(-0.1, 0.1).detach()
    return (x + delta).clamp(0, 1)


def test_a_gradient_through_the_box_would_be_noticed() -> None:
    model = linear(2)
    x = torch.zeros(5, 1, 4, 4)
    y = torch.zeros(5, dtype=torch.long)
    good = margin(model.logits(pgd(model, x, y, LINF, steps=20, rng=rng(), loss="margin")), y)
    bad = margin(model.logits(clamped_inside(model, x, y)), y)
    assert bool((good > bad + 0.01).all())


def test_more_steps_and_restarts_find_more(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    clean, one_step = left(model, x, y), left(model, fgsm(model, x, y, LINF), y)
    many = left(model, pgd(model, x, y, LINF, steps=40, rng=rng(), loss="margin"), y)
    assert clean > 0.9
    assert many < one_step < clean
    assert one_step - many > 0.03
    huge = pgd(model, x, y, Threat("linf", 1.0), steps=40, rng=rng(), loss="margin")
    assert left(model, huge, y) == 0.0


def test_pgd_is_repeatable_and_keeps_the_best_iterate(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:20], digits.test_y[:20]
    once = pgd(model, x, y, LINF, steps=5, rng=rng(1))
    assert torch.equal(once, pgd(model, x, y, LINF, steps=5, rng=rng(1)))
    assert not torch.equal(once, pgd(model, x, y, LINF, steps=5, rng=rng(2)))
    # A wild step size makes the last iterate bad; the best one is never worse than where it started.
    wild = pgd(model, x, y, LINF, steps=10, rng=rng(), step_size=10.0, random_start=False)
    assert bool((margin(model.logits(wild), y) >= margin(model.logits(x), y) - 1e-4).all())


def test_pgd_on_a_noisy_model_keeps_the_best_mean(model: EquilibriumClassifier, digits: Digits) -> None:
    """Where each iterate is as good as any other, the luckiest draw says nothing; the last iterates have climbed."""
    x, y = digits.test_x[:60], digits.test_y[:60]

    def shaken(seed: int) -> Shaken:
        return Shaken(model, 0.3, rng(seed))

    def climbed(start: float) -> float:
        moved = pgd(shaken(1), x, y, LINF, steps=12, rng=rng(), loss="margin", step_size=start)
        verdicts = shaken(2)
        return sum(left(verdicts, moved, y) for _ in range(20)) / 20

    assert climbed(0.02) < climbed(1e-4) - 0.1
    best = _Best(x)
    best.offer(x + 1, torch.zeros(len(x)))
    best.offer(x + 2, torch.linspace(-1, 1, len(x)))
    assert torch.equal(best.images[0], x[0] + 1)
    assert torch.equal(best.images[-1], x[-1] + 2)


def test_the_probability_margin_is_a_loss(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:40], digits.test_y[:40]
    logits = model.logits(x)
    expected = margin(logits.softmax(1), y)
    assert torch.allclose(loss_of(logits, y, "probability-margin"), expected)
    moved = pgd(model, x, y, LINF, steps=20, rng=rng(), loss="probability-margin")
    assert left(model, moved, y) <= left(model, pgd(model, x, y, LINF, steps=20, rng=rng(), loss="ce"), y) + 0.05


class Drawing(torch.nn.Module):
    """Draws from the global generators of three libraries."""

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.rand(10) + float(np.random.random()) + random.random()  # noqa: NPY002
        return x.flatten(1)[:, :10] + noise


def test_a_module_that_draws_from_global_generators_is_seeded_and_leaves_them_alone(digits: Digits) -> None:
    x = digits.test_x[:3]
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    classifier = TorchClassifier(Drawing(), 10, noisy=True)
    first, second = classifier.logits(x), classifier.logits(x)
    assert not torch.equal(first, second)
    classifier.reseed(Streams(3))
    third = classifier.logits(x)
    classifier.reseed(Streams(3))
    assert torch.equal(third, classifier.logits(x))
    assert not torch.equal(first, third)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


@pytest.mark.parametrize("attack", [Pgd(3), Fgsm(), Fmn(3), Apgd("ce", 3), Apgd("targeted", 3, targets=2), Fab(2)])
def test_no_gradient_is_no_crash(attack: Attack, digits: Digits) -> None:
    class Blind(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10].detach()

    class Holed(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10] + 0 * (x - x.detach()).sqrt().sum()

    x, y = digits.test_x[:6], digits.test_y[:6]
    for module in (Blind(), Holed()):
        moved = attack(TorchClassifier(module, 10), x, y, LINF, rng())
        assert bool(LINF.allowed(moved, x).all())


def test_a_mistake_of_a_module_is_not_taken_for_a_missing_graph() -> None:
    module = torch.nn.Linear(3, 10)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        TorchClassifier(module, 10).differentiable(torch.zeros(2, 5, requires_grad=True))


def test_true_labels_are_used(model: EquilibriumClassifier, digits: Digits) -> None:
    """A misclassified image must not be pushed back to its label, as attacks on predictions do."""
    wrong = (model.logits(digits.x).argmax(1) != digits.y).nonzero()[:, 0]
    x, y = digits.x[wrong], digits.y[wrong]
    assert len(wrong) > 3
    assert left(model, pgd(model, x, y, LINF, steps=20, rng=rng()), y) == 0.0


def test_a_targeted_attack_reaches_the_wanted_class(model: EquilibriumClassifier, digits: Digits) -> None:
    x = digits.test_x[:40]
    wanted = (digits.test_y[:40] + 1) % 10

    def reached(epsilon: float) -> float:
        threat = Threat("linf", epsilon)
        moved = pgd(model, x, wanted, threat, steps=30, rng=rng(), loss="margin", targeted=True)
        assert bool(threat.allowed(moved, x).all())
        return left(model, moved, wanted)

    assert reached(0.0) == 0.0
    assert reached(1.0) > 0.8


EVERY: list[Attack] = [
    Fgsm(),
    Pgd(5),
    RandomSearch(5),
    Fmn(10),
    Apgd("ce", 5),
    Apgd("ce", 5, best_loss=True),
    Apgd("dlr", 5),
    Apgd("targeted", 5, targets=3),
    Fab(3, targets=2),
    Fab(3, targeted=False),
    Square(20),
]


@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
@pytest.mark.parametrize("threat", [LINF, Threat("l2", 0.7), Threat("l1", 2.0)], ids=str)
def test_apgd_leaves_what_autoattacks_own_leaves(threat: Threat, loss: str, digits: Digits) -> None:
    """Against the authors' code, with random starts of its own; and letting go of fooled images changes nothing."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    core = trained_core(digits.x, digits.y)
    x, y = digits.test_x, digits.test_y
    classifier = TorchClassifier(core, 10)
    quiet = logging.getLogger("quiet")
    quiet.propagate = False
    settings = {"norm": {"linf": "Linf", "l2": "L2", "l1": "L1"}[threat.norm], "n_restarts": 1, "eps": threat.epsilon}
    settings |= {"seed": 0, "device": "cpu", "n_iter": 30, "logger": quiet}
    theirs = APGDAttack_targeted(core, n_target_classes=2, **settings) if loss == "targeted" else None
    with torch.random.fork_rng(devices=[]):
        moved = (theirs or APGDAttack(core, loss=loss, **settings)).perturb(x, y)
    expected = left(classifier, moved, y)
    attack = Apgd(loss, 30, targets=2)
    assert left(classifier, attack(classifier, x, y, threat, rng()), y) == pytest.approx(expected, abs=0.021)
    stopped = stopping(attack)(classifier, x, y, threat, rng())
    assert left(classifier, stopped, y) == pytest.approx(expected, abs=0.021)


def test_apgd_by_largest_loss_goes_beyond_the_boundary(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:40], digits.test_y[:40]
    far = Apgd("ce", 20, best_loss=True)(model, x, y, LINF, rng())
    near = stopping(Apgd("ce", 20))(model, x, y, LINF, rng())
    assert left(model, far, y) == left(model, near, y)
    assert margin(model.logits(far), y).mean() > margin(model.logits(near), y).mean() + 0.05


def test_pgd_lets_go_of_fooled_images(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    whole = Pgd(20, restarts=2)(model, x, y, LINF, rng())
    stopped = stopping(Pgd(20, restarts=2))(model, x, y, LINF, rng())
    assert left(model, stopped, y) == pytest.approx(left(model, whole, y), abs=0.011)
    assert margin(model.logits(stopped), y).mean() < margin(model.logits(whole), y).mean()
    noisy = Shaken(model, 0.1, rng(1))
    assert bool(LINF.allowed(stopping(Pgd(3))(noisy, x[:5], y[:5], LINF, rng()), x[:5]).all())


FEW = Threat("l0", 6)


@pytest.mark.parametrize("attack", EVERY, ids=lambda a: f"{a.name}{getattr(a, 'best_loss', '') or ''}")
@pytest.mark.parametrize("threat", [LINF, Threat("l2", 0.7), Threat("l1", 3.0)], ids=str)
def test_every_attack_keeps_the_budget_the_seed_and_the_global_generators(
    attack: Attack, threat: Threat, model: EquilibriumClassifier, digits: Digits
) -> None:
    keeps_everything(attack, threat, model, digits)


# foolbox imports a namespace that SciPy deprecates.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        *((attack, FEW) for attack in (Fgsm(), Pgd(5), RandomSearch(5), SparseRs(40))),
        (SparseRs(40), Threat("l0", 64)),
        (FmnL0(20), Threat("l0", 64)),
        (Ead(10, 2), Threat("l1", 64.0)),
    ],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_attacks_of_few_pixels_keep_the_same(
    attack: Attack, threat: Threat, model: EquilibriumClassifier, digits: Digits
) -> None:
    keeps_everything(attack, threat, model, digits)


def keeps_everything(attack: Attack, threat: Threat, model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:12].flatten(1), digits.test_y[:12]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trace = sys.gettrace()
    moved = attack(model, x, y, threat, rng(1))
    assert moved.shape == x.shape
    assert bool(threat.allowed(moved, x).all())
    assert torch.equal(moved, attack(model, x, y, threat, rng(1)))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    assert sys.gettrace() is trace


def test_strong_attacks_beat_weak_ones(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:60], digits.test_y[:60]

    def after(attack: Attack) -> float:
        return left(model, attack(model, x, y, LINF, rng()), y)

    targeted, ce, square, search = (
        after(a) for a in (Apgd("targeted", 20, targets=3), Apgd("ce", 20), Square(300), RandomSearch(50))
    )
    assert targeted <= ce + 0.02
    assert ce < search - 0.1
    assert square < search - 0.05


def test_few_pixels_are_found_by_gradients_and_by_queries(model: EquilibriumClassifier, digits: Digits) -> None:
    """Both beat random pixels by far, and neither knows the other."""
    x, y = digits.test_x[:60], digits.test_y[:60]

    def after(attack: Attack) -> float:
        return left(model, attack(model, x, y, Threat("l0", 2), rng()), y)

    climbed, queried, searched = after(Pgd(40, restarts=3)), after(SparseRs(500)), after(RandomSearch(50))
    assert climbed < searched - 0.2
    assert queried < searched - 0.2
    assert abs(climbed - queried) < 0.1
    assert queried < after(SparseRs(30)) - 0.1


def test_attacks_say_which_norms_they_work_in(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:2], digits.test_y[:2]
    for attack in (Apgd("ce", 2), Fab(2), Square(5), Fmn(2), HopSkipJump(1), Ead(2), SparseRs(2), FmnL0(2)):
        norms = norms_of(attack)
        assert norms_of(Transfer(model, attack)) == norms
        for norm in {"linf", "l2", "l1", "l0"} - set(norms):
            with pytest.raises(InputError, match=f"got {norm}"):
                attack(model, x, y, Threat(norm, 1), rng())
    assert norms_of(Pgd()) == ("linf", "l2", "l1", "l0")


def test_fmn_finds_images_that_fool_at_about_the_budget_where_pgd_begins_to(
    model: EquilibriumClassifier, digits: Digits
) -> None:
    x, y = digits.test_x[:60], digits.test_y[:60]
    for norm in ("linf", "l2", "l1"):
        moved, distance = Fmn(60).nearest(model, x, y, norm)
        found = distance.isfinite()
        assert found.double().mean() > 0.7
        assert not correct(model, moved, y)[found].any()
        assert torch.allclose(Threat(norm, 0.0).distance(moved, x)[found], distance[found])
        median = distance.median().item()
        at_twice = left(model, pgd(model, x, y, Threat(norm, 2 * median), steps=20, rng=rng(), loss="margin"), y)
        at_half = left(model, pgd(model, x, y, Threat(norm, 0.5 * median), steps=20, rng=rng(), loss="margin"), y)
        assert at_twice < 0.5 < at_half


# foolbox imports a namespace that SciPy deprecates.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_hopskipjump_fools_by_decisions_alone(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:4], digits.test_y[:4]
    moved = HopSkipJump(1)(model, x, y, Threat("l2", 1.5), rng())
    assert not correct(model, moved, y).any()


def test_hopskipjump_without_foolbox_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: EquilibriumClassifier, digits: Digits
) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(InputError, match=r"pip install 'hwsim\[attacks\]'"):
        HopSkipJump()(model, digits.test_x[:1], digits.test_y[:1], LINF, rng())


def test_transfer_attacks_the_other_model(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:10], digits.test_y[:10]
    other = TorchClassifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).requires_grad_(False), 10)
    there = Pgd(5)(other, x, y, LINF, rng())
    transfer = Transfer(other, Pgd(5))
    assert torch.equal(transfer(model, x, y, LINF, rng()), there)
    assert not transfer.white_box


def test_presets_have_different_names_and_unknown_ones_are_refused() -> None:
    for name, attacks in PRESETS.items():
        assert attacks_named(name) == attacks
        assert len({attack.name for attack in attacks}) == len(attacks)
    assert attacks_named("square") == (SINGLE["square"],)
    assert attacks_named("square-500") == (Square(500),)
    assert [attack.loss for attack in attacks_named("pgd-7")] == ["ce", "margin", "probability-margin"]
    with pytest.raises(InputError, match="expected one of pgd, smoke"):
        attacks_named("autoatack")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.full((2, 16), 2.0), torch.zeros(2, dtype=torch.long), r"\[2, 2\]; scale images"),
        (torch.zeros(2, 16), torch.zeros(3, dtype=torch.long), "expected images"),
        (torch.zeros(2, 16), torch.zeros(2), "integers"),
    ],
)
def test_bad_images_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    for attack in (Pgd(1), Fgsm(), Apgd("ce", 1), Square(1)):
        with pytest.raises(InputError, match=message):
            attack(linear(), x, y, LINF, rng())


@pytest.mark.parametrize(
    ("name", "classes", "fits"),
    [
        *[("standard", 2, False), ("standard", 3, False), ("standard", 4, True), ("quick", 2, False)],
        *[("apgd-dlr", 2, False), ("apgd-dlr", 3, True), ("smoke", 2, True), ("fab", 2, True), ("square", 2, True)],
    ],
)
def test_attacks_that_need_more_classes_are_refused_with_those_that_fit(name: str, classes: int, fits: bool) -> None:
    attacks = attacks_named(name)
    if fits:
        check_attacks(attacks, [LINF], classes=classes, pixels=64)
        return
    with pytest.raises(InputError, match=rf"and the model has {classes}; expected one of pgd, smoke, ") as error:
        check_attacks(attacks, [LINF], classes=classes, pixels=64, name=name)
    named = str(error.value).partition("expected one of ")[2].split(", ")
    assert {"square", "fab", "apgd-ce"} <= set(named)
    assert not {"standard", "quick", "apgd-targeted"} & set(named)
    for each in named:
        check_attacks(attacks_named(each), [LINF], classes=classes, pixels=64)


def test_no_more_pixels_than_there_are_may_be_changed() -> None:
    check_attacks(attacks_named("sparse"), [Threat("l0", 64)], classes=10, pixels=64)
    with pytest.raises(InputError, match="the images have 64 pixels; expected at most as many"):
        check_attacks(attacks_named("sparse"), [Threat("l0", 65)], classes=10, pixels=64)


def test_too_few_classes_and_unknown_losses_are_refused() -> None:
    x, y = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(InputError, match="needs at least 4 classes, the model has 3"):
        Apgd("targeted", 1)(linear(3), x, y, LINF, rng())
    with pytest.raises(InputError, match="expected one of ce, margin, probability-margin"):
        pgd(linear(), x, y, LINF, steps=1, rng=rng(), loss="mse")
    with pytest.raises(InputError, match="at least 1"):
        pgd(linear(), x, y, LINF, steps=0, rng=rng())
