"""The likelihood of measured conductances under a cell: an extended Kalman filter along the pulses.

A pulse moves the hidden conductance by step(g) (1 + dw_min_std xi). What is read is that conductance, plus noise that
each read draws anew, plus a wander with a memory of some pulses. Where steps depend on the pulses before, that past is
known: it is taken that before the first pulse of a segment there was a long train the other way.

Regressing increments on conductances instead would take all of it for the noise of pulses, which adds up, and be biased
by it. Gaussian innovations also give the Fisher information from first derivatives alone, hence fast optimisation and
standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Array, Traces
from hwsim.devices.fitting.responses import NOISE, Response

_GRID = 257  # points at which a response is tabulated for the filter
_EPSILON = 1e-4  # finite difference on the unbounded scale
_LEAST_READ = 1e-5  # of half the range; keeps the filter defined for noiseless data
_MOST_NUMBERS = 4_000_000  # innovations held at once


@dataclass(frozen=True)
class Curvature:
    """Log-likelihood of every device at a point: (D,), its gradient (D, n), its Fisher information (D, n, n)."""

    value: Array
    gradient: Array
    information: Array


@dataclass(frozen=True)
class Innovations:
    """What the filter did not foresee: (S, T) errors of one-step forecasts, their variances, and the forecasts."""

    error: Array
    variance: Array
    level: Array


def cells_of(response: Response, u: Array) -> BaseCell:
    """The cell at unbounded parameters ``u`` (D, n); what differs from device to device is a (D, 1) tensor."""
    values, varied = {}, {}
    for parameter, column in zip(response.parameters, u.T, strict=True):
        natural = parameter.scale.value(column)
        values[parameter.name] = float(natural.mean())
        if parameter.per_device:
            varied[parameter.name] = torch.tensor(natural)[:, None]
    return response.cell(**response.fields(values)).with_varied(varied)


def innovations(response: Response, u: Array, traces: Traces) -> Innovations:
    """One-step forecasts of every measurement; NaN where there is none."""
    error, variance, level = _filter(_Tables.of(response, u[None]), traces)
    missing = ~np.isfinite(traces.g[:, 1:])
    parts = (np.where(missing, np.nan, x[:, 0].T) for x in (error, variance, level))
    return Innovations(*parts)


def log_likelihood(forecasts: Innovations) -> Array:
    """(S, T) log density of every measurement given those before it; 0 where there is none."""
    density = -0.5 * (forecasts.error**2 / forecasts.variance + np.log(2 * np.pi * forecasts.variance))
    return np.nan_to_num(density, nan=0.0)


def curvature(response: Response, u: Array, traces: Traces) -> Curvature:
    """Log-likelihood, gradient and Fisher information of each device by one filter pass over all perturbations."""
    return curvatures(response, [u], traces, [traces.weight])[0]


def curvatures(response: Response, us: Sequence[Array], traces: Traces, weights: Sequence[Array]) -> list[Curvature]:
    """The same at several points, each with its own (S, T) weights of the measurements, by one pass for all."""
    count, devices = us[0].shape[1], traces.devices
    moves = np.concatenate([np.zeros((1, count)), _EPSILON * np.eye(count)])
    points = np.concatenate([u + moves[:, None] for u in us])
    tables = _Tables.of(response, points)
    sums = [Curvature(np.zeros(devices), np.zeros((devices, count)), np.zeros((devices, count, count))) for _ in us]
    rows = max(1, _MOST_NUMBERS // (len(points) * traces.direction.shape[1]))
    for first in range(0, len(traces.device), rows):
        part = slice(first, first + rows)
        chunk = Traces(traces.g[part], traces.direction[part], traces.device[part], traces.weight[part])
        error, variance, _ = _filter(tables, chunk)
        for k, (total, weight) in enumerate(zip(sums, weights, strict=True)):
            own = slice(k * len(moves), (k + 1) * len(moves))
            _add(total, error[:, own], variance[:, own], weight[part].T, chunk.device)
    return sums


def _add(total: Curvature, error: Array, variance: Array, w: Array, devices: NDArray[np.int64]) -> None:
    """Add what a chunk's errors and variances, (T, 1 + n, S), at a point and its perturbations say."""
    e, s = error[:, 0], variance[:, 0]
    density = -0.5 * w * (e**2 / s + np.log(2 * np.pi * s))
    d_error = (error[:, 1:] - error[:, :1]) / _EPSILON
    d_log = (np.log(variance[:, 1:]) - np.log(variance[:, :1])) / _EPSILON
    score = -(w * e / s)[:, None] * d_error + (0.5 * w * (e**2 / s - 1))[:, None] * d_log
    d_error *= np.sqrt(w / s)[:, None]
    d_log *= np.sqrt(0.5 * w)[:, None]
    for device in np.unique(devices):
        own = devices == device
        total.value[device] += density[:, own].sum()
        total.gradient[device] += score[:, :, own].sum((0, 2))
        for term in (d_error, d_log):
            flat = term[:, :, own].transpose(1, 0, 2).reshape(term.shape[1], -1)
            total.information[device] += flat @ flat.T


