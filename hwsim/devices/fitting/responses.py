"""The responses that can be fitted: which fields of which cell are free, on what scale, and where to start.

The equations are the cells' own: a fit calls ``cell.pulse``, so what is fitted is what is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Array, LocalSteps
from hwsim.devices.responses import (
    ExpStepCell,
    LinearStepCell,
    PowerStepCell,
    ReversalStepCell,
    SoftBoundsCell,
    TabulatedCell,
)


@dataclass(frozen=True)
class Scale:
    """A map of the real line onto a parameter's range, so that optimisation needs no bounds."""

    value: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    slope: Callable[[Any], Any]  # dvalue/du


POSITIVE = Scale(np.exp, np.log, np.exp)
NEGATIVE = Scale(lambda u: -np.exp(u), lambda x: np.log(-x), lambda u: -np.exp(u))
SIGNED = Scale(np.tanh, np.arctanh, lambda u: 1 - np.tanh(u) ** 2)  # in (-1, 1)
UNIT = Scale(  # in (0, 1)
    lambda u: 1 / (1 + np.exp(-u)),
    lambda x: np.log(x / (1 - x)),
    lambda u: 1 / (2 + np.exp(u) + np.exp(-u)),
)
BELOW_ONE = Scale(lambda u: 1 - np.exp(u), lambda x: np.log(1 - x), lambda u: -np.exp(u))

LONGEST_MEMORY = 0.9
"""Share of a wander that may be left after a pulse. One that lasts longer could stand for any wrong response."""
MEMORY = Scale(
    lambda u: LONGEST_MEMORY * UNIT.value(u),
    lambda x: UNIT.inverse(x / LONGEST_MEMORY),
    lambda u: LONGEST_MEMORY * UNIT.slope(u),
)


@dataclass(frozen=True)
class Parameter:
    """A free parameter.

    Args:
        name: field of the cell; a table's entries are ``field[i]``.
        scale: its range.
        start: first guess, in units where the range of conductances is [-1, 1]; None: from the data.
        per_device: does every device have its own?
        prior_std: width of the weak prior about the start on the unbounded scale; it only decides what data leave open.
    """

    name: str
    scale: Scale
    start: float | None
    per_device: bool = False
    prior_std: float = 3.0


# The noise of pulses, of reads, and of what a device does by itself: it wanders by ``wander`` about the state that the
# pulses gave it, of which the share ``memory`` is left after a pulse.
NOISE = (
    Parameter("dw_min_std", POSITIVE, None),
    Parameter("read_noise", POSITIVE, None),
    Parameter("wander", POSITIVE, None),
    Parameter("memory", MEMORY, 0.7, prior_std=1.0),
)
STEP = Parameter("dw_min", POSITIVE, None, per_device=True)
UP_DOWN = Parameter("up_down", SIGNED, 0.0, per_device=True)


def _bounds(prior_std: float) -> tuple[Parameter, Parameter]:
    return (
        Parameter("w_max", POSITIVE, 1.0, per_device=True, prior_std=prior_std),
        Parameter("w_min", NEGATIVE, -1.0, per_device=True, prior_std=prior_std),
    )


ASYMPTOTES = _bounds(1.0)  # where steps vanish, be it far outside of the measured range
ENDS = _bounds(0.1)  # where a response is cut off: the measured range, unless a plateau says more


