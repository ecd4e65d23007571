"""Fitting every response to measured traces, and choosing one by its likelihood on data it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting import likelihood
from hwsim.devices.fitting.data import RANGE_NOISE, Array, Traces, device_ranges, local_steps, most_read_noise, noise
from hwsim.devices.fitting.optimum import Optimum, Prior, climb, maximise, maximise_all
from hwsim.devices.fitting.predictive import Predictive, check
from hwsim.devices.fitting.responses import RESPONSES, SIGNED, Guess, Parameter, Response, start
from hwsim.errors import InputError

FOLDS = 4
LEAST_LEAD = 2.0  # nats; with few blocks the standard error of a small difference may be small by chance
_BOUND_WIDTH = 0.002  # of half the range: how far inside the measured range a bound may end up
FEWEST_DEVICES = 3  # below, a spread from device to device is not estimated


@dataclass(frozen=True)
class Estimate:
    """A parameter of the cell with its standard error; NaN where it was not estimated but set."""

    name: str
    value: float
    std: float


@dataclass(frozen=True)
class Fit:
    """One response fitted to traces.

    Args:
        response: its name in ``RESPONSES``.
        cell: the fitted cell with its spreads, in units where the mean range of the devices is [-1, 1].
        estimates: every fitted parameter of ``cell``, spreads and noise included; then ``wander`` and ``memory``: noise
            of the state, and the share of it that a pulse leaves. What successive reads do not share of it is part of
            ``read_noise``; the rest the cell does not have.
        log_likelihood: of all data, nats.
        held_out: (B,) log-likelihood of each held-out block of data, predicted from the other blocks.
        optimum: parameters on the unbounded scale, (D, n).
        draws: (200, n) parameters on the unbounded scale within their uncertainty, for intervals of derived figures.
        converged: did the optimisation reach its tolerance?
        predictive: does the cell, running free, do what the devices did?
    """

    response: str
    cell: BaseCell
    estimates: tuple[Estimate, ...]
    log_likelihood: float
    held_out: Array
    optimum: Optimum
    draws: Array
    converged: bool
    predictive: Predictive

    @property
    def parameters(self) -> int:
        """Number of free parameters, those of single devices not counted."""
        return len(RESPONSES[self.response].parameters)


@dataclass(frozen=True)
class Fits:
    """All responses fitted to the same traces.

    Args:
        best: the chosen one.
        fits: all, from the highest held-out likelihood to the lowest.
        reason: why ``best`` was chosen, one sentence.
        middle, half: conductance = middle + half * g, g being the cell's; in the unit of the traces.
        traces: the data in the cell's unit.
        guess: ranges and noise of the data, before any response.
        held_out_by: what a held-out block is, "cycle" or "stretch of pulses".
    """

    best: Fit
    fits: tuple[Fit, ...]
    reason: str
    middle: float
    half: float
    traces: Traces
    guess: Guess
    held_out_by: str


def fit_traces(traces: Traces, responses: Sequence[str] = tuple(RESPONSES)) -> Fits:
    """Fit each of ``responses`` and choose.

    With pulses of one polarity only, their mirror image stands for the other. Raises InputError where the conductance
    does not respond to the pulses at all.
    """
    read, _ = noise(traces)
    low, high = device_ranges(traces, read)
    middle, half = float(high.mean() + low.mean()) / 2, float(high.mean() - low.mean()) / 2
    if not half > 0:
        raise InputError("traces: the conductance never changes; nothing can be fitted")
    data = traces.scaled(middle, half)
    if len(data.polarities) < 2:
        data = data.mirrored()
    guess = guess_of(data)
    blocks, held_out_by = _blocks(data)
    fits = [_fit(RESPONSES[name], data, guess, blocks) for name in responses]
    fits.sort(key=lambda fit: -fit.held_out.sum())
    best, reason = choose(fits)
    return Fits(best, tuple(fits), reason, middle, half, data, guess, held_out_by)


def guess_of(data: Traces) -> Guess:
    """Ranges, noise and local steps of traces in the cell's unit."""
    read, pulse = noise(data)
    low, high = device_ranges(data, read)
    return Guess(local_steps(data), low, high, read, pulse, most_read_noise(data), _longest_train(data))


def _longest_train(data: Traces) -> int:
    longest = 1
    for direction in data.direction:
        pulses = direction[direction != 0]
        edges = np.flatnonzero(np.diff(pulses)) + 1
        longest = max(longest, *(len(train) for train in np.split(pulses, edges)))
    return longest


