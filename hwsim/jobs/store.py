"""Files that are never half-written: written aside, flushed to the disk, then renamed over the old ones."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwsim.errors import WorkError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well and vanishes otherwise.

    Raises WorkError, naming the file and the cause, where the disk refuses.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        aside = Path(name)
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


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole records of a JSON-lines file; [] where it does not exist. A torn line is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
