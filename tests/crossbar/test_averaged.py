"""Reads that are the mean of several: their noise is smaller, of vectors and of image patches alike."""

from __future__ import annotations

import pytest
import torch

from hwsim.crossbar.averaged import AveragedDevice
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.window import Window
from hwsim.devices.responses import IdealCell
from hwsim.rng import Streams

READS = 9
NOISY = CellDevice(IdealCell(), ReadPath(out_noise=0.3))


@pytest.mark.parametrize("direction", ["vectors", "vectors back", "patches", "patches back"])
def test_noise_falls_by_the_root_of_the_reads(direction: str) -> None:
    """4,000 outputs or more: the standard error of a standard deviation is below 1.2 %."""
    synapse = AveragedDevice(NOISY, READS).synapse(8, 18, Streams(0))
    window = Window(2, 3, padding=1)
    bank = kernels(synapse, window)
    read = {
        "vectors": lambda: synapse.read(torch.zeros(600, 18)),
        "vectors back": lambda: synapse.read_transpose(torch.zeros(600, 8)),
        "patches": lambda: bank.read(torch.zeros(10, 2, 8, 8)),
        "patches back": lambda: bank.read_transpose(torch.zeros(40, 8, 8, 8), (8, 8))[:, :, 1:-1, 1:-1] / 3,
    }[direction]()
    assert float(read.std()) == pytest.approx(0.3 / READS**0.5, rel=0.05)