def choose(fits: Sequence[Fit]) -> tuple[Fit, str]:
    """The response with the fewest parameters among those within one standard error, or ``LEAST_LEAD``, of the highest
    held-out likelihood, and why; the standard error is that of the paired difference over held-out blocks.

    Only responses that pass their predictive check stand for choice. If none does, the one whose free run is nearest.
    """
    passing = [fit for fit in fits if fit.predictive.passed]
    if not passing:
        best = min(fits, key=lambda fit: fit.predictive.rms)
        return best, f"no response follows the data; the free run of {best.response} comes nearest"
    if len(passing) < len(fits):
        failing = ", ".join(fit.response for fit in fits if not fit.predictive.passed)
        best, reason = choose(passing)
        return best, f"{reason}; {failing} did not pass the check"
    top = max(fits, key=lambda fit: fit.held_out.sum())
    close = []
    for fit in fits:
        lead = top.held_out - fit.held_out
        error = math.sqrt(len(lead)) * float(lead.std(ddof=1)) if len(lead) > 1 else math.inf
        if lead.sum() <= max(error, LEAST_LEAD):
            close.append(fit)
    best = min(close, key=lambda fit: (fit.parameters, -fit.held_out.sum()))
    if best is top:
        return best, f"{best.response} foresees held-out data best"
    lead = float((top.held_out - best.held_out).sum())
    return best, (
        f"{best.response} foresees held-out data as well as {top.response} "
        f"({lead:.1f} nats less, no clear difference) with fewer parameters"
    )


def _fit(response: Response, data: Traces, guess: Guess, blocks: np.ndarray) -> Fit:
    first = _covering(response, start(response, guess), data)
    whole = _widened(response, data, guess, _maximise(response, data, guess, first, first))
    fold = blocks % FOLDS
    weights = [np.where(fold == k, 0.0, data.weight) for k in range(FOLDS)]
    prior = _prior(response, first)
    trained = maximise_all(
        lambda us: [
            _enclosing(response, u, guess, here)
            for (_, u), here in zip(
                us, likelihood.curvatures(response, [u for _, u in us], data, [weights[k] for k, _ in us]), strict=True
            )
        ],
        [climb(whole.u, prior, 8) for _ in range(FOLDS)],
    )
    held_out = np.zeros(blocks.max() + 1)
    for k, optimum in enumerate(trained):
        density = likelihood.log_likelihood(likelihood.innovations(response, optimum.u, data)) * data.weight
        held_out += np.bincount(blocks[fold == k], density[fold == k], minlength=len(held_out))
    cell, estimates, draws = _population(response, whole, data, guess.most_read)
    predictive = check(response, whole.u, cell.read_noise, data)
    return Fit(response.name, cell, estimates, whole.value, held_out, whole, draws, whole.converged, predictive)


def _maximise(response: Response, data: Traces, guess: Guess, at: Array, centre: Array) -> Optimum:
    return maximise(
        lambda u: _enclosing(response, u, guess, likelihood.curvature(response, u, data)), at, _prior(response, centre)
    )


def _prior(response: Response, centre: Array) -> Prior:
    std = np.array([parameter.prior_std for parameter in response.parameters])
    own = np.array([parameter.per_device for parameter in response.parameters])
    return Prior(centre, std, own)


def _covering(response: Response, u: Array, data: Traces) -> Array:
    """With noise of pulses that covers what the start does not foresee; from too little the climb loses its way."""
    column = [parameter.name for parameter in response.parameters].index("dw_min_std")
    u = u.copy()
    for _ in range(10):
        forecasts = likelihood.innovations(response, u, data)
        if np.nanmean(forecasts.error**2 / forecasts.variance) < 2:
            break
        u[:, column] += math.log(2)
    return u


def _widened(response: Response, data: Traces, guess: Guess, whole: Optimum) -> Optimum:
    """With bounds that enclose every read, where the data do not contradict that, as a plateau does."""
    u = whole.u.copy()
    for i, parameter in enumerate(response.parameters):
        if parameter.name == "w_max":
            u[:, i] = parameter.scale.inverse(np.maximum(parameter.scale.value(u[:, i]), guess.high))
        if parameter.name == "w_min":
            u[:, i] = parameter.scale.inverse(np.minimum(parameter.scale.value(u[:, i]), guess.low))
    density = likelihood.log_likelihood(likelihood.innovations(response, u, data)) * data.weight
    return replace(whole, u=u) if density.sum() > whole.value - LEAST_LEAD else whole


def _enclosing(response: Response, u: Array, guess: Guess, here: likelihood.Curvature) -> likelihood.Curvature:
    """With a penalty on bounds inside the measured range, which would hold back a device that went further.

    The range counts less the noise of its outermost reads: on a plateau they lie beyond the bound.
    """
    value, gradient, information = here.value.copy(), here.gradient.copy(), here.information.copy()
    margin = 2.5 * min(guess.read, RANGE_NOISE)
    for i, parameter in enumerate(response.parameters):
        if parameter.name in ("w_max", "w_min"):
            bound, slope = parameter.scale.value(u[:, i]), parameter.scale.slope(u[:, i])
            high = parameter.name == "w_max"
            gap = np.maximum(guess.high - margin - bound, 0) if high else np.minimum(guess.low + margin - bound, 0)
            value -= 0.5 * (gap / _BOUND_WIDTH) ** 2
            gradient[:, i] += gap * slope / _BOUND_WIDTH**2
            information[:, i, i] += np.where(gap != 0, (slope / _BOUND_WIDTH) ** 2, 0.0)
    return likelihood.Curvature(value, gradient, information)


