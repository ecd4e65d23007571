"""A run: what a user typed, resolved and validated before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import ModelConfig
from hwsim.cards.read import DEFAULT_DEVICE, DEFAULT_MODEL, check_fit, in_situ_recipe, parted, read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError

DRIFT_TIMES_S = {"1 s": 1.0, "1 h": 3600.0, "1 day": 86400.0, "1 month": 30 * 86400.0}
"""Ages after programming at which a drifting device is measured."""


@dataclass(frozen=True)
class Job:
    """A resolved and validated run. ``in_situ`` is the recipe that the device trains by."""

    model: ModelConfig
    device: DeviceCard
    in_situ: LearningConfig
    data: Dataset
    seed: int
    repeats: int
    folder: Path
    command: str

    @property
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values; its hash decides whether a folder is this job's."""
        model = self.model.model_dump()
        model["in_situ"] = self.in_situ.model_dump()
        if self.model.evaluation.attack is None:
            del model["evaluation"]["attack"]
        device = {"name": self.device.name, "summary": self.device.summary, "kind": self.device.kind}
        return {
            "device": {**device, "resolved": self.device.resolved},
            "model": model,
            "data": {"name": self.data.name, "train": len(self.data.train), "test": len(self.data.test)},
            "seed": self.seed,
            "repeats": self.repeats,
        }

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]

    def cases(self) -> list[str]:
        """The rows of the matrix."""
        aged = [f"programmed, {age}" for age in DRIFT_TIMES_S] if self.device.device.drifts else []
        return ["float", "programmed", *aged, "in-situ"]


def plan_run(
    *,
    device: str | None,
    model: str | None,
    data_name: str | None,
    data_dir: Path | None,
    seed: int,
    repeats: int,
    out: Path | None,
    settings: Sequence[str],
    command: str,
) -> Job:
    """Resolve a run. Raises InputError for the first mistake, where it was made.

    ``settings`` are ``key.path=value``; those that start with ``device.`` go over the device's YAML, the
    others over the model card.
    """
    if repeats < 1:
        raise InputError(f"--repeats: expected at least 1, got {repeats}")
    for_device, for_model = parted(settings, seed)
    card = read_device(device or DEFAULT_DEVICE, for_device)
    document, config = read_model(model or DEFAULT_MODEL, for_model)
    config.energy  # noqa: B018 - refuses modules, before the recipe of one is read as another's
    in_situ = in_situ_recipe(document, config, card)
    # A run makes no choices: recipes were chosen on validation images, so it learns from all training images.
    dataset = data.load(data_name or config.data, data_dir).merged()
    check_fit(document, config, dataset)
    job = Job(config, card, in_situ, dataset, seed, repeats, Path("."), command)
    folder = out or Path("runs") / f"{config.name}-{card.name}-seed{seed}-{job.config_hash[:8]}"
    return Job(config, card, in_situ, dataset, seed, repeats, folder, command)
