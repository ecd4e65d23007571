"""A run: what a user typed, resolved and validated before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import AttackConfig, ModelConfig, require_energy
from hwsim.cards.read import DEFAULT_DEVICE, DEFAULT_MODEL, check_fit, in_situ_recipe, parted, read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.size import check_batch
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.experiments.ageing import usual_ages
from hwsim.experiments.evaluation import check_conditions, conditions
from hwsim.experiments.requests import RunRequest
from hwsim.jobs.job import Job
from hwsim.robustness.suite import attacks_named, check_attacks
from hwsim.robustness.threat import Threat, parse

TUNED, COPIED = "programmed, tuned", "in-situ, copied"


@dataclass(frozen=True, kw_only=True)
class RunJob(Job):
    """A resolved and validated run. ``in_situ`` is the recipe that the device trains by."""

    kind = "run"
    device: DeviceCard
    model: ModelConfig
    in_situ: LearningConfig
    data: Dataset
    repeats: int

    @property
    def resolved(self) -> dict[str, Any]:
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
    def head(self) -> dict[str, Any]:
        """How many evaluations there will be is told as well, so that a reader knows how far the run is."""
        evaluations = self.repeats * len(self.cases()) * len(conditions(self.model.evaluation))
        return {**super().head, "evaluations": evaluations}

    @property
    def label(self) -> str:
        return f"{self.model.name}-{self.device.name}-seed{self.seed}"

    def cases(self) -> list[str]:
        """The rows of the matrix."""
        aged = [f"programmed, {age}" for age in usual_ages(self.device.device)]
        tuned = [TUNED] if self.in_situ.tune_epochs else []
        return ["float", "programmed", *aged, *tuned, "in-situ", *([COPIED] if self.copies else [])]

    @property
    def copies(self) -> bool:
        """Is what one device learned also measured on another? Exact arithmetic has no instances, and hardware-aware
        training ends in programming as it is."""
        return self.device.device.trains == "in-situ" and self.device.kind != "float"


def attack_of(section: AttackConfig, threats: Sequence[Threat]) -> str:
    """The attack of a card's ``evaluation.attack``, where it names none the one that goes with its threats."""
    return section.attack or ("sparse" if all(threat.norm == "l0" for threat in threats) else "quick")


def plan_run(request: RunRequest) -> RunJob:
    """Resolve a run. Raises InputError for the first mistake, where it was made.

    Settings that start with ``device.`` go over the device's YAML, the others over the model card.
    """
    for_device, for_model = parted(request.settings)
    card = read_device(request.device or DEFAULT_DEVICE, for_device)
    document, config = read_model(request.model or DEFAULT_MODEL, for_model)
    require_energy(config)  # before the recipe of a module is read as another's
    in_situ = in_situ_recipe(document, config, card)
    # A run makes no choices: recipes were chosen on validation images, so it learns from all training images.
    dataset = data.load(request.data or config.data, request.data_dir).merged()
    check_fit(document, config, dataset)
    check_conditions(config.evaluation, dataset)
    for section, recipe in (("learning", config.learning), ("in_situ", in_situ)):
        check_batch(document, section, recipe.batch_size, len(dataset.train))
    if (attack := config.evaluation.attack) is not None:
        threats = [parse(threat) for threat in attack.threat]
        named = attacks_named(attack_of(attack, threats))
        pixels = math.prod(dataset.shape[1:])
        check_attacks(named, threats, classes=len(dataset.classes), pixels=pixels, checks=attack.checks)
    return RunJob(
        model=config,
        device=card,
        in_situ=in_situ,
        data=dataset,
        seed=request.seed,
        repeats=request.repeats,
        out=request.out,
        command=request.command,
        again=partial(plan_run, request),
    )
