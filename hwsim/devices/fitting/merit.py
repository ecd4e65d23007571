"""What a device researcher asks of a response: states, asymmetry, symmetry point, signal to noise; and cautions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import FEWEST_REPEATS, Array, Traces
from hwsim.devices.fitting.estimate import FEWEST_DEVICES, Estimate, Fit, Fits
from hwsim.devices.fitting.likelihood import innovations
from hwsim.devices.fitting.predictive import MOST_RMS
from hwsim.devices.fitting.responses import RESPONSES
from hwsim.devices.symmetry import SymmetryPoint, symmetry_point

LEAST_INSIDE = 0.5  # of the reads, in the 90 % band
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
    sizes there, ``asymmetry_mean`` its mean size over the range. ``symmetry_point``: the one that attracts, else NaN.
    ``snr_pulse``: a step over the noise of a pulse; ``snr_read``: a step over the noise of the difference of two single
    reads.
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
    merit = figures(fit.cell)
    drawn: dict[str, list[float]] = {name: [] for name in merit}
    for u in fit.draws:
        u = np.append(u[:-2], fit.optimum.u[0, -2:])  # of a wander only an upper limit may be known
        values = {p.name: float(p.scale.value(x)) for p, x in zip(response.parameters, u, strict=True)}
        for name, value in figures(response.cell(**response.fields(values))).items():
            drawn[name].append(value)
    return tuple(Estimate(name, value, _spread(drawn[name])) for name, value in merit.items())


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
    forecasts = innovations(RESPONSES[fit.response], fit.optimum.u, fits.traces)
    return forecasts.error / np.sqrt(forecasts.variance), forecasts.level


def cautions_of(fits: Fits, measured: Traces) -> tuple[str, ...]:
    """What a reader of this fit must know before trusting it. ``measured``: the traces before any mirroring."""
    cautions = []
    best = fits.best
    if len(measured.polarities) == 1:
        measured_way, other = ("up", "down") if measured.polarities[0] > 0 else ("down", "up")
        cautions.append(
            f"only {measured_way} pulses were measured: the {other} response is their mirror image, so asymmetry and "
            "symmetry point are assumed, not measured"
        )
    for direction in measured.polarities:
        count = int(((measured.direction == direction) & (measured.weight > 0)).sum())
        if count < 50:
            cautions.append(
                f"only {count} {'up' if direction > 0 else 'down'} pulses were measured; expected 50 or more"
            )
    if measured.devices < FEWEST_DEVICES:
        cautions.append(
            f"{measured.devices} device{'s were' if measured.devices > 1 else ' was'} measured: no spread from device "
            f"to device is known and none is written; expected {FEWEST_DEVICES} or more, better 10"
        )
    if not best.converged:
        cautions.append(f"the fit of {best.response} did not converge; its standard errors are unreliable")
    vague = [e.name for e in best.estimates if e.name in ("dw_min", "dw_min_std") and e.std > 0.5 * e.value]
    if vague:
        cautions.append(f"the data hardly determine {' and '.join(vague)} (standard error over half of the value)")
    merit = figures(best.cell)
    if merit["snr_pulse"] < 0.2:
        cautions.append(
            f"one pulse changes the conductance {1 / merit['snr_pulse']:.0f} times less than its noise does"
        )
    z, _ = standardised(fits)
    cautions += _residual_cautions(z)
    cautions += _slow_noise(fits, measured)
    cautions += _bounds_of(fits)
    if not best.predictive.passed:
        cautions.insert(0, f"the fit does not follow the data: {best.predictive}")
    elif best.predictive.rms > MOST_RMS:
        closer = min(fits.fits, key=lambda fit: fit.predictive.rms)
        cautions.insert(
            0,
            f"only the noise of its pulses ({best.cell.dw_min_std:.2g} of a step) explains what the cell is off by, "
            f"{best.predictive.rms:.1%} of the range"
            + (f"; {closer.response} is off by {closer.predictive.rms:.1%}" if closer is not best else ""),
        )
    elif best.predictive.inside < LEAST_INSIDE:
        cautions.append(
            f"only {best.predictive.inside:.0%} of the reads lie in the cell's own 90 % band: what it is off by is no "
            "noise that it has"
        )
    return tuple(cautions)


def _slow_noise(fits: Fits, measured: Traces) -> list[str]:
    """What lasts from read to read is no white noise, and the cell has none of it."""
    wander, memory = fits.best.estimates[-2:]
    slow = math.sqrt(memory.value) * wander.value
    cautions = []
    if memory.value > 0.2 and slow > 0.5 * fits.best.cell.read_noise:
        cautions.append(
            f"the state wanders by {fits.half * slow:.3g} about what the pulses gave it, {memory.value:.0%} of it from "
            f"one pulse to the next, beside {fits.half * fits.best.cell.read_noise:.3g} of noise of a read (in the "
            "data's unit): slow noise, such as 1/f, which the cell does not have"
        )
    drift = _rest_drift(measured)
    if drift is not None:
        cautions.append(
            f"reads without a pulse between them move by {drift:.3g} each in one direction: the state relaxes or "
            "drifts, which the cell does not"
        )
    return cautions


def _rest_drift(measured: Traces) -> float | None:
    """Mean change between reads without a pulse, where it differs from 0 by more than 4 standard errors."""
    change = np.diff(measured.g, axis=1)
    change = change[(measured.direction == 0) & np.isfinite(change)]
    if len(change) < FEWEST_REPEATS:
        return None
    mean, error = float(change.mean()), float(change.std(ddof=1)) / math.sqrt(len(change))
    return mean if abs(mean) > 4 * error > 0 else None


def _bounds_of(fits: Fits) -> list[str]:
    cautions = []
    edge = curve(fits.best.cell)
    reach_low, reach_high = fits.guess.low.mean(), fits.guess.high.mean()
    for name, beyond, size in (
        ("upper", edge.g[-1] - reach_high, np.interp(reach_high, edge.g, edge.up)),
        ("lower", reach_low - edge.g[0], -np.interp(reach_low, edge.g, edge.down)),
    ):
        if size > 0.5 * fits.best.cell.dw_min and abs(beyond) < 0.1:
            cautions.append(
                f"steps are still large at the {name} end of the measured range; the bound there is only that end"
            )
        elif beyond > 0.5:
            cautions.append(f"the {name} bound lies far outside of the measured range, so it is extrapolated")
        elif beyond < -0.05:
            cautions.append(f"the {name} bound lies inside of the measured range")
    return cautions


def _residual_cautions(z: Array) -> list[str]:
    cautions = []
    both = np.isfinite(z[:, 1:]) & np.isfinite(z[:, :-1])
    count = int(both.sum())
    if count > 30:
        lag = float((z[:, 1:][both] * z[:, :-1][both]).mean())
        if abs(lag) > max(0.1, 4 / math.sqrt(count)):
            cautions.append(
                f"successive residuals correlate ({lag:+.2f}): the noise has a memory, or the response another shape"
            )
    finite = z[np.isfinite(z)]
    outliers = float((np.abs(finite) > 4).mean())
    if outliers > 0.002 and (np.abs(finite) > 4).sum() >= 3:
        cautions.append(
            f"{outliers:.1%} of the residuals exceed 4 standard deviations (Gaussian: 0.006 %): jumps or outliers"
        )
    return cautions
