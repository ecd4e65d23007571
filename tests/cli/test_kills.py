"""A process may die at any write, or its disk fill up: what it goes on to is equal, bit for bit, to what was to be.

`pytest --long` kills at every fourth write of every job, in place of a few.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cli_settings import small
from folder_bits import bits

Call = Callable[..., tuple[int, str, str]]

RUN = small("evaluation.pgd.epsilon=[]", "evaluation.examples=20", "evaluation.corruptions.types=[]")
JOBS = {
    "run": ["run", "--device", "soft-bounds-cell", "--repeats", "2", *RUN],
    "train": ["train", "--device", "soft-bounds-cell", *small("in_situ.epochs=3")],
    "attack": [
        *("attack", "--device", "soft-bounds-cell", "--instances", "2", "--draws", "2", "--eot", "2", "--seeds", "2"),
        *("--attack", "pgd-2", "--threat", "linf:0.1", "--examples", "8", "--no-checks"),
    ],
}
"""Python cells are exact under their seeds."""

KILLS = {"run": [0.08, 0.4, 0.58, 0.74, 0.87], "train": [0.2, 0.45, 0.6, 0.9], "attack": [0.4, 0.7]}
"""Shares of a job's writes. The second repeat of a run begins at a half, its training in situ at about .8."""

FULL = {"run": [0.8], "train": [0.4, 0.62, 0.8], "attack": [0.4, 0.75]}


class Died(BaseException):
    """The process is gone: nothing that catches errors catches this."""


class Disk:
    """Counts writes; at one of them the process dies, or from it on the disk is full and a line is cut short."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.at, self.full = 0, 0, False
        self._flush = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, handle: int) -> None:
        self.writes += 1
        if self.at and self.writes >= self.at:
            if not self.full:
                raise Died
            with suppress(OSError):  # of a file that was opened to be read
                os.ftruncate(handle, max(0, os.fstat(handle).st_size - 9))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._flush(handle)

    def fails(self, at: int, full: bool = False) -> None:
        """At that write from now on; 0: never."""
        self.writes, self.at, self.full = 0, at, full


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    for name in ("current_page", "write_folder_page"):  # drawn from what is compared here
        monkeypatch.setattr(f"hwsim.reports.folder.{name}", lambda folder: folder)
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, tuple[dict[str, Any], int]]:
    """What each job leaves when nothing happens to it, and in how many writes; filled by the first test that asks."""
    return {}


def shares(kind: dict[str, list[float]], job: str, request: pytest.FixtureRequest) -> list[float]:
    return [i / 60 for i in range(1, 60)] if request.config.getoption("--long") else kind[job]


def finish(call: Call, job: str, folder: Path) -> dict[str, Any]:
    code, _, err = call(*JOBS[job], "--out", str(folder))
    assert code == 0, err
    return bits(folder)


def whole(call: Call, job: str, disk: Disk, known: dict[str, tuple[dict[str, Any], int]], folder: Path) -> Any:
    if job not in known:
        disk.fails(0)
        known[job] = finish(call, job, folder), disk.writes
    return known[job]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_killed_at_a_write_goes_on_bit_for_bit(
    job: str, hwsim_here: Call, uninterrupted: Any, disk: Disk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected, writes = whole(hwsim_here, job, disk, uninterrupted, tmp_path / "whole")
    for share in shares(KILLS, job, request):
        folder = tmp_path / f"killed-{share}"
        disk.fails(max(1, round(share * writes)))
        with pytest.raises(Died):
            hwsim_here(*JOBS[job], "--out", str(folder))
        disk.fails(0)
        after = finish(hwsim_here, job, folder)
        assert after.keys() == expected.keys()
        assert [name for name in expected if after[name] != expected[name]] == [], f"killed at {share}"
        assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("job", JOBS)
def test_a_job_whose_disk_filled_up_goes_on_bit_for_bit(
    job: str, hwsim_here: Call, uninterrupted: Any, disk: Disk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected, writes = whole(hwsim_here, job, disk, uninterrupted, tmp_path / "whole")
    for share in shares(FULL, job, request):
        folder = tmp_path / f"full-{share}"
        disk.fails(max(1, round(share * writes)), full=True)
        code, _, err = hwsim_here(*JOBS[job], "--out", str(folder))
        assert code == 1, err
        assert str(folder) in err
        assert "No space left on device" in err
        disk.fails(0)
        after = finish(hwsim_here, job, folder)
        assert after.keys() == expected.keys()
        assert [name for name in expected if after[name] != expected[name]] == [], f"full at {share}"
