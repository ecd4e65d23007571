"""Fetch an archive, check it, and unpack the files that are wanted; nothing half-fetched is ever left in place."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath

from hwsim.errors import WorkError

TIMEOUT_S = 20.0  # of a connection that says nothing, not of the whole transfer
_CHUNK_BYTES = 1 << 20

Progress = Callable[[int, "int | None"], None]  # bytes done, bytes in all where the server says


class Unreachable(Exception):
    """No connection, or a server that refuses; the message is the cause."""


@dataclass(frozen=True)
class Archive:
    """A published ``.tar.gz``: its address, MD5 checksum, and the folder that the files belong to."""

    address: str
    md5: str
    folder: str


def fetch_archive(archive: Archive, root: Path, wanted: Sequence[str], progress: Progress | None = None) -> Path:
    """Leave ``wanted`` files of the archive in ``root/archive.folder`` and return that folder.

    Only plain files of the wanted names are unpacked, whatever paths the archive claims. Raises Unreachable
    without a connection and WorkError where the transfer broke off, the checksum differs or the disk refuses.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
            packed = Path(aside, "archive.tar.gz")
            _transfer(archive, packed, progress)
            unpacked = Path(aside, archive.folder)
            unpacked.mkdir()
            _unpack(archive, packed, unpacked, wanted)
            unpacked.rename(root / archive.folder)
    except OSError as error:
        raise WorkError(f"{root}: {archive.address} could not be kept here ({error.strerror or error})") from error
    return root / archive.folder


def _transfer(archive: Archive, path: Path, progress: Progress | None) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    try:
        response = urllib.request.urlopen(archive.address, timeout=TIMEOUT_S)
    except urllib.error.URLError as error:  # HTTPError, a refusal, is one too
        raise Unreachable(str(getattr(error, "reason", None) or error)) from error
    except (OSError, HTTPException) as error:
        raise Unreachable(str(error)) from error
    with response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while chunk := _next_chunk(response, archive):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if digest.hexdigest() != archive.md5:
        raise WorkError(
            f"{archive.address}: {done:,} bytes arrived with MD5 checksum {digest.hexdigest()}, "
            f"expected {archive.md5}; nothing was kept, try again"
        )


def _next_chunk(response: HTTPResponse, archive: Archive) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        raise WorkError(f"{archive.address}: the transfer broke off ({error}); nothing was kept, try again") from error


def _unpack(archive: Archive, packed: Path, folder: Path, wanted: Sequence[str]) -> None:
    missing = set(wanted)
    try:
        with tarfile.open(packed, "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                content = tar.extractfile(member) if member.isfile() and name in missing else None
                if content is not None:
                    with content, (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
                    missing.discard(name)
    except (tarfile.TarError, EOFError) as error:
        raise WorkError(f"{archive.address}: is not a whole .tar.gz archive ({error})") from error
    if missing:
        raise WorkError(f"{archive.address}: the archive lacks {', '.join(sorted(missing))}")
