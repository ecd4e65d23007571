"""Three models known to mask are flagged, for the right reason, and an honest one is not."""

from __future__ import annotations

import re

import pytest
import torch
from robust_models import Digits, Shaken, StateReadout, face, quantised, rng

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import Phase
from hwsim.learning.equilibrium_gradients import Unrolled
from hwsim.learning.gradient_ways import NudgedInput
from hwsim.robustness.checks.check import Check, enough_images, lower
from hwsim.robustness.checks.gradient import gradients_agree, scores_not_states, true_gradient, zero_gradients
from hwsim.robustness.checks.relaxing import settles_under_attack
from hwsim.robustness.checks.strength import budget_monotone, draws_enough, main_table, probe_of, steps_enough
from hwsim.robustness.checks.unmask import Unmasked, unmask
from hwsim.robustness.classifier import Classifier, TorchClassifier
from hwsim.robustness.stochastic import OverDraws
from hwsim.robustness.suite import Apgd, Fgsm, Pgd, Square
from hwsim.robustness.threat import Threat

LINF = Threat("linf", 0.1)


def unmasked(model: Classifier, digits: Digits, attacked: Classifier | None = None, **more: object) -> Unmasked:
    x, y = digits.test_x, digits.test_y
    return unmask(attacked or model, model, x, y, LINF, rng(), **{"probe": Pgd(15), "queries": 150, **more})


def names(result: Unmasked) -> set[str]:
    return {check.name for check in result.flags}


def test_an_honest_model_is_not_flagged(net: LayeredHopfield, clamped_net: LayeredHopfield, digits: Digits) -> None:
    result = unmasked(
        face(net),
        digits,
        alternatives={"nudged": face(net, through=NudgedInput(0.05))},
        transfer_from={"clamped": face(clamped_net)},
    )
    assert not result.flags, [str(check) for check in result.flags]
    assert len(result.checks) >= 12
    assert result.lowest <= min(result.accuracies.values())


def test_a_clamped_output_state_is_flagged(net: LayeredHopfield, clamped_net: LayeredHopfield, digits: Digits) -> None:
    masked = StateReadout(clamped_net, phase=Phase(50), through=Unrolled(30))
    result = unmasked(masked, digits, transfer_from={"linear": face(net)})
    assert {"zero gradients", "scores, not states", "huge budget"} <= names(result)
    assert "white box against transfer from linear:pgd-margin" in names(result)
    assert result.lowest < result.accuracies["pgd-margin"] - 0.1


def test_the_same_network_attacked_before_its_clamp_is_not_flagged(
    clamped_net: LayeredHopfield, digits: Digits
) -> None:
    assert not unmasked(face(clamped_net), digits).flags


def test_a_quantised_input_is_flagged(net: LayeredHopfield, digits: Digits) -> None:
    result = unmasked(face(net, prepare=quantised), digits, transfer_from={"unquantised": face(net)})
    assert {"zero gradients", "huge budget", "white box against square"} <= names(result)


def test_noise_without_averaging_is_flagged_and_with_it_is_not(net: LayeredHopfield, digits: Digits) -> None:
    chip = Shaken(face(net), 0.4, rng(1))
    assert "gradient above noise" in names(unmasked(chip, digits, draws=2, probe=Pgd(4), queries=20))
    averaged = unmasked(chip, digits, attacked=OverDraws((chip,), 4), draws=2, probe=Pgd(2), queries=20)
    assert "gradient above noise" not in names(averaged)
    assert any(check.name == "draws enough" for check in averaged.checks)


def test_probabilities_are_no_scores(digits: Digits) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Softmax(1))
    check = scores_not_states(TorchClassifier(module.requires_grad_(False), 10), digits.test_x)
    assert not check.passed
    assert "probabilities" in check.found


