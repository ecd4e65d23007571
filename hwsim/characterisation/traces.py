"""Measured pulse responses from CSV files: long form or up and down columns, any unit, mistakes with their line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwsim.cards.yamlfile import did_you_mean
from hwsim.characterisation.csv_text import EXPECTED, MISSING, csv_lines, remarks, text_of
from hwsim.devices.fitting.data import Traces
from hwsim.errors import InputError

LONG = ("device", "cycle", "pulse", "polarity")


def _inverse(value: float) -> float:
    return 1e6 / value if value > 0 else math.nan


UNITS: dict[str, Callable[[float], float]] = {
    "uS": lambda g: g,
    "nS": lambda g: g * 1e-3,
    "mS": lambda g: g * 1e3,
    "S": lambda g: g * 1e6,
    "ohm": _inverse,
    "kohm": lambda r: _inverse(r * 1e3),
    "Mohm": lambda r: _inverse(r * 1e6),
    "arbitrary": lambda g: g,
}
UNIT_NAMES = {name: name for name in UNITS} | {"µS": "uS", "μS": "uS", "Ω": "ohm", "Ohm": "ohm", "kΩ": "kohm"}
UNIT_NAMES |= {"kOhm": "kohm", "MΩ": "Mohm", "MOhm": "Mohm", "a.u.": "arbitrary"}
UP = {"1", "+1", "1.0", "+", "up", "set", "pot", "potentiation", "p"}
DOWN = {"-1", "-1.0", "-", "down", "reset", "dep", "depression", "d"}
NONE = {"0", "0.0", "none", "read", ""}
POLARITIES = UP | DOWN | NONE
_QUANTITY = re.compile(r"^(?:g|r|conductance|resistance|up|down)(?:[_ ]*[(\[_ ] *([^)\]]+?)[)\]]?)?$", re.IGNORECASE)
_ORDINARY_US = 1e-4, 1e5
"""The largest conductance of a device lies between 0.1 nS and 0.1 S, or the unit is another."""


@dataclass(frozen=True)
class Measured:
    """Traces from a file.

    Args:
        traces: conductances in uS, or in the file's own unit where that is arbitrary.
        unit: "uS" or "arbitrary".
        devices: their names, in the order of ``traces.device``.
        warnings: what was left out or filled in, and devices that do not respond.
        stuck: share of devices whose conductance never changed; they are left out of ``traces``.
        remarks: the file's comments before its first row, which may say where the data come from.
    """

    traces: Traces
    unit: str
    devices: tuple[str, ...]
    warnings: tuple[str, ...]
    stuck: float
    remarks: tuple[str, ...] = ()


class _Row(NamedTuple):
    line: int
    device: str
    cycle: str
    pulse: int
    polarity: int
    g: float  # NaN: not measured


def read_traces(path: Path, unit: str | None = None) -> Measured:
    """Read a CSV file of pulse responses.

    Args:
        path: long form, a row a pulse: ``device,cycle,pulse,polarity,g_uS`` with g after the pulse (polarity up/down,
            1/-1, set/reset; 0 for a read without a pulse; device and cycle may be missing). Or two columns: the
            conductance after each of a train of up pulses, and of down pulses.
        unit: of the conductances, one of ``UNITS``; None: the one in the header (``g_uS``, ``g_kohm``), else arbitrary.

    Raises InputError, with file and line, for what cannot be read.
    """
    header, lines = csv_lines(path)
    given = _unit(path, header, unit)
    names = [name.strip() for name in header or ()]
    warnings: list[str] = []
    if len(names) == 3 and names[0].lower() == "pulse" and "polarity" not in (name.lower() for name in names):
        names, lines = names[1:], [(line, row[1:]) for line, row in lines]  # numbered trains
    if any(name.lower() in LONG for name in names):
        segments = _segments(path, list(_long_rows(path, names, lines, given)), warnings)
    else:
        segments = _columns(path, names, lines, given, warnings)
    found = _measured(path, segments, "arbitrary" if given == "arbitrary" else "uS", warnings)
    return replace(found, remarks=remarks(text_of(path)))


def _unit(path: Path, header: list[str] | None, unit: str | None) -> str:
    if unit is not None:
        by_name = {name.lower(): name for name in UNITS}
        unit = UNIT_NAMES.get(unit, unit)
        if unit.lower() not in by_name or (unit != unit.lower() and unit not in UNITS):
            raise InputError(f"unit {unit!r}: unknown{did_you_mean(unit, UNITS)} Known units: {', '.join(UNITS)}")
        if unit.lower() == "ms" and unit != "mS":
            raise InputError("unit 'ms': expected mS for millisiemens")
        return by_name[unit.lower()]
    found = [_QUANTITY.match(name) for name in header or ()]
    named = {match[1] for match in found if match and match[1]}
    known = {UNIT_NAMES[name] for name in named if name in UNIT_NAMES}
    if named and not known:
        raise InputError(
            f"{path}:1: unit {sorted(named)[0]!r} in the header is unknown; known units: {', '.join(UNITS)}"
        )
    if len(known) > 1:
        raise InputError(f"{path}:1: expected one unit in the header, got {', '.join(sorted(known))}")
    return known.pop() if known else "arbitrary"


def _value(path: Path, line: int, cell: str, unit: str) -> float:
    """A conductance in uS (or the arbitrary unit); NaN where none was measured."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        value = float(cell)
    except ValueError as error:
        raise InputError(f"{path}:{line}: expected a conductance, got {cell!r}") from error
    if math.isnan(value):
        return math.nan
    if math.isinf(value):
        raise InputError(
            f"{path}:{line}: conductance {cell!r} is infinite; leave the cell empty where nothing was read"
        )
    if unit != "arbitrary" and (value < 0 or (unit.endswith("ohm") and value == 0)):
        raise InputError(
            f"{path}:{line}: {value:g} {unit} is no conductance; expected a positive number, or --unit arbitrary for "
            "normalised weights"
        )
    return UNITS[unit](value)


