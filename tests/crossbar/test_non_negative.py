"""Conductances on every device: none is ever negative, and what is written in conductances arrives in conductances."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import hwsim as hw
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.faults import Faults
from hwsim.crossbar.non_negative import Range, non_negative
from hwsim.crossbar.pulses import mean_counts
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.updates.modes import UpdateMode
from hwsim.crossbar.wires import by_nodes
from hwsim.devices.responses import IdealCell
from hwsim.errors import InputError
from hwsim.learning.update_quality import update_quality
from hwsim.rng import Streams

RANGE = Range(g_min_uS=0.5, g_max_uS=8.0, unit_uS=5.0)
LOWEST, HIGHEST = 0.1, 1.6
SHELF = [
    "ideal",
    "capacitor",
    "ecram",
    "idealized",
    "mixed-precision-pcm",
    "pcm-inference",
    "reram-es",
    "reram-sb",
    "soft-bounds-cell",
    "tiki-taka-reram-sb",
]


def devices() -> list[tuple[str, Device]]:
    made: list[tuple[str, Device]] = [(name, hw.device(name)) for name in SHELF]
    soft = hw.device("soft-bounds-cell")
    made.append(("exact cell", hw.CellDevice(IdealCell())))
    made.append(("tiles", TiledDevice(soft, 3, 4)))
    made.append(("stuck, behind wires", hw.ArrayDevice(soft, hw.Array(wire_resistance_ohm=100.0, faults=Faults(0.2)))))
    made.append(("whole pulses", UpdateMode("accumulate").device(TiledDevice(soft, max_cols=4))))
    return made


@pytest.mark.parametrize(("name", "device"), devices(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_conductance_is_ever_negative(name: str, device: Device) -> None:
    array = non_negative(device, RANGE).synapse(6, 7, Streams(0))
    rng = torch.Generator().manual_seed(0)
    array.program(torch.randn(6, 7, generator=rng))
    weights = [array.weight()]
    for _ in range(5):
        array.update(torch.rand(8, 7, generator=rng), -torch.rand(8, 6, generator=rng), 0.5)
        array.tick()
        weights.append(array.weight())
    array.program(torch.full((6, 7), -1.0))
    weights.append(array.weight())
    assert all(weight.min() >= 0 for weight in weights), name
    if name not in ("reram-es", "reram-sb", "tiki-taka-reram-sb", "pcm-inference", "stuck, behind wires"):
        # These have noise on what is written, or wires in front of it; all others end at the lowest conductance.
        assert weights[-1].numpy() == pytest.approx(LOWEST, abs=1e-5), name


@pytest.mark.parametrize("name", ["ideal", "ecram", "soft-bounds-cell", "mixed-precision-pcm"])
def test_what_is_programmed_is_held(name: str) -> None:
    array = non_negative(hw.device(name), RANGE).synapse(5, 6, Streams(3))
    target = LOWEST + 0.5 * torch.rand(5, 6, generator=torch.Generator().manual_seed(1))
    array.program(target)
    assert_close(array.weight(), target, rtol=0, atol=2e-6)
    x = torch.rand(3, 6)
    assert_close(x @ target.T, x @ array.weight().T, rtol=0, atol=1e-5)


def test_a_device_goes_from_its_own_lowest_weight_to_the_highest() -> None:
    """In the mean to the highest: devices differ in how far they go, and none of them in where they begin."""
    device = hw.CellDevice(hw.device("soft-bounds-cell").cell)
    array = non_negative(device, RANGE).synapse(40, 50, Streams(0))
    array.program(torch.full((40, 50), 1e3))
    high = array.weight()
    assert high.mean().item() == pytest.approx(HIGHEST, rel=1e-4)
    assert high.std() > 0.05
    array.program(torch.zeros(40, 50))
    assert array.weight().std() < 1e-6


def test_pulses_move_conductances_as_the_cell_says() -> None:
    """The expected pulses of an update, each one cell's step, in the unit of the conductance."""
    cell = hw.device("soft-bounds-cell").cell
    device = hw.CellDevice(cell.with_varied({}), pulses="mean", substeps=1)
    array = non_negative(device, RANGE).synapse(3, 4, Streams(0))
    start = LOWEST + 0.7 * torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    array.program(start)
    inner = array.inner
    g, own = inner.g.clone(), inner.cell
    pre, post, rate = torch.rand(2, 4), torch.rand(2, 3) - 0.5, 0.01
    slope = (HIGHEST - LOWEST) / array.span
    ((up, down),) = mean_counts(pre, post / slope, rate / cell.dw_min, 1)
    expected = own.step(g, up, down, torch.Generator().manual_seed(0))
    array.update(pre, post, rate)
    noise = 6 * slope * cell.dw_min * cell.dw_min_std * (up + down).sqrt().max()
    assert_close(array.weight() - start, slope * (expected - g), rtol=0, atol=float(noise))
    exact = non_negative(hw.CellDevice(IdealCell()), RANGE).synapse(3, 4, Streams(0))
    exact.program(start)
    exact.update(pre, post, rate)
    assert_close(exact.weight(), (start + rate * post.T @ pre), rtol=0, atol=1e-6)


def test_wires_and_faults_act_on_the_conductances_themselves() -> None:
    """One device a weight, no reference beside it: the ladder of wires sees what the circuit sees."""
    faults = Faults(stuck_high=0.2)
    device = hw.ArrayDevice(
        hw.CellDevice(IdealCell()), hw.Array(wire_resistance_ohm=500.0, wire_solver="exact", faults=faults)
    )
    array = non_negative(device, RANGE).synapse(6, 5, Streams(0))
    target = LOWEST + torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    array.program(target)
    g_uS = array.conductances()["g_uS"]
    stuck = g_uS > 0.999 * RANGE.g_max_uS
    assert 0 < int(stuck.sum()) < 20
    assert_close(g_uS[~stuck], 5.0 * target[~stuck], rtol=1e-5, atol=0)
    expected = by_nodes(g_uS.double(), 500.0 * 1e-6) / 5.0
    assert_close(array.weight().double(), expected, rtol=1e-5, atol=1e-7)


