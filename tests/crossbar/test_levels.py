"""Finite conductance levels: what programming reaches, where updates land, on any kind of device."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwsim.cards.device import read_device
from hwsim.crossbar.levels import Levels
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.crossbar.twin import TwinDevice
from hwsim.errors import InputError
from hwsim.rng import Streams

LEVELS = Levels((1.0, 3.0, 4.0, 9.0))
EVEN = "cell: linear-step\nparameters: {dw_min: 0.01, gamma_up: 0, gamma_down: 0}\n"
TRAINED = {
    "python cell": EVEN,
    "exact cell": "cell: ideal\n",
    "ECRAM": "preset: EcRamPreset\n",
    "write noise": "preset: ReRamSBPreset\n",
    "TTv2": "preset: TTv2EcRamPreset\n",
    "Tiki-Taka": "preset: TikiTakaEcRamPreset\n",
}


def device(tmp_path: Path, card: str, array: str) -> Device:
    path = tmp_path / "device.yaml"
    path.write_text(f"{card}array: {{{array}}}\n")
    return read_device(path).device


def test_the_nearest_level_is_by_hand() -> None:
    g = torch.tensor([0.0, 1.0, 1.9, 2.1, 3.4, 3.6, 6.4, 6.6, 20.0])
    assert LEVELS.nearest(g).tolist() == [1, 1, 1, 3, 3, 4, 4, 9, 9]


def test_stochastic_rounding_keeps_the_mean_and_takes_one_of_two_neighbours() -> None:
    rng = torch.Generator().manual_seed(0)
    n = 40_000
    for g, lower, upper in ((1.5, 1, 3), (3.25, 3, 4), (8.0, 4, 9)):
        landed = LEVELS.after_update(torch.full((n,), g, dtype=torch.float64), rng)
        assert set(landed.tolist()) == {lower, upper}
        error = 5 * math.sqrt((g - lower) * (upper - g) / n)
        assert float(landed.mean()) == pytest.approx(g, abs=error)
    at = torch.tensor([1.0, 3.0 + 1e-6, 9.0 - 1e-6, 0.2, 12.0])
    assert LEVELS.after_update(at, rng).tolist() == [1, 3, 9, 1, 9]
    nearest = Levels(LEVELS.levels_uS, "nearest")
    assert nearest.after_update(torch.tensor([1.9, 2.1]), rng).tolist() == [1, 3]


@pytest.mark.parametrize("levels", [(), (1.0,), (1.0, 1.0), (2.0, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_no_list_of_levels_is_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"Levels\.levels_uS"):
        Levels(levels)


@pytest.mark.parametrize("encoding", ["differential", "reference-column"])
def test_programming_reaches_the_nearest_of_uniform_levels(encoding: str, tmp_path: Path) -> None:
    """Five levels of 1 to 25 uS are 6 uS apart: weights of a pair are quarters of the range, of one device halves."""
    synapse = device(tmp_path, EVEN, f"levels: 5, encoding: {encoding}").synapse(1, 7, Streams(0))
    synapse.program(torch.tensor([[-1.0, -0.6, -0.1, 0.0, 0.13, 0.4, 0.7]]))
    quarters = [-1.0, -0.5, 0.0, 0.0, 0.25, 0.5, 0.75]
    halves = [-1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 0.5]
    expected = torch.tensor([quarters if encoding == "differential" else halves])
    torch.testing.assert_close(synapse.weight(), expected)
    g = [value for name, value in synapse.conductances().items() if name.endswith("_uS") and "reference" not in name]
    assert {round(v, 4) for each in g for v in each.flatten().tolist()} <= {1, 7, 13, 19, 25}


def test_errors_of_programming_stay_around_the_level(tmp_path: Path) -> None:
    array = "levels_uS: [1, 13, 25], programming: single-shot, programming_error_uS: 0.5"
    synapse = device(tmp_path, EVEN, array).synapse(200, 200, Streams(0))
    synapse.program(torch.full((200, 200), 0.55))
    plus = synapse.conductances()["g_plus_uS"]
    # The two errors of a pair are seen in the difference of its devices.
    assert float((plus - 1).mean()) == pytest.approx(12, abs=0.05)
    assert float((plus - 1).std()) == pytest.approx(math.hypot(0.5, 0.5), rel=0.03)


def test_an_update_moves_as_far_in_the_mean_and_lands_on_levels(tmp_path: Path) -> None:
    """Nine levels are 1/8 of a weight apart; an update of .05 takes two of five devices up one."""
    built = device(tmp_path, "cell: ideal\n", "levels: 9")
    synapse = built.synapse(100, 100, Streams(0))
    pre, post = torch.zeros(1, 100), torch.zeros(1, 100)
    pre[:, :50], post[:] = 1.0, 0.05
    synapse.update(pre, post, 1.0)
    weight = synapse.weight()
    assert not weight[:, 50:].any()
    moved = weight[:, :50]
    assert set(moved.flatten().tolist()) == {0.0, 0.125}
    assert float((moved > 0).float().mean()) == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / 5000))
    again = built.synapse(100, 100, Streams(0))
    again.update(pre, post, 1.0)
    assert again.weight().equal(weight)
    lost = device(tmp_path, "cell: ideal\n", "levels: 9, level_rounding: nearest").synapse(100, 100, Streams(0))
    lost.update(pre, post, 1.0)
    assert not lost.weight().any()


def trained(synapse: Synapse, steps: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = synapse.shape
    for _ in range(steps):
        x, d = torch.rand(4, shape[1], generator=generator), torch.randn(4, shape[0], generator=generator)
        synapse.update(x, d, 0.05)
        synapse.tick()
    return synapse.weight()


@pytest.mark.parametrize("name", TRAINED)
def test_updates_of_every_kind_of_device_leave_it_on_levels(name: str, tmp_path: Path) -> None:
    built = device(tmp_path, TRAINED[name], "levels: 9, weight_range: 0.4")  # within the bounds of all devices
    synapse = built.synapse(6, 8, Streams(0))
    synapse.program(torch.randn(6, 8, generator=torch.Generator().manual_seed(2)) * 0.1)
    start = synapse.weight()
    weight = trained(synapse, 200 if name in ("TTv2", "Tiki-Taka") else 20)
    held = synapse.hidden()["persistent_weights"] if name == "write noise" else weight
    torch.testing.assert_close(held, (held * 20).round() / 20, atol=1e-5, rtol=0)
    assert float(held.abs().max()) <= 0.4 + 1e-5
    assert not weight.equal(start)


def test_a_compound_with_very_many_levels_learns_as_one_without(tmp_path: Path) -> None:
    """What it keeps beside the weights, fast arrays and counters of transfers, goes through every update."""
    errors = []
    for array in ("stuck_low: 0", "levels: 4001"):
        synapse = device(tmp_path, TRAINED["Tiki-Taka"], array).synapse(6, 8, Streams(0))
        generator = torch.Generator().manual_seed(1)
        target = torch.randn(6, 8, generator=generator) * 0.5
        for _ in range(400):
            x = torch.rand(4, 8, generator=generator)
            synapse.update(x, x @ (target - synapse.weight()).T, 0.05)
            synapse.tick()
        errors.append(float((synapse.weight() - target).norm() / target.norm()))
    assert max(errors) < 0.5, errors


def test_whole_pulses_land_on_levels_and_only_where_they_were_sent(tmp_path: Path) -> None:
    synapse = device(tmp_path, EVEN, "levels: 9").synapse(40, 40, Streams(0))
    counts = torch.zeros(40, 40)
    counts[:, 0] = 5  # 0.05 of a weight
    synapse.pulse(counts)
    weight = synapse.weight()
    assert not weight[:, 1:].any()
    assert {round(w, 5) for w in weight[:, 0].tolist()} == {0.0, 0.125}


@pytest.mark.parametrize("card", [EVEN, TRAINED["ECRAM"]])
def test_levels_are_kept_by_a_saved_state_in_tiles_and_twins(card: str, tmp_path: Path) -> None:
    built = TwinDevice(device(tmp_path, card, "levels: 9, max_cols: 5"))
    synapse, other = built.synapse(6, 8, Streams(0)), built.synapse(6, 8, Streams(3))
    trained(synapse)
    other.load_state_dict(synapse.state_dict())
    assert other.weight().equal(synapse.weight())
    if built.seedable:
        assert trained(other).equal(trained(synapse))


@pytest.mark.parametrize("preset", ["EcRam2Preset", "PCMPreset", "TTv2ReRamESPreset", "MixedPrecisionEcRamPreset"])
def test_cells_that_keep_more_than_a_weight_say_so(preset: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r":2: array: a \w+ keeps more than the weight in aihwkit's own tile"):
        device(tmp_path, f"preset: {preset}\n", "levels: 9")


def test_what_is_programmed_once_is_programmed_to_levels(tmp_path: Path) -> None:
    card = "class: InferenceRPUConfig\nmapping: {weight_scaling_omega: 1}\nnoise_model: {prog_noise_scale: 0}\n"
    synapse = device(tmp_path, f"{card}drift_compensation: null\n", "levels: 5").synapse(1, 3, Streams(0))
    synapse.program(torch.tensor([[1.0, 0.3, -0.6]]))
    before = synapse.conductances()["weight"]  # read noise of one course of 1/f noise is left
    torch.testing.assert_close(before, torch.tensor([[1.0, 0.25, -0.5]]), atol=0.1, rtol=0)
