"""From what a user typed to a job: everything is resolved and validated before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hwsim.robustness.corruptions.corruptions
from hwsim.cards import shelf
from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import EvaluationConfig, Layer, ModelConfig, build
from hwsim.cards.network import LayeredConfig, ModuleConfig
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.yamlfile import Document, Keys, parse_setting
from hwsim.data import dataset as data
from hwsim.errors import InputError
from hwsim.experiments.device_run.work import Job
from hwsim.experiments.training.work import TrainJob, check_place

DEFAULT_MODEL = "digits-mlp"
DEFAULT_DEVICE = "ideal"


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
    for_device, for_model = _parted(settings, seed)
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
    for_device, for_model = _parted(settings, seed)
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


Settings = list[tuple[str, Any]]


def _parted(settings: Sequence[str], seed: int) -> tuple[Settings, Settings]:
    """The settings of the device, without the prefix, and those of the model card."""
    if seed < 0:
        raise InputError(f"--seed: expected a number >= 0, got {seed}")
    parsed = [parse_setting(setting) for setting in settings]
    prefix = "device."
    return (
        [(path.removeprefix(prefix), value) for path, value in parsed if path.startswith(prefix)],
        [(path, value) for path, value in parsed if not path.startswith(prefix)],
    )


def read_model(name: str, settings: Sequence[tuple[str, object]] = ()) -> tuple[Document, ModelConfig]:
    """A model card by shelf name or path, with settings laid over it."""
    item = shelf.find("models", name)
    document = item.document()
    for key, value in settings:
        document = document.override(key, value)
    config = build(ModelConfig, [Layer(document)])
    _known_corruptions(document, config.evaluation)
    if isinstance(config.network, ModuleConfig) != (config.learning.rule == "backpropagation"):
        kind, rule = config.network.type, config.learning.rule
        raise document.error(
            ("learning", "rule"),
            f"a network of type {kind} does not learn by {rule}; 'module' and it alone learns by 'backpropagation'",
        )
    if isinstance(config.network, ModuleConfig):
        return document, config.model_copy(update={"network": config.network.at(document, item.folder)})
    if len(config.learning.rates) != config.network.links:
        raise _rates_error(document, ("learning", "rates"), config.learning.rates, config.network.links)
    return document, config


def in_situ_recipe(document: Document, config: ModelConfig, card: DeviceCard) -> LearningConfig:
    """The recipe a device trains by: the model's, its ``in_situ``, the device's ``learning``, then ``--set``."""
    layers = [Layer(document, ("learning",)), Layer(document, ("in_situ",)), Layer(card.document, ("learning",))]
    typed = {key: value for key, value in document.section("in_situ").items() if ("in_situ", key) in document.settings}
    origins: dict[Keys, str] = {(key,): f"--set in_situ.{key}" for key in typed}
    recipe = build(LearningConfig, [*layers, Layer(Document(typed, "--set in_situ", settings=origins))])
    if len(recipe.rates) != config.energy.links:
        raise _rates_error(document, ("in_situ", "rates"), recipe.rates, config.energy.links)
    return recipe


def _rates_error(document: Document, keys: tuple[str, ...], rates: list[float], links: int) -> InputError:
    return document.error(keys, f"expected {links} numbers, one a link of the network, got {rates}")


def _known_corruptions(document: Document, evaluation: EvaluationConfig) -> None:
    known = hwsim.robustness.corruptions.corruptions.CORRUPTIONS
    for i, name in enumerate(evaluation.corruptions.types):
        if name not in known:
            keys = ("evaluation", "corruptions", "types", i, name)
            raise document.unknown(keys, known, f"unknown corruption {name!r}")


def check_fit(document: Document, config: ModelConfig, dataset: data.Dataset) -> None:
    """InputError, at the place in the card, unless the network takes these images and tells these classes apart."""
    network, classes = config.network, len(dataset.classes)
    shape = "x".join(str(size) for size in dataset.shape)
    if network.normalise and len(network.normalise.mean) != dataset.shape[0]:
        found, expected = len(network.normalise.mean), dataset.shape[0]
        message = f"has {found} channels and images of {dataset.name} have {expected}; expected as many"
        raise document.error(("network", "normalise"), message)
    if not isinstance(network, LayeredConfig):
        if tuple(network.image) != dataset.shape:
            expected = list(dataset.shape)
            raise document.error(
                ("network", "image"),
                f"is {network.image} and images of {dataset.name} are {shape}; expected {expected}",
            )
        last: Keys = ("network", "classes")
        if not isinstance(network, ModuleConfig):
            last = ("network", "dense", len(network.dense) - 1)
    else:
        pixels = math.prod(dataset.shape)
        if network.pixels != pixels:
            raise document.error(
                ("network", "layers", 0),
                f"the input has {network.pixels} units and an image of {dataset.name} has {pixels} values ({shape}); "
                f"expected {pixels}",
            )
        last = ("network", "layers", network.links)
    if network.outputs != classes:
        raise document.error(
            last, f"the output has {network.outputs} units and {dataset.name} has {classes} classes; expected as many"
        )
