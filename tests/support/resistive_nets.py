"""Small resistive networks in float64, and their rest."""

from __future__ import annotations

import torch
from theory_reference import DOUBLE
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.circuit import GivenSources
from hwsim.ebm.diode import Diode
from hwsim.ebm.energy import State
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.ebm.settle import Phase, Solver, UpDown, settle

DEEP = Phase(20_000, tolerance=1e-14, stop_early=True)
IDEAL, SHOCKLEY = Diode(), Diode(1e-9, 1.3)


def network(diode: Diode = IDEAL, seed: int = 0, gain: float = 2.5, scale: float = 1.0) -> ResistiveNetwork:
    rng = torch.Generator().manual_seed(seed)
    shapes = [(8, 10), (6, 10), (6, 8)]
    arrays = [FloatSynapse(scale * torch.rand(*shape, generator=rng, dtype=DOUBLE)) for shape in shapes]
    return ResistiveNetwork(arrays, amplifier_gain=gain, diode=diode, bias_V=0.4)


def images(count: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def rest(given: GivenSources, solver: Solver | None = None) -> State:
    return settle(given, given.start(), solver=solver or UpDown(), phase=DEEP).state
