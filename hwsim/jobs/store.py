"""Files that are never half-written: written aside, flushed to the disk, then renamed over the old ones."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hwsim.errors import WorkError
from hwsim.files import parse_json, read_bytes

PART = ".part"
"""How the name of a file ends that is being written."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well and vanishes otherwise.

    Raises WorkError, naming the file and the cause, where the disk refuses.
    """
    aside = handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        aside = Path(name)
        fcntl.flock(handle, fcntl.LOCK_EX)  # as long as this process lives: see ``remove_leftovers``
        yield aside
        with aside.open("rb") as done:
            os.fsync(done.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    except OSError as error:
        raise WorkError(f"{path}: could not be written ({error.strerror or error}); nothing was replaced") from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A file that several processes write into, for this one alone; the lock goes with the process, however it ends."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that are gone were writing aside; whoever is still at it has its file locked."""
    for path in [*folder.rglob(f".*{PART}")]:
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line and flush it to the disk; a line cut short by a crash is dropped by ``read_lines``."""
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    try:
        with path.open("a+b") as file:
            # A line torn by a crash must not swallow this one.
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WorkError(f"{path}: a result could not be appended ({error.strerror or error})") from error


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace a JSON-lines file as a whole."""
    write_text(path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))


def kept_aside(path: Path) -> Path:
    """A copy of a damaged file under a name of its own."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in itertools.count())
    aside = next(name for name in names if not name.exists())
    with written_aside(aside) as part:
        shutil.copyfile(path, part)
    return aside


def lines_of(path: Path) -> list[bytes]:
    """The lines of a JSON-lines file as they are, the last one also where it was torn; [] where there is no file."""
    lines = read_bytes(path).split(b"\n") if path.exists() else []
    return lines[:-1] if lines and not lines[-1] else lines


def ends_with_newline(path: Path) -> bool:
    """Was its last line written to the end?"""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it is none."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole records of a JSON-lines file; [] where it does not exist. What is torn or damaged is left out."""
    return [record for line in lines_of(path) if (record := parse_line(line)) is not None]
