"""From what a user typed to a job: everything is resolved and validated before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import hwsim.robust.corruptions
from hwsim.errors import InputError
from hwsim.study import data, shelf
from hwsim.study.config import ConvConfig, EvaluationConfig, Layer, LearningConfig, ModelConfig, build
from hwsim.study.devicecard import DeviceCard, read_device
from hwsim.study.run import Job
from hwsim.study.yamlfile import Document, Keys, parse_setting

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
    if seed < 0:
        raise InputError(f"--seed: expected a number >= 0, got {seed}")
    if repeats < 1:
        raise InputError(f"--repeats: expected at least 1, got {repeats}")
    parsed = [parse_setting(setting) for setting in settings]
    own = [(path.removeprefix("device."), value) for path, value in parsed if path.startswith("device.")]
    card = read_device(device or DEFAULT_DEVICE, own)
    document, config = read_model(
        model or DEFAULT_MODEL, [item for item in parsed if not item[0].startswith("device.")]
    )
    in_situ = in_situ_recipe(document, config, card)
    # A run makes no choices: recipes were chosen on validation images, so it learns from all training images.
    dataset = data.load(data_name or config.data, data_dir).merged()
    _fits(document, config, dataset)
    job = Job(config, card, in_situ, dataset, seed, repeats, Path("."), command)
    folder = out or Path("runs") / f"{config.name}-{card.name}-seed{seed}-{job.config_hash[:8]}"
    return Job(config, card, in_situ, dataset, seed, repeats, folder, command)


def read_model(name: str, settings: Sequence[tuple[str, object]] = ()) -> tuple[Document, ModelConfig]:
    """A model card by shelf name or path, with settings laid over it."""
    document = shelf.find("models", name).document()
    for key, value in settings:
        document = document.override(key, value)
    config = build(ModelConfig, [Layer(document)])
    _known_corruptions(document, config.evaluation)
    if len(config.learning.rates) != config.network.links:
        raise _rates_error(document, ("learning", "rates"), config.learning, config)
    return document, config


def in_situ_recipe(document: Document, config: ModelConfig, card: DeviceCard) -> LearningConfig:
    """The recipe a device trains by: the model's, its ``in_situ``, the device's ``learning``, then ``--set``."""
    layers = [Layer(document, ("learning",)), Layer(document, ("in_situ",)), Layer(card.document, ("learning",))]
    typed = {key: value for key, value in document.section("in_situ").items() if ("in_situ", key) in document.settings}
    origins: dict[Keys, str] = {(key,): f"--set in_situ.{key}" for key in typed}
    recipe = build(LearningConfig, [*layers, Layer(Document(typed, "--set in_situ", settings=origins))])
    if len(recipe.rates) != config.network.links:
        raise _rates_error(document, ("in_situ", "rates"), recipe, config)
    return recipe


def _rates_error(document: Document, keys: tuple[str, ...], recipe: LearningConfig, config: ModelConfig) -> InputError:
    return document.error(
        keys, f"expected {config.network.links} numbers, one a link of the network, got {recipe.rates}"
    )


def _known_corruptions(document: Document, evaluation: EvaluationConfig) -> None:
    known = hwsim.robust.corruptions.CORRUPTIONS
    for i, name in enumerate(evaluation.corruptions.types):
        if name not in known:
            keys = ("evaluation", "corruptions", "types", i, name)
            raise document.unknown(keys, known, f"unknown corruption {name!r}")


def _fits(document: Document, config: ModelConfig, dataset: data.Dataset) -> None:
    network, classes = config.network, len(dataset.classes)
    shape = "x".join(str(size) for size in dataset.shape)
    if network.normalise and len(network.normalise.mean) != dataset.shape[0]:
        found, expected = len(network.normalise.mean), dataset.shape[0]
        message = f"has {found} channels and images of {dataset.name} have {expected}; expected as many"
        raise document.error(("network", "normalise"), message)
    if isinstance(network, ConvConfig):
        if tuple(network.image) != dataset.shape:
            expected = list(dataset.shape)
            raise document.error(
                ("network", "image"),
                f"is {network.image} and images of {dataset.name} are {shape}; expected {expected}",
            )
        last: Keys = ("network", "dense", len(network.dense) - 1)
    else:
        pixels = math.prod(dataset.shape)
        if network.pixels != pixels:
            raise document.error(
                ("network", "layers", 0),
                f"the input has {network.pixels} units and an image of {dataset.name} has {pixels} values ({shape}); "
                f"expected {pixels}",
            )
        last = ("network", "layers", network.links)
    if network.classes != classes:
        raise document.error(
            last, f"the output has {network.classes} units and {dataset.name} has {classes} classes; expected as many"
        )
