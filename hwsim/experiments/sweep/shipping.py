"""A study's folder on its way to workers that do not see it: its small files, packed with a task, unpacked once.

A worker that sees the folder with the same files uses it as it is, with all that is too large to travel.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hwsim.errors import InputError
from hwsim.experiments.sweep.study import Spec

MOST_BYTES_A_FILE = 1 << 20
"""Code and cards are smaller; weights and results, which are not, stay where they are."""

MOST_BYTES = 16 << 20

LEFT_OUT = ("runs", "__pycache__", "node_modules")
RESULTS_OF = ("sweep.json", "receipt.json", "pyvenv.cfg")
"""Files that mark a folder of results, or an environment."""


@dataclass(frozen=True)
class Parcel:
    """The files of a folder: path relative to it -> content."""

    folder: str
    files: dict[str, bytes]

    @functools.cached_property
    def digest(self) -> str:
        whole = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
        return whole.hexdigest()


def packed(folder: Path) -> Parcel:
    """A study's folder without results, hidden files and large ones. InputError where it is no study's alone."""
    files: dict[str, bytes] = {}
    total = 0
    for path in _files(folder):
        files[path.relative_to(folder).as_posix()] = content = path.read_bytes()
        total += len(content)
        if total > MOST_BYTES:
            raise InputError(
                f"--cluster: the study's folder {folder} holds more than {MOST_BYTES >> 20} MiB of small files, which "
                "would travel with every point; give the study a folder of its own"
            )
    return Parcel(str(folder), files)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in LEFT_OUT)
        if Path(here) != folder and any(mark in names for mark in RESULTS_OF):
            folders.clear()
            continue
        for path in (Path(here, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file() and path.stat().st_size <= MOST_BYTES_A_FILE:
                yield path


def arrived(spec: Spec, parcel: Parcel) -> Spec:
    """The spec with its study's folder, and what it names in it, where they are on this machine."""
    here = str(_unpacked(parcel))
    moved = {name: getattr(spec, name) for name in ("model", "device")}
    inside = parcel.folder + os.sep
    moved = {n: here + path[len(parcel.folder) :] if path.startswith(inside) else path for n, path in moved.items()}
    return replace(spec, folder=here, **moved)


_COPIES: dict[str, Path] = {}


def _unpacked(parcel: Parcel) -> Path:
    """The folder itself where it is here with the same files, else a copy that lasts as long as this process."""
    if parcel.digest not in _COPIES:
        own = Path(parcel.folder)
        if all(_content(own / name) == content for name, content in parcel.files.items()):
            return own
        copy = Path(tempfile.mkdtemp(prefix="study-"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        for name, content in parcel.files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        _COPIES[parcel.digest] = copy
    return _COPIES[parcel.digest]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