def _blocks(data: Traces) -> tuple[np.ndarray, str]:
    """(S, T) number of the held-out block of each measurement, and what a block is.

    Whole cycles where every device has enough of them, otherwise stretches of 1/16 of a segment.
    """
    both = [len(set(d[d != 0])) == len(set(data.direction[data.direction != 0])) for d in data.direction]
    cycles = np.bincount(data.device[both], minlength=data.devices)
    length = data.direction.shape[1]
    if all(both) and cycles.min() >= FOLDS:
        within = np.array([(data.device[:row] == device).sum() for row, device in enumerate(data.device)])
        order = np.argsort(np.lexsort((data.device, within)))
        return np.repeat(order[:, None], length, axis=1), "cycle"
    blocks = np.zeros(data.direction.shape, dtype=int)
    first = 0
    for row, weight in enumerate(data.weight):
        end = int(np.flatnonzero(weight).max(initial=0)) + 1
        stretch = max(2, math.ceil(end / (4 * FOLDS)))
        blocks[row] = first + np.minimum(np.arange(length), end - 1) // stretch
        first = int(blocks[row].max()) + 1
    return blocks, "stretch of pulses"


def _population(
    response: Response, optimum: Optimum, data: Traces, most_read: float
) -> tuple[BaseCell, tuple[Estimate, ...], Array]:
    """Values and spreads over all devices, of which those measured are a sample."""
    values: dict[str, float] = {}
    estimates: list[Estimate] = []
    centre, covariance = optimum.u.mean(0), optimum.covariance.copy()
    spreads: list[Estimate] = []
    for i, parameter in enumerate(response.parameters):
        if parameter.per_device and data.devices > 1:
            centre[i], error, tau, tau_error = random_effects(optimum.u[:, i], optimum.own_std[:, i])
            covariance[i, i] = error**2
            if data.devices >= FEWEST_DEVICES:
                spreads.append(_spread(parameter, centre[i], tau, tau_error))
                if parameter.scale is not SIGNED:
                    centre[i] += tau**2 / 2  # the mean of a log-normal
        value = float(parameter.scale.value(centre[i]))
        error = abs(float(parameter.scale.slope(centre[i]))) * math.sqrt(covariance[i, i])
        values[parameter.name] = value
        estimates.append(Estimate(parameter.name, value, error))
    draws = np.random.default_rng(0).multivariate_normal(centre, covariance, size=200, method="svd")
    cell = response.cell(**response.fields(values | {spread.name: spread.value for spread in spreads}))
    *shape, read, wander, memory = estimates
    if cell.read_noise > most_read:
        cell = replace(cell, read_noise=most_read)
    variances = read.value**2, (1 - memory.value) * wander.value**2
    slope = np.array([*variances, 0.0])  # by logarithms of read and wander; the memory only moves it from one to other
    error = math.sqrt(slope @ covariance[-3:, -3:] @ slope) / max(cell.read_noise, 1e-12)
    estimates = [*shape, Estimate(read.name, cell.read_noise, error), *spreads, wander, memory]
    return cell, tuple(estimates), draws


def random_effects(x: Array, std: Array) -> tuple[float, float, float, float]:
    """Mean, its error, spread tau and its error of a population from estimates ``x`` with errors ``std``.

    Restricted maximum likelihood (DerSimonian and Laird's model): x_d ~ N(mean, tau^2 + std_d^2).
    """

    def weights(tau: float) -> Array:
        return 1 / (tau**2 + std**2)

    def loss(tau: float) -> float:
        w = weights(tau)
        mean = (w * x).sum() / w.sum()
        return 0.5 * float((w * (x - mean) ** 2).sum() - np.log(w).sum() + math.log(w.sum()))

    most = 3 * float(x.std()) + 1e-9
    tau = float(minimize_scalar(loss, bounds=(0, most), method="bounded", options={"xatol": 1e-4 * most}).x)
    tau = 0.0 if loss(0.0 if std.min() > 0 else tau) <= loss(tau) and std.min() > 0 else tau
    w = weights(tau)
    error2 = math.sqrt(2 / float((w**2).sum()))  # of tau^2
    return float((w * x).sum() / w.sum()), float(w.sum() ** -0.5), tau, error2 / (2 * max(tau, math.sqrt(error2)))


def _spread(parameter: Parameter, centre: float, tau: float, error: float) -> Estimate:
    """A spread on the unbounded scale as the cell has it: relative, or absolute where the parameter is signed."""
    name = f"{parameter.name}_dtod"
    if parameter.scale is SIGNED:
        slope = float(parameter.scale.slope(centre))
        return Estimate(name, slope * tau, slope * error)
    spread = math.sqrt(math.expm1(tau**2))
    return Estimate(name, spread, error * math.exp(tau**2) * (tau / spread if spread else 1.0))
