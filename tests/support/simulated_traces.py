"""Traces of known cells, as a laboratory would measure them: trains up and down, each pulse followed by a read."""

from __future__ import annotations

import numpy as np
import torch

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Traces


def simulated_traces(
    cell: BaseCell, devices: int = 1, cycles: int = 4, pulses: int = 100, seed: int = 0, wander: float = 0.0
) -> Traces:
    """Reads after each pulse of up and down trains, in units where ``cell`` has its bounds; each cycle starts low.

    ``wander``: standard deviation of a slow noise of the state, 0.9 of which is left after a pulse.
    """
    rng = torch.Generator().manual_seed(seed)
    drawn = cell.spread((devices, 1), rng)
    drawn = drawn.with_varied({name: value.double() for name, value in drawn.varied().items()})
    lower = torch.as_tensor(drawn.bounds()[0], dtype=torch.float64)
    g = lower * torch.full((devices, cycles), 0.95, dtype=torch.float64)
    off = torch.zeros_like(g)
    one, none = torch.ones_like(g), torch.zeros_like(g)
    directions = [1] * pulses + [-1] * pulses
    read = []
    for direction in [0, *directions]:
        if direction:
            n_up, n_down = (one, none) if direction > 0 else (none, one)
            g, drawn = drawn.step(g, n_up, n_down, rng), drawn.after(n_up, n_down)
        off = 0.9 * off + wander * (1 - 0.9**2) ** 0.5 * torch.randn(g.shape, generator=rng, dtype=g.dtype)
        read.append(g + off + cell.read_noise * torch.randn(g.shape, generator=rng, dtype=g.dtype))
    y = torch.stack(read).numpy()
    return Traces.of([(d, y[:, d, c], np.array(directions)) for d in range(devices) for c in range(cycles)])
