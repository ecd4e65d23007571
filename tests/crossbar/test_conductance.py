"""Units at the boundary, programming schemes, and what the circuit of an array does to reads, all alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice, CellSynapse
from hwsim.crossbar.conductance import Conductances, Programming, pulse_until
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.devices.aihw import AihwDevice, device_of
from hwsim.devices.responses import IdealCell, SoftBoundsCell
from hwsim.errors import InputError
from hwsim.rng import Streams

ENCODINGS = ("differential", "reference-column")
CELL = SoftBoundsCell(dw_min=2e-3, dw_min_std=0.3)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(post: int = 5, pre: int = 6, seed: int = 1) -> torch.Tensor:
    return (torch.rand(post, pre, generator=rng(seed)) - 0.5) * 1.6


def placed(array: Array, device: Device | None = None) -> Synapse:
    synapse = ArrayDevice(device or CellDevice(IdealCell()), array).synapse(5, 6, Streams(0))
    synapse.program(weights())
    return synapse


# --- units ---


@given(st.sampled_from(ENCODINGS), st.floats(0, 10), st.floats(10.5, 200), st.floats(0.1, 3), st.integers(0, 99))
def test_conductances_stand_for_weights(encoding: str, low: float, high: float, weight_range: float, seed: int) -> None:
    units = Conductances(encoding, low, high, weight_range=weight_range)
    weight = (torch.rand(4, 3, generator=rng(seed), dtype=torch.float64) * 2 - 1) * weight_range
    g = units.encode(weight)
    assert low - 1e-9 <= float(g.min()) <= float(g.max()) <= high + 1e-9
    torch.testing.assert_close(units.decode(g), weight, rtol=1e-9, atol=1e-9)


def test_the_ends_of_the_range_are_the_largest_weights() -> None:
    ends = torch.tensor([[1.0, -1.0, 0.0]])
    pair = Conductances(g_min_uS=1, g_max_uS=25).named(Conductances(g_min_uS=1, g_max_uS=25).encode(ends))
    assert pair["g_plus_uS"].tolist() == [[25, 1, 1]]
    assert pair["g_minus_uS"].tolist() == [[1, 25, 1]]
    single = Conductances("reference-column", 1, 25)
    named = single.named(single.encode(ends))
    assert named["g_uS"].tolist() == [[25, 1, 13]]
    assert named["g_reference_uS"].tolist() == [[13, 13, 13]]


@pytest.mark.parametrize("wrong", [{"encoding": "pair"}, {"g_min_uS": -1}, {"g_max_uS": 1}, {"read_voltage_V": 0}])
def test_impossible_units_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"Conductances.{next(iter(wrong))}: expected"):
        Conductances(**wrong)


# --- programming ---


def test_a_single_shot_misses_by_its_error() -> None:
    target = torch.full((200, 200), 10.0)
    g, shots = Programming("single-shot", error_uS=0.5).shoot(target, rng())
    assert shots == target.numel()
    n = target.numel()
    assert abs(float((g - target).mean())) < 6.5 * 0.5 / math.sqrt(n)
    assert abs(float((g - target).std()) / 0.5 - 1) < 6.5 / math.sqrt(2 * n)


def test_write_verify_ends_within_the_tolerance_and_counts_its_shots() -> None:
    target = torch.full((200, 200), 10.0)
    scheme = Programming("write-verify", error_uS=1.0, tolerance_uS=0.5, budget=200)
    g, shots = scheme.shoot(target, rng())
    assert (g - target).abs().max() <= 0.5
    hit = math.erf(0.5 / math.sqrt(2))
    each = shots / target.numel()
    assert abs(each - 1 / hit) < 6.5 * math.sqrt((1 - hit) / hit**2 / target.numel())  # geometric
    g, shots = replace(scheme, budget=2).shoot(target, rng())
    assert shots <= 2 * target.numel()
    assert (g - target).abs().max() > 0.5


def test_pulses_verify_until_the_tolerance_or_the_budget() -> None:
    target, start = weights(), torch.zeros(5, 6)

    def pulse(g: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        return g + 0.01 * (up - down)

    g, pulses = pulse_until(target, start, 0.006, 1000, pulse)
    assert (g - target).abs().max() <= 0.006
    assert pulses == int(((target.abs() - 0.006) / 0.01).ceil().clamp_min(0).sum())
    g, pulses = pulse_until(target, start, 0.006, 10, pulse)
    assert pulses <= 10 * 30
    assert float((g - target).abs().max()) > 0.3


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("scheme", "error", "within"), [("ideal", 0.0, 1e-6), ("single-shot", 1.0, 0.7), ("write-verify", 1.0, 0.09)]
)
def test_every_scheme_programs_an_array_as_closely_as_it_says(
    encoding: str, scheme: str, error: float, within: float
) -> None:
    units = Conductances(encoding)
    array = Array(units, Programming(scheme, error, tolerance_uS=0.5))
    synapse = placed(array)
    gap = (synapse.weight() - weights()).abs().max()
    assert gap <= within
    assert scheme == "ideal" or gap > 1e-4
    assert synapse.meter.writes >= 30


def test_cells_are_write_verified_by_their_own_pulses() -> None:
    scheme = Programming("write-verify", tolerance_uS=0.12)
    synapse = placed(Array(programming=scheme), CellDevice(CELL))
    assert (synapse.weight() - weights()).abs().max() <= 0.12 / 24 + 1e-6
    assert synapse.meter.writes > 1000
    short = placed(Array(programming=replace(scheme, budget=5)), CellDevice(CELL))
    assert (short.weight() - weights()).abs().max() > 0.5
    assert short.meter.writes <= 5 * 30


@pytest.mark.parametrize("wrong", [{"scheme": "twice"}, {"error_uS": -1}, {"tolerance_uS": math.nan}, {"budget": 0}])
def test_impossible_programming_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"Programming.{next(iter(wrong))}: expected"):
        Programming(**wrong)


# --- the circuit ---


def test_an_array_without_faults_changes_nothing() -> None:
    plain = CellDevice(CELL, ReadPath(out_noise=0.05, out_bound=8, out_res=1 / 510), omega=0.4)
    bare, built = plain.synapse(5, 6, Streams(0)), ArrayDevice(plain, Array()).synapse(5, 6, Streams(0))
    for synapse in (bare, built):
        synapse.program(weights())
        synapse.update(torch.rand(4, 6, generator=rng()), torch.randn(4, 5, generator=rng()), 0.01)
    x = torch.rand(3, 6, generator=rng())
    assert torch.equal(bare.read(x), built.read(x))
    assert set(built.conductances()) == {"g", "g_plus_uS", "g_minus_uS"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wires_lose_current_and_keep_both_directions_each_others_transpose(encoding: str) -> None:
    synapse = placed(Array(Conductances(encoding), wire_resistance_ohm=200.0))
    forward, transpose = synapse.read(torch.eye(6)).T, synapse.read_transpose(torch.eye(5))
    torch.testing.assert_close(forward, transpose, rtol=0, atol=1e-6)
    assert forward.abs().sum() < 0.995 * weights().abs().sum()
    exact = placed(Array(Conductances(encoding), wire_resistance_ohm=200.0, wire_solver="exact"))
    torch.testing.assert_close(forward, exact.read(torch.eye(6)).T, rtol=0, atol=5e-3)


def test_a_mismatch_breaks_the_symmetry_by_its_size() -> None:
    synapse = ArrayDevice(CellDevice(IdealCell()), Array(transpose_mismatch=0.05)).synapse(100, 100, Streams(0))
    synapse.program(torch.ones(100, 100))
    forward, transpose = synapse.read(torch.eye(100)).T, synapse.read_transpose(torch.eye(100))
    torch.testing.assert_close(forward, torch.ones(100, 100), rtol=0, atol=1e-5)
    assert abs(float((transpose - forward).std()) / 0.05 - 1) < 6.5 / math.sqrt(2 * 10_000)
    assert torch.equal(transpose, synapse.read_transpose(torch.eye(100)))  # a property, not a noise


@pytest.mark.parametrize("path", [ReadPath(), ReadPath(out_bound=4, out_res=1 / 4000), ReadPath(inp_bound=1)])
def test_an_offset_is_on_every_output_of_either_direction(path: ReadPath) -> None:
    device = CellDevice(IdealCell(), path)
    with_offset = ArrayDevice(device, Array(offset_std=0.2)).synapse(60, 50, Streams(0))
    for read, width in ((with_offset.read, 50), (with_offset.read_transpose, 60)):
        silent = read(torch.zeros(2, width))
        assert torch.equal(silent[0], silent[1])
        assert abs(float(silent[0].std()) / 0.2 - 1) < 6.5 / math.sqrt(2 * 50)
    weight = torch.randn(60, 50, generator=rng()) * 0.05
    with_offset.program(weight)
    x = torch.rand(3, 50, generator=rng(), requires_grad=True)
    y = with_offset.read(x)
    torch.testing.assert_close(y - with_offset.read(torch.zeros(1, 50)), x @ weight.T, rtol=0, atol=2.1e-3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, weight.sum(0).expand(3, -1), rtol=0, atol=1e-5)


def test_an_offset_can_saturate_a_converter() -> None:
    synapse = ArrayDevice(CellDevice(IdealCell(), ReadPath(out_bound=0.5)), Array(offset_std=5.0)).synapse(
        40, 4, Streams(0)
    )
    synapse.meter.count_saturation = True
    assert float(synapse.read(torch.zeros(1, 4)).abs().max()) <= 0.5 + 1e-5
    assert synapse.meter.saturated_share > 0.5


def test_aihwkits_devices_are_placed_too() -> None:
    from aihwkit.simulator.configs import InferenceRPUConfig
    from aihwkit.simulator.presets import EcRamPreset

    units = Conductances(weight_range=1.2)
    synapse = placed(Array(units, transpose_mismatch=0.1), AihwDevice(EcRamPreset()))
    assert {"g_plus_uS", "g_minus_uS"} <= set(synapse.conductances())
    inference = placed(Array(units, Programming("single-shot", 1.0)), device_of(InferenceRPUConfig()))
    assert not torch.equal(synapse.read_transpose(torch.eye(5)), synapse.weight())
    assert (inference.weight() - weights()).abs().max() > 0.01
    assert inference.meter.writes == 60  # one shot at each device of a pair


def test_exact_arithmetic_has_no_devices_to_place() -> None:
    with pytest.raises(InputError, match="cell: ideal"):
        ArrayDevice(FloatDevice(), Array()).synapse(2, 3, Streams(0))


def test_the_compiled_read_knows_no_array() -> None:
    from aihwkit.simulator.presets import EcRamPreset

    with pytest.raises(InputError, match="compiled_reads"):
        placed(Array(), AihwDevice(EcRamPreset(), compiled_reads=True))


# --- pulses and drift of cells ---


def test_mean_pulses_move_cells_by_the_expected_amount() -> None:
    x, d = torch.rand(4, 6, generator=rng()), torch.randn(4, 5, generator=rng())
    cell = SoftBoundsCell(dw_min=1e-4)
    synapse = CellDevice(cell, pulses="mean").synapse(5, 6, Streams(0))
    synapse.update(x, d, 0.001)
    torch.testing.assert_close(synapse.weight(), 0.001 * d.T @ x, rtol=0.02, atol=2e-6)
    repeat = CellDevice(cell, pulses="mean").synapse(5, 6, Streams(1))
    repeat.update(x, d, 0.001)
    assert torch.equal(repeat.weight(), synapse.weight())  # nothing random is left
    big = CellDevice(cell, pulses="mean").synapse(5, 6, Streams(0))
    big.update(x, d, 0.1)
    assert float(big.weight().abs().max()) > 31 * 4 * 1e-4  # not limited by the length of a train


def test_drift_compensation_restores_the_size_in_both_directions() -> None:
    cell = SoftBoundsCell(drift_nu=0.05, w_min=0.0, reference=0.0)
    for kind, ratio in (("none", 3600.0**-0.05), ("global", 1.0)):
        synapse = CellDevice(cell, drift_compensation=kind).synapse(5, 6, Streams(0))
        assert isinstance(synapse, CellSynapse)
        weight = weights().abs()
        synapse.program(weight)
        for seconds in (1e6, 3600.0):  # the state follows the last age asked for
            synapse.age(seconds)
        torch.testing.assert_close(synapse.weight(), weight * ratio, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(synapse.read_transpose(torch.eye(5)), synapse.read(torch.eye(6)).T)
        other = CellDevice(cell, drift_compensation=kind).synapse(5, 6, Streams(0))
        other.load_state_dict(synapse.state_dict())
        other.age(1e6)
        synapse.age(1e6)
        torch.testing.assert_close(other.weight(), synapse.weight())
