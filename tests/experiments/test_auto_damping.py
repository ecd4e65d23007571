"""``damping: auto``: the factor of over-relaxed sweeps is measured on the network, and goes on with a training."""

from __future__ import annotations

import pytest
import torch
from theory_reference import Bug, must_reject
from torch import Tensor

from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.ebm.spectrum import measured_factor
from hwsim.errors import InputError
from hwsim.experiments.training.learners import MEASURED_EVERY, EquilibriumModel, model_of
from hwsim.rng import Streams

SETTINGS: list[tuple[str, object]] = [
    ("learning.damping", "auto"),
    ("learning.free_steps", 4),
    ("learning.nudged_steps", 2),
]


def model() -> EquilibriumModel:
    _, card = read_model("digits-mlp", SETTINGS)
    made = model_of(card, card.learning, FloatDevice(0.9), Streams(0))
    assert isinstance(made, EquilibriumModel)
    made.begin(Streams(0))
    return made


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return [(torch.rand(16, 1, 8, 8, generator=rng), torch.arange(16) % 10) for _ in range(count)]


def check_resumed() -> None:
    """Stopped between two measurements and gone on, a training is the same bit for bit."""
    count = MEASURED_EVERY + 6
    whole, half, rest = model(), model(), model()
    for x, labels in batches(count):
        whole.step(x, labels, 0.1, torch.Generator())
    for x, labels in batches(count)[:-5]:
        half.step(x, labels, 0.1, torch.Generator())
    rest.load_state_dict(half.state_dict())
    for x, labels in batches(count)[-5:]:
        rest.step(x, labels, 0.1, torch.Generator())
    assert whole.state_dict()["over_relaxation"][0] > 1.0
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[name]), name


def test_a_training_that_was_stopped_goes_on_bit_for_bit() -> None:
    check_resumed()


def test_a_checkpoint_without_a_factor_begins_with_none() -> None:
    state = model().state_dict()
    del state["over_relaxation"]
    made = model()
    made.load_state_dict(state)
    assert made.state_dict()["over_relaxation"].tolist() == [1.0, 0.0]


def check_factor_is_forgotten() -> None:
    made, (x, labels) = model(), batches(1)[0]
    made.step(x, labels, 0.1, torch.Generator())
    kept = made.state_dict()["over_relaxation"]
    other = model()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.state_dict()["over_relaxation"], kept)
    assert other._rule.solver.damping == kept[0]  # type: ignore[attr-defined]


def test_the_factor_is_taken_up() -> None:
    must_reject(
        Bug("lost", EquilibriumModel, "_sweep_by", lambda self, factor: setattr(self, "_factor", factor)),
        check_factor_is_forgotten,
    )


class Noisy(FloatSynapse):
    noisy = True


def test_the_factor_is_the_network_s_own_and_1_on_noisy_arrays() -> None:
    net, (x, _) = model().net, batches(1)[0]
    factor = measured_factor(net, x)
    torch.rand(3)
    assert measured_factor(net, x) == factor > 1.0
    assert measured_factor(net.mapped(lambda synapse: Noisy(synapse.weight())), x) == 1.0


def test_auto_goes_with_odd_even_sweeps() -> None:
    with pytest.raises(InputError, match="auto goes with solver 'odd-even'"):
        read_model("digits-mlp", [*SETTINGS, ("learning.solver", "synchronous")])
