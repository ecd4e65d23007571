"""Fits of measured pulses: known parameters are found again within their errors, and the right response is chosen."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from simulated_traces import simulated_traces

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting import estimate, likelihood
from hwsim.devices.fitting.data import Traces, local_steps, noise
from hwsim.devices.fitting.estimate import Fits, fit_traces, guess_of, random_effects
from hwsim.devices.fitting.merit import cautions_of, curve, figures, figures_with_errors, standardised, symmetry_of
from hwsim.devices.fitting.responses import RESPONSES, start
from hwsim.devices.responses import (
    ExpStepCell,
    LinearStepCell,
    PowerStepCell,
    ReversalStepCell,
    SoftBoundsCell,
    TabulatedCell,
)
from hwsim.errors import InputError

COMMON = {"dw_min": 0.04, "dw_min_std": 0.3, "read_noise": 0.01}
TRUTHS: dict[str, BaseCell] = {
    "soft-bounds": SoftBoundsCell(up_down=0.1, **COMMON),
    "linear-step": LinearStepCell(up_down=0.1, gamma_up=0.4, gamma_down=0.6, **COMMON),
    "reversal-step": ReversalStepCell(
        gamma_up=0.4,
        gamma_down=0.6,
        reversal_loss=0.7,
        reversal_pulses=15.0,
        polarisation=-1.0,
        **(COMMON | {"dw_min": 0.02}),
    ),
    "exp-step": ExpStepCell(a=1, b=0, A_up=0.05, A_down=0.1, gamma_up=3, gamma_down=2.3, up_down=0.1, **COMMON),
    "power-step": PowerStepCell(w_max=1.1, w_min=-1.1, pow_gamma=2, pow_up_down=0.1, **COMMON),
    "tabulated": TabulatedCell(
        piecewise_up=(0.3, 0.6, 1.4, 1.0, 0.9, 0.3, 0.2), piecewise_down=(0.2, 0.8, 0.5, 1.0, 1.6, 1.5, 0.5), **COMMON
    ),
}


@pytest.fixture(scope="module")
def all_fits() -> dict[str, Fits]:
    return {name: fit_traces(simulated_traces(cell, pulses=80, seed=1)) for name, cell in TRUTHS.items()}


@pytest.mark.parametrize("name", TRUTHS)
def test_the_response_that_made_the_data_is_chosen(name: str, all_fits: dict[str, Fits]) -> None:
    assert all_fits[name].best.response == name, all_fits[name].reason


@pytest.mark.parametrize("name", TRUTHS)
def test_steps_and_noise_are_found_again_within_their_errors(name: str, all_fits: dict[str, Fits]) -> None:
    """The curve of steps in the data's unit, where parameters alone could trade against each other; 6 sigma."""
    fits, truth = all_fits[name], TRUTHS[name]
    lower, upper = (float(bound) for bound in truth.bounds())
    g = np.linspace(0.8 * lower, 0.8 * upper, 9)
    if isinstance(truth, ReversalStepCell):
        truth = replace(truth, polarisation=0.0)  # as a curve of steps is understood
    true, found = curve(truth), curve(fits.best.cell)
    response = RESPONSES[name]
    for side in ("up", "down"):
        size = np.interp(g, true.g, getattr(true, side))
        fitted = fits.half * np.interp((g - fits.middle) / fits.half, found.g, getattr(found, side))
        drawn = []
        for u in fits.best.draws[:60]:
            values = {p.name: float(p.scale.value(x)) for p, x in zip(response.parameters, u, strict=True)}
            steps = curve(response.cell(**response.fields(values)))
            drawn.append(fits.half * np.interp((g - fits.middle) / fits.half, steps.g, getattr(steps, side)))
        error = np.std(drawn, axis=0)
        assert (error < 0.25 * np.abs(size).max()).all()  # or nothing could fail
        assert (np.abs(fitted - size) < 6 * error + 0.02 * np.abs(size).max()).all()
    assert fits.half * fits.best.cell.read_noise == pytest.approx(0.01, rel=0.2)
    assert fits.best.cell.dw_min_std == pytest.approx(0.3, rel=0.3)


RUNS = 24
TRUE_U = np.array([np.log(0.04), np.arctanh(0.1), 0.0, 0.0, np.log(0.3)])


