"""Does the fitted cell do what the device did? It runs free from the first conductance along all pulses of the data.

Forecasts of the next read flatter a response: each starts from the read before, so an error of every step by a tenth
hardly shows. Running free, such errors add up as they will in a training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Array, Traces
from hwsim.devices.fitting.likelihood import cells_of, first_direction
from hwsim.devices.fitting.responses import Response

MOST_RMS = 0.05
"""Of the range: what a free run may be off where the cell's own noise does not explain it."""
WORST_RMS = 0.2
"""Of the range: beyond it a free run follows nothing, however noisy the cell is."""
BAND = 0.9
DRAWS = 200
_MOST_NUMBERS = 4_000_000  # simulated at once


@dataclass(frozen=True)
class Predictive:
    """A posterior predictive check of one fit.

    Args:
        rms: root mean square of data minus the free run without noise, over the mean range of the devices.
        own: (low, high) central 98 % of what ``rms`` is when the cell's own draws stand for the data.
        inside: share of the reads within the 90 % band of the cell's draws.
    """

    rms: float
    own: tuple[float, float]
    inside: float

    @property
    def follows(self) -> bool:
        """Is it off by no more than ``MOST_RMS``, or than the cell's own noise explains, up to ``WORST_RMS``?"""
        return self.rms <= max(MOST_RMS, min(self.own[1], WORST_RMS))

    @property
    def too_noisy(self) -> bool:
        """Do all draws of the cell scatter further than the data do, and widely?"""
        return self.own[0] > max(MOST_RMS, 1.5 * self.rms)

    @property
    def passed(self) -> bool:
        return self.follows and not self.too_noisy

    def __str__(self) -> str:
        low, high = self.own
        return (
            f"running free from the first conductance, the cell is off by {self.rms:.1%} of the range (r.m.s.; its own "
            f"draws by {low:.1%} to {high:.1%}); {self.inside:.0%} of the reads lie in its 90 % band"
        )


def check(response: Response, u: Array, read_noise: float, traces: Traces) -> Predictive:
    """Run every device of a fit free and compare; ``u`` (D, n), ``traces`` in the cell's unit."""
    present = np.isfinite(traces.g[:, 1:])
    off2 = inside = 0.0
    own2 = np.zeros(DRAWS)
    rows = max(1, _MOST_NUMBERS // (DRAWS * traces.direction.shape[1]))
    for first in range(0, len(traces.device), rows):
        part = slice(first, first + rows)
        chunk = Traces(traces.g[part], traces.direction[part], traces.device[part], traces.weight[part])
        mean, draws = free_run(response, u, read_noise, chunk, DRAWS, first)
        seen, g = present[part], chunk.g[:, 1:]
        off2 += float(((g - mean[:, 1:]) ** 2)[seen].sum())
        own2 += ((draws[:, 1:] - mean[:, 1:, None]) ** 2)[seen].sum(0)
        low, high = np.quantile(draws[:, 1:], ((1 - BAND) / 2, (1 + BAND) / 2), axis=2)
        inside += float(((low <= g) & (g <= high))[seen].sum())
    count = present.sum()
    own = np.sqrt(own2 / count) / 2  # the mean range is [-1, 1]
    return Predictive(
        float(np.sqrt(off2 / count)) / 2,
        (float(np.quantile(own, 0.01)), float(np.quantile(own, 0.99))),
        float(inside / count),
    )


def free_run(
    response: Response, u: Array, read_noise: float, traces: Traces, draws: int, seed: int = 0
) -> tuple[Array, Array]:
    """(S, T + 1) conductances without noise, and (S, T + 1, draws) reads with all of the cell's noise.

    Each segment starts at its first read, the draws within the noise of that read; every device has its own ``u``.
    """
    rng = torch.Generator().manual_seed(seed)
    cell = cells_of(response, u)
    cell = cell.with_varied({name: value[traces.device] for name, value in cell.varied().items()})
    if response.remembers:
        cell = cell.with_varied({"polarisation": -torch.tensor(first_direction(traces)).double()[:, None]})
    start = torch.tensor(traces.g[:, :1])
    scattered = start + read_noise * torch.randn((len(start), draws), generator=rng, dtype=torch.float64)
    mean = _states(_quiet(cell), start, traces, rng)[:, :, 0]
    states = _states(cell, scattered, traces, rng)
    reads = states + read_noise * torch.randn(states.shape, generator=rng, dtype=torch.float64)
    return mean.numpy(), reads.numpy()


def _quiet(cell: BaseCell) -> BaseCell:
    quiet = cell.with_varied({})
    object.__setattr__(quiet, "dw_min_std", 0.0)
    return quiet


def _states(cell: BaseCell, g: Tensor, traces: Traces, rng: torch.Generator) -> Tensor:
    lower, upper = (torch.as_tensor(bound) for bound in cell.bounds())
    g = torch.clamp(g, lower, upper)
    states = [g]
    for direction in torch.tensor(traces.direction.T)[:, :, None]:
        n_up, n_down = (direction > 0).double(), (direction < 0).double()
        g = cell.step(g, n_up, n_down, rng)
        cell = cell.after(n_up, n_down)
        states.append(g)
    return torch.stack(states, dim=1)
