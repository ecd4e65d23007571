"""The ``array:`` section: what may stand in it, what it makes of a device, and that such devices still conform."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwsim.cards.device import read_device
from hwsim.crossbar.array import ArrayDevice
from hwsim.crossbar.composite import layout
from hwsim.crossbar.tiling import TiledDevice
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.testing import check_device

CELL = "cell: soft-bounds\nparameters: {w_max: 0.8, w_min: -0.6}\n"


def card(tmp_path: Path, array: str, device: str = CELL) -> Path:
    path = tmp_path / "rpu-config.yaml"
    path.write_text(f"{device}array: {array}\n")
    return path


def test_an_array_is_put_around_any_kind_of_device(tmp_path: Path) -> None:
    for kind in (CELL, "cell: ideal\n", "preset: EcRamPreset\n", "class: InferenceRPUConfig\n"):
        found = read_device(card(tmp_path, "{stuck_low: 0.1, max_rows: 2, max_cols: 2}", kind))
        assert isinstance(found.device, TiledDevice)
        assert isinstance(found.device.device, ArrayDevice)
        synapse = found.device.synapse(3, 5, Streams(0))
        synapse.program(torch.rand(3, 5))
        assert layout(synapse).tiles == 6
        assert {"g_plus_uS", "g_minus_uS"} <= set(synapse.conductances())


def test_limits_of_size_alone_leave_the_arrays_bare(tmp_path: Path) -> None:
    device = read_device(card(tmp_path, "{max_rows: 2}", "float: {}\n")).device
    assert isinstance(device, TiledDevice)
    assert not isinstance(device.device, ArrayDevice)
    assert device.ideal
    assert device.trains == "in-situ"


def test_one_scale_a_layer_is_passed_on_and_told(tmp_path: Path) -> None:
    found = read_device(card(tmp_path, "{max_cols: 2, mapping_scale: layer}"))
    assert isinstance(found.device, TiledDevice)
    assert found.device.mapping_scale == "layer"
    assert found.resolved["array"]["mapping_scale"] == "layer"


def test_every_default_is_written_out_and_a_card_without_an_array_has_none(tmp_path: Path) -> None:
    resolved = read_device(card(tmp_path, "{wire_resistance_ohm: 2}")).resolved["array"]
    assert resolved["wire_resistance_ohm"] == 2
    assert resolved["encoding"] == "differential"
    assert resolved["weight_range"] == 0.8  # of the device, where the card says none
    assert "array" not in read_device("soft-bounds-cell").resolved


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ("{stuck_lo: 0.1}", ":3: array.stuck_lo: unknown key; did you mean 'stuck_low'?"),
        ("{stuck_low: 0.6, stuck_high: 0.5}", ":3: array.stuck_low: expected shares that add up to at most 1"),
        (
            "{max_cols: 2, mapping_scale: row}",
            ":3: array.mapping_scale: expected one of tile, layer, column, got 'row'",
        ),
        ("{g_max_uS: 0.5}", ":3: array.g_max_uS: expected more than g_min_uS = 1.0, got 0.5"),
        ("{programming: twice}", ":3: array.programming: expected one of ideal, single-shot, write-verify"),
        ("{programming_error_uS: -1}", ":3: array.programming_error_uS: expected a finite conductance >= 0"),
        ("{pulse_budget: 0}", ":3: array.pulse_budget: expected at least 1"),
        ("{max_cols: 0}", ":3: array.max_cols: expected at least 1"),
        ("{wire_solver: spice}", ":3: array.wire_solver: expected one of fast, exact"),
        ("{weight_range: -1}", ":3: array.weight_range: expected a finite number > 0"),
        ("[1, 2]", ":3: array: expected a map"),
        ("{levels: 1}", ":3: array.levels: expected 2 to 65536 levels, got 1"),
        ("{levels: 2.5}", ":3: array.levels: expected an integer, got the number 2.5"),
        ("{levels: 4, levels_uS: [1, 25]}", ":3: array.levels: a number of levels and a list of them are given"),
        ("{levels_uS: [1]}", ":3: array.levels_uS: expected two or more levels, got 1"),
        ("{levels_uS: []}", ":3: array.levels_uS: expected two or more levels, got 0"),
        ("{levels_uS: 4}", ":3: array.levels_uS: expected a list, got the number 4"),
        ("{levels_uS: [1, 9, 9, 25]}", ":3: array.levels_uS: expected rising numbers, got 9 after 9"),
        ("{levels_uS: [1, 30]}", ":3: array.levels_uS: expected levels within g_min_uS = 1 and g_max_uS = 25, got 30"),
        (
            "{levels_uS: [0.5, 25]}",
            ":3: array.levels_uS: expected levels within g_min_uS = 1 and g_max_uS = 25, got 0.5",
        ),
        ("{levels_uS: [2, 25]}", ":3: array.levels_uS: expected g_min_uS = 1 as the first level"),
        ("{levels: 4, level_rounding: up}", ":3: array.level_rounding: expected one of stochastic, nearest, got 'up'"),
        ("{level_rounding: nearest}", ":3: array.level_rounding: acts on finite levels only"),
    ],
)
def test_mistakes_are_told_where_they_stand(tmp_path: Path, array: str, message: str) -> None:
    path = card(tmp_path, array)
    with pytest.raises(InputError) as error:
        read_device(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_what_has_no_devices_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r":2: array: .*computes exactly.*cell: ideal"):
        read_device(card(tmp_path, "{stuck_low: 0.1}", "float: {}\n"))


def test_options_of_cells_in_the_card(tmp_path: Path) -> None:
    path = tmp_path / "rpu-config.yaml"
    path.write_text(f"{CELL}update: {{pulses: mean}}\nmapping: {{drift_compensation: global}}\n")
    resolved = read_device(path).resolved
    assert (resolved["update"]["pulses"], resolved["mapping"]["drift_compensation"]) == ("mean", "global")
    path.write_text(f"{CELL}update: {{pulses: none}}\n")
    with pytest.raises(InputError, match=r":3: .*pulses: expected one of stochastic, mean"):
        read_device(path)


@pytest.mark.parametrize(
    "array",
    [
        "{max_rows: 9, max_cols: 13}",
        "{stuck_low: 0.02, stuck_last: 0.02, offset_std: 0.02, transpose_mismatch: 0.02}",
        "{encoding: reference-column, wire_resistance_ohm: 2, programming: single-shot, programming_error_uS: 0.2}",
        "{levels: 16}",
        "{encoding: reference-column, levels_uS: [2, 5, 9, 12, 13, 14, 17, 21, 25], programming: write-verify}",
    ],
)
def test_a_device_in_an_array_passes_the_conformance_suite(tmp_path: Path, array: str) -> None:
    reads = "forward: {inp_bound: 1.0, inp_res: 7bit, out_bound: 12.0, out_res: 9bit, out_noise: 0.02}\n"
    check_device(read_device(card(tmp_path, array, CELL + reads)).device)
