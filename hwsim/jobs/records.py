"""Records as dataclasses: the lines of a job's log and its JSON files, each kind read and written in one way."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from hwsim.errors import InputError
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import ends_with_newline, lines_of, parse_line, write_json

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """A line of a log. Where a log has several kinds of records, each has a field ``kind`` with its name as default."""

    seconds: float = 0.0

    @property
    @abstractmethod
    def key(self) -> tuple[Hashable, ...]:
        """What it is about; a later record of the same key replaces an earlier one."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        values = plain(self)
        return {**{name: value for name, value in values.items() if name != "seconds"}, "seconds": self.seconds}


def check_hits(hits: Sequence[Sequence[int]], draws: int) -> None:
    """ValueError unless these are hits of (instances, images), each in 0 to ``draws``."""
    alike = bool(hits) and all(len(of) == len(hits[0]) > 0 for of in hits)
    if not alike or draws < 1 or not all(0 <= hit <= draws for of in hits for hit in of):
        raise ValueError(f"expected hits of 0 to {draws} draws, of as many images on every instance")


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Reading(Generic[R]):
    """A log as it was read.

    Attributes:
        records: the last one of each key, in the order in which their keys first came.
        damaged: the numbers of lines that cannot be read, from 1.
        torn: did the last line break off? What it was about is measured again.
        others: records of kinds that were not looked for, of a later version perhaps.
        lines: how many there are.
    """

    records: list[R]
    damaged: list[int]
    torn: bool
    others: list[dict[str, Any]]
    lines: int


def read_log(path: Path, *kinds: type[R]) -> Reading[R]:
    """Read a log of these kinds of records, whatever state it is in."""
    by_kind = {getattr(kind, "kind", None): kind for kind in kinds}
    known: dict[tuple[Hashable, ...], R] = {}
    damaged, others, lines = list[int](), list[dict[str, Any]](), lines_of(path)
    for number, line in enumerate(lines, 1):
        values = parse_line(line)
        if values is None:
            damaged.append(number)
            continue
        kind = kinds[0] if len(kinds) == 1 else by_kind.get(values.get("kind"))
        if kind is None:
            others.append(values)
            continue
        try:
            record: R = _adapter(kind).validate_python(values)
        except (ValidationError, OverflowError):
            damaged.append(number)
        else:
            known[record.key] = record
    torn = bool(damaged) and damaged[-1] == len(lines) and lines[-1].startswith(b"{") and not ends_with_newline(path)
    return Reading(list(known.values()), damaged[:-1] if torn else damaged, torn, others, len(lines))


def read_records(path: Path, *kinds: type[R]) -> list[R]:
    """The records of a log, the last one of each key; what cannot be read is left out, and said."""
    reading = read_log(path, *kinds)
    if reading.damaged:
        logging.getLogger("hwsim").warning("%s: %s; what is whole is used", path, damage(reading))
    return reading.records


def damage(reading: Reading[Any]) -> str:
    """What is damaged, in words."""
    lines = reading.damaged
    shown = ", ".join(map(str, lines[:5])) + (", ..." if len(lines) > 5 else "")
    plural = "s" * (len(lines) > 1)
    return f"{len(lines)} of {reading.lines} lines cannot be read (line{plural} {shown})"


def read_file(path: Path, kind: type[T]) -> T | None:
    """A JSON file as a dataclass; None where there is none. InputError where it is damaged or of another kind."""
    if not path.is_file():
        return None
    try:
        return _adapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {place}: {first['msg']}; expected what this version of hwsim writes; the command that made the "
            "folder writes it anew"
        ) from error


def write_file(path: Path, record: Any) -> None:
    """A dataclass as a JSON file, replaced as a whole."""
    write_json(path, plain(record))


def plain(value: Any) -> Any:
    """A dataclass as JSON has it; fields that are None by default and have no value are left out."""
    if is_dataclass(value):
        named = ((each, getattr(value, each.name)) for each in fields(value))
        return {each.name: plain(own) for each, own in named if own is not None or each.default is not None}
    if isinstance(value, dict):
        return {key: plain(own) for key, own in value.items()}
    return [plain(own) for own in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=64)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
