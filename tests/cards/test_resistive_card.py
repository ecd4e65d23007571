"""The card of a resistive network: what it builds, and a sentence for each mistake, at the place it was made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hwsim as hw
from hwsim.cards.build import network
from hwsim.cards.read import check_fit, read_model
from hwsim.data import dataset as data
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.errors import InputError
from hwsim.rng import Streams


def test_a_card_is_a_network_with_differential_inputs_and_outputs() -> None:
    config = read_model("drn-digits", [("network.diode", {"saturation_A": 1e-9, "ideality": 1.5})])[1]
    for device in (hw.FloatDevice(), hw.device("ecram"), [hw.FloatDevice(), hw.device("soft-bounds-cell")]):
        net = network(config.energy, device, Streams(0))
        assert isinstance(net, ResistiveNetwork)
        assert [array.shape for array in net.synapses] == [(128, 130), (20, 130)]
        assert (net.classes, net.amplifier_gain, net.input_V, net.unit_uS) == (10, 4.0, 2.0, 40.0)
        assert (net.diode.saturation_A, net.diode.ideality) == (1e-9, 1.5)
        net.program([torch.full(array.shape, -1.0) for array in net.synapses])
        for weight in net.weights():
            assert weight.min().item() == pytest.approx(0.0025, abs=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("network.amplifier_gain", 0, ["network.amplifier_gain", "greater than 0", "0"]),
        ("network.input_V", -1, ["network.input_V", "greater than 0"]),
        ("network.bias_V", 0, ["network.bias_V", "greater than 0"]),
        ("network.g_min_uS", -0.1, ["network.g_min_uS", "expected a finite conductance > 0", "-0.1"]),
        ("network.g_max_uS", 0.01, ["network.g_max_uS", "expected more than g_min_uS"]),
        ("network.unit_uS", 0, ["network.unit_uS", "conductance > 0"]),
        ("network.diode.saturation_A", 1e9, ["network.diode.saturation_A", "1e-30 to 1", "1e+09"]),
        ("network.diode.ideality", 0, ["network.diode.ideality", "0.1 to 100"]),
        ("network.layers", [64], ["network.layers"]),
        ("network.layers", [64, 0, 10], ["network.layers", "at least 1"]),
        ("network.amplifer_gain", 2, ["network.amplifer_gain", "amplifier_gain"]),
        ("network.c", 1.0, ["network.c"]),
        ("learning.rates", [0.1], ["learning.rates", "expected 2 numbers"]),
        ("learning.damping", "auto", ["learning.damping", "resistive"]),
        ("learning.nudge", "linear-response", ["learning.nudge", "resistive"]),
    ],
)
def test_mistakes_are_told_where_they_are(key: str, value: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as told:
        read_model("drn-digits", [(key, value)])
    for word in words:
        assert word in str(told.value)


@pytest.mark.parametrize(
    ("layers", "words"), [([63, 8, 10], "network.layers[0]"), ([64, 8, 9], "network.layers[2]")], ids=["in", "out"]
)
def test_a_network_for_other_images_is_refused(layers: list[int], words: str) -> None:
    document, config = read_model("drn-digits", [("network.layers", layers)])
    with pytest.raises(InputError) as told:
        check_fit(document, config, data.load("digits", None))
    assert words in str(told.value)
