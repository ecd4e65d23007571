"""Tables with a row a pulse: pulses in their order, trains that follow each other, repeated reads, gaps.

Trains of one cycle that stand together in a file follow each other on the device; between others its state is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwsim.cards.yamlfile import did_you_mean
from hwsim.characterisation.heads import CURRENTS, VOLTAGES, Head
from hwsim.characterisation.reading import (
    LONG_FORM,
    Reading,
    Segment,
    Understanding,
    Value,
    directions_of,
    not_understood,
    polarity_of,
    value_of,
    whole_number,
)
from hwsim.characterisation.table import Table, is_number
from hwsim.devices.fitting.data import Array
from hwsim.errors import InputError

_LONGEST_GAP = 1000  # pulses that may be missing within a train
_MOST_VOLTAGES = 8  # at which currents may have been read; beyond it, the voltage is swept
_ALIKE = 1.05  # heights of pulses by which those of one polarity may differ


class Read(NamedTuple):
    """A row: what was read after a pulse; NaN: nothing."""

    line: int
    device: str
    cycle: str
    pulse: int
    polarity: int
    g: float


def segments_of_rows(table: Table, heads: list[Head], reading: Reading, understood: Understanding) -> list[Segment]:
    place: dict[str, int] = {}
    for i, head in enumerate(heads):
        place.setdefault(head.role, i)
    if any(
        "mean" in did_you_mean(head.text.lower(), ("device", "cycle", "pulse", "polarity"))
        for head in heads
        if not head.role
    ):
        raise not_understood(table)
    kinds = [kind for kind in ("g", "r", "i") if kind in place]
    line = max(1, table.rows[0][0] - 1)
    if not kinds:
        raise table.problem(
            f"expected one column of conductances (g_uS, g_nS, r_kohm, ...), got {','.join(table.head or ())}",
            f"name it in the head: {LONG_FORM}",
            line,
        )
    kind = kinds[0]
    several = [head for head in heads if head.role == kind]
    pulsed = {"pulse", "polarity", "pulse voltage"} & set(place)
    if len(several) > 1 and not (pulsed and len({head.number for head in several if head.number}) == len(several)):
        names = ", ".join(head.text for head in several)
        raise table.problem(f"expected one column of conductances, got {names}", "keep one of them", line)
    value = value_of(table, several, reading, understood)
    _check_alike(table, place, value, reading, understood)
    if value.unit in CURRENTS and reading.read_voltage_V is None and "read voltage" not in place:
        raise table.problem("currents need the voltage that they were read at", "--read-voltage 0.1 (in volts)", line)
    used = {"device", "cycle", "pulse", "polarity", "pulse voltage", "read", kind}
    if value.unit in CURRENTS and reading.read_voltage_V is None:
        used.add("read voltage")
    meaning = {"g": "conductance", "r": "resistance", "i": "current", "read": "number of the read"}
    understood.columns = [
        (head.text, f"{meaning.get(head.role, head.role)}{f' ({value.unit})' if head.role == kind else ''}")
        if head.role in used and (place[head.role] == i or head.role == kind)
        else (head.text, "not used")
        for i, head in enumerate(heads)
    ]
    understood.form = "one row a pulse"
    rows = list(_read_rows(table, heads, place, value, kind))
    if "polarity" not in place and "pulse voltage" not in place:
        rows = _directed(table, rows, reading, understood)
    elif reading.trains:
        raise InputError(f"{table.path}: has a column of polarities; leave --trains out")
    return _trains(table, rows, "read" in place, understood)


def _check_alike(
    table: Table, place: dict[str, int], value: Value, reading: Reading, understood: Understanding
) -> None:
    """Every pulse must be like the others of its polarity, and every read like the other reads."""

    def column(role: str) -> Array:
        cells = [cells[place[role]] for _, cells in table.rows if role in place and place[role] < len(cells)]
        return np.array([float(cell) for cell in cells if is_number(cell)])

    volts = column("read voltage")
    if value.unit in CURRENTS and reading.read_voltage_V is None and len(np.unique(volts)) > _MOST_VOLTAGES:
        raise table.problem(
            f"the voltage takes {len(np.unique(volts))} values from {volts.min():.3g} to {volts.max():.3g}: a "
            "current-voltage sweep, no reads after pulses; expected currents read at one voltage",
            f"a table of pulses, such as {LONG_FORM}",
            table.rows[0][0],
        )
    heights = column("pulse voltage")
    for what, side in (
        ("V", heights[heights > 0]),
        ("V", -heights[heights < 0]),
        ("(width)", column("width")),
    ):
        if len(side) and side.max() > _ALIKE * side.min():
            raise table.problem(
                f"pulses of {side.min():.3g} to {side.max():.3g} {what}; a cell has one kind of pulse a polarity",
                "the rows of one kind of pulse up and one down, or a table without that column if they were alike",
                table.rows[0][0],
            )
    applied = np.unique(column("applied"))
    if len(applied) > 1:
        raise table.problem(
            f"rows of {applied.min():g} to {applied.max():g} pulses; expected as many in every row",
            "a row a pulse, or rows of equal numbers of pulses",
            table.rows[0][0],
        )
    if len(applied) and applied[0] != 1:
        understood.warnings.append(f"every row is {applied[0]:g} pulses; a pulse of the cell stands for all of them")


def _read_rows(table: Table, heads: list[Head], place: dict[str, int], value: Value, kind: str) -> Iterator[Read]:
    width = len(heads)
    last = table.rows[-1][0]
    counted: Counter[tuple[str, str]] = Counter()
    for line, cells in table.rows:
        if len(cells) > width or (
            len(cells) < width and any(place[role] >= len(cells) for role in place if role in ("pulse", "polarity"))
        ):
            if line == last and len(cells) < width:
                continue  # a file that was cut off
            raise table.problem(
                f"expected {width} cells as in the header, got {len(cells)}", "as many cells in every row", line
            )
        row = [*cells, *[""] * (width - len(cells))]
        device, cycle = (row[place[name]] if name in place else "1" for name in ("device", "cycle"))
        number = whole_number(table, line, "pulse", row[place["pulse"]]) if "pulse" in place else counted[device, cycle]
        counted[device, cycle] += 1
        polarity = 0
        if "polarity" in place:
            polarity = polarity_of(table, line, row[place["polarity"]])
        elif "pulse voltage" in place:
            polarity = polarity_of(table, line, row[place["pulse voltage"]])
        volts = None
        if "read voltage" in place and value.unit in CURRENTS and value.volts is None:
            cell = row[place["read voltage"]]
            volts = VOLTAGES[heads[place["read voltage"]].unit or "V"](float(cell)) if is_number(cell) else math.nan
        for i, head in enumerate(heads):
            if head.role == kind:
                yield Read(line, device, cycle, number, polarity, value(line, row[i], volts))


def _directed(table: Table, rows: list[Read], reading: Reading, understood: Understanding) -> list[Read]:
    """Rows without polarities: by ``--trains``, or by which way each train clearly goes."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((row.device, row.cycle), []).append(i)
    directed = list(rows)
    for places in groups.values():
        g = np.array([rows[i].g for i in places])
        for i, direction in zip(places, directions_of(table, g, reading, understood), strict=True):
            directed[i] = rows[i]._replace(polarity=int(direction))
    return directed


