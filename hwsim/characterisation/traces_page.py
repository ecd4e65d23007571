"""How a file of traces was understood, before any fit: a table for the terminal, and a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from hwsim.characterisation.traces import Measured
from hwsim.reports.plotting import COLOURS, STYLE, panels, write_canvas

MOST_ROWS = 20
_DEVICES_DRAWN = 6
_DPI = 110


def lines_of(measured: Measured) -> list[str]:
    """What each file was taken for: separator, decimal mark, columns."""
    lines = []
    for table, understood in measured.files:
        sheet = f", sheet {table.sheet}" if table.sheet else ""
        lines.append(
            f"{table.path}{sheet}: {understood.form}; separator {table.separator}, decimal mark {table.decimal!r}, "
            f"{len(table.rows)} rows from line {table.rows[0][0]} on"
        )
        lines += [f"  column {head}: {meaning}" for head, meaning in _shortened(understood.columns)]
    lines += [f"  remark: {remark}" for remark in measured.remarks[:5]]
    return lines + [f"caution: {warning}" for warning in measured.warnings]


def _shortened(columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(columns) <= 8:
        return columns
    return [*columns[:6], (f"... {len(columns) - 7} more ...", columns[6][1]), columns[-1]]


def rows_of(measured: Measured) -> list[tuple[str, ...]]:
    """A row a segment: device, cycle, pulses in order, reads, first to last conductance, lowest, highest."""
    rows = []
    traces = measured.traces
    for row, cycle in enumerate(measured.cycles[:MOST_ROWS]):
        g = traces.g[row][np.isfinite(traces.g[row])]
        further = int(((traces.direction[row] == 0) & np.isfinite(traces.g[row, 1:])).sum())
        rows.append(
            (
                measured.devices[traces.device[row]],
                cycle,
                _order(traces.direction[row], traces.g[row]),
                str(len(g) - further),
                str(further),
                f"{g[0]:.4g} to {g[-1]:.4g}",
                f"{g.min():.4g} to {g.max():.4g}",
            )
        )
    return rows


def _order(direction: np.ndarray, g: np.ndarray) -> str:
    """``50 up, 50 down``; shortened where there are many trains."""
    end = int(np.flatnonzero(np.isfinite(g)).max())
    pulses = direction[:end][direction[:end] != 0]
    trains = np.split(pulses, np.flatnonzero(np.diff(pulses)) + 1)
    words = [f"{len(train)} {'up' if train[0] > 0 else 'down'}" for train in trains if len(train)]
    return ", ".join(words) if len(words) <= 4 else f"{', '.join(words[:2])}, ... {len(words)} trains"


def write_traces_figure(measured: Measured, folder: Path) -> tuple[Path, Path]:
    """Draw ``traces.svg`` and ``traces.png`` into ``folder``: the reads of the first devices, and steps by level."""
    with matplotlib.rc_context(STYLE):
        canvas, axes = panels(2, 1, 2.9)
        _traces(axes[0], measured)
        _changes(axes[1], measured)
        return write_canvas(canvas, folder / "traces", _DPI)


def _unit(measured: Measured) -> str:
    return "µS" if measured.unit == "uS" else "data's unit"


_WAYS = ((1, COLOURS[0], "up"), (-1, COLOURS[1], "down"), (0, "#888888", "no pulse"))


def _traces(ax: Axes, measured: Measured) -> None:
    traces, begin = measured.traces, 0
    shown = min(_DEVICES_DRAWN, len(measured.devices))
    for row in np.flatnonzero(traces.device < shown):
        g, direction = traces.g[row], traces.direction[row]
        end = int(np.flatnonzero(np.isfinite(g)).max())
        x = begin + np.arange(end + 1)
        before = np.append(0, direction[:end])
        for way, colour, _ in _WAYS:
            own = before == way
            ax.plot(x[own], g[: end + 1][own], ".", color=colour, markersize=2.2, rasterized=True)
        begin += end + 2
        ax.axvline(begin - 1.5, color="#cccccc", linewidth=0.6)
    for _, colour, name in _WAYS:
        ax.plot([], [], "o", color=colour, markersize=4, label=name)
    ax.legend(loc="upper right", ncols=3, fontsize=8)
    bottom, top = ax.get_ylim()
    ax.set_ylim(top=top + 0.16 * (top - bottom))
    count = (
        f"{shown} of {len(measured.devices)} devices"
        if shown < len(measured.devices)
        else f"{shown} device{'s' if shown > 1 else ''}"
    )
    ax.set(
        title=f"As read: {count}, {len(measured.cycles)} traces",
        xlabel="read, trace after trace",
        ylabel=f"conductance ({_unit(measured)})",
    )


def _changes(ax: Axes, measured: Measured) -> None:
    traces = measured.traces
    change, level = np.diff(traces.g, axis=1), traces.g[:, :-1]
    for way, colour, name in _WAYS[:2]:
        own = (traces.direction == way) & np.isfinite(change) & np.isfinite(level)
        if not own.any():
            continue
        x, y = level[own], change[own]
        thin = slice(None, None, max(1, len(x) // 4000))
        ax.plot(x[thin], y[thin], ".", color=colour, markersize=2, alpha=0.35, rasterized=True)
        parts = [part for part in np.array_split(np.argsort(x), 12) if len(part)]
        ax.plot([x[p].mean() for p in parts], [y[p].mean() for p in parts], "o-", color=colour, label=f"{name}, means")
    low, high = np.nanquantile(change, (0.005, 0.995)) if np.isfinite(change).any() else (0.0, 1.0)
    margin = 0.1 * (high - low) + 1e-12
    ax.set_ylim(low - margin, high + margin)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.legend(loc="upper right", fontsize=8, ncols=2)
    unit = _unit(measured)
    ax.set(title="Change by a pulse, as read", xlabel=f"conductance before ({unit})", ylabel=f"change ({unit})")