def _long_rows(path: Path, names: list[str], lines: list[tuple[int, list[str]]], unit: str) -> Iterator[_Row]:
    lower = [name.lower() for name in names]
    place = {name: lower.index(name) for name in LONG if name in lower}
    values = [i for i, name in enumerate(names) if _QUANTITY.match(name) and name.lower() not in LONG]
    for needed in ("pulse", "polarity"):
        if needed not in place:
            raise InputError(f"{path}:1: no column {needed!r}; {EXPECTED}; got {','.join(names)}")
    if len(values) != 1:
        raise InputError(
            f"{path}:1: expected one column of conductances (g_uS, g_nS, r_kohm, ...), got {','.join(names)}"
        )
    for line, row in lines:
        if len(row) != len(names):
            raise InputError(f"{path}:{line}: expected {len(names)} cells as in the header, got {len(row)}")
        number, polarity = row[place["pulse"]], row[place["polarity"]].lower()
        try:
            pulse = float(number)
        except ValueError as error:
            raise InputError(f"{path}:{line}: pulse: expected a whole number, got {number!r}") from error
        if pulse != math.floor(pulse):
            raise InputError(f"{path}:{line}: pulse: expected a whole number, got {number!r}")
        if polarity not in POLARITIES:
            raise InputError(f"{path}:{line}: polarity: expected up, down or 0, got {row[place['polarity']]!r}")
        towards = 1 if polarity in UP else -1 if polarity in DOWN else 0
        device, cycle = (row[place[name]] if name in place else "1" for name in ("device", "cycle"))
        yield _Row(line, device, cycle, int(pulse), towards, _value(path, line, row[values[0]], unit))


_Segment = tuple[str, np.ndarray, np.ndarray]


def _segments(path: Path, rows: list[_Row], warnings: list[str]) -> list[_Segment]:
    """One segment a cycle of a device, in the order of its pulses; gaps within one polarity stay as unread pulses."""
    rows, restarted = _numbered_on(rows)
    cycles: dict[tuple[str, str], dict[int, _Row]] = {}
    repeated = unread = skipped = 0
    for row in rows:
        cycle = cycles.setdefault((row.device, row.cycle), {})
        before = cycle.get(row.pulse)
        if before is not None and (before.polarity, before.g) != (row.polarity, row.g) and before.g == before.g:
            raise InputError(
                f"{path}:{row.line}: device {row.device}, cycle {row.cycle}, pulse {row.pulse} is there already, with "
                f"another value, in line {before.line}; number pulses on through a cycle"
            )
        repeated += before is not None
        cycle[row.pulse] = row
    segments: list[_Segment] = []
    for (device, _), cycle in cycles.items():
        g: list[float] = []
        towards: list[int] = []
        last: _Row | None = None
        for row in (cycle[pulse] for pulse in sorted(cycle)):
            unread += math.isnan(row.g)
            missing = row.pulse - last.pulse - 1 if last else 0
            if last and missing and (missing > 1000 or row.polarity != last.polarity):
                segments.append((device, np.array(g), np.array(towards, dtype=np.int64)))
                g, towards, last = [], [], None
            skipped += missing
            if last is None:
                if math.isnan(row.g):
                    continue
                g.append(row.g)
            else:
                g += [math.nan] * missing + [row.g]
                towards += [row.polarity] * (missing + 1)
            last = row
        segments.append((device, np.array(g), np.array(towards, dtype=np.int64)))
    if restarted:
        warnings.append(f"{restarted} trains start their numbering anew; taken to follow each other as in the file")
    for count, what in (
        (repeated, "given twice with the same value; used once"),
        (unread, "without a conductance; taken as not read"),
        (skipped, "missing from the numbering; taken as given but not read, or as a break where the polarity changed"),
    ):
        if count:
            warnings.append(f"{count} pulse{'s' if count > 1 else ''} {what}")
    return segments


