"""Inference: a network settles on its images, and its output is read."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.ebm.energy import State
from hwsim.ebm.network import Network
from hwsim.ebm.settle import PHASE, SOLVER, Phase, Settled, Solver, settle


def infer(
    net: Network,
    x: Tensor,
    *,
    solver: Solver = SOLVER,
    phase: Phase = PHASE,
    hold_input: bool = True,
    start: State | None = None,
) -> tuple[Tensor, Settled]:
    """(logits (B, classes), the free relaxation behind them): predictions are made at equilibrium, never before.

    ``x`` are images (B, ...) in [0, 1]; solver and phase are by default those of ``settle``. The logits are the drive
    into the output layer read from the averaged state below it. ``start`` is where the relaxation begins, by default
    the network's own start: a warm one, such as the equilibrium of a similar image, takes fewer steps, and where
    several equilibria exist it may choose another one.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> logits, settled = hw.infer(net, x)
    >>> tuple(logits.shape), settled.unsettled_share
    ((4, 10), 0.0)
    """
    with torch.no_grad():
        given = net.given(x, hold=hold_input)
        settled = settle(given, given.start() if start is None else start, solver=solver, phase=phase)
        return net.logits(settled.state, given), settled
