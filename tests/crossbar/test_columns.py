"""Columnwise mapping: reads, updates and pulses see the weights, devices the whole range."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from update_cells import ASYMMETRIC, STEP, SYMMETRIC, rows

from hwsim.cards.device import read_device
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.columns import ColumnwiseDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.devices.responses import IdealCell
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.testing import check_device

WEIGHT = rows(5, 7, 99, 0.3) * torch.tensor([1.0, 0.5, 0.1, 0.01, 0.0])[:, None]
LARGEST = float(WEIGHT.abs().max())
MAPPED = CellDevice(IdealCell(), omega=0.4)


def array(device=MAPPED):
    synapse = ColumnwiseDevice(device).synapse(5, 7, Streams(0))
    synapse.program(WEIGHT)
    return synapse


def test_every_output_takes_the_whole_range_and_reads_as_before() -> None:
    synapse = array()
    assert torch.allclose(synapse.conductances()["g"][:4].abs().amax(1), torch.tensor(0.4))
    assert not synapse.conductances()["g"][4].any()
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    torch.testing.assert_close(synapse.weight(), WEIGHT)
    torch.testing.assert_close(synapse.read(x), x @ WEIGHT.T)
    torch.testing.assert_close(synapse.read_transpose(d), d @ WEIGHT)


def test_updates_change_the_weights_by_what_they_say() -> None:
    synapse = array()
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    synapse.update(x, d, 0.1)
    torch.testing.assert_close(synapse.weight(), WEIGHT + 0.1 * d.T @ x)
    window = Window(1, 3)
    bank = ColumnwiseDevice(MAPPED).synapse(5, 9, Streams(0))
    bank.program(rows(5, 9, 3))
    before, images, errors = bank.weight(), rows(2, 36, 4).reshape(2, 1, 6, 6), rows(2, 80, 5).reshape(2, 5, 4, 4)
    kernels(bank, window).update(images, errors, 0.1)
    torch.testing.assert_close(bank.weight(), before + 0.1 * as_rows(errors).T @ window.patches(images))


def test_small_outputs_are_read_with_as_little_noise() -> None:
    """Output noise is that of a column of conductances; its factor makes it as much smaller as the weights are."""
    noisy = CellDevice(IdealCell(), forward=ReadPath(out_noise=0.1), omega=0.4)
    synapse = array(noisy)
    spread = synapse.read(torch.zeros(4000, 7)).std(0)
    expected = 0.1 * WEIGHT.abs().amax(1) / 0.4
    torch.testing.assert_close(spread[:4], expected[:4], rtol=0.06, atol=0)


@pytest.mark.parametrize("cells", [SYMMETRIC, ASYMMETRIC])
def test_whole_pulses_are_as_large_as_the_factor_says(cells: CellDevice) -> None:
    synapse = ColumnwiseDevice(cells).synapse(5, 7, Streams(0))
    synapse.program(WEIGHT)
    factors = WEIGHT.abs().amax(1) / LARGEST
    factors[4] = 1.0
    torch.testing.assert_close(synapse.granularity[:, 0], STEP * factors)
    counts = torch.ones(5, 7)
    before = synapse.weight()
    synapse.pulse(counts)
    if cells is SYMMETRIC:
        torch.testing.assert_close(synapse.weight() - before, synapse.granularity.expand(5, 7), rtol=1e-3, atol=1e-7)
    summed = AccumulatedDevice(ColumnwiseDevice(cells)).synapse(5, 7, Streams(0))
    summed.program(WEIGHT)
    summed.update(rows(6, 7, 1), rows(6, 5, 2), 0.5)
    summed.tick()
    assert not summed.weight().equal(WEIGHT)


def test_a_saved_state_holds_the_factors() -> None:
    synapse, other = array(), ColumnwiseDevice(MAPPED).synapse(5, 7, Streams(3))
    other.load_state_dict(synapse.state_dict())
    assert other.weight().equal(synapse.weight())


@pytest.mark.parametrize("more", ["", ", max_rows: 9, max_cols: 13, stuck_low: 0.02"])
def test_a_card_maps_by_column_and_conforms(more: str, tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    reads = "forward: {inp_bound: 1.0, inp_res: 7bit, out_bound: 12.0, out_res: 9bit, out_noise: 0.02}\n"
    path.write_text(f"cell: soft-bounds\n{reads}mapping: {{omega: 0.4}}\narray: {{mapping_scale: column{more}}}\n")
    check_device(read_device(path).device)


def test_one_of_two_ways_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    mapping = "mapping: {weight_scaling_omega: 0.4, weight_scaling_columnwise: true}"
    path.write_text(f"preset: EcRamPreset\n{mapping}\narray: {{mapping_scale: column}}\n")
    with pytest.raises(InputError, match=r":3: array.mapping_scale: 'column' is mapping.weight_scaling_columnwise"):
        read_device(path)