def test_too_few_steps_are_flagged_and_enough_are_not(net: LayeredHopfield, digits: Digits) -> None:
    model, threat = face(net), Threat("linf", 0.15)
    x, y = digits.test_x, digits.test_y
    assert not steps_enough(model, model, x, y, threat, rng(), Pgd(1))[0].passed
    assert steps_enough(model, model, x, y, threat, rng(), Pgd(20))[0].passed
    assert budget_monotone(model, model, x, y, threat, rng(), Pgd(10)).passed


class Backwards:
    """Planted: the surrogate climbs the wrong way once the budget is large."""

    classes, bounds, noisy = 10, (0.0, 1.0), False

    def __init__(self, inner: Classifier, clean: torch.Tensor) -> None:
        self.inner, self.clean = inner, clean

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.logits(x)

    def differentiable(self, x: torch.Tensor) -> torch.Tensor:
        far = ((x - self.clean).abs().flatten(1).amax(1, keepdim=True) > 0.07).detach()
        scores = self.inner.differentiable(x)
        return torch.where(far, -scores, scores)


def test_accuracy_that_rises_with_the_budget_is_flagged(net: LayeredHopfield, digits: Digits) -> None:
    model = face(net)
    x, y = digits.test_x, digits.test_y
    assert not budget_monotone(Backwards(model, x), model, x, y, Threat("linf", 0.13), rng(), Pgd(10)).passed


