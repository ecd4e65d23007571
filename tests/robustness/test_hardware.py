"""Attacks on a network whose arrays quantise and are noisy, by attackers who know more or less of it."""

from __future__ import annotations

import pytest
import torch
from robust_models import EP, Digits, face, rng, trained

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.devices.responses import IdealCell
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import Phase
from hwsim.learning.equilibrium_gradients import Implicit, Unrolled
from hwsim.learning.gradient_ways import NudgedInput
from hwsim.learning.rule import LearningRule
from hwsim.rng import Streams
from hwsim.robustness.attacks import input_gradient
from hwsim.robustness.checks.gradient import gradient_above_noise
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.stochastic import OverDraws, attacked_net
from hwsim.robustness.suite import Pgd, Transfer
from hwsim.robustness.threat import Threat
from hwsim.robustness.training import Adversarial

LINF = Threat("linf", 0.1)
READS = Phase(40, average_last=10)


@pytest.fixture(scope="module")
def chip(net: LayeredHopfield) -> LayeredHopfield:
    path = ReadPath(inp_bound=1.0, inp_res=1 / 126, out_bound=12.0, out_res=1 / 510, out_noise=0.1)
    chip = layered_hopfield((64, 64, 10), CellDevice(IdealCell(), forward=path), Streams(0))
    chip.program(net.weights())
    return chip


def judged(chip: LayeredHopfield) -> EquilibriumClassifier:
    return EquilibriumClassifier(chip, phase=Phase(40, average_last=5))


def left(attacked: Classifier, chip: LayeredHopfield, digits: Digits) -> float:
    found = evaluate(attacked, [judged(chip)], digits.test_x, digits.test_y, LINF, [Pgd(15)], rng(), draws=5)
    assert found.clean_accuracy > 0.9
    return found.attacked["pgd-margin"].mean().item()


def test_attackers_of_all_knowledge_find_their_way_through_noisy_quantised_reads(
    chip: LayeredHopfield, net: LayeredHopfield, digits: Digits
) -> None:
    """All land within a few points of each other; noise and converters hide nothing from an adaptive attacker."""
    figures = {
        "conductances": left(face(attacked_net("conductances", chip, net)), chip, digits),
        "float weights": left(face(attacked_net("float-weights", chip, net)), chip, digits),
        "device, unrolled": left(face(chip), chip, digits),
        "device, implicit": left(face(chip, through=Implicit(READS, Phase(40))), chip, digits),
        "device, averaged": left(OverDraws((face(chip),), 4), chip, digits),
        "device, nudged": left(OverDraws((face(chip, through=NudgedInput(1.0, READS, READS)),), 4), chip, digits),
    }
    assert max(figures.values()) < 0.75, figures
    assert max(figures.values()) - min(figures.values()) < 0.15, figures


def test_a_nudge_below_the_noise_is_flagged(chip: LayeredHopfield, digits: Digits) -> None:
    weak, strong = (face(chip, through=NudgedInput(beta, READS, READS)) for beta in (0.02, 2.0))
    assert not gradient_above_noise(weak, digits.test_x, digits.test_y).passed
    assert gradient_above_noise(strong, digits.test_x, digits.test_y).passed


def test_transfer_from_float_to_the_chip_and_back(chip: LayeredHopfield, net: LayeredHopfield, digits: Digits) -> None:
    x, y = digits.test_x, digits.test_y
    for source, judge in ((face(net), judged(chip)), (face(chip), face(net))):
        found = evaluate(judge, [judge], x, y, LINF, [Transfer(source, Pgd(10))], rng(), draws=5)
        assert found.robust_accuracy < found.clean_accuracy - 0.2


def test_checkpointing_is_refused_where_a_second_read_differs(chip: LayeredHopfield, digits: Digits) -> None:
    with pytest.raises(ValueError, match="noisy"):
        face(chip, through=Unrolled(5, checkpoint=True)).differentiable(digits.test_x[:2].requires_grad_(True))


def test_learning_from_moved_images_makes_robust(net: LayeredHopfield, digits: Digits) -> None:
    hardened = trained(digits, "linear", Adversarial(EP, Threat("linf", 0.05), Pgd(4, loss="ce")))

    def robust(net: LayeredHopfield) -> float:
        x, y = digits.test_x, digits.test_y
        return evaluate(face(net), [face(net)], x, y, LINF, [Pgd(20)], rng()).robust_accuracy

    assert robust(hardened) > robust(net) + 0.05


def test_moving_no_image_is_the_rule_itself(digits: Digits) -> None:
    x, y = digits.x[:32], digits.y[:32]

    def after(rule: LearningRule) -> list[torch.Tensor]:
        net = layered_hopfield((64, 8, 10), FloatDevice(), Streams(0))
        net.program(net.initial_weights(2.0, Streams(0)))
        rule.step(net, SquaredError(), x, y, (0.5, 0.2), rng())
        return net.weights()

    plain, none, half = after(EP), after(Adversarial(EP, LINF, share=0.0)), after(Adversarial(EP, LINF, share=0.5))
    assert all(torch.equal(a, b) for a, b in zip(plain, none, strict=True))
    assert not torch.equal(plain[0], half[0])
    with pytest.raises(ValueError, match="share"):
        Adversarial(EP, LINF, share=2.0)


def test_attacks_look_through_a_convolution_with_noisy_reads() -> None:
    """Every way to differentiate gives a gradient; without noise on the same arrays they agree."""
    streams = Streams(0)
    path = ReadPath(inp_bound=1.0, inp_res=1 / 2046, out_bound=12.0, out_res=1 / 8190, out_noise=0.005)
    layers = [Conv(4, pool="max"), Conv(6, stride=2)]
    device = CellDevice(IdealCell(), forward=path)
    chip = layered_hopfield([(1, 8, 8), *layers, 10], device, streams, start="feed-forward")
    chip.program(chip.initial_weights(1.5, streams))
    x = torch.rand(4, 1, 8, 8, generator=rng())
    y = torch.arange(4)
    exact, _ = input_gradient(face(chip.float_twin(), through=Implicit()), x, y, "margin")
    for way in (Implicit(READS, Phase(40)), Unrolled(30), NudgedInput(1.0, READS, READS)):
        found, _ = input_gradient(OverDraws((face(chip, through=way),), 8), x, y, "margin")
        assert torch.cosine_similarity(found.flatten(1), exact.flatten(1), dim=1).median() > 0.8