@cache
def zscores(weight: float = 1.0) -> np.ndarray:
    """(RUNS, 5) (estimate - truth) / error of the parameters of a soft-bounds fit over repeated data."""
    response, z = RESPONSES["soft-bounds"], []
    for seed in range(RUNS):
        data = simulated_traces(TRUTHS["soft-bounds"], cycles=3, pulses=60, seed=100 + seed)
        data = replace(data, weight=weight * data.weight)
        guess = guess_of(data)
        first = start(response, guess)
        found = estimate._maximise(response, data, guess, first, first)
        z.append((found.u[0, :5] - TRUE_U) / np.diag(found.covariance)[:5] ** 0.5)
    return np.array(z)


@pytest.mark.parametrize("column", [0, 1, 2, 3, 4], ids=["dw_min", "up_down", "w_max", "w_min", "dw_min_std"])
def test_errors_are_as_large_as_the_estimates_scatter(column: int) -> None:
    """Over repeated data the mean of z lies within 6 of its errors, its spread within 6 of its own errors of 1."""
    z = zscores()[:, column]
    assert abs(z.mean()) < 6 / np.sqrt(RUNS)
    assert z.std() < 1 + 6 / np.sqrt(2 * RUNS)
    assert z.std() > 0.35


def test_planted_data_counted_a_hundred_times_make_errors_too_small() -> None:
    """The same check sees errors that are ten times too small."""
    assert zscores(weight=100.0)[:, 0].std() > 1 + 6 / np.sqrt(2 * RUNS)


def test_a_spread_from_device_to_device_is_found_again() -> None:
    cell = replace(TRUTHS["soft-bounds"], dw_min_dtod=0.25, w_max_dtod=0.15, w_min_dtod=0.1)
    fits = fit_traces(simulated_traces(cell, devices=16, cycles=1, pulses=80, seed=2), ["soft-bounds"])
    found = {e.name: e for e in fits.best.estimates}
    for name, true in (("dw_min_dtod", 0.25), ("w_max_dtod", 0.15), ("w_min_dtod", 0.1)):
        assert found[name].std < 0.3 * true
        assert abs(found[name].value - true) < 5 * found[name].std
    assert found["up_down_dtod"].value < 0.05  # all devices have the same
    assert fits.half * found["dw_min"].value == pytest.approx(0.04, abs=5 * found["dw_min"].std)
    assert {f.name for f in fields(fits.best.cell) if getattr(fits.best.cell, f.name) != f.default} >= {"dw_min_dtod"}


def test_noise_of_reads_is_not_taken_for_noise_of_pulses() -> None:
    """Reads that wander do not make noisy pulses; taking increments for pulses would."""
    cell = replace(TRUTHS["soft-bounds"], dw_min=0.01, dw_min_std=0.5, read_noise=0.03)
    data = simulated_traces(cell, cycles=2, pulses=300, wander=0.05)
    fits = fit_traces(data, ["soft-bounds"])
    step = np.diff(data.g)
    assert np.median(np.abs(step)) / 0.01 > 3
    assert fits.best.cell.dw_min_std < 1.5
    assert fits.half * fits.best.cell.read_noise == pytest.approx(np.hypot(0.03, 0.05 * 0.1**0.5), rel=0.1)
    assert any("the state wanders" in caution for caution in cautions_of(fits, data))


def test_random_effects_take_the_errors_off_the_spread() -> None:
    rng = np.random.default_rng(0)
    std = np.full(400, 0.5)
    x = 2 + 0.3 * rng.standard_normal(400) + std * rng.standard_normal(400)
    mean, error, tau, tau_error = random_effects(x, std)
    assert abs(mean - 2) < 6 * error
    assert abs(tau - 0.3) < 5 * tau_error
    assert tau_error < 0.1
    assert random_effects(np.full(9, 1.0), np.full(9, 0.1))[2] < 1e-6


