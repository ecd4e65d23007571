"""The text of a CSV file of traces as people write it: encodings, separators, decimal commas, comments, headers."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from pathlib import Path

from hwsim.errors import InputError

EXPECTED = "expected the columns device,cycle,pulse,polarity,g_uS, or two columns up,down (header optional)"

MISSING = {"", "nan", "na", "n/a", "null", "none"}

_DECIMAL_COMMA = re.compile(r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$")


def csv_lines(path: Path) -> tuple[list[str] | None, list[tuple[int, list[str]]]]:
    """The header, if there is one, and the rows that are not empty, with their line numbers."""
    text = text_of(path)
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=separator)
    try:
        rows = [
            (reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a CSV file ({error})") from error
    rows = [(line, row) for line, row in rows if not row[0].startswith("#")]
    if separator != ",":
        rows = [(line, [_DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in row]) for line, row in rows]
    if not rows:
        raise InputError(f"{path}: empty; {EXPECTED}")
    header = None
    if not any(is_number(cell) for cell in rows[0][1]):
        header = rows.pop(0)[1]
    if not rows:
        raise InputError(f"{path}: a header and no rows; {EXPECTED}")
    return header, rows


def text_of(path: Path) -> str:
    """The file, in UTF-8, in UTF-16 as spreadsheets write it, or in a Western 8-bit code where that gives text."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        text = "" if wide else raw.decode("cp1252", errors="replace")
        if not text or "\ufffd" in text or any(ord(mark) < 32 and mark not in "\t\r\n" for mark in text):
            raise InputError(f"{path}: not a text file in UTF-8 (byte {error.start} cannot be read)") from error
        return text


def remarks(text: str) -> tuple[str, ...]:
    """What the commented lines before the data say."""
    head = itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), text.splitlines())
    told = (line.lstrip("#").strip().strip(",;") for line in head)
    return tuple(line for line in told if line)


def is_number(cell: str) -> bool:
    """Is it a number, or one of the marks for a missing one?"""
    try:
        float(cell)
    except ValueError:
        return cell.lower() in MISSING
    return True
