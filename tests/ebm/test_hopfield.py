"""Layered networks: shapes, where biases live, what is read when, and copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from theory_reference import DOUBLE, random_plain, smooth_plain
from torch.testing import assert_close

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.devices.responses import LinearStepCell
from hwsim.ebm.build import Conv, hopfield, layered_hopfield
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.hopfield import Dense, LayeredHopfield
from hwsim.ebm.inference import infer
from hwsim.ebm.settle import OddEven, Phase, Synchronous, settle
from hwsim.errors import InputError
from hwsim.rng import Streams

FLOAT = FloatDevice(dtype=DOUBLE)
DEEP = Phase(300, tolerance=1e-14, stop_early=True)


@dataclass(frozen=True)
class SeenStreams(FloatDevice):
    """A float device that keeps the streams its arrays were given."""

    def synapse(self, post: int, pre: int, streams: Streams) -> FloatSynapse:
        made = super().synapse(post, pre, streams)
        made.streams = streams  # type: ignore[attr-defined]
        return made


def test_arrays_come_input_side_first_each_followed_by_its_biases() -> None:
    digital = layered_hopfield([6, 5, 3], FLOAT, Streams(0), bias_device=FLOAT)
    assert [s.shape for s in digital.synapses] == [(5, 6), (5, 1), (3, 5), (3, 1)]
    column = layered_hopfield([6, 5, 3], FLOAT, Streams(0), bias="column")
    assert [s.shape for s in column.synapses] == [(5, 7), (3, 6)]
    assert [layer.shape for layer in column.initial(torch.zeros(2, 6))] == [(2, 5), (2, 3)]


def test_every_array_has_streams_of_its_own() -> None:
    device = SeenStreams()
    net = layered_hopfield([4, 3, 3, 2], device, Streams(7), bias_device=device)
    seeds = [s.streams.seed_of(name) for s in net.synapses for name in ("device", "read", "update")]  # type: ignore[attr-defined]
    assert len(set(seeds)) == len(seeds)
    assert net.synapses[2].streams == Streams(7).child("layer", 1)  # type: ignore[attr-defined]


def test_biases_act_the_same_wherever_they_live() -> None:
    plain, x, _ = random_plain((4, 6, 5, 3), 0, scale=0.4)
    ends = []
    for bias in ("digital", "column"):
        net = plain.network(bias)
        ends.append(settle(net.given(x), net.initial(x), solver=OddEven(), phase=DEEP).state)
    for a, b in zip(*ends, strict=True):
        assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_logits_are_the_drive_into_the_output() -> None:
    """At the free equilibrium they are 2c times a linear output's state."""
    plain, x, _ = smooth_plain((4, 6, 5, 3), c=0.5, gain=0.3)
    net = plain.network()
    given = net.given(x)
    state = settle(given, net.initial(x), solver=Synchronous(), phase=DEEP).state
    assert_close(net.logits(state, given), 2 * net.c * state[-1], rtol=1e-10, atol=1e-10)


def test_a_network_without_hidden_layer_is_a_linear_map() -> None:
    plain, x, _ = random_plain((4, 3), 0)
    net = plain.network()
    given = net.given(x)
    state = settle(given, net.initial(x), solver=OddEven(), phase=DEEP).state
    linear = x @ plain.weights[0].T + plain.biases[0]
    assert_close(state[0], linear / 2)
    assert_close(net.logits(state, given), linear)


def test_inputs_of_any_shape_are_flattened() -> None:
    plain, _, _ = random_plain((12, 3), 0)
    x = torch.rand(5, 1, 3, 4, dtype=DOUBLE)
    net = plain.network()
    state = net.initial(x.flatten(1))
    assert_close(net.given(x).force(state)[0], net.given(x.flatten(1)).force(state)[0])


