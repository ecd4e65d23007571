"""Attacks from a model to a figure, on what users have: networks, plain torch modules and arrays."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

import hwsim as hw
from hwsim.errors import InputError
from hwsim.robustness.models import as_classifier
from hwsim.stats.interval import accuracy as share_interval


def linear(seed: int = 0, classes: int = 4) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, classes))


def images(count: int = 60) -> torch.Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(1))


def labelled(module: torch.nn.Module, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that the module classifies rightly, but for every tenth."""
    x = images(count)
    y = module(x).argmax(1).detach()
    y[::10] = (y[::10] + 1) % 4
    return x, y


class Wobbly(torch.nn.Module):
    """A linear model that answers at random in some passes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.inner(x)
        return scores + 0.1 * torch.randn_like(scores)


def test_accuracy_of_a_module_is_its_share_with_wilsons_interval() -> None:
    module = linear()
    x, y = labelled(module)
    interval = hw.accuracy(module, (x, y))
    assert interval == share_interval([[float(i % 10 != 0) for i in range(60)]])
    assert hw.accuracy(module, (x.numpy(), y.numpy())) == interval
    assert str(interval) == f"{interval.percent} ({interval.percent_range})"


def test_several_models_are_repeats() -> None:
    first, second = linear(0), linear(1)
    x, y = labelled(first)
    shares = [[float(hit) for hit in module(x).argmax(1) == y] for module in (first, second)]
    assert hw.accuracy([first, second], (x, y)) == share_interval(shares)


def test_modules_are_called_in_evaluation_mode_and_keep_their_own() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), linear()[1])
    module[0].eval()
    x, y = labelled(linear())
    assert hw.accuracy(module, (x, y)).mean == 0.9
    assert [part.training for part in module] == [False, True, True]
    assert not as_classifier(module, x).noisy


def test_a_noisy_module_is_seen_to_be_noisy_and_drawn_several_times() -> None:
    x, y = labelled(linear())
    assert as_classifier(Wobbly(), x).noisy
    assert hw.evaluate(Wobbly(), Wobbly(), x, y, "linf:0.1", "fgsm", draws=7).draws == 7


def test_a_noisy_network_repeats_under_its_seed() -> None:
    net, test = hw.hopfield([9, 8, 4], hw.device("soft-bounds-cell")), (images(), torch.arange(60) % 4)
    first, again, other = (hw.accuracy(net, test, draws=3, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_worst_a_linear_model_can_meet_is_known() -> None:
    """Under linf a binary linear model falls exactly where its margin is below epsilon times the l1 norm of W."""
    module = linear(classes=2)
    x = images() * 0.6 + 0.2  # the box is out of reach
    margins = (module(x)[:, 0] - module(x)[:, 1]).abs().detach()
    y = module(x).argmax(1)
    reach = (module[1].weight[0] - module[1].weight[1]).abs().sum().item()
    budgets = [0.05, 0.1]
    result = hw.attack(module, (x, y), [hw.Threat("linf", epsilon) for epsilon in budgets], attacks="pgd-20")
    for threat, epsilon in zip(result.threats, budgets, strict=True):
        left = (margins > epsilon * reach).double().mean().item()
        assert threat.reported.mean == pytest.approx(left, abs=1e-9)
        assert threat.clean.mean == 1
        assert (threat.worst_images - x).abs().max() <= epsilon + 1e-6
    failed = {check.name for checks in result.failed_checks.values() for check in checks}
    assert failed <= {"enough images"}
    assert list(result.reported) == ["linf:0.05", "linf:0.1"]


def test_a_failed_check_makes_the_figure_an_upper_bound() -> None:
    class Rounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (10 * self.inner(x)).round()  # no gradient

    x, y = labelled(linear(), 100)
    result = hw.attack(Rounded(), (x, y), "linf:0.05", attacks="pgd-5")
    assert result.threats[0].upper_bound
    assert "zero gradients" in {check.name for check in result.failed_checks["linf:0.05"]}
    assert result.threats[0].reported.mean < result.threats[0].worst.mean  # what the checks tried fooled more
    assert "at most" in str(result)


def test_attacks_repeat_under_their_seed_and_margin_joins_in_on_noise() -> None:
    net, test = hw.hopfield([9, 8, 4], hw.device("soft-bounds-cell")), (images(20), torch.arange(20) % 4)
    results = [hw.attack(net, test, "linf:0.1", "fgsm", draws=3, checks=False, seed=seed) for seed in (0, 0)]
    assert results[0].threats[0].attacks == results[1].threats[0].attacks
    assert set(results[0].threats[0].attacks) == {"fgsm", "pgd-margin"}


@pytest.mark.parametrize("knows", ["device", "nothing"])
def test_what_the_attacker_knows(knows: str) -> None:
    net, test = hw.hopfield([9, 8, 4], hw.device("soft-bounds-cell")), (images(10), torch.arange(10) % 4)
    attacks = [hw.attacks.Square(5)] if knows == "nothing" else [hw.attacks.Pgd(2)]
    result = hw.attack(net, test, "linf:0.1", attacks, knows=knows, draws=2, eot=2, checks=False)
    assert result.threats[0].upper_bound is (knows == "nothing")


def test_arrays_and_a_module_go_through_every_door() -> None:
    module = linear()
    x, y = (part.numpy() for part in labelled(module, 20))
    evaluation = hw.evaluate(module, [module], x, y, "linf:0.1", "pgd-5", rng=1)
    assert evaluation.clean_accuracy == pytest.approx(0.9)
    assert hw.unmask(module, module, x, y, "linf:0.1", 1, queries=10).lowest <= evaluation.robust_accuracy
    square = np.zeros((2, 1, 8, 8), dtype=np.float32) + 0.5
    assert torch.equal(hw.corrupt("fog", square, 2, 5), hw.corrupt("fog", torch.tensor(square), 2, rng=5))


def test_a_result_is_a_table() -> None:
    pandas = importlib.import_module("pandas")
    module = linear()
    frame = hw.attack(module, labelled(module, 20), ["l2:0.1", "l2:0.2"], "fgsm", checks=False).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.attack) == 2 * ["clean", "fgsm", "worst", "reported"]


def test_without_pandas_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    module = linear()
    with pytest.raises(InputError, match=r"pip install hwsim\[pandas\]"):
        hw.attack(module, labelled(module, 5), "l2:0.1", "fgsm", checks=False).to_pandas()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threats": []}, "different threats"),
        ({"threats": ["linf:0.1", "linf:0.1"]}, "different threats"),
        ({"threats": "linf:8"}, "linf:8/255"),
        ({"attacks": "fast"}, "expected one of pgd"),
        ({"threats": "l0:2", "attacks": "square"}, "do not work in l0"),
        ({"attacks": "pgd-5", "knows": "nothing"}, "by queries"),
        ({"knows": "float-weights"}, "conductances, device"),
        ({"draws": 0}, "at least one image, one draw"),
        ({"model": "digits-mlp"}, "a network, a torch.nn.Module or a classifier, got str"),
        ({"model": torch.nn.Linear(8, 4)}, "fails on images of shape"),
        ({"model": torch.nn.Flatten(0)}, "expected scores"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, said: str) -> None:
    module = linear()
    given = {"model": module, "data": labelled(module), "threats": "linf:0.1", "attacks": "pgd-2", **change}
    with pytest.raises(InputError, match=said):
        hw.attack(given.pop("model"), given.pop("data"), given.pop("threats"), **given)