@dataclass(frozen=True)
class Response:
    """A cell with its free parameters; ``fixed`` are fields set to other values than the cell's own."""

    name: str
    cell: type[BaseCell]
    shape: tuple[Parameter, ...]
    fixed: tuple[tuple[str, Any], ...] = ()

    @property
    def remembers(self) -> bool:
        """Does a step depend on the pulses before?"""
        return self.cell.remembers

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All free parameters, those of the noise last."""
        return STEP, UP_DOWN, *self.shape, *NOISE

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """Fields of the cell from values by parameter name: table entries gathered, fixed ones added."""
        fields = dict(self.fixed)
        tables = {name.partition("[")[0] for name in values if "[" in name}
        for name in tables:
            entries = [float(value) for key, value in values.items() if key.startswith(name + "[")]
            entries.insert(len(entries) // 2, 1.0)  # the middle step is dw_min
            fields[name] = tuple(entries)
        own = {name: value for name, value in values.items() if "[" not in name and name not in ("wander", "memory")}
        if "wander" in values:
            own["read_noise"] = fast_noise(values["read_noise"], values["wander"], values["memory"])
        return fields | own


def fast_noise(read: float, wander: float, memory: float) -> float:
    """Noise that two successive reads do not share, which a cell draws anew at every read.

    What they share, ``memory`` of the wander's variance, is no white noise and is left to a caution.
    """
    return math.sqrt(read**2 + (1 - memory) * wander**2)


def _table(nodes: int) -> tuple[Parameter, ...]:
    middle = nodes // 2
    return tuple(
        Parameter(f"{name}[{node}]", POSITIVE, 1.0)
        for name in ("piecewise_up", "piecewise_down")
        for node in range(nodes)
        if node != middle
    )


NODES = 7

RESPONSES: dict[str, Response] = {
    response.name: response
    for response in (
        Response("soft-bounds", SoftBoundsCell, ASYMPTOTES),
        Response(
            "linear-step",
            LinearStepCell,
            (*ENDS, Parameter("gamma_up", BELOW_ONE, 0.5), Parameter("gamma_down", BELOW_ONE, 0.5)),
        ),
        Response(
            "reversal-step",
            ReversalStepCell,
            (
                *ENDS,
                Parameter("gamma_up", BELOW_ONE, 0.5),
                Parameter("gamma_down", BELOW_ONE, 0.5),
                Parameter("reversal_loss", UNIT, 0.3, prior_std=2.0),
                Parameter("reversal_pulses", POSITIVE, None, prior_std=1.5),
            ),
        ),
        Response(
            "exp-step",
            ExpStepCell,
            (
                *ENDS,
                Parameter("A_up", POSITIVE, 0.2),
                Parameter("A_down", POSITIVE, 0.2),
                Parameter("gamma_up", POSITIVE, 2.0),
                Parameter("gamma_down", POSITIVE, 2.0),
            ),
            # a and b only rescale the four parameters above
            fixed=(("a", 1.0), ("b", 0.0)),
        ),
        Response(
            "power-step",
            PowerStepCell,
            (*ASYMPTOTES, Parameter("pow_gamma", POSITIVE, 1.0), Parameter("pow_up_down", SIGNED, 0.0)),
        ),
        Response("tabulated", TabulatedCell, (*ENDS, *_table(NODES))),
    )
}


@dataclass(frozen=True)
class Guess:
    """What is known before a fit, in units where the range is [-1, 1].

    ``low``, ``high``: (D,) measured range of every device; ``read``, ``pulse``: noise as ``data.noise`` estimates it;
    ``most_read``: see ``data.most_read_noise``; ``train``: pulses of one direction that follow each other, the longest.
    """

    steps: LocalSteps
    low: Array
    high: Array
    read: float
    pulse: float
    most_read: float
    train: int


def start(response: Response, guess: Guess) -> Array:
    """(D, n) unbounded parameters to start from: the response's curve through the local steps, by robust regression."""
    parameters = response.parameters
    steps = guess.steps
    size = float(np.average(np.abs(steps.step), weights=1 / steps.std**2))
    floor = 0.02 * size
    given = {
        "dw_min": size,
        "dw_min_std": np.clip(guess.pulse / size, 0.02, 30.0),
        "read_noise": max(guess.read, floor, 1e-4),
        "wander": 0.3 * max(guess.read, floor, 1e-4),
        "reversal_pulses": max(3.0, guess.train / 8),
    }
    first = np.array([p.scale.inverse(given.get(p.name, p.start)) for p in parameters], dtype=float)
    count = len(parameters) - len(NOISE)
    level, up = torch.tensor(steps.level), torch.tensor(steps.direction > 0)
    error = np.sqrt(guess.pulse**2 / steps.count + (guess.read * steps.std) ** 2 + (0.1 * size) ** 2)

    def misfit(u: Array) -> Array:
        values = {p.name: float(p.scale.value(x)) for p, x in zip(parameters, u, strict=False)}
        cell = response.cell(**response.fields(values))
        lower, upper = cell.bounds()
        inside = level.clamp(float(lower), float(upper))
        rng = torch.Generator()
        step = torch.where(up, cell.pulse(inside, True, rng), cell.pulse(inside, False, rng)).numpy()
        prior = (u - first[:count]) / [p.prior_std for p in parameters[:count]]
        return np.concatenate([(step - steps.step) / error, prior])

    solution = least_squares(misfit, first[:count], loss="soft_l1", max_nfev=60).x
    u = np.tile(np.append(solution, first[count:]), (len(guess.low), 1))
    for column, parameter in enumerate(parameters):
        if parameter.name in ("w_max", "w_min"):  # devices differ in their bounds as in their measured ranges
            ranges = np.abs(guess.high if parameter.name == "w_max" else guess.low)
            u[:, column] += np.log(np.maximum(ranges / ranges.mean(), 0.1))
            u[:, column] = np.maximum(u[:, column], np.log(np.maximum(ranges, 0.05)))  # they enclose what was measured
    return u
