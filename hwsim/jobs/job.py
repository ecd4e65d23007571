"""What every job has: what it is of, where it goes, the command that made it; and how it tells its progress."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hwsim import __version__

if TYPE_CHECKING:
    from hwsim.cards.device import DeviceCard

RUNS = Path("runs")
"""Where jobs go that name no folder of their own."""


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """A piece of work, resolved and validated before any of it is done.

    Attributes:
        device: what it is done on; None: exact arithmetic.
        seed: root of all random streams.
        command: what does it again.
        again: plans the same job; by it a worker process gets the job, which holds too much to travel. None: only
            the process that has it can do it.
        out: the folder that was named for it, see ``folder``.
    """

    kind: ClassVar[str]
    device: DeviceCard | None
    seed: int
    command: str = ""
    again: Callable[[], Job] | None = field(default=None, compare=False, repr=False)
    out: Path | None = None

    @property
    @abstractmethod
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values; its hash decides whether a folder is this job's."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What its folder is called, with the hash behind it, where none was named."""

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def head(self) -> dict[str, Any]:
        """What its config.yaml says before the configuration: what wrote it, and the hash of what follows."""
        return {"kind": self.kind, "hwsim": __version__, "config_hash": self.config_hash}

    @property
    def folder(self) -> Path:
        return self.out or RUNS / f"{self.label}-{self.config_hash[:8]}"

    @property
    def device_name(self) -> str:
        return self.device.name if self.device else "float"

    @property
    def resolved_device(self) -> dict[str, Any]:
        """The device's part of the configuration."""
        return (
            {"name": "float"} if self.device is None else {"name": self.device.name, "resolved": self.device.resolved}
        )


class Progress(Protocol):
    """Where a job tells how far it is."""

    def total(self, units: int) -> None:
        """How many units of work the job has in all."""
        ...

    def done(self, what: str, units: int = 1) -> None:
        """So many more units are done; ``what`` says which."""
        ...

    def note(self, text: str) -> None:
        """Something that stays to be read, a line of its own."""
        ...


class Quiet:
    """Tells nobody: a part of a job that counts as one unit of it."""

    def total(self, units: int) -> None:
        pass

    def done(self, what: str, units: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass
