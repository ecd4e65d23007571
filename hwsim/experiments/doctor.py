"""What this installation and machine can do: each thing checked, its state, and the cure of what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from hwsim.data import sources as datasources
from hwsim.errors import InputError, WorkError

OLDEST_PYTHON = (3, 11)
FREE_GIB = 1.0  # a run folder takes some 10 MB; a trained CIFAR network with its checkpoints some 100 MB
NOT_INSTALLED = "(not installed)"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """One thing checked. ``cure`` is empty where there is nothing to do; where ``ok``, it is only a hint."""

    name: str
    ok: bool
    state: str
    cure: str = ""


def diagnose(data_dir: str | Path | None = None, folder: str | Path = ".") -> list[Finding]:
    """Check Python, the pair of aihwkit and torch, threads, the disk under ``folder`` and the data sets."""
    return [
        check_python(),
        check_aihwkit(),
        check_threads(),
        check_disk(Path(folder)),
        *(check_data(name, data_dir) for name in datasources.NAMES),
    ]


def report(findings: list[Finding]) -> str:
    """The findings as plain lines, each cure below what it cures."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.name:<{width}}  {finding.state}")
        if finding.cure:
            lines.append(f"{'':7}{'':{width}}  -> {finding.cure}")
    return "\n".join(lines)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Is this Python one that the pinned wheels exist for?"""
    installed = ".".join(map(str, version))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    cure = "" if version >= OLDEST_PYTHON else f"install Python {oldest} or later, remove .venv and run `make run`"
    return Finding("python", not cure, f"{installed} on {platform.system()} {platform.machine()}", cure)


def check_aihwkit(smoke_test: Callable[[], None] | None = None) -> Finding:
    """Do aihwkit and torch work together? Tried by a read and an update of a tiny tile. Float does without aihwkit."""
    versions = f"aihwkit {_version('aihwkit')} with torch {_version('torch')}"
    try:
        if smoke_test is None:
            from hwsim.devices.aihw.pair import absent
            from hwsim.devices.aihw.pair import check_pair as smoke_test

            if _version("aihwkit") == NOT_INSTALLED:
                return Finding("aihwkit", True, "not installed", absent("devices of aihwkit"))
        smoke_test()
    except (ImportError, WorkError) as error:
        return Finding("aihwkit", False, versions, str(error))
    return Finding("aihwkit", True, f"{versions}, read and updated a tile")


def check_threads(threads: int | None = None, cores: int | None = None) -> Finding:
    """Do the threads fit the cores? More threads than cores make small arrays many times slower."""
    threads = torch.get_num_threads() if threads is None else threads
    cores = _cores() if cores is None else cores
    settings = ", ".join(f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ)
    used = f"torch uses {threads} of {cores} cores ({settings or 'no thread variable set'})"
    ok = threads <= cores
    return Finding("threads", ok, used, "" if ok else f"export OMP_NUM_THREADS={cores}, or 1 for small networks")


def check_disk(folder: Path) -> Finding:
    """Is there room for a run, and may it be written?"""
    try:
        free_gib = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding("disk", False, f"{folder}: {error.strerror or error}", "change to a folder that exists")
    state = f"{free_gib:.1f} GiB free under {folder.resolve()}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", False, f"{state}, not writable", "write elsewhere, with --out DIR")
    room = free_gib >= FREE_GIB
    return Finding("disk", room, state, "" if room else f"free {FREE_GIB:g} GiB, or write elsewhere with --out DIR")


def check_data(name: str, data_dir: str | Path | None = None) -> Finding:
    """Does a data set lie where it is looked for, with all its files? One that is absent is not wrong."""
    label = f"data {name}"
    if name == "digits":
        return Finding(label, True, "comes with scikit-learn")
    try:
        folder = datasources.locate(name, data_dir)
    except InputError as error:
        return Finding(label, False, "cannot be looked for", str(error))
    if folder is None:
        return Finding(label, True, "not here", datasources.how_to_get(name, data_dir))
    missing = datasources.missing_files(name, folder)
    if missing:
        return Finding(label, False, f"{folder} lacks {', '.join(missing)}", "remove the folder, or complete it")
    return Finding(label, True, str(folder))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return NOT_INSTALLED
