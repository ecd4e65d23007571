"""Training without a card, a file or a folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hwsim as hw
from hwsim.errors import InputError, WorkError
from hwsim.learning.train import train

RULE = hw.EquilibriumProp(beta=0.5, free=hw.Phase(8), nudged=hw.Phase(4), solver=hw.OddEven())


def toy(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 3, 3, generator=rng), torch.randint(0, 4, (count,), generator=rng)


def net(device: hw.Device | None = None) -> hw.LayeredHopfield:
    return hw.hopfield([9, 8, 4], device, seed=1)


def test_training_is_the_rules_steps_in_a_seeded_order() -> None:
    x, y = toy()
    trained, by_hand = net(), net()
    records = train(trained, RULE, (x, y), rates=[0.5, 0.25], epochs=2, seed=3, batch_size=16, schedule="cosine")
    correct = []
    for epoch in range(2):
        own = hw.Streams(3).child("epoch", epoch)
        order, rng, right = torch.randperm(50, generator=own.generator("data")), own.generator("update"), 0
        for batch in range(3):  # the last two images of the order make no whole batch
            index = order[16 * batch : 16 * (batch + 1)]
            factor = 0.5 * (1 + np.cos(np.pi * (epoch + batch / 3) / 2))
            right += RULE.step(
                by_hand, hw.SquaredError(), x[index], y[index], [0.5 * factor, 0.25 * factor], rng
            ).correct
        correct.append(right / 48)
    for one, other in zip(trained.weights(), by_hand.weights(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert [record.accuracy_train for record in records] == correct
    assert [record.epoch for record in records] == [1, 2]


def test_arrays_flat_images_and_one_rate_are_as_good() -> None:
    x, y = toy()
    nets = [net() for _ in range(3)]
    train(nets[0], RULE, (x, y), rates=[0.5, 0.5], epochs=1)
    train(nets[1], RULE, (x.numpy(), y.numpy().astype(np.int32)), rates=0.5, epochs=1)
    train(nets[2], RULE, (x.flatten(1), y.tolist()), rates=0.5, epochs=1)
    for other in nets[1:]:
        assert all(torch.equal(a, b) for a, b in zip(nets[0].weights(), other.weights(), strict=True))


def test_a_device_is_trained_in_situ_and_repeats_bit_for_bit() -> None:
    weights = []
    for _ in range(2):
        made = net(hw.device("soft-bounds-cell"))
        seen: list[int] = []
        train(made, RULE, toy(), rates=0.1, epochs=2, on_epoch=lambda epoch, seen=seen: seen.append(epoch.epoch))
        assert seen == [1, 2]
        assert made.synapses[0].meter.vectors_updated > 0
        weights.append(made.weights())
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rates": [0.5]}, "one for each of 2 links"),
        ({"rates": -1}, "rates >= 0"),
        ({"epochs": 0}, "at least one image, epoch"),
        ({"schedule": "linear"}, "constant, cosine"),
        ({"data": toy()[0]}, "a pair"),
        ({"data": (toy()[0], toy()[1][:-1])}, "a label for each of 50 images"),
        ({"data": (toy()[0], toy()[1] + 1)}, "4 outputs and a label is 4"),
        ({"data": (toy()[0], toy()[1].float())}, "whole numbers"),
        ({"data": ((toy()[0] * 255).byte(), toy()[1])}, "divide grey levels"),
        ({"data": (toy()[0] / 0, toy()[1])}, "NaN or infinity"),
        ({"data": (torch.rand(50, 8), toy()[1])}, "expected 9 values"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, said: str) -> None:
    given = {"data": toy(), "rates": 0.5, "epochs": 1, **change}
    with pytest.raises(InputError, match=said):
        train(net(), RULE, given.pop("data"), **given)


def test_divergence_names_the_epoch() -> None:
    with pytest.raises(WorkError, match=r"epoch 2, batch 1: the cost is .*smaller rates"):
        train(net(), RULE, toy(), rates=1e30, epochs=3, batch_size=50)
