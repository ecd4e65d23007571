"""Cells without spread or cycle noise, and small arrays of them, for tests of how updates are written."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.devices.responses import LinearStepCell
from hwsim.rng import Streams

STEP = 0.01
SYMMETRIC = CellDevice(LinearStepCell(dw_min=STEP, gamma_up=0.0, gamma_down=0.0, w_max=50.0, w_min=-50.0))
ASYMMETRIC = CellDevice(LinearStepCell(dw_min=STEP, gamma_up=0.1, gamma_down=0.6, up_down=0.2))
CELLS = {"symmetric": SYMMETRIC, "asymmetric": ASYMMETRIC}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int, lines: int, seed: int, size: float = 1.0) -> Tensor:
    return (torch.rand(count, lines, generator=rng(seed)) * 2 - 1) * size


def programmed(device: Device, post: int = 5, pre: int = 7, seed: int = 0) -> Synapse:
    synapse = device.synapse(post, pre, Streams(seed))
    synapse.program(rows(post, pre, 99, 0.3))
    return synapse
