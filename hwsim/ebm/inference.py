"""Inference: a network settles on its images, and its output is read."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import Phase, Settled, Solver, settle


def infer(
    net: LayeredHopfield, x: Tensor, *, solver: Solver, phase: Phase, hold_input: bool = True
) -> tuple[Tensor, Settled]:
    """(logits, the free relaxation behind them): predictions are made at equilibrium, never before.

    The logits are the drive into the output layer read from the averaged state below it.
    """
    with torch.no_grad():
        given = net.given(x, hold=hold_input)
        settled = settle(given, given.start(), solver=solver, phase=phase)
        return net.logits(settled.state, given), settled
