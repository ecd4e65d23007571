"""The picture of a fit: measured traces against the model, residuals, step sizes, and the choice among responses."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from hwsim.characterisation.traces import Measured
from hwsim.devices.cell import BaseCell
from hwsim.devices.fitting.data import Array, Traces
from hwsim.devices.fitting.estimate import Fits
from hwsim.devices.fitting.merit import curve, standardised, symmetry_of
from hwsim.devices.fitting.predictive import free_run
from hwsim.devices.fitting.responses import RESPONSES
from hwsim.reports.plotting import COLOURS, DASHES, STYLE, panels, write_canvas

UP, DOWN = COLOURS[0], COLOURS[1]
PNG_DPI = 160
_DRAWS = 200  # simulated devices behind the band


def write_fit_figure(fits: Fits, measured: Measured, folder: Path) -> tuple[Path, Path]:
    """Draw ``fit.svg`` and ``fit.png`` into ``folder``."""
    with matplotlib.rc_context(STYLE):
        several = len(fits.fits) > 1
        canvas, axes = panels(4 if several else 3, 2, 3.0)
        _response(axes[0], fits, measured)
        _residuals(axes[1], fits, measured)
        _steps(axes[2], fits, measured)
        if several:
            _choice(axes[3], fits)
        return write_canvas(canvas, folder / "fit", 100)


def _unit(measured: Measured) -> str:
    return "µS" if measured.unit == "uS" else "data's unit"


def _physical(fits: Fits, g: Array) -> Array:
    return fits.middle + fits.half * np.asarray(g)


def _shown_rows(traces: Traces) -> list[int]:
    """The first segment of each direction pattern of the first device with the most pulses: one train up, one down."""
    device = traces.device[int((traces.direction != 0).sum(1).argmax())]
    rows = [int(row) for row in np.flatnonzero(traces.device == device)]
    first = rows[0]
    if {1, -1} <= set(traces.direction[first]):
        return [first]
    opposite = [row for row in rows if (traces.direction[row] == -traces.direction[first, 0]).any()]
    return [first, *opposite[:1]]


def _response(ax: Axes, fits: Fits, measured: Measured) -> None:
    """Measured conductance against pulse number, and 90 % of what the fitted cell does under the same pulses."""
    traces = fits.traces
    rows = _shown_rows(traces)
    for row in rows:
        pulses = traces.direction[row]
        count = int(np.flatnonzero(np.isfinite(traces.g[row])).max())
        x = np.arange(count + 1)
        low, middle, high = _simulated(fits, row, count)
        ax.fill_between(x, _physical(fits, low), _physical(fits, high), color="#999999", alpha=0.35, linewidth=0)
        ax.plot(x, _physical(fits, middle), color="black", linewidth=1.4)
        for direction, colour, marker in ((1, UP, "."), (-1, DOWN, ".")):
            own = np.flatnonzero(pulses[:count] == direction) + 1
            ax.plot(
                own,
                _physical(fits, traces.g[row, own]),
                marker,
                color=colour,
                markersize=2.6,
                alpha=0.8,
                rasterized=True,
            )
    ax.plot([], [], ".", color=UP, label="up")
    ax.plot([], [], ".", color=DOWN, label="down")
    ax.plot([], [], color="black", label="free run, 90 % of its draws")
    bottom, top = ax.get_ylim()
    ax.set_ylim(top=top + 0.14 * (top - bottom))  # room for the legend
    ax.legend(loc="upper center", fontsize=8, handlelength=1.2, ncols=3, columnspacing=1)
    predictive = fits.best.predictive
    verdict = f"off by {100 * predictive.rms:.1f} %, {100 * predictive.inside:.0f} % in band"
    ax.set(
        title=f"{fits.best.response}: {verdict}" if predictive.passed else f"{fits.best.response} FAILS: {verdict}",
        xlabel="pulse",
        ylabel=f"conductance ({_unit(measured)})",
    )


def _simulated(fits: Fits, row: int, count: int) -> tuple[Array, Array, Array]:
    """5 %, noiseless and 95 % of the conductance read after each pulse, running free from the segment's first read."""
    fit, traces = fits.best, fits.traces
    part = Traces(
        traces.g[[row], : count + 1],
        traces.direction[[row], :count],
        traces.device[[row]],
        traces.weight[[row], :count],
    )
    mean, draws = free_run(RESPONSES[fit.response], fit.optimum.u, fit.cell.read_noise, part, _DRAWS)
    low, high = np.quantile(draws[0], (0.05, 0.95), axis=1)
    return low, mean[0], high


