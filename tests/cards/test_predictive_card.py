"""Cards of predictive coding networks: what they build, and a sentence for each mistake, where it was made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hwsim as hw
from hwsim.cards.build import network
from hwsim.cards.read import check_fit, read_model
from hwsim.data import dataset as data
from hwsim.rng import Streams


def test_cards_are_networks_of_the_layers_that_they_are_compared_with() -> None:
    for name, other in (("pc-digits", "digits-mlp"), ("pc-cnn-small", "ep-cnn-small")):
        net, like = (network(read_model(each)[1].energy, hw.FloatDevice(), Streams(0)) for each in (name, other))
        assert isinstance(net, hw.PredictiveCoding)
        assert [array.shape for array in net.synapses] == [array.shape for array in like.synapses]
        for own, others in zip(
            net.initial_weights(2.0, Streams(3)), like.initial_weights(2.0, Streams(3)), strict=True
        ):
            torch.testing.assert_close(own, others)


def test_every_device_holds_one() -> None:
    config = read_model("pc-digits")[1]
    for device in (hw.device("ecram"), hw.device("soft-bounds-cell"), [hw.FloatDevice(), hw.device("ideal")]):
        net = network(config.energy, device, Streams(0))
        net.program(net.initial_weights(1.0, Streams(0)))
        logits, settled = hw.infer(net, torch.rand(3, 64), solver=hw.ErrorSweeps(), phase=hw.Phase(1))
        assert logits.isfinite().all()
        assert settled.unsettled_share == 0


@pytest.mark.parametrize(
    ("model", "key", "value", "words"),
    [
        ("pc-digits", "network.c", 0, ["network.c", "greater than 0"]),
        ("pc-digits", "network.dense", [128, 0], ["network.dense", "at least 1"]),
        ("pc-digits", "network.image", [8, 8], ["network.image"]),
        ("pc-digits", "network.output", "readout", ["network.output"]),
        ("pc-digits", "network.type", "predictive", ["network.type", "predictive-coding"]),
        ("pc-digits", "learning.rates", [0.1], ["learning.rates", "expected 2 numbers"]),
        ("pc-digits", "learning.nudge", "linear-response", ["learning.nudge", "predictive-coding", "exact-gradient"]),
        ("pc-digits", "learning.damping", 1.5, ["damping", "(0, 1]"]),
        ("digits-mlp", "learning.solver", "error-sweeps", ["learning.solver", "predictive-coding", "odd-even"]),
        ("digits-mlp", "inference.solver", "error-sweeps", ["inference.solver", "predictive-coding"]),
        ("drn-digits", "learning.solver", "error-sweeps", ["learning.solver", "predictive-coding"]),
    ],
)
def test_mistakes_are_told_where_they_are(model: str, key: str, value: Any, words: list[str]) -> None:
    with pytest.raises(hw.InputError) as told:
        read_model(model, [(key, value)])
    for word in words:
        assert word in str(told.value)


def test_a_network_for_other_images_is_refused() -> None:
    document, config = read_model("pc-digits", [("network.image", [1, 7, 8])])
    with pytest.raises(hw.InputError, match="images of digits are 1x8x8"):
        check_fit(document, config, data.load("digits", None))
