"""What a device researcher asks of a response: states, asymmetry, symmetry point, signal to noise; and cautions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Array, Traces
from hwsim.devices.fitting.estimate import FEWEST_DEVICES, Estimate, Fit, Fits
from hwsim.devices.fitting.likelihood import innovations
from hwsim.devices.fitting.responses import RESPONSES
from hwsim.devices.symmetry import SymmetryPoint, symmetry_point

_POINTS = 201


@dataclass(frozen=True)
class Curve:
    """Mean steps of a cell against its conductance: (n,) arrays in the cell's unit; ``down`` <= 0."""

    g: Array
    up: Array
    down: Array


def curve(cell: BaseCell, points: int = _POINTS) -> Curve:
    """Tabulate the mean up and down step between the bounds."""
    lower, upper = (float(bound) for bound in cell.bounds())
    g = torch.linspace(lower, upper, points, dtype=torch.float64)
    rng = torch.Generator()
    return Curve(g.numpy(), cell.pulse(g, True, rng).numpy(), cell.pulse(g, False, rng).numpy())


def symmetry_of(cell: BaseCell) -> SymmetryPoint:
    """Where alternating pulses lead a cell, in its own unit."""
    steps = curve(cell)
    return symmetry_point(steps.g, steps.up, steps.down)


def figures(cell: BaseCell) -> dict[str, float]:
    """Figures of merit of a cell, by name; conductances in the cell's unit.

    ``states``: range over the mean step in the middle of the range. ``asymmetry``: (up - down) / (up + down) of the
    sizes there, ``asymmetry_mean`` its mean size over the range. ``symmetry_point``: the one that attracts, else NaN. ``snr_pulse``: a step
    over the noise of a pulse; ``snr_read``: a step over the noise of the difference of two single reads.
    """
    steps = curve(cell)
    middle = len(steps.g) // 2
    sizes = np.maximum(steps.up - steps.down, 1e-300)
    size = float(sizes[middle]) / 2
    ratio = (steps.up + steps.down) / sizes
    return {
        "states": float(steps.g[-1] - steps.g[0]) / size,
        "asymmetry": float(ratio[middle]),
        "asymmetry_mean": float(np.abs(ratio).mean()),
        "symmetry_point": symmetry_point(steps.g, steps.up, steps.down).attracting,
        "snr_pulse": 1 / cell.dw_min_std if cell.dw_min_std else math.inf,
        "snr_read": size / (math.sqrt(2) * cell.read_noise) if cell.read_noise else math.inf,
    }


def figures_with_errors(fit: Fit) -> tuple[Estimate, ...]:
    """``figures`` of a fitted cell with the standard deviation over the fit's uncertainty."""
    response = RESPONSES[fit.response]
    told = figures(fit.cell)
    drawn: dict[str, list[float]] = {name: [] for name in told}
    for u in fit.draws:
        u = np.append(u[:-2], fit.optimum.u[0, -2:])  # of a wander only an upper limit may be known
        values = {p.name: float(p.scale.value(x)) for p, x in zip(response.parameters, u, strict=True)}
        for name, value in figures(response.cell(**response.fields(values))).items():
            drawn[name].append(value)
    return tuple(Estimate(name, value, _spread(drawn[name])) for name, value in told.items())


def _spread(values: list[float]) -> float:
    """Half the central 68 % interval: a standard deviation that single wild draws do not move."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if len(finite) < len(values) / 2:
        return math.nan
    low, high = np.quantile(finite, (0.1587, 0.8413))
    return float(high - low) / 2


def standardised(fits: Fits, fit: Fit | None = None) -> tuple[Array, Array]:
    """(S, T) one-step forecast errors over their standard deviations, and the forecasts they belong to."""
    fit = fit or fits.best
    found = innovations(RESPONSES[fit.response], fit.optimum.u, fits.traces)
    return found.error / np.sqrt(found.variance), found.level


def cautions(fits: Fits, measured: Traces) -> tuple[str, ...]:
    """What a reader of this fit must know before trusting it. ``measured``: the traces before any mirroring."""
    told = []
    best = fits.best
    if len(measured.polarities) == 1:
        one, other = ("up", "down") if measured.polarities[0] > 0 else ("down", "up")
        told.append(
            f"only {one} pulses were measured: the {other} response is their mirror image, so asymmetry and symmetry "
            "point are assumed, not measured"
        )
    for direction in measured.polarities:
        count = int(((measured.direction == direction) & (measured.weight > 0)).sum())
        if count < 50:
            told.append(f"only {count} {'up' if direction > 0 else 'down'} pulses were measured; expected 50 or more")
    if measured.devices < FEWEST_DEVICES:
        told.append(
            f"{measured.devices} device{'s were' if measured.devices > 1 else ' was'} measured: no spread from device "
            f"to device is known and none is written; expected {FEWEST_DEVICES} or more, better 10"
        )
    if not best.converged:
        told.append(f"the fit of {best.response} did not converge; its standard errors are unreliable")
    vague = [e.name for e in best.estimates if e.name in ("dw_min", "dw_min_std") and e.std > 0.5 * e.value]
    if vague:
        told.append(f"the data hardly determine {' and '.join(vague)} (standard error over half of the value)")
    merit = figures(best.cell)
    if merit["snr_pulse"] < 0.2:
        told.append(f"one pulse changes the conductance {1 / merit['snr_pulse']:.0f} times less than its noise does")
    z, _ = standardised(fits)
    told += _residual_cautions(z)
    wander, memory = best.estimates[-2:]
    share = (wander.value / best.cell.read_noise) ** 2
    if share > 0.25 and memory.value > 0.2:
        told.append(
            f"{share:.0%} of the noise of reads (variance) lasts, {memory.value:.0%} of it from pulse to pulse; the "
            "cell draws it anew at every read, so it averages out faster than on the device"
        )
    edge = curve(best.cell)
    reach_low, reach_high = fits.guess.low.mean(), fits.guess.high.mean()
    for name, bound, end, size in (
        ("upper", edge.g[-1], reach_high, np.interp(reach_high, edge.g, edge.up)),
        ("lower", edge.g[0], reach_low, -np.interp(reach_low, edge.g, edge.down)),
    ):
        if size > 0.5 * best.cell.dw_min and abs(bound - end) < 0.1:
            told.append(
                f"steps are still large at the {name} end of the measured range; the bound there is only that end"
            )
        elif abs(bound - end) > 0.5:
            told.append(f"the {name} bound lies far outside of the measured range, so it is extrapolated")
    return tuple(told)


def _residual_cautions(z: Array) -> list[str]:
    told = []
    both = np.isfinite(z[:, 1:]) & np.isfinite(z[:, :-1])
    count = int(both.sum())
    if count > 30:
        lag = float((z[:, 1:][both] * z[:, :-1][both]).mean())
        if abs(lag) > max(0.1, 4 / math.sqrt(count)):
            told.append(
                f"successive residuals correlate ({lag:+.2f}): the noise has a memory, or the response another shape"
            )
    finite = z[np.isfinite(z)]
    outliers = float((np.abs(finite) > 4).mean())
    if outliers > 0.002 and (np.abs(finite) > 4).sum() >= 3:
        told.append(
            f"{outliers:.1%} of the residuals exceed 4 standard deviations (Gaussian: 0.006 %): jumps or outliers"
        )
    return told
