"""A file of measurements as a table of cells, as people write it: encodings, separators, decimal marks, header blocks.

Separators are sniffed by clevercsv from lines all over the file, decimal marks and thousands marks from all cells.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import InputError
from hwsim.files import MAX_TEXT_BYTES, read_bytes

EXPECTED = "expected the columns device,cycle,pulse,polarity,g_uS, or two columns up,down, or a column a train"
MISSING = {"", "nan", "na", "n/a", "null", "none", "-", "--", "#n/a", "#div/0!"}
COMMENTS = ("#", "%", "//")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", " ": "blanks", "|": "bar"}
_SHOWN = 4  # rows that a message shows
_SNIFFED = 80  # lines from the beginning, the middle and the end each
_NUMERIC = re.compile(r"[+-]?[\d.,'’ \u00a0\u202f]*\d[\d.,'’ \u00a0\u202f]*(?:[eE][+-]?\d+)?")
_BLANK_INSIDE = re.compile(r"\d,\d+\s+[+-]?\d+,\d")
_THOUSANDS = re.compile(r"['’ \u00a0\u202f]")
_WORDS = {"up", "down", "set", "reset", "ltp", "ltd", "potentiation", "depression", "pot", "dep", "read"}

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """What was read of a file.

    Args:
        path, sheet: where from; ``sheet`` of a workbook, else None.
        separator: between cells, as a word.
        decimal: "." or ",".
        head: heads of the columns, units of a row under them in brackets; None where there are none.
        rows: (line, cells) of the table, decimal marks written as points.
        remarks: comments and what else stands before the table.
        first: the first rows as they were read, heads included.
    """

    path: Path
    sheet: str | None
    separator: str
    decimal: str
    head: Cells | None
    rows: tuple[tuple[int, Cells], ...]
    remarks: tuple[str, ...]
    first: tuple[tuple[int, Cells], ...]

    @property
    def width(self) -> int:
        """Number of columns: of the heads, else of most rows."""
        return len(self.head) if self.head else Counter(len(cells) for _, cells in self.rows).most_common(1)[0][0]

    def problem(self, what: str, fix: str, line: int | None = None) -> InputError:
        """An error that shows the first rows as they were read, and says what would mend them."""
        place = f"{self.path}:{line}" if line else f"{self.path}"
        rows = "\n".join(
            f"  line {line}: {' | '.join(cells[:8])}{' ...' * (len(cells) > 8)}" for line, cells in self.first
        )
        how = f"separator {self.separator}, decimal mark {self.decimal!r}"
        return InputError(f"{place}: {what}\nFirst rows as read ({how}):\n{rows}\nTo mend it: {fix}")


def read_table(path: Path, sheet: str | None = None) -> Table:
    """Read a text file or, with the extra ``excel``, a workbook. Raises InputError for what is no table."""
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        name, rows = _workbook(path, sheet)
        return _table(path, name, "none, a workbook", [], rows)
    if sheet is not None:
        raise InputError(f"{path}: no workbook; --sheet is for .xlsx files")
    lines = text_of(path).splitlines()
    comments = [(n, line) for n, line in enumerate(lines, 1) if line.strip().startswith(COMMENTS)]
    taken = {n for n, _ in comments}
    content = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and n not in taken]
    separator = None
    if content and (given := re.fullmatch(r'"?sep=(.)"?', content[0][1].strip())):
        separator, content = given[1], content[1:]
    if not content:
        raise InputError(f"{path}: empty; {EXPECTED}")
    separator = separator or sniffed([line for _, line in content])
    rows = [(n, _split(line, separator)) for n, line in content]
    return _table(path, None, SEPARATORS.get(separator, repr(separator)), comments, rows)


def text_of(path: Path) -> str:
    """The file, in UTF-8, in UTF-16 as spreadsheets write it, or in a Western 8-bit code where that gives text."""
    raw = read_bytes(path, MAX_TEXT_BYTES)
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if wide else "utf-8-sig").replace("\0", "\ufffd")
    except UnicodeDecodeError as error:
        text = "" if wide else raw.decode("cp1252", errors="replace")
        if not text or "\ufffd" in text or any(ord(mark) < 32 and mark not in "\t\r\n\f" for mark in text):
            raise InputError(f"{path}: not a text file in UTF-8 (byte {error.start} cannot be read)") from error
        return text


def sniffed(lines: list[str]) -> str:
    """The separator of most likely the whole file: blanks where there is no other."""
    import clevercsv  # takes a third of a second to load

    middle = len(lines) // 2
    sample = (
        lines
        if len(lines) <= 3 * _SNIFFED
        else [*lines[:_SNIFFED], *lines[middle : middle + _SNIFFED], *lines[-_SNIFFED:]]
    )
    try:
        dialect = clevercsv.Sniffer().sniff("\n".join(line.strip(" ") for line in sample), delimiters=list(SEPARATORS))
    except clevercsv.Error:
        return " "
    if (
        dialect
        and dialect.delimiter == ","
        and sum(bool(_BLANK_INSIDE.search(line)) for line in sample) > len(sample) / 2
    ):
        return " "  # decimal commas between blanks
    return (dialect.delimiter if dialect else "") or " "


def is_number(cell: str) -> bool:
    """Is it a number, with a point as decimal mark?"""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in MISSING and "_" not in cell


def _split(line: str, separator: str) -> Cells:
    if separator == " ":
        line = " ".join(line.split())
    try:
        cells = next(csv.reader([line], delimiter=separator))
    except (csv.Error, StopIteration):
        cells = line.split(separator)
    return _trimmed(cell.strip() for cell in cells)


def _trimmed(cells: Iterable[str]) -> Cells:
    """Without the empty cells at the end, which trailing separators leave."""
    row = list(cells)
    while row and not row[-1]:
        row.pop()
    return tuple(row)


def _workbook(path: Path, sheet: str | None) -> tuple[str, list[tuple[int, Cells]]]:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(f"{path}: workbooks need openpyxl: pip install 'hwsim[excel]', or save it as CSV") from error
    text_free = "cannot be read as a workbook"
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:  # a damaged archive raises whatever its parts do
        raise InputError(f"{path}: {text_free} ({error})") from error
    names = book.sheetnames
    if sheet is not None and sheet not in names:
        raise InputError(f"{path}: no sheet {sheet!r}; its sheets are: {', '.join(names)}")
    for name in [sheet] if sheet is not None else names:
        rows = []
        for number, values in enumerate(book[name].iter_rows(values_only=True), 1):
            cells = _trimmed("" if value is None else str(value).strip() for value in values)
            if cells:
                rows.append((number, cells))
        rows = _without_left_margin(rows)
        if sheet is not None or sum(_is_data(cells) for _, cells in rows) > 1:
            return name, rows
    raise InputError(f"{path}: no sheet with a table of numbers; its sheets are: {', '.join(names)}")


def _without_left_margin(rows: list[tuple[int, Cells]]) -> list[tuple[int, Cells]]:
    margin = min((next(i for i, cell in enumerate(cells) if cell) for _, cells in rows), default=0)
    return [(number, cells[margin:]) for number, cells in rows]


def _table(
    path: Path, sheet: str | None, separator: str, comments: list[tuple[int, str]], raw: list[tuple[int, Cells]]
) -> Table:
    raw, notes = _without_notes([(line, cells) for line, cells in raw if cells])
    decimal = _decimal_mark(cell for _, cells in raw for cell in cells)
    rows = [(line, tuple(_plain(cell, decimal) for cell in cells)) for line, cells in raw]
    begin = _begin(rows)
    first = tuple(raw[max(0, begin - 1) : begin + _SHOWN - 1])
    if begin == len(rows):
        what = "no row of numbers" if len(rows) > 1 else "a header and no rows"
        empty = Table(path, sheet, separator, decimal, None, (), (), tuple(raw[:_SHOWN]))
        raise empty.problem(
            f"{what}; {EXPECTED}",
            "a table with a head such as device,cycle,pulse,polarity,g_uS",
            raw[0][0] if raw else None,
        )
    head, before = _head(rows, begin)
    if head is None:
        head = _commented_head(comments, rows[begin][0], len(rows[begin][1]))
    remarks = [(line, _remark(text)) for line, text in comments if line < rows[begin][0]]
    remarks += [(line, " ".join(cell for cell in cells if cell)) for line, cells in [*raw[:before], *notes]]
    texts = tuple(text for _, text in sorted(remarks) if text)
    return Table(path, sheet, separator, decimal, head, tuple(rows[begin:]), texts, first)


def _without_notes(rows: list[tuple[int, Cells]]) -> tuple[list[tuple[int, Cells]], list[tuple[int, Cells]]]:
    """The rows without notes at the right of the table, beyond a column that is empty everywhere; and the notes."""
    widths = Counter(len(cells) for _, cells in rows)
    if not widths:
        return rows, []
    width = widths.most_common(1)[0][0]
    longer = [(line, cells) for line, cells in rows if len(cells) > width]
    if not longer or any(cells[width] for _, cells in longer):
        return rows, []
    return [(line, _trimmed(cells[:width])) for line, cells in rows], [(line, cells[width:]) for line, cells in longer]


def _decimal_mark(cells: Iterable[str]) -> str:
    """The decimal mark of all cells together: marks that can only be decimal, or only thousands, decide."""
    votes = {".": 0, ",": 0}
    doubtful = {".": 0, ",": 0}
    for cell in cells:
        if not ("," in cell or "." in cell) or not _NUMERIC.fullmatch(cell):
            continue
        body = re.split("[eE]", cell.lstrip("+-"))[0]
        last = max(body.rfind(","), body.rfind("."))
        mark, other = body[last], "." if body[last] == "," else ","
        whole, places = body[:last], body[last + 1 :]
        if mark in whole:
            votes[other] += 1  # twice the same: thousands
        elif other in whole or len(places) != 3 or not 1 <= len(whole) <= 3 or whole.startswith("0"):
            votes[mark] += 1
        else:
            doubtful[mark] += 1
    if votes[","] != votes["."]:
        return max(votes, key=lambda mark: votes[mark])
    return "," if doubtful[","] and not doubtful["."] else "."


def _plain(cell: str, decimal: str) -> str:
    """A number with a point as decimal mark and no thousands marks; other cells as they are."""
    if not _NUMERIC.fullmatch(cell):
        return cell
    body = _THOUSANDS.sub("", cell)
    body = body.replace(".", "").replace(",", ".") if decimal == "," else body.replace(",", "")
    return body if is_number(body) else cell


def _is_data(cells: Cells) -> bool:
    """Numbers, words of a polarity and gaps; in rows of three and more also up to two names, of devices."""
    filled = [cell for cell in cells if cell.lower() not in MISSING]
    numbers = sum(is_number(cell) for cell in filled)
    names = sum(not is_number(cell) and cell.lower() not in _WORDS for cell in filled)
    return numbers > 0 and names <= (0 if len(cells) < 3 else 2 if numbers >= 2 else 1)


def _begin(rows: list[tuple[int, Cells]]) -> int:
    """Index of the first row of the table: numbers in as many columns as most rows of numbers have."""
    data = [_is_data(cells) for _, cells in rows]
    widths = Counter(len(cells) for (_, cells), good in zip(rows, data, strict=True) if good)
    if not widths:
        return len(rows)
    width = widths.most_common(1)[0][0]
    begin = next(i for i, (_, cells) in enumerate(rows) if data[i] and len(cells) == width)
    numbers = not is_number(rows[begin][1][0]) and _numbered(rows[begin][1])  # device,0,1,2,...: a head
    return begin + 1 if numbers and begin + 1 < len(rows) else begin


def _head(rows: list[tuple[int, Cells]], begin: int) -> tuple[Cells | None, int]:
    """The heads before row ``begin``, with units from a row of their own, and the index where they begin."""
    from hwsim.characterisation.heads import is_unit

    if not begin:
        return None, 0
    above = rows[begin - 1][1]
    units = [cell for cell in above if cell.lower() not in MISSING | {"#", "1"}]
    if begin > 1 and units and all(is_unit(cell) for cell in units) and len(rows[begin - 2][1]) >= len(above):
        names = rows[begin - 2][1]
        given = [*above, *[""] * (len(names) - len(above))]
        joined = tuple(
            f"{name} ({unit.strip('()[] ')})" if is_unit(unit) else name
            for name, unit in zip(names, given, strict=True)
        )
        return joined, begin - 2
    if any(is_number(cell) for cell in above) and not _numbered(above):
        return None, begin
    if len(above) < len(rows[begin][1]) - 1 or (len(above) == 1 and len(rows[begin][1]) > 1):
        return None, begin
    return above, begin - 1


def _numbered(cells: Cells) -> bool:
    """A head of pulse numbers: a name, then whole numbers that rise."""
    numbers = [float(cell) for cell in cells[1:] if is_number(cell)]
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    return len(numbers) >= 3 and len(numbers) == len(cells) - 1 and rising and all(n == int(n) for n in numbers)


def _commented_head(comments: list[tuple[int, str]], begin: int, width: int) -> Cells | None:
    """Heads in the last comment before the table, as numpy.savetxt writes them."""
    before = [text for line, text in comments if line < begin]
    if not before:
        return None
    text = _remark(before[-1])
    for separator in ("\t", ";", ",", " "):
        cells = _split(text, separator)
        if len(cells) == width and width > 1 and not any(is_number(cell) for cell in cells):
            from hwsim.characterisation.heads import head_of

            return cells if any(head_of(cell).role for cell in cells) else None
    return None


def _remark(text: str) -> str:
    return text.strip().lstrip("#%/").strip().strip(",;").strip()
