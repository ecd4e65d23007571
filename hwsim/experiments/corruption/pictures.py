"""The first test image under every corruption, kept in the job's folder for its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwsim.errors import InputError
from hwsim.experiments.corruption.job import CorruptJob
from hwsim.jobs.store import written_aside
from hwsim.robustness.corruptions.condition import Condition

FILE = "pictures.safetensors"


def keep_pictures(job: CorruptJob) -> None:
    """Write them where they are not there yet: by type, (1 + severities, C, H, W) in [0, 1], the clean one first.

    Raises WorkError where the disk refuses.
    """
    path = job.folder / FILE
    if path.exists():
        return
    clean = job.corrupted(Condition("clean", 0, "")).x[0]
    pictures = {}
    for name in job.types:
        corrupted = [job.corrupted(Condition(name, severity, "severity")).x[0] for severity in job.severities]
        pictures[name] = np.stack([image.numpy() for image in (clean, *corrupted)])
    with written_aside(path) as aside:
        save_file(pictures, aside)


def read_pictures(folder: Path) -> dict[str, NDArray[np.float32]]:
    """What was kept, by type; {} where nothing was. InputError where the file is damaged."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, its command writes it anew") from error
