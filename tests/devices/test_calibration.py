"""Simulation-based calibration (Talts et al. 2018): known cell -> traces -> fit -> do its intervals hold the truth?

Every response, cells drawn about a typical one. The quick form runs in the suite; HWSIM_CALIBRATION_RUNS=100 gives the
long one. With 30 runs, ``pytest -rP tests/devices/test_calibration.py -k hold_the_truth`` printed
for three responses (shares over all quantities, then over the noise of a pulse alone):

    response        50 % intervals hold      90 % intervals hold
    soft-bounds     50.4 %, 33 %             89.2 %, 77 %
    linear-step     49.2 %, 30 %             85.0 %, 80 %
    reversal-step   42.5 %, 27 %             85.4 %, 73 %

So the noise of a pulse, ``dw_min_std``, has intervals that are too narrow for what they say: its estimate lies low by
about one standard error (a tenth of its value), as maximum likelihood counts the scatter that the shape of the response
and the wander have taken up. The other quantities hold what they say within 2.5 standard errors of these counts.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from simulated_traces import simulated_traces

from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.estimate import Fits, fit_traces
from hwsim.devices.fitting.merit import curve
from hwsim.devices.fitting.responses import RESPONSES

RUNS = int(os.environ.get("HWSIM_CALIBRATION_RUNS", "6"))
LEVELS = np.array([-0.5, 0.0, 0.5])
TYPICAL: dict[str, dict[str, float]] = {
    "soft-bounds": {"w_max": 1.0, "w_min": -1.0},
    "linear-step": {"w_max": 1.0, "w_min": -1.0, "gamma_up": 0.5, "gamma_down": 0.6},
    "reversal-step": {"gamma_up": 0.4, "gamma_down": 0.6, "reversal_loss": 0.6, "reversal_pulses": 12.0},
    "exp-step": {"A_up": 0.1, "A_down": 0.1, "gamma_up": 2.3, "gamma_down": 2.3},
    "power-step": {"w_max": 1.1, "w_min": -1.1, "pow_gamma": 1.7, "pow_up_down": 0.1},
    "tabulated": {},
}
COMMON = {"w_max": 1.0, "w_min": -1.0, "dw_min": 0.025, "up_down": 0.0, "dw_min_std": 0.3, "read_noise": 0.01}


def drawn_cell(name: str, rng: np.random.Generator) -> BaseCell:
    """A cell of this response: parameters 20 % about the typical ones, on the scale where they have no limits."""
    response, typical = RESPONSES[name], COMMON | TYPICAL[name]
    values = {}
    for parameter in response.parameters:
        if parameter.name not in ("wander", "memory"):
            centre = parameter.scale.inverse(typical.get(parameter.name, 1.0))  # entries of a table: 1
            bound = parameter.name in ("w_max", "w_min")
            values[parameter.name] = float(parameter.scale.value(centre + (0.05 if bound else 0.2) * rng.normal()))
    return response.cell(**response.fields(values))


def quantities(cell: BaseCell, middle: float, half: float) -> np.ndarray:
    """Steps at ``LEVELS`` up and down, noise of a pulse and of a read: (8,) in the data's unit."""
    steps = curve(cell)
    at = (LEVELS - middle) / half
    sizes = [half * np.interp(at, steps.g, side) for side in (steps.up, steps.down)]
    return np.concatenate([*sizes, [cell.dw_min_std, half * cell.read_noise]])


@cache
def ranks(name: str) -> np.ndarray:
    """(RUNS, 8) share of the fit's draws that lie below the truth."""
    shares = []
    for run in range(RUNS):
        cell = drawn_cell(name, np.random.default_rng(run))
        before = replace(cell, polarisation=-1.0) if name == "reversal-step" else cell  # pyright: ignore
        fits = fit_traces(simulated_traces(before, cycles=4, pulses=90, seed=run), [name])
        truth = quantities(cell, 0.0, 1.0)
        shares.append((of_draws(fits) < truth).mean(0))
    return np.array(shares)


def of_draws(fits: Fits) -> np.ndarray:
    """(200, 8) the quantities of every draw of the fit."""
    response, told = RESPONSES[fits.best.response], []
    for u in fits.best.draws:
        values = {p.name: float(p.scale.value(x)) for p, x in zip(response.parameters, u, strict=True)}
        told.append(quantities(response.cell(**response.fields(values)), fits.middle, fits.half))
    return np.array(told)


def least_coverage(nominal: float) -> float:
    """Four standard errors below it; quantities of one run go together, so only runs count, and those twice."""
    return nominal - 4 * (nominal * (1 - nominal) / (2 * RUNS)) ** 0.5


@pytest.mark.parametrize("name", TYPICAL)
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    share = ranks(name)
    for nominal in (0.5, 0.9):
        inside = np.abs(share - 0.5) <= nominal / 2
        print(f"{name}, {RUNS} runs: {nominal:.0%} intervals hold {inside.mean():.1%}; {inside.mean(0).round(2)}")
        assert inside.mean() > least_coverage(nominal), (nominal, inside.mean(0))
    assert (np.abs(share - 0.5) <= 0.25).mean() < 1.2 - least_coverage(0.5)  # nor are they far too wide


@pytest.mark.parametrize("name", ["soft-bounds", "exp-step"])
def test_planted_estimates_off_by_a_quarter_are_seen(name: str) -> None:
    """The same check fails where the truth is another cell's."""
    cell = drawn_cell(name, np.random.default_rng(0))
    fits = fit_traces(simulated_traces(cell, cycles=4, pulses=90, seed=0), [name])
    wrong = quantities(replace(cell, dw_min=1.25 * cell.dw_min), 0.0, 1.0)
    share = (of_draws(fits) < wrong).mean(0)[:6]
    assert (np.abs(share - 0.5) <= 0.45).mean() < 0.5