def _trains(table: Table, rows: list[Read], numbered_reads: bool, understood: Understanding) -> list[Segment]:
    """One segment a cycle of a device where its trains follow each other, else one a train."""
    groups: dict[tuple[str, str], list[Read]] = {}
    for row in rows:
        groups.setdefault((row.device, row.cycle), []).append(row)
    together = _in_pieces(rows)
    counts: Counter[str] = Counter()
    segments: list[Segment] = []
    for (device, cycle), own in groups.items():
        parts = [own]
        if _restarts(own):
            counts["restarted"] += 1
            numbered = _numbered_on(own) if together else None
            polarities = dict.fromkeys(row.polarity for row in own if row.polarity)
            parts = [numbered] if numbered else [[r for r in own if r.polarity in (p, 0)] for p in polarities]
        for part in parts:
            segments += [(device, cycle, *s) for s in _segment(table, part, numbered_reads, counts)]
    if counts["restarted"]:
        how = (
            "taken to follow each other as in the file"
            if together
            else "each is a trace of its own: not one after the other in the file, so the state between is not known"
        )
        understood.warnings.append(f"{counts['restarted']} trains start their numbering anew; {how}")
    for what, text in (
        ("repeated", "given twice with the same value; used once"),
        ("unread", "without a conductance; taken as not read"),
        (
            "skipped",
            "missing from the numbering; taken as given but not read, or as a break where the polarity changed",
        ),
    ):
        if counts[what]:
            understood.warnings.append(f"{counts[what]} pulse{'s' if counts[what] > 1 else ''} {text}")
    if counts["again"]:
        understood.warnings.append(
            f"{counts['again']} further reads after a pulse; taken as repeated reads of one state"
        )
    return segments