def test_the_filter_agrees_with_the_exact_likelihood_of_a_linear_cell() -> None:
    """Soft bounds with pulses of constant noise far from the bounds are a Gaussian process, up to the step's noise."""
    response = RESPONSES["soft-bounds"]
    values = {"dw_min": 0.02, "up_down": 0.0, "w_max": 1.0, "w_min": -1.0, "dw_min_std": 1e-6, "read_noise": 0.05}
    values |= {"wander": 0.04, "memory": 0.7}
    u = np.array([[p.scale.inverse(values[p.name]) for p in response.parameters]])
    count, keep = 12, 1 - 0.02
    data = simulated_traces(replace(TRUTHS["soft-bounds"], dw_min=0.02), cycles=1, pulses=count)
    data = Traces(data.g[:, : count + 1], data.direction[:, :count], data.device, data.weight[:, :count])
    data.g[0, 4] = np.nan
    data.weight[0, 3] = 0
    told = likelihood.log_likelihood(likelihood.innovations(response, u, data)).sum()
    # y_t = 1 - keep^t (1 - g_0) + wander_t + read_t, g_0 unknown: given y_0, g_0 = y_0 - wander_0 - read_0
    time = np.arange(count + 1)
    covariance = 0.04**2 * 0.7 ** np.abs(time[:, None] - time) + 0.05**2 * np.eye(count + 1)
    map_ = np.eye(count + 1)
    map_[:, 0] -= keep**time
    error = data.g[0] - (1 - keep**time * (1 - data.g[0, 0]))
    seen = np.isfinite(data.g[0]) & (time > 0)
    inner = (map_ @ covariance @ map_.T)[np.ix_(seen, seen)]
    e = error[seen]
    exact = -0.5 * (e @ np.linalg.solve(inner, e) + np.linalg.slogdet(2 * np.pi * inner)[1])
    assert told == pytest.approx(exact, abs=1e-6)


def test_one_polarity_gives_a_mirrored_response_and_a_caution() -> None:
    data = simulated_traces(TRUTHS["soft-bounds"], cycles=4, pulses=100)
    ups = Traces(data.g[:, :101], data.direction[:, :100], data.device, data.weight[:, :100])
    fits = fit_traces(ups, ["soft-bounds"])
    assert any("only up pulses" in caution for caution in cautions_of(fits, ups))
    assert abs(symmetry_of(fits.best.cell).attracting) < 1e-2
    assert fits.half * figures(fits.best.cell)["states"] > 0


def test_constant_conductance_cannot_be_fitted() -> None:
    with pytest.raises(InputError, match="never changes"):
        fit_traces(Traces.of([(0, np.full(50, 3.0), np.ones(49, dtype=np.int64))]))


def test_noiseless_data_are_fitted() -> None:
    cell = replace(TRUTHS["soft-bounds"], dw_min_std=0.0, read_noise=0.0)
    fits = fit_traces(simulated_traces(cell, cycles=1, pulses=80), ["soft-bounds"])
    assert fits.half * fits.best.cell.dw_min == pytest.approx(0.04, rel=0.05)


def test_figures_of_merit_of_a_known_cell() -> None:
    told = figures(SoftBoundsCell(dw_min=0.02, up_down=0.25, dw_min_std=0.5, read_noise=0.01))
    assert told["states"] == pytest.approx(100)
    assert told["asymmetry"] == pytest.approx(0.25)
    assert told["symmetry_point"] == pytest.approx(0.25, abs=1e-6)  # 1.25 (1 - g) = 0.75 (1 + g)
    assert told["snr_pulse"] == 2
    assert told["snr_read"] == pytest.approx(2 / np.sqrt(2))


def test_figures_have_errors_and_residuals_are_standard(all_fits: dict[str, Fits]) -> None:
    fits = all_fits["soft-bounds"]
    told = {e.name: e for e in figures_with_errors(fits.best)}
    true = figures(TRUTHS["soft-bounds"])
    for name in ("states", "asymmetry", "snr_pulse"):
        assert 0 < told[name].std < max(0.5 * abs(true[name]), 0.1)
        assert abs(told[name].value - true[name]) < 5 * told[name].std + 0.02 * abs(true[name])
    z, _ = standardised(fits)
    count = np.isfinite(z).sum()
    assert abs(np.nanmean(z)) < 6 / np.sqrt(count)
    assert abs(np.nanvar(z) - 1) < 6 * np.sqrt(2 / count)


def test_moments_tell_noise_of_reads_from_noise_of_pulses() -> None:
    cell = LinearStepCell(dw_min=1e-4, gamma_up=0, gamma_down=0, dw_min_std=100, read_noise=0.01, w_max=10, w_min=-10)
    read, pulse = noise(simulated_traces(cell, cycles=20, pulses=400))
    assert read == pytest.approx(0.01, rel=0.1)
    assert pulse == pytest.approx(0.01, rel=0.1)


def test_local_steps_are_the_slopes_of_a_ramp() -> None:
    g = np.concatenate([np.arange(0, 61), np.arange(59.5, 29, -0.5)])
    steps = local_steps(Traces.of([(0, g, np.array([1] * 60 + [-1] * (len(g) - 61)))]))
    np.testing.assert_allclose(steps.step[steps.direction > 0], 1)
    np.testing.assert_allclose(steps.step[steps.direction < 0], -0.5)
