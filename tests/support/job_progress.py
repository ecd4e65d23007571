"""How far a job is: counted, cut short as a crash would, or watched from outside."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

HUNG_S = 600
"""Seconds after which a process hangs. On a busy machine alone, one has needed more than 120."""


class Silent:
    """Counts the work it is told of."""

    def __init__(self) -> None:
        self.units = self.count = 0

    def total(self, units: int) -> None:
        self.units = units

    def done(self, what: str, units: int = 1) -> None:
        self.count += units

    def note(self, text: str) -> None:
        pass


class DiesAfter(Silent):
    """Stops the job as a crash would, between two units of work."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.left = units

    def done(self, what: str, units: int = 1) -> None:
        self.left -= units
        if self.left < 0:
            raise KeyboardInterrupt


def wait_for(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Until the file has so many lines. AssertionError where the process ends first, or hangs."""
    deadline = time.monotonic() + HUNG_S
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"no {lines} results in time: {process.communicate()}")
