"""Records as dataclasses: the lines of a job's log and its JSON files, each kind read and written in one way."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from hwsim.errors import InputError
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import read_lines, write_json

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A line of a log. Where a log has several kinds of records, each has a field ``kind`` with its name as default."""

    seconds: float = 0.0

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What it is about; a later record of the same key replaces an earlier one."""
        raise NotImplementedError

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        values = plain(self)
        return {**{name: value for name, value in values.items() if name != "seconds"}, "seconds": self.seconds}


R = TypeVar("R", bound=Record)


def read_records(path: Path, *kinds: type[R]) -> list[R]:
    """The records of a log, the last one of each key, in the order in which their keys first came.

    A line that is none of these records, or was torn by a crash, is left out: its job measures it again.
    """
    by_kind = {getattr(kind, "kind", None): kind for kind in kinds}
    records: dict[tuple[Hashable, ...], R] = {}
    for line in read_lines(path):
        kind = kinds[0] if len(kinds) == 1 else by_kind.get(line.get("kind"))
        if kind is None:
            continue
        try:
            record: R = _adapter(kind).validate_python(line)
        except ValidationError:
            continue
        records[record.key] = record
    return list(records.values())


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
