from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from robust_models import Digits, Shaken, face, rng
from torch import Tensor

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import Phase
from hwsim.errors import InputError
from hwsim.robustness.attacks import input_gradient
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.measure import measure
from hwsim.robustness.stochastic import KNOWLEDGE, OverDraws, attacked_net
from hwsim.robustness.suite import Fgsm, Pgd, RandomSearch
from hwsim.robustness.threat import Threat

LINF = Threat("linf", 0.1)


@dataclass(frozen=True)
class Cheat:
    """Claims what it likes: moves images far outside the budget, or to NaN."""

    by: float
    name: str = "cheat"
    white_box: bool = False

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        return 1 - x if self.by else x * torch.nan


def test_the_worst_is_taken_per_example_and_bounds_every_attack(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    told: list[tuple[str, int, int]] = []
    found = evaluate(
        model, [model], x, y, LINF, [Fgsm(), Pgd(10), RandomSearch(5)], rng(), progress=lambda *step: told.append(step)
    )
    for share in (found.clean, *found.attacked.values()):
        assert bool((found.worst <= share).all())
    assert found.robust_accuracy == found.worst.mean().item() < found.clean_accuracy
    assert bool(LINF.allowed(found.worst_images, x).all())
    assert torch.equal(found.worst == 1, model.logits(found.worst_images).argmax(1) == y)
    assert told == [("fgsm", 0, 3), ("pgd-margin", 1, 3), ("random-search", 2, 3), ("", 3, 3)]
    assert found.draws == 1


def test_a_cascade_ends_where_all_attacks_on_all_images_do(model: EquilibriumClassifier, digits: Digits) -> None:
    """Attacks without a random start do the same to an image whatever else is in the batch."""
    x, y = digits.test_x, digits.test_y
    attacks = [Fgsm(), Pgd(10, loss="ce", random_start=False), Counting(Pgd(10, random_start=False))]
    whole = evaluate(model, [model], x, y, LINF, attacks, rng())
    seen = attacks[-1].seen
    found = evaluate(model, [model], x, y, LINF, attacks, rng(), cascade=True)
    assert torch.equal(found.worst, whole.worst)
    left = list(found.attacked.values())
    assert all(bool((b <= a).all()) for a, b in pairwise(left))
    assert torch.equal(left[-1], found.worst)
    assert attacks[-1].seen - seen == int(left[1].sum()) < len(x)
    with pytest.raises(InputError, match="a judge is noisy"):
        evaluate(model, [Shaken(model, 0.1, rng())], x, y, LINF, attacks, rng(), cascade=True)


@dataclass
class Counting:
    """Counts the images that an attack is given."""

    attack: Pgd
    seen: int = 0
    white_box: bool = True

    @property
    def name(self) -> str:
        return self.attack.name

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, threat: Threat, rng: torch.Generator) -> Tensor:
        self.seen += len(x)
        return self.attack(classifier, x, y, threat, rng)


@pytest.mark.parametrize("by", [1.0, 0.0])
def test_what_leaves_the_budget_is_brought_back_and_counted(
    model: EquilibriumClassifier, digits: Digits, by: float
) -> None:
    x, y = digits.test_x[:20], digits.test_y[:20]
    found = evaluate(model, [model], x, y, LINF, [Cheat(by)], rng())
    assert found.strayed == {"cheat": 1.0}
    assert bool(LINF.allowed(found.worst_images, x).all())
    if not by:
        assert torch.equal(found.attacked["cheat"], found.clean)


def test_slices_give_what_the_whole_gives(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:30], digits.test_y[:30]
    attacks = [Fgsm()]
    whole = evaluate(model, [model], x, y, LINF, attacks, rng())
    parts = [evaluate(model, [model], x[i : i + 8], y[i : i + 8], LINF, attacks, rng()) for i in range(0, 30, 8)]
    assert torch.equal(torch.cat([part.worst_images for part in parts]), whole.worst_images)
    assert torch.equal(torch.cat([part.clean for part in parts]), whole.clean)
    assert torch.equal(torch.cat([part.attacked["fgsm"] for part in parts]), whole.attacked["fgsm"])
    assert sum(part.strayed["fgsm"] * len(part.clean) for part in parts) / 30 == pytest.approx(whole.strayed["fgsm"])


def test_mistakes_are_named(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:2], digits.test_y[:2]
    with pytest.raises(InputError, match="at least one attack"):
        evaluate(model, [model], x, y, LINF, [], rng())
    with pytest.raises(InputError, match="different names"):
        evaluate(model, [model], x, y, LINF, [Fgsm(), Fgsm()], rng())
    with pytest.raises(InputError, match="an instance and a draw"):
        evaluate(model, [], x, y, LINF, [Fgsm()], rng())


def test_noisy_instances_are_measured_again_and_again(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    shaken = [Shaken(model, 0.3, rng(seed)) for seed in range(3)]
    measured = measure(shaken, x, y, draws=20)
    assert measured.right.shape == (3, 20, len(x))
    accuracies = torch.tensor(measured.hits_by_draw) / len(x)
    assert 0 < accuracies.std() < 0.1
    assert (measured.share > 0.5).double().mean() > measured.accuracy
    assert measured.accuracy == pytest.approx(measured.share.mean().item())
    by_image = torch.tensor(measured.hits_by_instance).sum(0)
    assert by_image.tolist() == measured.hits
    assert by_image.sum() == torch.tensor(measured.hits_by_draw).sum()
    assert measure([model], x, y, draws=20).right.shape == (1, 1, len(x))


def test_what_has_not_settled_is_counted(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:20], digits.test_y[:20]
    long = replace(model, phase=Phase(500, tolerance=1e-3))
    short = replace(model, phase=Phase(1, tolerance=1e-6))
    assert measure([long], x, y).unsettled_share == 0.0
    assert measure([short], x, y).unsettled_share == 1.0
    assert measure([long, short], x, y).unsettled_share == 0.5


def test_a_lucky_draw_is_not_success(model: EquilibriumClassifier, digits: Digits) -> None:
    """The best of many random draws, on the draw it was picked by, looks far stronger than it is."""
    x, y = digits.test_x, digits.test_y
    chip = Shaken(model, 0.25, rng(1))
    claimed = torch.ones(len(x), dtype=torch.bool)
    for _ in range(30):
        claimed &= chip.logits(x).argmax(1) == y
    judged = evaluate(chip, [chip], x, y, LINF, [RandomSearch(10)], rng(), draws=20)
    assert claimed.double().mean().item() < judged.worst.mean().item() - 0.2
    assert judged.draws == 20


def test_the_worst_of_noisy_shares_is_not_a_weak_attacks_luck(model: EquilibriumClassifier, digits: Digits) -> None:
    """Many weak attacks beside a strong one: the least share of each image would often be a weak one's lucky draw."""
    x, y = digits.test_x, digits.test_y
    chip = Shaken(model, 0.3, rng(1))

    @dataclass(frozen=True)
    class Weak(RandomSearch):
        name: str = ""

    weak = [Weak(1, name=f"weak-{i}") for i in range(6)]
    found = evaluate(model, [chip], x, y, LINF, [Pgd(20), *weak], rng(), draws=8)
    assert found.worst.mean() <= found.attacked["pgd-margin"].mean() + 0.02


def test_averaging_over_draws_steadies_the_gradient(model: EquilibriumClassifier, digits: Digits) -> None:
    x, y = digits.test_x[:30], digits.test_y[:30]
    chip = Shaken(model, 0.3, rng(1))

    def agreement(classifier: Classifier) -> float:
        a, b = (input_gradient(classifier, x, y, "margin")[0].flatten(1) for _ in range(2))
        return torch.cosine_similarity(a, b, dim=1).median().item()

    assert agreement(OverDraws((chip,), 16)) > agreement(chip) + 0.2
    assert OverDraws((chip,), 2).noisy
    # Without noise there is nothing to average, and nothing is run twice.
    assert torch.allclose(OverDraws((model,), 50).logits(x), model.logits(x))


def test_what_the_attacker_knows(net: LayeredHopfield) -> None:
    trained = net.float_twin()
    trained.program([w * 2 for w in trained.weights()])
    assert attacked_net("float-weights", net, trained) is trained
    assert attacked_net("device", net, trained) is net
    copied = attacked_net("conductances", net, trained)
    assert copied is not net
    assert all(torch.equal(a, b) for a, b in zip(copied.weights(), net.weights(), strict=True))
    assert set(KNOWLEDGE) == {"nothing", "float-weights", "conductances", "device"}
    with pytest.raises(InputError, match="by queries or by transfer"):
        attacked_net("nothing", net, trained)
    with pytest.raises(InputError, match="got 'everything'"):
        attacked_net("everything", net, trained)
    assert face(net).classes == 10
