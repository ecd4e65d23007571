"""A network trained in float up to a given accuracy, then attacked, corrupted and judged image by image.

A training is stopped at the first epoch whose accuracy on validation images reaches the target, so that networks are
compared at equal clean accuracy without noise added to any of them. Every image counts as kept under a budget only if
all attacks of the list leave it right: projected gradient ascent on the margin and on the cross-entropy, both along
exact gradients (implicit ones where a network settles), and random queries, which need no gradient.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from torch import Tensor

from hwsim.cards.model import ModelConfig
from hwsim.cards.read import check_fit, read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError, WorkError
from hwsim.experiments.evaluation import relaxation
from hwsim.experiments.sweep.measurement import Measurement, Record, column
from hwsim.experiments.sweep.study import Spec
from hwsim.experiments.training.learners import EquilibriumModel, ModuleModel, model_of
from hwsim.learning.train import train_epochs
from hwsim.rng import Streams
from hwsim.robustness.attacker import surrogate
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier, correct
from hwsim.robustness.corruptions.condition import Condition, corrupted
from hwsim.robustness.library import Square
from hwsim.robustness.suite import Pgd
from hwsim.robustness.threat import Threat

PERTURBED = (
    *(Condition("input-noise", sigma, "sigma") for sigma in (0.1, 0.2, 0.3)),
    *(Condition(name, 3, "severity") for name in ("gaussian-blur", "contrast", "brightness")),
)
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("target", 0.96),
    ("budgets", [0.05, 0.1, 0.15, 0.2]),
    ("steps", 40),
    ("queries", 500),
    ("examples", None),
)


def _read(spec: Spec) -> tuple[ModelConfig, Dataset]:
    if spec.device != "ideal":
        raise InputError("device: this study compares networks in float")
    document, config = read_model(spec.model, spec.for_model())
    dataset = _data(spec.data or config.data, spec.data_dir)
    check_fit(document, config, dataset)
    return config, dataset


@lru_cache(maxsize=1)
def _data(name: str, folder: str | None) -> Dataset:
    return data.load(name, folder)


def _resolve(spec: Spec) -> Record:
    config, dataset = _read(spec)
    options = dict(OPTIONS) | spec.options()
    if not 0 < options["target"] < 1:
        raise InputError(f"measurement.target: expected a share of the validation images, got {options['target']!r}")
    digest = hashlib.sha256()
    for split in dataset.splits.values():
        digest.update(split.x.contiguous().numpy().tobytes())
    model = config.model_dump(include={"network", "inference", "learning"})
    if (code := getattr(config.network, "module", None)) is not None:
        model["module"] = code
    return {"model": model, "data": digest.hexdigest(), "seed": spec.seed}


def _trained(spec: Spec, config: ModelConfig, dataset: Dataset, target: float) -> tuple[Any, Record]:
    """The network at the first epoch that is as accurate as asked for. WorkError where none is."""
    recipe, streams = config.learning, Streams(spec.seed)
    device = FloatDevice(recipe.momentum, recipe.weight_decay)
    model = model_of(config, recipe, device, streams)
    model.begin(streams)
    x, labels = dataset.validation
    reached = 0.0
    for epoch in train_epochs(model, recipe, dataset.train.x, dataset.train.y, streams):
        reached = model.measure(x, labels, 1, streams.child("validation", epoch.epoch)).accuracy
        if reached >= target:
            return model, {"epochs": epoch.epoch, "validation_share": reached}
    raise WorkError(f"{config.name}, seed {spec.seed}: {reached:.1%} of the validation images, never {target:.1%}")


def _faces(model: EquilibriumModel | ModuleModel) -> tuple[Classifier, Classifier]:
    """(what judges, what an attack climbs)."""
    if isinstance(model, ModuleModel):
        return model.classifier, model.classifier
    classifier = EquilibriumClassifier(model.net, **relaxation(model.inference))
    return classifier, surrogate(classifier, "implicit")


def _compute(spec: Spec) -> Record:
    config, dataset = _read(spec)
    options = dict(OPTIONS) | spec.options()
    model, columns = _trained(spec, config, dataset, options["target"])
    judge, climbed = _faces(model)
    x, labels = dataset.test[: options["examples"]]
    hits: Record = {}

    def keep(name: str, right: Tensor) -> None:
        columns[name] = right.double().mean().item()
        hits[name] = {"draws": 1, "hits": right.int().tolist()}

    clean = correct(judge, x, labels)
    keep("accuracy_share", clean)
    for condition in PERTURBED:
        images = corrupted(x, condition, Streams(0).child(condition.name, condition.level))
        keep(column(condition), correct(judge, images, labels))
    attacks = [Pgd(options["steps"]), Pgd(options["steps"], loss="ce"), Square(options["queries"])]
    for budget in options["budgets"]:
        right, threat = clean.clone(), Threat("linf", budget)
        for number, attack in enumerate(attacks):
            rng = Streams(spec.seed).child("attack", number, budget).generator("attack")
            moved = attack(climbed if attack.white_box else judge, x, labels, threat, rng)
            right &= correct(judge, moved, labels)
        keep(column(Condition("attacks-linf", budget, "epsilon")), right)
    return {"columns": columns, "hits": hits}


ROBUSTNESS = Measurement(_resolve, _compute, OPTIONS)
