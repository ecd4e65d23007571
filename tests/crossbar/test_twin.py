"""Twin arrays: two of everything, kept in step; the negative phase runs on the second."""

from __future__ import annotations

import pytest
import torch

from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.composite import layout
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.faults import Faults
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice, TwinSynapse
from hwsim.devices.responses import IdealCell, SoftBoundsCell
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.settle import OddEven, Phase
from hwsim.learning.ep import EquilibriumProp, negative_phase
from hwsim.rng import Streams

SHARES = 0.15
FAULTY = ArrayDevice(CellDevice(IdealCell()), Array(faults=Faults(SHARES, SHARES)))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net_on(device: Device):
    net = layered_hopfield([6, 8, 3], device, Streams(0))
    net.program(net.initial_weights(2.0, Streams(1)))
    return net


def steps(device: Device, nudge: str = "centred", count: int = 3):
    net = net_on(device)
    rule = EquilibriumProp(0.3, nudge, Phase(60), Phase(60), OddEven())
    x, labels = torch.rand(16, 6, generator=rng(2)), torch.arange(16) % 3
    for _ in range(count):
        rule.step(net, SquaredError(), x, labels, [0.3, 0.2], rng(3))
    return net


def test_the_protocol_holds_and_both_halves_are_written_alike() -> None:
    synapse = TwinDevice(CellDevice(IdealCell())).synapse(4, 5, Streams(0))
    assert isinstance(synapse, Synapse)
    synapse.program(torch.ones(4, 5))
    synapse.update(torch.rand(3, 5, generator=rng()), torch.randn(3, 4, generator=rng()), 0.1)
    synapse.tick()
    assert torch.equal(synapse.positive.weight(), synapse.negative.weight())
    assert set(synapse.conductances()) == {"g", "g.twin"}
    assert layout(synapse) == (2, 1.0)
    assert layout(TwinDevice(TiledDevice(FloatDevice(), 2, 3)).synapse(4, 5, Streams(0))) == (8, 20 / 24)


@pytest.mark.parametrize("nudge", ["centred", "one-sided", "random-sign"])
def test_on_perfect_hardware_twins_learn_what_shared_arrays_learn(nudge: str) -> None:
    shared, twin = steps(FloatDevice(), nudge), steps(TwinDevice(FloatDevice()), nudge)
    for a, b in zip(shared.weights(), twin.weights(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_first_half_is_the_array_that_would_be_shared() -> None:
    device = CellDevice(SoftBoundsCell(dw_min_dtod=0.3, w_max_dtod=0.2), ReadPath(out_noise=0.1))
    twin, alone = TwinDevice(device).synapse(4, 5, Streams(0)), device.synapse(4, 5, Streams(0))
    for synapse in (twin, alone):
        synapse.program(torch.ones(4, 5))
    x = torch.rand(3, 5, generator=rng())
    assert torch.equal(twin.read(x), alone.read(x))
    assert not torch.equal(twin.negative.weight(), twin.weight())  # other devices


def test_the_negative_phase_reads_the_second_half() -> None:
    net = net_on(TwinDevice(FAULTY))
    opposite = negative_phase(net)
    assert [link.synapse for link in opposite.links] == [link.synapse.negative for link in net.links]  # type: ignore[attr-defined]
    shared = net_on(FAULTY)
    assert negative_phase(shared) is shared


def settled_by_hand(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor, beta: float):
    """Hidden and linear output state of a 6-8-3 network, c = 1, no biases, by plain damped iteration."""
    hidden, out = torch.zeros(len(x), 8), torch.zeros(len(x), 3)
    for _ in range(400):
        hidden = 0.5 * hidden + 0.5 * ((x @ weights[0].T + out @ weights[1]) / 2).clamp(0, 1)
        out = 0.5 * out + 0.5 * (hidden @ weights[1].T + beta * y) / (2 + beta)
    return hidden, out


def test_twins_write_the_difference_of_two_networks_that_settle_apart() -> None:
    """Halves that differ, as defects make them: the update is what two separate networks give, computed by hand."""
    beta, rates = 0.3, [0.7, 0.2]
    net = net_on(TwinDevice(FloatDevice()))
    ours = [link.synapse for link in net.links]
    for link in ours:
        assert isinstance(link, TwinSynapse)
        link.negative.program(link.positive.weight() + 0.1 * torch.randn(link.shape, generator=rng(9)))
    halves = [[getattr(link, half).weight() for link in ours] for half in ("positive", "negative")]
    x, labels = torch.rand(16, 6, generator=rng(2)), torch.arange(16) % 3
    y = torch.eye(3)[labels]
    (hidden, out), (hidden_twin, out_twin) = (
        settled_by_hand(w, x, y, b) for w, b in zip(halves, (beta, -beta), strict=True)
    )
    expected = [hidden.T @ x - hidden_twin.T @ x, out.T @ hidden - out_twin.T @ hidden_twin]
    EquilibriumProp(beta, "centred", Phase(400), Phase(400), OddEven()).step(
        net, SquaredError(), x, labels, rates, rng(3)
    )
    for half, before in zip(("positive", "negative"), halves, strict=True):
        for link, was, products, rate in zip(ours, before, expected, rates, strict=True):
            change = getattr(link, half).weight() - was
            torch.testing.assert_close(change, rate * products / (2 * beta * len(x)), rtol=0, atol=2e-4)


def drift(device: Device) -> float:
    """How far one step without a nudge worth speaking of moves the weights: what is no gradient."""
    net = net_on(device)
    before = net.weights()
    rule = EquilibriumProp(1e-3, "centred", Phase(200), Phase(200), OddEven())
    x, labels = torch.rand(16, 6, generator=rng(2), dtype=torch.float32), torch.arange(16) % 3
    rule.step(net, SquaredError(), x, labels, [1.0, 1.0], rng(3))
    return sum(float((a - b).abs().sum()) for a, b in zip(before, net.weights(), strict=True))


def test_defects_cancel_on_shared_arrays_and_pass_for_a_gradient_on_twins() -> None:
    assert drift(TwinDevice(FAULTY)) > 20 * drift(FAULTY)
    assert drift(TwinDevice(FloatDevice())) < 2 * drift(FloatDevice())


def test_state_survives() -> None:
    device = TwinDevice(CellDevice(SoftBoundsCell(), ReadPath(out_noise=0.1)))
    first, second = device.synapse(4, 5, Streams(0)), device.synapse(4, 5, Streams(1))
    first.update(torch.rand(3, 5, generator=rng()), torch.randn(3, 4, generator=rng()), 0.1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.weight(), second.weight())
    assert torch.equal(first.negative.weight(), second.negative.weight())
    x = torch.rand(3, 5, generator=rng())
    assert torch.equal(first.read(x), second.read(x))
    assert isinstance(first, TwinSynapse)