def test_devices_are_stuck_at_what_was_programmed_first() -> None:
    device = hw.ArrayDevice(hw.CellDevice(IdealCell()), hw.Array(faults=Faults(stuck_last=1.0)))
    array = non_negative(device, RANGE).synapse(3, 4, Streams(0))
    first = torch.full((3, 4), 0.7)
    array.program(first)
    array.program(torch.full((3, 4), 1.2))
    assert_close(array.weight(), first)


def test_what_was_saved_is_taken_over_with_its_lowest_weights() -> None:
    device = non_negative(hw.device("soft-bounds-cell"), RANGE)
    first, other = device.synapse(4, 5, Streams(0)), device.synapse(4, 5, Streams(1))
    first.program(LOWEST + torch.rand(4, 5))
    assert not torch.equal(first.lowest, other.lowest)
    other.load_state_dict(first.state_dict())
    assert_close(other.weight(), first.weight(), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"conductance\.lowest"):
        other.load_state_dict(first.inner.state_dict())


@pytest.mark.parametrize(
    "device", [FloatDevice(lowest=0.2), FloatDevice(momentum=0.9, lowest=0.2)], ids=["plain", "momentum"]
)
def test_float_has_a_lowest_weight_too(device: FloatDevice) -> None:
    array = device.synapse(2, 3, Streams(0))
    assert array.weight().min() == pytest.approx(0.2)
    array.program(torch.tensor([[-1.0, 0.5, 0.3], [0.2, 1.0, 0.0]]))
    array.update(torch.ones(1, 3), -torch.ones(1, 2), 0.25)
    array.tick()
    assert_close(array.weight(), torch.tensor([[0.2, 0.25, 0.2], [0.2, 0.75, 0.2]]))


def test_drift_is_not_compensated_behind_the_circuit_s_back() -> None:
    array = non_negative(hw.device("pcm-inference"), RANGE).synapse(20, 20, Streams(0))
    array.program(torch.full((20, 20), 1.0))
    fresh = array.weight().mean()
    array.age(30 * 86400.0)
    assert array.weight().mean() < 0.8 * fresh


def test_a_scale_of_every_output_is_refused() -> None:
    device = hw.device("ecram", {"mapping.weight_scaling_columnwise": True})
    with pytest.raises(InputError, match="weight_scaling_columnwise"):
        non_negative(device, RANGE).synapse(3, 4, Streams(0))


def test_what_belongs_to_reads_alone_is_refused() -> None:
    device = hw.ArrayDevice(hw.device("soft-bounds-cell"), hw.Array(offset_std=0.1))
    with pytest.raises(InputError, match=r"array\.offset_std: belongs to the reads"):
        non_negative(device, RANGE).synapse(3, 4, Streams(0))


@pytest.mark.parametrize("level", [0.1, 1.6])
def test_only_the_highest_conductances_are_clipped(level: float) -> None:
    """A weight of 0 is the lowest conductance, and most of a trained network is there."""
    array = non_negative(hw.CellDevice(hw.device("soft-bounds-cell").cell), RANGE).synapse(9, 9, Streams(0))
    array.program(torch.full((9, 9), level))
    assert (array.clipped_share() > 0) == (level > 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"g_min_uS": 0.0}, "g_min_uS: expected a finite conductance > 0"),
        ({"g_max_uS": 0.05}, "g_max_uS: expected more than g_min_uS"),
        ({"unit_uS": float("inf")}, "unit_uS"),
    ],
)
def test_ranges_that_are_none_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Range(**settings)


def test_the_array_has_the_conductances_that_the_network_sees() -> None:
    """Without wires and faults, whatever the scale of programming: the devices in microsiemens are the weights."""
    array = hw.Array(wire_solver="exact")
    synapse = non_negative(hw.ArrayDevice(hw.device("soft-bounds-cell"), array), Range()).synapse(3, 4, hw.Streams(0))
    synapse.program(torch.rand(3, 4, generator=torch.Generator().manual_seed(0)))
    named = synapse.conductances()
    torch.testing.assert_close(named["g_uS"], named["G_uS"])


def test_what_is_held_counts_from_where_pulses_pull_to() -> None:
    """A conductance is pulled to the middle of its range, so the lowest ones are the furthest away."""
    device = non_negative(TiledDevice(hw.device("soft-bounds-cell"), max_cols=4), RANGE)
    net = hw.ResistiveNetwork([device.synapse(6, 8, Streams(0))], unit_uS=RANGE.unit_uS)
    net.program([torch.full((6, 8), LOWEST)])

    def step(net: hw.Network, x: torch.Tensor, labels: torch.Tensor, rng: torch.Generator) -> None:
        rows = torch.ones(2, 8), torch.full((2, 6), 1e-3)
        net.synapses[0].update(*rows, 1.0)

    batches = [(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))]
    (found,) = update_quality(net, step, batches, ["layer0.weight"], 1e-3, torch.Generator().manual_seed(0))
    assert found.centre == pytest.approx((LOWEST + HIGHEST) / 2, rel=0.1)
    assert 0.9 * (HIGHEST - LOWEST) / 2 < found.largest_weight < 1.5 * (HIGHEST - LOWEST) / 2