def test_gradients_of_an_unsettled_network_disagree(net: LayeredHopfield, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    ways = {"one step": face(net, through=Unrolled(2)), "thirty": face(net)}
    assert not gradients_agree(ways, x, y, limit=0.999).passed
    assert gradients_agree({"thirty": face(net), "forty": face(net, through=Unrolled(40))}, x, y, limit=0.999).passed


def test_read_noise_is_not_taken_for_disagreement(net: LayeredHopfield, digits: Digits) -> None:
    """One gradient with noise and without agree as far as noise lets them; another gradient does not."""
    x, y = digits.test_x, digits.test_y
    noisy = Shaken(face(net), 0.15, rng(1))
    check = gradients_agree({"noisy": noisy, "exact": face(net)}, x, y)
    cosines = [float(number) for number in re.findall(r"[0-9]\.[0-9]{3}", check.found)]
    assert cosines[0] < 0.9
    assert check.passed
    assert "what is missing is read noise, not disagreement" in check.found
    wrong = Shaken(face(net, through=Unrolled(1)), 0.01, rng(1))
    differ = gradients_agree({"noisy": wrong, "exact": face(net)}, x, y)
    assert not differ.passed
    assert "more than read noise explains" in differ.meaning
    hidden = gradients_agree({"noisy": Shaken(face(net), 20.0, rng(1)), "exact": face(net)}, x, y)
    assert not hidden.passed
    assert "Read noise hides" in hidden.meaning


def test_reading_before_it_settles_is_flagged(net: LayeredHopfield, digits: Digits) -> None:
    assert not settles_under_attack(face(net, phase=Phase(3)), digits.test_x, digits.test_x).passed
    assert settles_under_attack(face(net), digits.test_x, digits.test_x).passed


def test_a_lower_figure_is_said_with_its_tolerance() -> None:
    """What a check calls within tolerance says so beside its figures, so that no verdict contradicts them."""
    base = torch.tensor([1.0] * 74 + [0.0] * 26)
    share = torch.tensor([1.0] * 73 + [0.0] * 27)
    passed, words = lower("square", share, "pgd", base)
    assert passed
    assert (
        words == "pgd leaves 74.0%, square 73.0%: 1.0 points lower, within the tolerance of 2.0 points at 100 images."
    )
    passed, words = lower("square", base.roll(26), "pgd", torch.ones(100))
    assert not passed
    assert "26.0 points lower, beyond the tolerance of 8.8 points" in words
    assert lower("square", torch.ones(100), "pgd", base) == (True, "pgd leaves 74.0%, square 100.0%.")
    assert lower("a", base - 0.2, "b", base, noise=0.1)[0]


def test_few_images_are_flagged(net: LayeredHopfield, digits: Digits) -> None:
    assert enough_images(100).passed
    assert "may differ by 12.6 points" in enough_images(25).found
    few = unmask(face(net), face(net), digits.test_x[:20], digits.test_y[:20], LINF, rng(), probe=Pgd(2), queries=5)
    assert "enough images" in names(few)
    assert few.upper_bound


def test_the_main_table_is_held_against_itself() -> None:
    """Queries below the white box, and attacked images above the untouched ones."""
    clean = torch.tensor([1.0] * 80 + [0.0] * 20)
    attacks = (Pgd(loss="ce"), Square())
    good = {"pgd-ce": clean * 0, "square": clean}
    assert all(check.passed for check in main_table(clean, good, attacks))
    masked = {"pgd-ce": clean, "square": clean * 0}
    assert [c.name for c in main_table(clean, masked, attacks) if not c.passed] == [
        "main table: white box against square"
    ]
    risen = {"pgd-ce": torch.ones(100)}
    assert [c.name for c in main_table(clean, risen, attacks) if not c.passed] == ["attacked not above clean"]


def test_the_checks_repeat_the_cheapest_requested_attack_that_is_as_good() -> None:
    attacks = (Fgsm(), Apgd("ce", 50), Apgd("targeted", 50, targets=3), Square())
    left = {attack.name: torch.full((100,), 0.5) for attack in attacks}
    assert probe_of(attacks, left) == Fgsm()
    assert probe_of(attacks, {**left, "fgsm": torch.ones(100)}) == Apgd("ce", 50)
    assert probe_of(attacks, {**left, "apgd-targeted": torch.zeros(100)}) == Apgd("targeted", 50, targets=3)
    assert probe_of((Square(),), {"square": torch.zeros(100)}) is None


def test_a_network_at_rest_has_a_true_gradient_and_one_that_is_not_has_not(
    net: LayeredHopfield, digits: Digits
) -> None:
    x, y = digits.test_x, digits.test_y
    assert true_gradient(face(net), x, y, LINF, rng()).passed
    assert not true_gradient(face(net, through=Unrolled(1)), x, y, LINF, rng()).passed
    noisy = OverDraws((Shaken(face(net), 0.1, rng(1)),), 4)
    check = true_gradient(noisy, x, y, LINF, rng(), draws=6)
    assert check.passed, check.found
    assert "whose noise leaves" in check.found


def test_checks_speak_in_words(net: LayeredHopfield, digits: Digits) -> None:
    check = zero_gradients(face(net), digits.test_x, digits.test_y)
    assert str(check) == (
        "zero gradients: 0.0% of the images have an input gradient of exactly zero, 0.0% off the data's grid."
    )
    failed = Check("a", False, "found.", "meaning.")
    assert str(failed) == "a: found. meaning."


def test_enough_draws_are_enough(net: LayeredHopfield, digits: Digits) -> None:
    chip = Shaken(face(net), 0.3, rng(1))
    check, _ = draws_enough(OverDraws((chip,), 8), chip, digits.test_x, digits.test_y, LINF, rng(), Pgd(5), draws=5)
    assert check.passed, check.found
    with pytest.raises(ValueError, match="a draw at least"):
        OverDraws((chip,), 0)


@pytest.mark.parametrize("probe", [Fgsm(), Square(20), Pgd(5), Apgd("ce", 5)], ids=lambda attack: attack.name)
def test_any_requested_attack_can_be_the_checks_own(probe: Fgsm, net: LayeredHopfield, digits: Digits) -> None:
    """The weaker attackers of the checks are others than it."""
    x, y = digits.test_x[:4], digits.test_y[:4]
    result = unmask(face(net), face(net), x, y, Threat("linf", 0.1), rng(), probe=probe, queries=20)
    assert any("random-search" in check.name for check in result.checks)