def _residuals(ax: Axes, fits: Fits, measured: Measured) -> None:
    """One-step forecast errors in standard deviations against conductance; thinned where there are very many."""
    z, level = standardised(fits)
    for direction, colour, name in ((1, UP, "up"), (-1, DOWN, "down")):
        own = (fits.traces.direction == direction) & np.isfinite(z)
        x, y = _physical(fits, level[own]), z[own]
        thin = slice(None, None, max(1, len(x) // 3000))
        ax.plot(x[thin], y[thin], ".", color=colour, markersize=2, alpha=0.4, rasterized=True)
        place, mean, error = _binned(x, y)
        ax.errorbar(place, mean, 2 * error, color=colour, marker="o", markersize=4, markeredgecolor="white", label=name)
    for bound in (-2, 2):
        ax.axhline(bound, color="black", linewidth=0.8, linestyle=DASHES[2])
    ax.axhline(0, color="black", linewidth=0.8)
    inside = float((np.abs(z[np.isfinite(z)]) < 2).mean())
    ax.set(
        title=f"Residuals: {100 * inside:.1f} % within ±2σ",
        xlabel=f"conductance ({_unit(measured)})",
        ylabel="forecast error (σ)",
        ylim=(-5, 5),
    )
    ax.legend(loc="upper right", fontsize=8, ncols=2, title="means ± 2 errors", title_fontsize=8)


def _binned(x: Array, y: Array, bins: int = 8) -> tuple[Array, Array, Array]:
    """Means of x and y and the error of y's in bins of equal count."""
    parts = [part for part in np.array_split(np.argsort(x), bins) if len(part) > 1]
    bins_of_y = [(x[p].mean(), y[p].mean(), y[p].std(ddof=1) / np.sqrt(len(p))) for p in parts]
    place, mean, error = (
        (np.array(column) for column in zip(*bins_of_y, strict=True)) if bins_of_y else (np.empty(0),) * 3
    )
    return place, mean, error


def _steps(ax: Axes, fits: Fits, measured: Measured) -> None:
    """Sizes of up and down steps against conductance: local means of the data, the fit, and where they are equal."""
    steps = fits.guess.steps
    factor = fits.half
    for direction, colour in ((1, UP), (-1, DOWN)):
        own = steps.direction == direction
        place, mean, error = _binned(steps.level[own], direction * steps.step[own], bins=min(10, 1 + own.sum() // 4))
        ax.errorbar(
            _physical(fits, place),
            factor * mean,
            2 * factor * error,
            color=colour,
            marker="o",
            linestyle="none",
            markersize=4,
        )
    _curves(ax, fits.best.cell, fits)
    point = symmetry_of(fits.best.cell)
    places = (point.attracting,) if point.exists else point.repelling
    for place in places:
        x = float(_physical(fits, np.array(place)))
        ax.axvline(x, color="black", linewidth=1, linestyle=DASHES[1] if point.exists else DASHES[4])
        side = -1 if place > 0 else 1
        ax.annotate(
            f"{'symmetry' if point.exists else 'repelling'} point {x:.3g}",
            (x, 0.97),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(4 * side, 0),
            fontsize=8,
            ha="right" if side < 0 else "left",
            va="top",
        )
    ax.set(
        title="Size of a step",
        xlabel=f"conductance ({_unit(measured)})",
        ylabel=f"step ({_unit(measured)})",
    )
    sizes = curve(fits.best.cell)
    long = 1 + getattr(fits.best.cell, "reversal_loss", 0.0)
    ax.set_ylim(0, 1.35 * fits.half * long * float(max(sizes.up.max(), -sizes.down.min())))
    ax.legend(loc="upper left" if any(place < 0 for place in places) else "upper right", fontsize=8)


def _curves(ax: Axes, cell: BaseCell, fits: Fits) -> None:
    steps = curve(cell)
    x = _physical(fits, steps.g)
    ax.plot(x, fits.half * steps.up, color=UP, label="up")
    ax.plot(x, -fits.half * steps.down, color=DOWN, linestyle=DASHES[1], label="down")
    if cell.remembers:  # what is drawn above is for pulses that come mixed
        long = 1 + getattr(cell, "reversal_loss", 0.0)
        ax.plot(x, fits.half * long * steps.up, color=UP, linewidth=0.9, label="in a long train")
        ax.plot(x, -fits.half * long * steps.down, color=DOWN, linewidth=0.9, linestyle=DASHES[1])


def _choice(ax: Axes, fits: Fits) -> None:
    """How much less likely every response makes held-out data than the best does, with one standard error."""
    top = fits.fits[0].held_out
    order = fits.fits[::-1]
    for y, fit in enumerate(order):
        lead = top - fit.held_out
        error = np.sqrt(len(lead)) * lead.std(ddof=1) if len(lead) > 1 else 0.0
        chosen = fit is fits.best
        ax.errorbar(
            float(lead.sum()),
            y,
            xerr=float(error),
            color=COLOURS[2] if chosen else "#777777",
            marker="D" if chosen else "o",
            markersize=7 if chosen else 5,
            capsize=3,
        )
        label = f"{fit.response} ({fit.parameters})"
        ax.text(0.99, y + 0.17, label, transform=ax.get_yaxis_transform(), ha="right", fontsize=8.5)
    ax.set_yticks([])
    ax.set_ylim(-0.5, len(order) - 0.4)
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(left=-4.0)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(title="Choice (number of parameters)", xlabel="held-out nats below the best")
    ax.grid(axis="y", visible=False)
