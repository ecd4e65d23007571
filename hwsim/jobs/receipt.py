"""``receipt.json``, the receipt of a job: what ran, on what, from which seeds, and what of it repeats exactly."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hwsim import __version__
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.jobs.folder import read_json
from hwsim.jobs.job import Job
from hwsim.jobs.store import write_json

RECEIPT = "receipt.json"
PACKAGES = ("torch", "aihwkit", "numpy", "scipy", "scikit-learn", "safetensors", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of hwsim, Python and the packages that results depend on; missing ones are left out."""
    installed = {"hwsim": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def git_revision() -> str | None:
    """The commit that this code was run from, "+changes" where the checkout differs; None outside one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, Any]:
    """What figures of time depend on; nothing that names the machine."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }


def streams(device: Device) -> dict[str, list[str]]:
    """Which sources of randomness repeat exactly under the run's seed and which only statistically.

    ``not_simulated`` lists settings of the device's configuration that have no effect here.
    """
    exact = ["data order", "initial weights", "corruptions", "attacks", "device variation"]
    unseeded = device.unseeded_reads
    directions = {reason.partition(":")[0] for reason in unseeded}
    exact += [f"{name} reads" for name in ("forward", "backward") if name not in directions]
    statistical = [f"{reason} (read by aihwkit's compiled tile)" for reason in unseeded]
    if device.seedable:
        exact.append("updates")
    else:
        statistical.append("pulses and write noise, which aihwkit's compiled tile draws from the clock")
    statistical += [f"after an interruption: {reason}" for reason in device.not_exact]
    return {"exact": exact, "statistical": statistical, "not_simulated": list(device.not_used)}


def write_receipt(job: Job, started: float, seeds: Mapping[str, Any] | None = None) -> None:
    """Write ``receipt.json``; the seconds since ``started`` (Unix time) are added to those of earlier starts.

    ``seeds``: what there is to tell beside the root seed.
    """
    path = job.folder / RECEIPT
    earlier = read_json(path)
    write_json(
        path,
        {
            "command": job.command,
            "config_hash": job.config_hash,
            "versions": versions(),
            "git": git_revision(),
            "machine": machine(),
            "seeds": {"root": job.seed, **(seeds or {})},
            "streams": streams(job.device.device if job.device else FloatDevice()),
            "started": earlier.get("started") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(earlier.get("seconds", 0.0) + time.time() - started, 1),
        },
    )