def _restarts(rows: list[Read]) -> bool:
    """Do two polarities of a cycle number their pulses alike?"""
    numbers = [{row.pulse for row in rows if row.polarity == p} for p in (1, -1)]
    return bool(numbers[0] & numbers[1])


def _in_pieces(rows: list[Read]) -> bool:
    """Do the rows of each cycle stand together, its numbers rising within every train?"""
    done: set[tuple[str, str]] = set()
    last: Read | None = None
    for row in rows:
        key = row.device, row.cycle
        if last is None or key != (last.device, last.cycle):
            if key in done:
                return False
            done.add(key)
        elif row.polarity == last.polarity and row.pulse < last.pulse:
            return False
        last = row
    return True


def _numbered_on(rows: list[Read]) -> list[Read]:
    """Pulses numbered on where trains restart at a change of polarity; a read without a pulse stays with its train."""
    numbered: list[Read] = []
    last, polarity, offset = -1, 0, 0
    for row in rows:
        if row.polarity and polarity and row.polarity != polarity and row.pulse + offset <= last:
            offset = last + 1 - row.pulse  # numbered from 0 or from 1, the first pulse comes right after the last one
        number = row.pulse + offset
        last, polarity = max(last, number), row.polarity or polarity
        numbered.append(row._replace(pulse=number))
    return numbered


def _segment(
    table: Table, rows: list[Read], numbered_reads: bool, counts: Counter[str]
) -> list[tuple[Array, np.ndarray]]:
    """Reads in the order of their pulses; gaps within one polarity stay as unread pulses."""
    pulses = _by_pulse(table, rows, numbered_reads, counts)
    segments: list[tuple[Array, np.ndarray]] = []
    g: list[float] = []
    towards: list[int] = []
    last: Read | None = None
    for number in sorted(pulses):
        row, *again = pulses[number]
        counts["unread"] += math.isnan(row.g)
        missing = number - last.pulse - 1 if last else 0
        if last and missing and (missing > _LONGEST_GAP or row.polarity != last.polarity):
            segments.append((np.array(g), np.array(towards, dtype=np.int64)))
            g, towards, last = [], [], None
        counts["skipped"] += missing
        if last is None:
            if math.isnan(row.g):
                continue
            g.append(row.g)
        else:
            g += [math.nan] * missing + [row.g]
            towards += [row.polarity] * (missing + 1)
        g += [read.g for read in again]
        towards += [0] * len(again)
        last = row
    return [*segments, (np.array(g), np.array(towards, dtype=np.int64))]


def _by_pulse(table: Table, rows: list[Read], numbered_reads: bool, counts: Counter[str]) -> dict[int, list[Read]]:
    """The reads of every pulse: several where they stand together, or are numbered, and are not all the same."""
    pulses: dict[int, list[Read]] = {}
    before: Read | None = None
    for row in rows:
        reads = pulses.setdefault(row.pulse, [])
        apart = reads and not numbered_reads and not (before and before.pulse == row.pulse)
        same = any(read.polarity == row.polarity and read.g == row.g for read in reads)
        if apart and not same and not math.isnan(reads[-1].g):
            raise table.problem(
                f"device {row.device}, cycle {row.cycle}, pulse {row.pulse} is there already, with another value, in "
                f"line {reads[-1].line}",
                "number pulses on through a cycle, or give each train a cycle of its own",
                row.line,
            )
        if apart and (same or math.isnan(reads[-1].g)):
            counts["repeated"] += 1
            pulses[row.pulse] = [row]
        else:
            reads.append(row)
        before = row
    several = [reads for reads in pulses.values() if len(reads) > 1]
    if several and all(len({read.g for read in reads}) == 1 for reads in several):
        counts["repeated"] += sum(len(reads) - 1 for reads in several)
        return {number: reads[:1] for number, reads in pulses.items()}
    counts["again"] += sum(len(reads) - 1 for reads in several)
    return pulses