def test_a_held_input_is_one_read_and_another_is_one_a_step() -> None:
    plain, x, _ = random_plain((4, 6, 3), 0)
    for hold, vectors in ((True, len(x)), (False, 7 * len(x))):
        net = plain.network()
        settle(net.given(x, hold=hold), net.initial(x), solver=Synchronous(), phase=Phase(7))
        assert net.synapses[0].meter.vectors_read == vectors


def test_a_float_twin_is_equal_and_apart() -> None:
    plain, x, _ = random_plain((4, 6, 3), 0)
    for bias in ("digital", "column"):
        net = LayeredHopfield(plain.network(bias).links, c=0.7, output="clamped")
        twin = net.float_twin()
        assert (twin.c, twin.output) == (0.7, "clamped")
        assert all(torch.equal(a, b) for a, b in zip(net.weights(), twin.weights(), strict=True))
        state = net.initial(x)
        assert_close(net.given(x).force(state), twin.given(x).force(state))
        twin.program([torch.zeros_like(w) for w in twin.weights()])
        assert net.weights()[0].abs().sum() > 0


def test_programmed_weights_are_read_back_in_order() -> None:
    net = layered_hopfield([6, 5, 3], FLOAT, Streams(0), bias_device=FLOAT)
    weights = [torch.full(s.shape, float(index), dtype=DOUBLE) for index, s in enumerate(net.synapses)]
    net.program(weights)
    assert all(torch.equal(a, b) for a, b in zip(net.weights(), weights, strict=True))
    with pytest.raises(ValueError, match="shorter"):
        net.program(weights[:-1])


def test_initial_weights_are_uniform_within_gain_over_root_fan_in() -> None:
    """20,000 draws: the standard deviation of a uniform is known to 0.45 % (kurtosis 1.8), so 3 % is 6.7 sigma."""
    net = layered_hopfield([100, 200, 3], FloatDevice(), Streams(0))
    first, bias, *_ = net.initial_weights(2.0, Streams(1))
    bound = 2.0 / 100**0.5
    assert first.abs().max() <= bound
    assert first.abs().max() > 0.99 * bound
    assert first.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert not bias.any()


def test_initial_weights_do_not_depend_on_where_biases_live_or_on_other_layers() -> None:
    digital = layered_hopfield([6, 5, 3], FLOAT, Streams(0)).initial_weights(1.0, Streams(3))
    column = layered_hopfield([6, 5, 3], FLOAT, Streams(9), bias="column").initial_weights(1.0, Streams(3))
    deeper = layered_hopfield([6, 5, 3, 2], FLOAT, Streams(0)).initial_weights(1.0, Streams(3))
    for index in range(2):
        assert torch.equal(column[index], torch.cat([digital[2 * index], digital[2 * index + 1]], 1))
        assert torch.equal(digital[2 * index], deeper[2 * index])
    assert not torch.equal(
        digital[0], layered_hopfield([6, 5, 3], FLOAT, Streams(0)).initial_weights(1.0, Streams(4))[0]
    )


@pytest.mark.parametrize("cost", [SquaredError(), CrossEntropy()])
def test_targets_are_one_hot_in_the_type_of_the_output(cost: SquaredError | CrossEntropy) -> None:
    target = cost.encode(torch.tensor([2, 0]), torch.zeros(2, 3, dtype=DOUBLE))
    assert target.dtype == DOUBLE
    assert target.tolist() == [[0, 0, 1], [1, 0, 0]]


