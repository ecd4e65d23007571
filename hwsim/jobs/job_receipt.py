"""``receipt.json``: the receipt of any job, kept in its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from hwsim.cards.device import DeviceCard
from hwsim.crossbar.exact import FloatDevice
from hwsim.jobs import receipt
from hwsim.jobs.store import write_json


class Job(Protocol):
    """What a receipt tells of a job."""

    @property
    def folder(self) -> Path: ...

    @property
    def command(self) -> str: ...

    @property
    def config_hash(self) -> str: ...

    @property
    def device(self) -> DeviceCard | None: ...

    @property
    def seed(self) -> int: ...


def write_receipt(job: Job, started: float, seeds: Mapping[str, Any] | None = None) -> None:
    """Write ``receipt.json``; the seconds since ``started`` (Unix time) are added to those of earlier starts.

    ``seeds``: what there is to tell beside the root seed.
    """
    path = job.folder / "receipt.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(
        path,
        {
            "command": job.command,
            "config_hash": job.config_hash,
            "versions": receipt.versions(),
            "git": receipt.git_revision(),
            "machine": receipt.machine(),
            "seeds": {"root": job.seed, **(seeds or {})},
            "streams": receipt.streams(job.device.device if job.device else FloatDevice()),
            "started": earlier.get("started") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(earlier.get("seconds", 0.0) + time.time() - started, 1),
        },
    )