def _numbered_on(rows: list[_Row]) -> tuple[list[_Row], int]:
    """The rows with pulses numbered on through a cycle where trains restart at a change of polarity; how many did.

    Only trains that stand in one piece in the file are renumbered; a first read without a pulse belongs to its train.
    """
    told: list[_Row] = []
    seen: dict[tuple[str, str], tuple[int, int, int]] = {}  # cycle -> last number, its polarity, offset
    restarted = 0
    for row in rows:
        key = row.device, row.cycle
        last, polarity, offset = seen.get(key, (-1, row.polarity, 0))
        if row.polarity and polarity and row.polarity != polarity and row.pulse + offset <= last:
            # Numbered from 0, the first pulse comes right after the last one; from 1 as well.
            offset = last + 1 - row.pulse
            restarted += 1
        number = row.pulse + offset
        seen[key] = max(last, number), row.polarity or polarity, offset
        told.append(row._replace(pulse=number))
    return (told, restarted) if restarted and _in_pieces(rows) else (rows, 0)


def _in_pieces(rows: list[_Row]) -> bool:
    """Do the rows of each cycle stand together, its numbers rising within every train?"""
    done: set[tuple[str, str]] = set()
    last: _Row | None = None
    for row in rows:
        key = row.device, row.cycle
        if last is None or key != (last.device, last.cycle):
            if key in done:
                return False
            done.add(key)
        elif row.polarity == last.polarity and row.pulse <= last.pulse:
            return False
        last = row
    return True


def _columns(
    path: Path, names: list[str], lines: list[tuple[int, list[str]]], unit: str, warnings: list[str]
) -> list[_Segment]:
    """Two columns: an up train and a down train of one device."""
    width = len(names) or len(lines[0][1])
    if width != 2:
        found = f"the columns {','.join(names)}" if names else f"{width} columns without a header"
        near = did_you_mean(names[0], ["device", "cycle", "pulse", "polarity", "up", "down"]) if names else "."
        raise InputError(f"{path}:1: {EXPECTED}; got {found}{near}")
    order = (1, -1)
    if names:
        kinds = [re.split(r"[_ (\[]", name.lower())[0] for name in names]
        if sorted(kinds) != ["down", "up"]:
            raise InputError(f"{path}:1: {EXPECTED}; got the columns {','.join(names)}")
        order = (1, -1) if kinds == ["up", "down"] else (-1, 1)
    columns: tuple[list[float], list[float]] = ([], [])
    for line, row in lines:
        if len(row) != 2:
            raise InputError(f"{path}:{line}: expected 2 cells, got {len(row)}")
        for column, cell in zip(columns, row, strict=True):
            column.append(_value(path, line, cell, unit))
    segments = []
    for direction, column in zip(order, columns, strict=True):
        g = np.array(column)
        measured = np.flatnonzero(np.isfinite(g))
        if len(measured) < 2:
            warnings.append(f"the column of {'up' if direction > 0 else 'down'} pulses is empty")
            continue
        g = g[measured[0] : measured[-1] + 1]
        gaps = int(np.isnan(g).sum())
        if gaps:
            warnings.append(
                f"{gaps} {'up' if direction > 0 else 'down'} pulses without a conductance; taken as not read"
            )
        segments.append(("1", g, np.full(len(g) - 1, direction)))
    return segments


def _measured(path: Path, segments: list[_Segment], unit: str, warnings: list[str]) -> Measured:
    used = [segment for segment in segments if np.isfinite(segment[1]).sum() > 1]
    if not used:
        raise InputError(f"{path}: no two conductances that follow each other; nothing can be fitted")
    names = tuple(dict.fromkeys(name for name, _, _ in used))
    traces = Traces.of([(names.index(name), g, direction) for name, g, direction in used])
    pulses = int(((traces.direction != 0) & (traces.weight > 0)).sum())
    if pulses < 10:
        raise InputError(f"{path}: {pulses} measured pulses; expected at least 10, better hundreds of either polarity")
    ranges = np.array([np.nanmax(g) - np.nanmin(g) for g in (traces.g[traces.device == d] for d in range(len(names)))])
    moving = ranges > 0
    largest = float(np.nanmax(traces.g))
    if unit == "uS" and not _ORDINARY_US[0] <= largest <= _ORDINARY_US[1]:
        warnings.append(f"the largest conductance is {largest:.3g} uS; check the unit in the header, or give --unit")
    if not moving.any():
        raise InputError(f"{path}: the conductance never changes; are the pulses and the column the right ones?")
    stuck = 1 - float(moving.mean())
    if stuck:
        held = ", ".join(name for name, moves in zip(names, moving, strict=True) if not moves)
        warnings.append(f"{(~moving).sum()} of {len(names)} devices never change and are left out: {held}")
        traces = traces.of_devices(moving)
        names = tuple(name for name, moves in zip(names, moving, strict=True) if moves)
    _check_directions(path, traces)
    return Measured(traces, unit, names, tuple(warnings), stuck)


def _check_directions(path: Path, traces: Traces) -> None:
    """Up pulses must raise the conductance and down pulses lower it, more often than by chance (sign test, 4 sigma)."""
    step = np.diff(traces.g, axis=1)
    signs = np.sign(np.where(np.isfinite(step), step, 0.0)) * traces.direction
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
