"""How files are read: up to a limit, as text or JSON, with a sentence where that fails. Every room reads by these."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, NoReturn

from hwsim.errors import InputError

MAX_TEXT_BYTES = 64 << 20
"""Of a card, a table of traces, a JSON file."""

MAX_DATA_BYTES = 1 << 30
"""Of a log, of weights, of a file of images, unpacked."""

MAX_DEPTH = 50
"""Of lists and maps in each other, in YAML and in JSON."""


def read_bytes(path: Path, limit: int = MAX_DATA_BYTES, name: str | None = None) -> bytes:
    """A file's bytes. InputError where it cannot be read or holds more than ``limit``; a device may have no end."""
    name = name or str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(raw) > limit:
        raise InputError(f"{name}: holds more than {limit >> 20} MiB; is it the right file?")
    return raw


def read_unzipped(path: Path, limit: int = MAX_DATA_BYTES) -> bytes:
    """The bytes of a file, unzipped where its name ends in ``.gz``."""
    if path.suffix != ".gz":
        return read_bytes(path, limit)
    try:
        with gzip.open(path) as file:
            raw = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is not a whole gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(raw) > limit:
        raise InputError(f"{path}: holds more than {limit >> 20} MiB; is it the right file?")
    return raw


def read_text(path: Path, name: str | None = None) -> str:
    """A text file in UTF-8."""
    try:
        return read_bytes(path, MAX_TEXT_BYTES, name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name or path}: not a text file in UTF-8 (byte {error.start} cannot be read)") from error


def parse_json(text: str | bytes) -> Any:
    """JSON text, nested at most ``MAX_DEPTH`` deep. Raises ValueError that says what is wrong; NaN is no JSON."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number in JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels") from None
    if "\\u" in (text if isinstance(text, str) else text.decode()):
        json.dumps(value, ensure_ascii=False).encode()  # half a character, which no file can be written with
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, dict | list)]
        if not level:
            return value
    raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels")


def read_json(path: Path, cure: str = "remove it, and give the command that made it again") -> dict[str, Any]:
    """A JSON file that holds an object. InputError where it is not there or damaged; ``cure``: what to do then."""
    try:
        value = parse_json(read_bytes(path, MAX_TEXT_BYTES))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); {cure}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object of names and values; {cure}")
    return value


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
