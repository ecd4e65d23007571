"""What every job shares: how it tells its progress, the command that made it, and how many threads it computes on."""

from __future__ import annotations

import shlex
from typing import Protocol

import torch


class Progress(Protocol):
    """Where a job tells how far it is."""

    def total(self, units: int) -> None:
        """How many units of work the job has in all."""
        ...

    def done(self, what: str, units: int = 1) -> None:
        """So many more units are done; ``what`` says which."""
        ...


def command_line(arguments: list[str]) -> str:
    """The command that makes this run again."""
    return shlex.join(["hwsim", *arguments])


def threads(count: int) -> None:
    """Small networks run fastest on one thread; more only cost (DESIGN, section 6)."""
    torch.set_num_threads(count)


class Quiet:
    """A run counts a whole case as one unit of its work."""

    def total(self, units: int) -> None:
        pass

    def done(self, what: str, units: int = 1) -> None:
        pass
