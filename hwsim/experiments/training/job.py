"""A training: what a user typed, resolved and validated before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import ModelConfig
from hwsim.cards.read import DEFAULT_MODEL, check_fit, in_situ_recipe, parted, read_model
from hwsim.cards.recipe import LearningSection
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError


@dataclass(frozen=True)
class TrainJob:
    """A resolved training. ``device`` None: exact arithmetic with the recipe's momentum and weight decay.

    ``place`` is the torch device that computes; it is no part of the configuration, a training may go on elsewhere.
    """

    model: ModelConfig
    recipe: LearningSection
    device: DeviceCard | None
    data: Dataset
    seed: int
    folder: Path
    command: str
    place: str = "cpu"

    @property
    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        device = {"name": self.device.name, "resolved": self.device.resolved} if self.device else {"name": "float"}
        sizes = {part: len(split) for part, split in self.data.splits.items()}
        model = self.model.model_dump(include={"name", "network", "inference"})
        data = {"name": self.data.name, **sizes}
        return {"model": model, "learning": self.recipe.model_dump(), "device": device, "data": data, "seed": self.seed}

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:16]


def check_place(place: str, on_device: bool) -> None:
    """InputError unless torch computes at ``place``, "cpu" or "cuda", and what is trained can be there."""
    if place not in ("cpu", "cuda"):
        raise InputError(f"--accelerator: expected cpu or cuda, got {place!r}")
    if place == "cuda" and on_device:
        raise InputError("--accelerator cuda: simulated devices are computed on the CPU; leave out one of the two")
    if place == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--accelerator cuda: torch finds no CUDA device here; use --accelerator cpu, or install the CUDA build of "
            "torch on a machine with an NVIDIA GPU"
        )


def plan_training(
    *,
    model: str | None,
    data_name: str | None,
    data_dir: Path | None,
    device: str | None,
    seed: int,
    out: Path | None,
    settings: Sequence[str],
    command: str,
    place: str = "cpu",
) -> TrainJob:
    """Resolve a training: in float by the model's ``learning``, on a device by its in-situ recipe.

    ``place`` is the torch device that computes, see ``check_place``.
    """
    check_place(place, device is not None)
    for_device, for_model = parted(settings, seed)
    if for_device and device is None:
        raise InputError(f"--set device.{for_device[0][0]}: there is no device to set it on; give --device")
    card = read_device(device, for_device) if device else None
    document, config = read_model(model or DEFAULT_MODEL, for_model)
    if card:
        config.energy  # noqa: B018 - modules have no arrays
    recipe = in_situ_recipe(document, config, card) if card else config.learning
    dataset = data.load(data_name or config.data, data_dir)
    check_fit(document, config, dataset)
    job = TrainJob(config, recipe, card, dataset, seed, Path("."), command, place)
    where = card.name if card else "float"
    folder = out or Path("runs") / f"train-{config.name}-{where}-seed{seed}-{job.config_hash[:8]}"
    return replace(job, folder=folder)
