"""What a file does not say itself, what its columns were taken for, and how a cell of it becomes a number.

A train is a device, a cycle and a polarity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hwsim.cards.yamlfile import did_you_mean
from hwsim.characterisation.heads import (
    CONDUCTANCES,
    CURRENTS,
    RESISTANCES,
    UNITS,
    VOLTAGES,
    Head,
    unit_named,
)
from hwsim.characterisation.table import MISSING, Table, is_number
from hwsim.devices.fitting.data import Array
from hwsim.errors import InputError

UP = {"+", "up", "set", "pot", "potentiation", "potentiate", "p", "ltp", "increase", "increasing", "u", "s", "program"}
DOWN = {"-", "down", "reset", "dep", "depression", "depress", "d", "ltd", "decrease", "decreasing", "r", "erase"}
NONE = {"", "none", "read", "rest", "wait"}
LONG_FORM = "device,cycle,pulse,polarity,g_uS"
TREND = 0.7  # correlation of conductance with pulse number from which on a train goes one way


@dataclass(frozen=True)
class Reading:
    """How a file is to be read where it does not say so itself.

    Args:
        unit: of what was read, one of ``heads.UNITS``; None: as the heads say.
        read_voltage_V: over which currents were read.
        trains: (direction, pulses) of the trains that follow each other again and again; () : as the file says.
        sheet: of a workbook.
    """

    unit: str | None = None
    read_voltage_V: float | None = None
    trains: tuple[tuple[int, int], ...] = ()
    sheet: str | None = None


Segment = tuple[str, str, Array, np.ndarray]
"""Device, cycle, (n + 1,) conductances, (n,) directions."""


@dataclass
class Understanding:
    """What a table was taken for: filled in while it is read.

    Args:
        form: one sentence.
        columns: (head, what it is) of every column.
        unit: "uS" or "arbitrary".
        warnings: what was left out, filled in or assumed.
    """

    form: str = ""
    columns: list[tuple[str, str]] = field(default_factory=list)
    unit: str = "arbitrary"
    warnings: list[str] = field(default_factory=list)


def trains_of(text: str) -> tuple[tuple[int, int], ...]:
    """``up:50,down:50`` -> ((1, 50), (-1, 50)); ``up`` alone: as long as the data."""
    trains = []
    for part in text.split(","):
        word, _, count = part.strip().partition(":")
        direction = 1 if word.lower() in UP else -1 if word.lower() in DOWN else 0
        if not direction or (count and not (count.isdigit() and int(count))):
            raise InputError(f"--trains: expected such as up:50,down:50, got {text!r}")
        trains.append((direction, int(count or 10**9)))
    return tuple(trains)


def not_understood(table: Table) -> InputError:
    known = ("device", "cycle", "pulse", "polarity", "conductance", "resistance", "current", "up", "down")
    near = next((near for head in table.head or () if "mean" in (near := did_you_mean(head.lower(), known))), "")
    columns = f"the columns {','.join(table.head)}" if table.head else f"{table.width} columns without a header"
    return table.problem(
        f"expected the columns {LONG_FORM}, or two columns up,down; got {columns}{near}",
        f"a first line that names the columns, such as {LONG_FORM} (or up,down, or a column a train: up1,down1,...)",
        max(1, table.rows[0][0] - (1 if table.head else 0)),
    )


@dataclass(frozen=True)
class Value:
    """How a cell becomes a conductance: its unit, and for a current the voltage."""

    table: Table
    unit: str
    volts: float | None = None

    def __call__(self, line: int, cell: str, volts: float | None = None) -> float:
        if cell.lower() in MISSING:
            return math.nan
        if not is_number(cell):
            raise self.table.problem(
                f"expected a conductance, got {cell!r}", "leave the cell empty where nothing was read", line
            )
        value = float(cell)
        if math.isinf(value) or abs(value) > 1e30:
            raise self.table.problem(
                f"conductance {cell!r} is infinite", "leave the cell empty where nothing was read", line
            )
        if self.unit in CURRENTS:
            volts = self.volts if volts is None else volts
            if not volts or math.isnan(volts):
                return math.nan
            value = CURRENTS[self.unit](value) / volts
        else:
            value = (CONDUCTANCES | RESISTANCES)[self.unit](value)
        if self.unit != "arbitrary" and not 0 <= value < math.inf:
            raise self.table.problem(
                f"{cell} {self.unit} is no conductance; expected a positive number",
                "--unit arbitrary for normalised weights" if self.unit in CONDUCTANCES else "a positive number",
                line,
            )
        return value


def value_of(table: Table, heads: Sequence[Head], reading: Reading, understood: Understanding) -> Value:
    """The unit of the columns ``heads``, all of one."""
    named = {head.unit for head in heads if head.unit}
    unknown = sorted(unit[1:] for unit in named if unit.startswith("?"))
    roles = {head.quantity or head.role for head in heads}
    line = max(1, table.rows[0][0] - 1)
    if reading.unit is not None:
        unit = unit_named(reading.unit)
    elif unknown and len(unknown) == len(named):
        raise table.problem(
            f"unit {unknown[0]!r} in the header is unknown; known units: {', '.join(UNITS)}",
            "--unit uS, or the one it is",
            line,
        )
    elif len(named) > 1:
        raise table.problem(
            f"expected one unit in the header, got {', '.join(sorted(named))}", "one unit for all columns", line
        )
    elif named:
        unit = named.pop()
    elif roles == {"r"}:
        unit = "ohm"
        understood.warnings.append("the resistances have no unit; taken as ohm (--unit says otherwise)")
    elif roles == {"i"}:
        unit = "A"
        understood.warnings.append("the currents have no unit; taken as ampere (--unit says otherwise)")
    else:
        unit = "arbitrary"
    if unit in VOLTAGES:
        raise table.problem(f"{unit} is no unit of a conductance", "a column of conductances, or --unit", line)
    understood.unit = "arbitrary" if unit == "arbitrary" else "uS"
    return Value(table, unit, reading.read_voltage_V)


def whole_number(table: Table, line: int, what: str, cell: str) -> int:
    value = float(cell) if is_number(cell) else math.nan
    if not math.isfinite(value) or value != math.floor(value) or abs(value) > 1e15:
        raise table.problem(f"{what}: expected a whole number, got {cell!r}", f"number the {what}s 0, 1, 2, ...", line)
    return int(value)


def polarity_of(table: Table, line: int, cell: str) -> int:
    word = cell.lower()
    if is_number(cell):
        return (float(cell) > 0) - (float(cell) < 0)
    for words, direction in ((UP, 1), (DOWN, -1), (NONE, 0)):
        if word in words:
            return direction
    raise table.problem(
        f"polarity: expected up, down or 0, got {cell!r}",
        "write up or down (1 or -1, set or reset, LTP or LTD), or 0",
        line,
    )


def directions_of(table: Table, g: Array, reading: Reading, understood: Understanding) -> np.ndarray:
    """(n,) direction of the pulse before each read of a train."""
    if reading.trains:
        period = np.concatenate([np.full(min(count, len(g)), direction) for direction, count in reading.trains])
        return np.resize(period, len(g))
    trend = trend_of(g)
    if abs(trend) >= TREND:
        note = "polarities are not in the file; taken from which way each train goes"
        if note not in understood.warnings:
            understood.warnings.append(note)
        return np.full(len(g), 1 if trend > 0 else -1)
    raise table.problem(
        "which pulses went up and which down is not in the file",
        f"a column polarity, or the lengths of the trains: --trains {suggested(g)}",
        table.rows[0][0],
    )


def trend_of(g: Array) -> float:
    """Correlation of conductance with pulse number; 0 where it never changes."""
    seen = np.isfinite(g)
    if seen.sum() < 3 or np.ptp(g[seen]) == 0:
        return 0.0
    return float(np.corrcoef(np.flatnonzero(seen), g[seen])[0, 1])


def suggested(g: Array) -> str:
    """Lengths of trains such as ``up:50,down:50``, from where a smoothed trace turns back by a third of its range."""
    seen = g[np.isfinite(g)]
    width = max(1, len(seen) // 200)
    smooth = np.convolve(seen, np.full(width, 1 / width), mode="valid") if len(seen) else np.zeros(1)
    least, turns, way, low, high = np.ptp(smooth) / 3, [0], 0, 0, 0
    for i, value in enumerate(smooth):
        low, high = (i if value < smooth[low] else low), (i if value > smooth[high] else high)
        if way >= 0 and smooth[high] - value > least:
            turns, way, low = [*turns, high], -1, i
        elif way <= 0 and value - smooth[low] > least:
            turns, way, high = [*turns, low], 1, i
    lengths = [int(length) for length in np.diff([*turns, len(seen)]) if length > width]
    if len(lengths) < 2:
        return "up:50,down:50"
    first, second = (int(np.median(lengths[k::2])) for k in (0, 1))
    rising = (way > 0) == (len(lengths) % 2 == 1)  # the last train goes ``way``
    return f"up:{first},down:{second}" if rising else f"down:{first},up:{second}"