def dense(pre: int, post: int) -> Dense:
    return Dense(FloatSynapse(torch.zeros(post, pre)), None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: LayeredHopfield([dense(4, 3)], c=0.0), "c must be > 0, got 0"),
        (lambda: LayeredHopfield([dense(4, 3)], output="softmax"), "output must be .*got 'softmax'"),
        (lambda: LayeredHopfield([dense(4, 3), dense(5, 2)]), "3.* units feeds one"),
        (lambda: layered_hopfield([4], FLOAT, Streams(0)), r"at least one layer of units.*got \[4\]"),
        (lambda: layered_hopfield([4, 0, 2], FLOAT, Streams(0)), r"all sizes at least 1; got \[4, 0, 2\]"),
        (lambda: layered_hopfield([4, 2], FLOAT, Streams(0), bias="analog"), "bias: .*'column'.*got 'analog'"),
        (lambda: LayeredHopfield([dense(5, 3)]).given(torch.zeros(2, 5)), "expected 4 values an example, got 5"),
    ],
)
def test_impossible_networks_are_refused(wrong: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        wrong()


WRITES: dict[str, Callable[[LayeredHopfield, Streams], object]] = {
    "update": lambda net, _: net.links[1].synapse.update(torch.ones(1, 5), torch.ones(1, 3), 0.1),
    "update of the input's array": lambda net, _: net.links[0].synapse.update(torch.ones(1, 4), torch.ones(1, 5), 0.1),
    "programming": lambda net, streams: net.program(net.initial_weights(1.0, streams)),
    "a state": lambda net, streams: net.load_state_dict(written(CELL, streams).state_dict()),
    "ageing": lambda net, _: net.age(1e6),
    "a leak": lambda net, _: net.tick(),
    "one twin of two": lambda net, _: next(iter(net.links[1].synapse.parts.values())).program(torch.ones(3, 5)),  # type: ignore[attr-defined]
}
CELL = CellDevice(LinearStepCell(dw_min=0.01, drift_nu=0.1, lifetime=10.0))


def written(device: Device, streams: Streams) -> LayeredHopfield:
    net = layered_hopfield([4, 5, 3, 2], device, streams)
    net.program(net.initial_weights(1.0, streams))
    return net


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_between_two_reads_is_seen(write: str, hold: bool) -> None:
    """What is kept of a state's readings is of the weights that arrays hold now."""
    net = written(TwinDevice(TiledDevice(CELL, 3, 3)) if "twin" in write else CELL, Streams(0))
    given, s = net.given(torch.rand(2, 4), hold=hold), tuple(torch.rand(2, n) for n in (5, 3, 2))
    with torch.no_grad():
        before = given.drive(s, range(3))
        again = given.drive(s, range(3))
        WRITES[write](net, Streams(1))
        after, fresh = given.drive(s, range(3)), net.given(given.x, hold=hold).drive(s, range(3))
    assert all(torch.equal(*pair) for pair in zip(before, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert all(torch.equal(*pair) for pair in zip(after, fresh, strict=True))


def test_float_weights_moved_by_whoever_are_seen() -> None:
    net = written(FloatDevice(), Streams(0))
    given, s = net.given(torch.rand(2, 4)), tuple(torch.rand(2, n) for n in (5, 3, 2))
    with torch.no_grad():
        before = given.drive(s, [1])[0]
        tensor = net.links[1].synapse.tensor  # type: ignore[attr-defined]
        tensor.add_(1.0)  # as an optimiser of torch would
        assert not torch.equal(before, given.drive(s, [1])[0])


def test_only_what_can_age_ages() -> None:
    net = layered_hopfield([4, 3], CELL, Streams(0))
    net.program([torch.full((3, 4), 0.5), torch.full((3, 1), 0.5)])
    net.age(1e4)
    assert (net.weights()[0] < 0.4).all()
    assert torch.equal(net.weights()[1], torch.full((3, 1), 0.5)), "digital biases do not drift"
    with pytest.raises(InputError, match="seconds >= 0"):
        net.age(-1.0)


@pytest.mark.parametrize("layers", [[9, 8, 4], [(1, 3, 3), Conv(5, pool="max"), 4]])
def test_a_built_network_has_initial_weights_and_takes_images_flat_or_not(layers: list) -> None:
    net = hopfield(layers, seed=5, gain=1.5)
    expected = layered_hopfield(layers, FloatDevice(), Streams(5)).initial_weights(1.5, Streams(5))
    assert all(torch.equal(a, b) for a, b in zip(net.weights(), expected, strict=True))
    x = torch.rand(6, 1, 3, 3)
    assert torch.equal(infer(net, x)[0], infer(net, x.flatten(1))[0])
