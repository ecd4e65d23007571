"""Measured pulse responses from files, checked: what a fit starts from, and what the reader has to be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.characterisation.reading import TREND, Reading, Segment, Understanding, trend_of
from hwsim.characterisation.table import Table, read_table
from hwsim.characterisation.trains import segments_of
from hwsim.devices.fitting.data import Array, Traces
from hwsim.errors import InputError

__all__ = ["Measured", "Reading", "read_traces"]

FEWEST_PULSES = 10
_ORDINARY_US = 1e-4, 1e5
"""The largest conductance of a device lies between 0.1 nS and 0.1 S, or the unit is another."""
_MOST_AT_REST = 0.3  # of the range: what a device may move by without pulses before that is taken for a mistake


@dataclass(frozen=True)
class Measured:
    """Traces from files.

    Args:
        traces: conductances in uS, or in the file's own unit where that is arbitrary.
        unit: "uS" or "arbitrary".
        devices: their names, in the order of ``traces.device``.
        cycles: (S,) name of the cycle of every segment.
        warnings: what was left out, filled in or assumed, and devices that do not respond.
        stuck: share of devices whose conductance never changed; they are left out of ``traces``.
        remarks: what stands before the tables, which may say where the data come from.
        files: every table with what it was taken for.
    """

    traces: Traces
    unit: str
    devices: tuple[str, ...]
    cycles: tuple[str, ...]
    warnings: tuple[str, ...]
    stuck: float
    remarks: tuple[str, ...]
    files: tuple[tuple[Table, Understanding], ...]

    def long_form(self) -> str:
        """The same as CSV text, a row a read, from which it can be read again without any option."""
        head = f"device,cycle,pulse,polarity,g{'_uS' if self.unit == 'uS' else ''}"
        rows = [f"# {remark}" for remark in self.remarks] + [head]
        seen: dict[tuple[str, str], int] = {}
        for row, cycle in enumerate(self.cycles):
            device = self.devices[self.traces.device[row]].replace(",", " ")
            again = seen[device, cycle] = seen.get((device, cycle), 0) + 1
            name = cycle.replace(",", " ") + (f".{again}" if again > 1 else "")
            pulse, g = 0, self.traces.g[row]
            for k in range(int(np.flatnonzero(np.isfinite(g)).max()) + 1):
                direction = int(self.traces.direction[row, k - 1]) if k else 0
                pulse += direction != 0
                value = "" if math.isnan(g[k]) else f"{g[k]:.9g}"
                rows.append(f"{device},{name},{pulse},{direction},{value}")
        return "\n".join(rows) + "\n"


def read_traces(paths: Path | Sequence[Path], reading: Reading | None = None) -> Measured:
    """Read files of pulse responses; several hold further trains, of the same devices where they have the same name.

    Args:
        paths: text or workbooks. A row a pulse: ``device,cycle,pulse,polarity,g_uS`` with g after the pulse (polarity
            up/down, 1/-1, set/reset, LTP/LTD; 0 for a read without a pulse; device and cycle may be missing). Or a
            column a train (``up,down``, ``LTP,LTD``, ``ramp1,ramp2,...``), or a row a device. Resistances, and currents
            with their voltage, are read as well.
        reading: what the files do not say themselves.

    Raises InputError, with file and line, the first rows as read and what would mend them, for what cannot be read.
    """
    reading = reading or Reading()
    if reading.read_voltage_V is not None and not 0 < abs(reading.read_voltage_V) < math.inf:
        raise InputError(f"--read-voltage: expected a number of volts other than 0, got {reading.read_voltage_V}")
    files, segments = [], []
    for path in [paths] if isinstance(paths, Path) else paths:
        table = read_table(path, reading.sheet)
        own, understood = segments_of(table, reading)
        files.append((table, understood))
        segments += own
    units = {understood.unit for _, understood in files}
    if len(units) > 1:
        raise InputError(f"{files[0][0].path}: the files have conductances with and without a unit; give --unit")
    return _measured(segments, units.pop(), files)


def _measured(segments: list[Segment], unit: str, files: list[tuple[Table, Understanding]]) -> Measured:
    path = files[0][0].path
    warnings = [warning for _, understood in files for warning in understood.warnings]
    remarks = tuple(dict.fromkeys(remark for table, _ in files for remark in table.remarks))
    used = [segment for segment in segments if np.isfinite(segment[2]).sum() > 1]
    if not used:
        raise InputError(f"{path}: no two conductances that follow each other; nothing can be fitted")
    names = tuple(dict.fromkeys(device for device, *_ in used))
    traces = Traces.of([(names.index(device), g, direction) for device, _, g, direction in used])
    cycles = tuple(cycle for _, cycle, *_ in used)
    pulses = int(((traces.direction != 0) & (traces.weight > 0)).sum())
    if pulses < FEWEST_PULSES:
        raise InputError(
            f"{path}: {pulses} measured pulses; expected at least {FEWEST_PULSES}, better hundreds of either polarity"
        )
    ranges = np.array([np.nanmax(g) - np.nanmin(g) for g in (traces.g[traces.device == d] for d in range(len(names)))])
    moving = ranges > 0
    largest = float(np.nanmax(traces.g))
    if unit == "uS" and not _ORDINARY_US[0] <= largest <= _ORDINARY_US[1]:
        warnings.append(f"the largest conductance is {largest:.3g} uS; check the unit in the header, or give --unit")
    if unit == "arbitrary" and float(np.nanmin(traces.g)) > 0 and largest < 0.02:
        warnings.append(
            f"the conductances have no unit and are at most {largest:.3g}; if that is siemens, say --unit S"
        )
    if not moving.any():
        raise InputError(f"{path}: the conductance never changes; are the pulses and the column the right ones?")
    stuck = 1 - float(moving.mean())
    if stuck:
        held = ", ".join(name for name, moves in zip(names, moving, strict=True) if not moves)
        warnings.append(f"{(~moving).sum()} of {len(names)} devices never change and are left out: {held}")
        cycles = tuple(cycle for cycle, device in zip(cycles, traces.device, strict=True) if moving[device])
        traces = traces.of_devices(moving)
        names = tuple(name for name, moves in zip(names, moving, strict=True) if moves)
    _check_directions(path, traces, cycles, float(ranges.max()))
    return Measured(traces, unit, names, cycles, tuple(dict.fromkeys(warnings)), stuck, remarks, tuple(files))


def _check_directions(path: Path, traces: Traces, cycles: Sequence[str], most: float) -> None:
    """Up pulses must raise the conductance and down pulses lower it, more often than by chance (sign test, 4 sigma)."""
    step = np.nan_to_num(np.diff(traces.g, axis=1))
    signs = np.sign(step) * traces.direction
    for name, own in (
        ("the pulses", traces.direction != 0),
        ("up pulses", traces.direction > 0),
        ("down pulses", traces.direction < 0),
    ):
        moved = signs[own]
        if moved.sum() < -4 * math.sqrt(np.abs(moved).sum()):
            raise InputError(
                f"{path}: under {name} the conductance moves the wrong way; expected that it rises under up pulses and "
                "falls under down pulses. Exchange the polarities, or say so if these are resistances (--unit kohm)"
            )
    for row, cycle in enumerate(cycles):  # a column with the other one's head
        directions = set(traces.direction[row]) - {0}
        if len(directions) == 1 and trend_of(traces.g[row]) * next(iter(directions)) < -TREND:
            way = "falls" if directions == {1} else "rises"
            raise InputError(
                f"{path}: in train {cycle} the conductance {way} under {'up' if way == 'falls' else 'down'} pulses; "
                "exchange its polarity or the head of its column, or put its rows into the order of the pulses"
            )
    at_rest: Array = np.where(traces.direction == 0, step, 0.0).sum(axis=1)
    if np.abs(at_rest).max() > _MOST_AT_REST * most:
        way = "falls" if at_rest[np.abs(at_rest).argmax()] < 0 else "rises"
        raise InputError(
            f"{path}: the conductance {way} by much where the polarity is 0, which means no pulse; expected -1 or down "
            "for a pulse down (0 only for a further read)"
        )