@dataclass(frozen=True)
class _Tables:
    """Responses tabulated between the bounds: ``steps`` (P, D, 2, G), down then up; bounds (P, D); ``NOISE`` (P,).

    ``loss``, ``fading``: (P,) of a step that depends on the pulses before; None where none does.
    """

    steps: Array
    lower: Array
    upper: Array
    pulse: Array
    read: Array
    wander: Array
    memory: Array
    loss: Array | None = None
    fading: Array | None = None

    @classmethod
    def of(cls, response: Response, points: Array) -> _Tables:
        steps, bounds = [], []
        rng = torch.Generator()
        for u in points:
            cell = cells_of(response, u)
            lower, upper = (torch.as_tensor(b, dtype=torch.float64).expand(len(u), 1) for b in cell.bounds())
            grid = lower + (upper - lower) * torch.linspace(0, 1, _GRID, dtype=torch.float64)
            steps.append(torch.stack([cell.pulse(grid, False, rng), cell.pulse(grid, True, rng)], dim=1).numpy())
            bounds.append((lower[:, 0].numpy(), upper[:, 0].numpy()))
        pulse, read, wander, memory = (p.scale.value(points[:, 0, i - len(NOISE)]) for i, p in enumerate(NOISE))
        lower, upper = (np.array(side) for side in zip(*bounds, strict=True))
        past: list[Array] = []
        if response.remembers:
            named = {p.name: p.scale.value(points[:, 0, i]) for i, p in enumerate(response.parameters)}
            past = [named["reversal_loss"], np.exp(-1 / named["reversal_pulses"])]
        return cls(np.array(steps), lower, upper, pulse, np.maximum(read, _LEAST_READ), wander, memory, *past)


def _filter(tables: _Tables, traces: Traces) -> tuple[Array, Array, Array]:
    """(T, P, S) forecast errors, their variances and the forecasts of a hidden conductance, for P sets of tables."""
    points, device = len(tables.pulse), traces.device
    lower, upper = tables.lower[:, device], tables.upper[:, device]
    per_unit = (_GRID - 1) / (upper - lower)
    rises = np.diff(tables.steps, axis=-1, append=tables.steps[..., -1:])  # a last cell of width 0: no bound checks
    scale = ((_GRID - 1) / (tables.upper - tables.lower))[:, :, None, None]
    lefts, slopes, rises = tables.steps.ravel(), np.clip(1 + rises * scale, -1.0, 2.0).ravel(), rises.ravel()
    block = 2 * _GRID * (np.arange(points)[:, None] * tables.steps.shape[1] + device)
    pulse2, read2 = (tables.pulse**2)[:, None], (tables.read**2)[:, None]
    present = np.isfinite(traces.g[:, 1:]).T
    measured = np.nan_to_num(traces.g).T.copy()
    towards = traces.direction.T.copy()
    complete, pulsed = ([bool(row.all()) for row in rows] for rows in (present, towards))
    mean = np.minimum(np.maximum(measured[0], lower), upper)
    # Hidden are the conductance (mean, spread) and the wander (off, off2), with covariance ``both``. The first read
    # leaves open how it divides into them.
    memory, off2 = tables.memory[:, None], np.broadcast_to((tables.wander**2)[:, None], lower.shape)
    fresh = off2 * (1 - memory**2)
    spread, both, off = off2 + read2, -off2, np.zeros_like(mean)
    error, variance, level = (np.empty((len(towards), *lower.shape)) for _ in range(3))
    factors = _factors(tables, traces) if tables.loss is not None else None
    for t, direction in enumerate(towards):
        place = (mean - lower) * per_unit
        node = place.astype(np.int64)
        entry = block + node
        entry += _GRID * (direction > 0)
        step = lefts.take(entry) + rises.take(entry) * (place - node)
        keep = slopes.take(entry)
        if factors is not None:
            step *= factors[t]
            keep = 1 + factors[t] * (keep - 1)
        if not pulsed[t]:
            step *= direction != 0
            keep[:, direction == 0] = 1.0
        moved = mean + step
        mean = np.minimum(np.maximum(moved, lower), upper)
        keep *= moved == mean
        spread = keep * keep * spread + pulse2 * step * step
        both = keep * memory * both
        off2 = memory * memory * off2 + fresh
        off = memory * off
        level[t] = mean
        e = error[t] = measured[t + 1] - mean - off
        reach, reach_off = spread + both, both + off2
        s = variance[t] = reach + reach_off + read2
        gain, gain_off = reach / s, reach_off / s
        if not complete[t]:
            gain, gain_off = gain * present[t], gain_off * present[t]
        mean = np.minimum(np.maximum(mean + gain * e, lower), upper)
        off = off + gain_off * e
        spread = spread - gain * reach
        both = both - gain * reach_off
        off2 = off2 - gain_off * reach_off
    return error, variance, level


def _factors(tables: _Tables, traces: Traces) -> Array:
    """(T, P, S) factor of every step by the pulses before it: 1 + loss h for an up pulse, 1 - loss h for a down one."""
    assert tables.loss is not None
    assert tables.fading is not None
    loss, fading = tables.loss[:, None], tables.fading[:, None]
    past = np.broadcast_to(-first_direction(traces).astype(float), (len(loss), len(traces.device)))
    factors = np.empty((traces.direction.shape[1], *past.shape))
    for t, direction in enumerate(traces.direction.T):
        factors[t] = 1 + loss * direction * past
        past = np.where(direction != 0, direction + (past - direction) * fading, past)
    return factors


def first_direction(traces: Traces) -> NDArray[np.int64]:
    """(S,) direction of the first pulse of every segment; 0 where there is none."""
    pulsed = np.not_equal(traces.direction, 0)
    return traces.direction[np.arange(len(pulsed)), pulsed.argmax(axis=1)]
