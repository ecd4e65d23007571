"""The folder of a job: one process at a time, one configuration for good."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hwsim import files
from hwsim.cards.differences import differences
from hwsim.cards.yamlfile import parse_yaml, read_yaml, to_yaml
from hwsim.errors import InputError
from hwsim.jobs.job import Job
from hwsim.jobs.store import remove_leftovers, write_text


@contextmanager
def claimed(job: Job) -> Iterator[None]:
    """The job's folder, made or found, for this process alone; its configuration is written to config.yaml.

    The lock goes with the process, however that ends. Raises InputError where the folder cannot be written,
    another process is at it, or it holds another configuration.
    """
    folder = job.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror}); give another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"--out {folder}: another process is running in it; wait, or give another --out"
            ) from error
        path = folder / "config.yaml"
        if path.exists():
            kept = read_yaml(path).data
            if kept.get("config_hash") != job.config_hash:
                raise InputError(
                    f"--out {folder}: holds a job of another configuration ({_differing(kept, job)}); "
                    "give another --out, or remove the folder to start anew"
                )
        else:
            write_text(path, to_yaml({**job.head, **job.resolved}))
        remove_leftovers(folder)
        yield


def _differing(kept: dict[str, Any], job: Job) -> str:
    """The keys in which a kept configuration differs from a job's, with both values."""
    own = parse_yaml(to_yaml(job.resolved), "config").data  # as plain as what was written
    pairs = differences({key: value for key, value in kept.items() if key not in job.head}, own)
    words = [f"{key} is {_short(there)} there and {_short(here)} here" for key, (there, here) in pairs.items()]
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return "; ".join(words[:5]) + more or f"{kept.get('config_hash')}, this one is {job.config_hash}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def busy(path: Path) -> bool:
    """Is a process at work in the folder?"""
    try:
        with held(path):
            return False
    except InputError:
        return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The folder's locks, a sweep's claims among them. InputError where a process that writes into it has one."""
    with ExitStack() as stack:
        for lock in [path / ".lock", *sorted((path / "claims").glob("*"))]:
            if not lock.is_file():
                continue
            file = stack.enter_context(lock.open())
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"{path}: a process is writing into it; wait until it ends, or stop it") from None
        yield


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; {} where there is none. InputError where it is damaged."""
    if not path.exists():
        return {}
    return files.read_json(path, "the command that made the folder writes it anew")
