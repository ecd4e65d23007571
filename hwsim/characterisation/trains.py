"""From a table to trains of pulses: a row a pulse, a column a train, or a row a device."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hwsim.characterisation.heads import CURRENTS, Head, head_of
from hwsim.characterisation.long_form import segments_of_rows
from hwsim.characterisation.reading import (
    TREND,
    Reading,
    Segment,
    Understanding,
    directions_of,
    not_understood,
    polarity_of,
    trend_of,
    value_of,
)
from hwsim.characterisation.table import MISSING, Table, is_number
from hwsim.devices.fitting.data import Array


def segments_of(table: Table, reading: Reading) -> tuple[list[Segment], Understanding]:
    """The trains of a table. Raises InputError, with the first rows and what would mend them, for what is not clear."""
    understood = Understanding()
    heads = [head_of(text) for text in table.head] if table.head else []
    if heads and _numbers(table.head or ()) is not None:
        return _rows(table, heads, reading, understood), understood
    if not heads and len(table.rows[0][1]) > 3 and not is_number(table.rows[0][1][0]):
        return _rows(table, heads, reading, understood), understood
    roles = Counter(head.role for head in heads)
    trains = roles["up"] + roles["down"]
    many = roles["ramp"] > 0 or max(roles[role] for role in ("cycle", "device", "g", "r", "i")) > 1
    if (
        heads
        and not trains
        and not roles["pulse"] + roles["polarity"] + roles["pulse voltage"]
        and (many or not roles["g"] + roles["r"] + roles["i"])
    ):
        if not many or any(head.role in ("", "read voltage") for head in heads):
            raise not_understood(table)
        return _columns(table, heads, reading, understood), understood
    if trains and not roles["polarity"]:
        return _columns(table, heads, reading, understood), understood
    if heads:
        return segments_of_rows(table, heads, reading, understood), understood
    return _without_heads(table, reading, understood), understood


def _columns(table: Table, heads: list[Head], reading: Reading, understood: Understanding) -> list[Segment]:
    """Every column that is not a number of pulses is a train."""
    places = [i for i, head in enumerate(heads) if head.role not in ("pulse", "time", "")]
    for i, head in enumerate(heads):
        if not head.role:
            raise not_understood(table)
        understood.columns.append((head.text, "numbers of the pulses" if i not in places else "a train of pulses"))
        if i not in places:
            _check_steps(head, [float(c[i]) for _, c in table.rows if i < len(c) and is_number(c[i])], understood)
    value = value_of(table, [heads[i] for i in places], reading, understood)
    if value.unit in CURRENTS and reading.read_voltage_V is None:
        raise table.problem("currents need the voltage that they were read at", "--read-voltage 0.1 (in volts)")
    understood.form = f"one column a train, {len(places)} trains"
    for line, cells in table.rows:
        if len(cells) > len(heads):
            raise table.problem(f"expected {len(heads)} cells, got {len(cells)}", "as many cells in every row", line)
    segments = []
    for order, i in enumerate(places):
        head = heads[i]
        g = np.array([value(line, cells[i] if i < len(cells) else "") for line, cells in table.rows])
        device = head.number or str(order + 1) if head.role == "device" else "1"
        cycle = "1" if head.role == "device" else head.number or str(order + 1)
        fixed = {"up": 1, "down": -1}.get(head.role)
        segments += _train(table, device, cycle, g, fixed, reading, understood, head.text)
    return segments


def _check_steps(head: Head, numbers: Sequence[float], understood: Understanding) -> None:
    """Say it where the rows stand at uneven numbers or times, as points read off a figure do."""
    steps = np.diff(numbers)
    if len(steps) and steps.max() > 1.5 * max(steps.min(), 0):
        low, high = steps.min(), steps.max()
        understood.warnings.append(
            f"{head.text}: from row to row it rises by {low:.3g} to {high:.3g}; every row is taken as one pulse"
        )


def _train(
    table: Table,
    device: str,
    cycle: str,
    g: Array,
    fixed: int | None,
    reading: Reading,
    understood: Understanding,
    name: str,
) -> list[Segment]:
    """A column or row of reads, the first of them before or after the first pulse; its ends without reads are cut."""
    seen = np.flatnonzero(np.isfinite(g))
    if len(seen) < 2:
        understood.warnings.append(f"{name or 'a train'}: fewer than two conductances; left out")
        return []
    g = g[seen[0] : seen[-1] + 1]
    gaps = int(np.isnan(g).sum())
    if gaps:
        understood.warnings.append(f"{name or 'a train'}: {gaps} pulses without a conductance; taken as not read")
    directions = np.full(len(g), fixed) if fixed else directions_of(table, g, reading, understood)
    return [(device, cycle, g, directions[1:].astype(np.int64))]


def _rows(table: Table, heads: list[Head], reading: Reading, understood: Understanding) -> list[Segment]:
    """Every row is a train: names, then a conductance after each pulse."""
    names = 1 if not heads else next(i for i, cell in enumerate(table.head or ()) if is_number(cell))
    value = value_of(table, [head for head in heads[:names] if head.role in ("g", "r", "i")], reading, understood)
    labels = [head.role for head in heads[:names]] or ["device"]
    understood.columns = [(head.text, head.role or "name") for head in heads[:names]] or [("1", "device")]
    understood.columns.append((f"{table.width - names} more", "conductance after each pulse"))
    understood.form = f"one row a train, {len(table.rows)} trains"
    segments = []
    for order, (line, cells) in enumerate(table.rows):
        given = dict(zip(labels, cells[:names], strict=False))
        fixed = polarity_of(table, line, given["polarity"]) if "polarity" in given else None
        g = np.array([value(line, cell) for cell in cells[names:]])
        device = given.get("device", "1" if "cycle" in given else str(order + 1))
        name = " ".join(cells[:names])
        segments += _train(table, device, given.get("cycle", "1"), g, fixed, reading, understood, name)
    return segments


def _without_heads(table: Table, reading: Reading, understood: Understanding) -> list[Segment]:
    """Columns of numbers without names: up and down, numbered or not; one series; or ramps that clearly go one way."""
    width = table.width
    columns = [[cells[i] if i < len(cells) else "" for _, cells in table.rows] for i in range(width)]
    for line, cells in table.rows:
        if len(cells) > width:
            raise table.problem(f"expected {width} cells, got {len(cells)}", "as many cells in every row", line)
        for cell in cells:
            if cell.lower() not in MISSING and not is_number(cell):
                raise table.problem(
                    f"expected a conductance, got {cell!r}", "a first line that names the columns", line
                )
    counted = _consecutive(columns[0])
    if width <= 2 and (width == 1 or counted):
        heads = [Head("pulse", "pulse"), Head("g", "g")][2 - width :]
    elif width == 2 or (width == 3 and counted):
        heads = [Head("pulse", "pulse"), Head("up", "up"), Head("down", "down")][3 - width :]
    else:
        series = [np.array([float(cell) if is_number(cell) else math.nan for cell in column]) for column in columns]
        if width < 4 or not all(abs(trend_of(g)) >= TREND for g in series[counted:]):
            raise not_understood(table)
        heads = [Head(str(i + 1), "pulse" if counted and not i else "ramp", None, str(i + 1)) for i in range(width)]
    if any(head.role == "g" for head in heads):
        return segments_of_rows(table, heads, reading, understood)
    return _columns(table, heads, reading, understood)


def _consecutive(cells: Sequence[str]) -> bool:
    """Whole numbers that count up by 1 from 0 or 1."""
    if not all(is_number(cell) for cell in cells):
        return False
    numbers = np.array([float(cell) for cell in cells])
    return bool(len(numbers) > 2 and numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def _numbers(cells: Sequence[str]) -> Array | None:
    """Pulse numbers of a head such as device,0,1,2,..."""
    numbers = [float(cell) for cell in cells if is_number(cell)]
    named = [cell for cell in cells if not is_number(cell)]
    labels = len(numbers) >= 3 and len(named) <= 3 and not any(re.fullmatch(r"\s*", cell) for cell in named)
    return np.array(numbers) if labels else None
