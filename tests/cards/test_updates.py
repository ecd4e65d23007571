"""``update`` of a recipe: what may stand there, and where a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwsim.cards.build import COSTS, array_shapes, hardware, learning_rule, network
from hwsim.cards.device import read_device
from hwsim.cards.read import in_situ_recipe, read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.updates import check_modes
from hwsim.crossbar.cell_array import CellSynapse
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.updates.accumulate import AccumulatedUpdates
from hwsim.crossbar.updates.gain import GainSynapse
from hwsim.crossbar.updates.low_rank import LowRankUpdates
from hwsim.crossbar.updates.normalised import NormalisedUpdates
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.rng import Streams

CELL = "soft-bounds-cell"
CARD = """\
name: two
network: {type: layered-hopfield, layers: [64, 12, 10]}
learning: {rates: [0.5, 0.5]}
in_situ:
  update: accumulate
"""


def recipe(update: object, device: str = CELL, model: str = "digits-mlp") -> LearningConfig:
    document, config = read_model(model, [("in_situ.update", update)])
    return in_situ_recipe(document, config, read_device(device))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("per-sample", "per-sample"),
        ("accumulate", "accumulate"),
        ({"accumulate": 4}, "accumulate: 4"),
        ("low-rank:4", "low-rank: 4"),
        (["accumulate", {"low-rank": 2}], ["accumulate", "low-rank: 2"]),
        ({"accumulate": 4, "momentum": 0.9}, "accumulate: 4, momentum: 0.9"),
        ("accumulate: 4,momentum: .95", "accumulate: 4, momentum: 0.95"),
        ({"low-rank": 4, "momentum": 0.9}, "low-rank: 4, momentum: 0.9"),
        ("accumulate, momentum: 0.5", "accumulate: 1, momentum: 0.5"),
    ],
)
def test_modes_are_given_once_or_once_a_link(given: object, text: str | list[str]) -> None:
    assert recipe(given).update == text


def test_every_link_has_its_own_mode() -> None:
    made = recipe(["accumulate", "per-sample"])
    _, config = read_model("digits-mlp")
    net = network(config.energy, hardware(read_device(CELL).device, made), Streams(0))
    assert [type(link.synapse) for link in net.links] == [AccumulatedUpdates, CellSynapse]
    net = network(config.energy, hardware(read_device(CELL).device, recipe("low-rank: 3")), Streams(0))
    assert {type(link.synapse) for link in net.links} == {LowRankUpdates}


def test_shapes_are_known_before_any_array_is_built() -> None:
    _, config = read_model("ep-cnn-tiny")
    assert array_shapes(config.energy) == [(16, 75), (32, 144), (10, 512)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("acumulate", r"update: expected one of per-sample, accumulate, low-rank, pooled, got 'acumulate'"),
        (["accumulate", "low-rank"], r"update.*1\].*: low-rank needs the number of factors"),
        (["accumulate"] * 3, "update: expected one mode or 2, one a link of the network, got 3"),
        ({"low-rank": 40}, "update: link 1 has an array of 10 x 128, whose sums have 10 factors at most; got 40"),
        (["per-sample", {"low-rank": 11}], r"update\[1\]: link 1 has an array of 10 x 128"),
        ({"low-rank": 1.5}, "update: low-rank: expected a whole number, got 1.5"),
        ({"low-rank": True}, "update: low-rank: expected a whole number, got True"),
        (7, "update: expected a mode such as accumulate or low-rank: 4, got 7"),
        ({"accumulate": 2, "momentum": "much"}, r"update: accumulate: expected a momentum in \[0, 1\), got 'much'"),
        ({"accumulate": 2, "momentum": 1}, r"update: accumulate: expected a momentum in \[0, 1\), got 1.0"),
        ("accumulate, momentum: 1.2.3", r"update: accumulate: expected a momentum in \[0, 1\), got '1.2.3'"),
        ({"pooled": 2, "momentum": 0.9}, "update: a momentum belongs to accumulate and low-rank"),
        ({"momentum": 0.9}, "update: expected a mode such as accumulate or low-rank: 4, got {'momentum': 0.9}"),
        ({"accumulate": 0}, "update: accumulate: expected training steps between two writes >= 1, got 0"),
    ],
)
def test_mistakes_are_told_at_their_place(given: object, words: str) -> None:
    with pytest.raises(InputError, match=rf"^--set in_situ\.{words}"):
        recipe(given)


def test_mistakes_in_a_file_have_its_line(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(CARD)
    document, config = read_model(str(tmp_path / "model.yaml"))
    with pytest.raises(InputError, match=r"model.yaml:5: in_situ.update: accumulate: expected a device that updates"):
        in_situ_recipe(document, config, read_device("pcm-inference", [("learning", {})]))
    assert in_situ_recipe(document, config, read_device(CELL)).update == "accumulate"


def test_what_a_device_cannot_is_refused() -> None:
    with pytest.raises(InputError, match=r"in_situ.update: accumulate: AihwSynapse does not say"):
        recipe("accumulate", "mixed-precision-pcm")
    place = lambda keys, message: InputError(f"{keys} {message}")  # noqa: E731
    with pytest.raises(InputError, match="needs digital biases"):
        check_modes("pooled", FloatDevice(), [(4, 5)], "column", place)
    with pytest.raises(InputError, match=r"digital sums of 4e\+06 GB do not fit into"):
        check_modes("accumulate", FloatDevice(), [(10**6, 10**9)], "digital", place)


def managed(device: str = CELL, **settings: object) -> LearningConfig:
    document, config = read_model("digits-mlp", [(f"in_situ.{key}", value) for key, value in settings.items()])
    return in_situ_recipe(document, config, read_device(device))


def test_rates_in_pulses_and_gains_are_of_links() -> None:
    made = managed(rate_pulses=[1.0, 0.5], gain_rate=0.01, gain_per="output", update=["accumulate", "per-sample"])
    _, config = read_model("digits-mlp")
    net = network(config.energy, hardware(read_device(CELL).device, made), Streams(0))
    rates = made.rates
    for link, pulses in zip(net.links, (1.0, 0.5), strict=True):
        gain = link.synapse
        assert isinstance(gain, GainSynapse)
        assert len(gain.gain) == gain.shape[0]
        assert isinstance(gain.inner, NormalisedUpdates)
        index = net.links.index(link)
        assert gain.inner._pulses * rates[index] == pytest.approx(pulses)
    assert isinstance(net.links[0].synapse.inner.inner, AccumulatedUpdates)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "device", "words"),
    [
        ({"rate_pulses": [1.0]}, CELL, "rate_pulses: expected one number or 2, one a link of the network, got 1"),
        ({"rate_pulses": -1.0}, CELL, "rate_pulses: expected finite numbers >= 0, got -1"),
        ({"gain_rate": [0.1, 0.1, 0.1]}, CELL, "gain_rate: expected one number or 2, one a link of the network, got 3"),
        ({"gain_per": "row"}, CELL, "gain_per: input should be 'layer' or 'output'"),
        ({"rate_pulses": 1.0}, "ideal", "rate_pulses: expected a device moved by pulses of a known size"),
        ({"rate_pulses": 1.0}, "pcm-inference", "rate_pulses: expected a device moved by pulses of a known size"),
    ],
)
def test_mistakes_in_rates_are_told(settings: dict[str, object], device: str, words: str) -> None:
    with pytest.raises(InputError, match=f"^--set in_situ.{words}"):
        managed(device, **settings)


def test_float_has_no_pulses() -> None:
    with pytest.raises(InputError, match=r"learning.rate_pulses: this belongs to devices, .* put it under in_situ"):
        read_model("digits-mlp", [("learning.rate_pulses", 1.0)])


def test_a_training_with_sums_means_and_gains_is_taken_up_exactly() -> None:
    """Stopped between two writes: what was summed, the running means and the gains go on where they were."""
    made = managed(update={"accumulate": 3}, rate_pulses=2.0, gain_rate=0.01, update_form="interleaved")
    _, config = read_model("digits-mlp")
    rule, cost, rng = learning_rule(made), COSTS["squared-error"], Streams(5).generator("data")
    batches = [(torch.rand(4, 64, generator=rng), torch.randint(10, (4,), generator=rng)) for _ in range(5)]

    def steps(net: Network, some: list[tuple[Tensor, Tensor]]) -> None:
        for x, labels in some:
            rule.step(net, cost, x, labels, list(made.rates), Streams(1).generator("update"))

    nets = [network(config.energy, hardware(read_device(CELL).device, made), Streams(i)) for i in range(2)]
    nets[0].program(nets[0].initial_weights(2.0, Streams(3)))
    steps(nets[0], batches[:2])
    nets[1].load_state_dict(nets[0].state_dict())
    for net in nets:
        steps(net, batches[2:])
    assert all(torch.equal(value, nets[1].state_dict()[key]) for key, value in nets[0].state_dict().items())
    assert any(float(value.abs().max()) > 0 for key, value in nets[0].state_dict().items() if key.endswith("sum"))


def test_a_recipe_belongs_to_the_way_updates_are_written() -> None:
    document, config = read_model("ep-cnn-tiny")
    card = read_device("ecram")
    summed = in_situ_recipe(document, config, card)
    assert [str(mode).partition(":")[0] for mode in summed.update] == ["accumulate"] * 3
    assert (summed.beta, summed.rates) == (0.5, [1.0, 1.0, 0.5])
    changed, config = read_model("ep-cnn-tiny", [("in_situ.update", "per-sample")])
    each = in_situ_recipe(changed, config, card)
    assert (each.update, each.beta, each.rates) == ("per-sample", 1.0, [0.3, 0.3, 0.3])
    # What was typed stays above it, and so does the device.
    typed, config = read_model("ep-cnn-tiny", [("in_situ.update", "per-sample"), ("in_situ.beta", 0.25)])
    assert in_situ_recipe(typed, config, card).beta == 0.25
    # Hardware that learns in digital takes no mode, and its card says so for every model.
    document, config = read_model("ep-cnn-tiny")
    assert in_situ_recipe(document, config, read_device("pcm-inference")).update == "per-sample"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"per-patch": {}}, "in_situ_for"),
        ({"low-rank": {"betas": 1}}, r"in_situ_for\.low-rank\.betas.*unknown key; did you mean 'beta'"),
    ],
)
def test_mistakes_in_the_recipe_of_a_mode_are_told_also_where_it_is_not_asked_for(given: object, words: str) -> None:
    def resolved() -> LearningConfig:
        document, config = read_model("digits-mlp", [("in_situ_for", given)])
        return in_situ_recipe(document, config, read_device("ecram"))

    with pytest.raises(InputError, match=words):
        resolved()


def test_a_devices_scale_of_rates_goes_with_networks_of_any_depth() -> None:
    document, config = read_model("ep-cnn-strided")
    made = in_situ_recipe(document, config, read_device("soft-bounds-cell"))
    assert made.rates == config.learning.rates
    assert made.rate_factor(0) == pytest.approx(0.4)
