"""From what a user typed to a job: everything is resolved and validated before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import hwsim.robustness.corruptions.corruptions
from hwsim.cards import shelf
from hwsim.cards.build import array_shapes
from hwsim.cards.device import DeviceCard
from hwsim.cards.layers import Layer, build
from hwsim.cards.model import EvaluationConfig, ModelConfig
from hwsim.cards.network import (
    ConvConfig,
    EnergyConfig,
    LayeredConfig,
    ModuleConfig,
    PredictiveConfig,
    ResistiveConfig,
    VectorConfig,
)
from hwsim.cards.recipe import LearningConfig, LearningSection
from hwsim.cards.size import check_size
from hwsim.cards.updates import Place, check_modes, parse_mode
from hwsim.cards.yamlfile import Document, Keys, parse_setting
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.updates.log import logged
from hwsim.crossbar.updates.normalised import NormalisedDevice
from hwsim.data import dataset as data
from hwsim.errors import InputError
from hwsim.rng import Streams

DEFAULT_MODEL = "digits-mlp"
DEFAULT_DEVICE = "ideal"
ERROR_SWEEPS = "error-sweeps"


Settings = list[tuple[str, Any]]


def parted(settings: Sequence[str]) -> tuple[Settings, Settings]:
    """The settings of the device, without the prefix, and those of the model card."""
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
    for key in ("rate_pulses", "pulse_log", "tune_epochs") if isinstance(config.learning, LearningConfig) else ():
        if getattr(config.learning, key):
            raise document.error(("learning", key), "this belongs to devices, and float has none; put it under in_situ")
    _takes(config.network, config.learning, lambda keys, message: document.error(("learning", *keys), message))
    if config.inference.solver == ERROR_SWEEPS:
        _has_errors(config.network, ("inference", "solver"), document.error)
    if len(config.learning.rates) != config.network.links:
        raise _rates_error(document, ("learning", "rates"), config.learning.rates, config.network.links)
    check_size(document, config)
    return document, config


def in_situ_recipe(document: Document, config: ModelConfig, card: DeviceCard) -> LearningConfig:
    """The recipe a device trains by: the model's, its ``in_situ``, the device's ``learning``, then ``--set``.

    Between the model's and the device's lies what the model says for the way updates are written (``in_situ_for``).
    """
    model = [Layer(document, ("learning",)), Layer(document, ("in_situ",))]
    typed = {key: value for key, value in document.section("in_situ").items() if ("in_situ", key) in document.settings}
    origins: dict[Keys, str] = {(key,): f"--set in_situ.{key}" for key in typed}
    over = [Layer(card.document, ("learning",)), Layer(Document(typed, "--set in_situ", settings=origins))]
    layers = [*model, *over]
    if config.in_situ_for:
        update = build(LearningConfig, layers).update
        mode = parse_mode(update).name if isinstance(update, str) else None
        for name in config.in_situ_for:
            own = [*model, Layer(document, ("in_situ_for", name)), *over]
            recipe = build(LearningConfig, own)  # each is validated, also the ones that are not asked for
            layers = own if name == mode and recipe.update == update else layers
    recipe = build(LearningConfig, layers)
    layers = layers[:-1]
    if len(recipe.rates) != config.energy.links:
        raise _rates_error(document, ("in_situ", "rates"), recipe.rates, config.energy.links)

    def place(keys: Keys, message: str) -> InputError:
        if keys[0] in typed:
            return InputError(f"--set in_situ.{keys[0]}{''.join(f'[{key}]' for key in keys[1:])}: {message}")
        home = next((layer for layer in reversed(layers) if layer.has(keys[:1])), layers[1])
        return home.document.error((*home.prefix, *keys), message)

    _takes(config.energy, recipe, place)
    shapes = array_shapes(config.energy)
    check_modes(recipe.update, card.device, shapes, config.energy.bias, place)
    for key, setting in (("rate_pulses", recipe.rate_pulses), ("gain_rate", recipe.gain_rate)):
        if isinstance(setting, list) and len(setting) != len(shapes):
            raise place((key,), f"expected one number or {len(shapes)}, one a link of the network, got {len(setting)}")
    if recipe.rate_pulses is not None:
        _tried(NormalisedDevice(card.device, 1.0), "rate_pulses", place)
    if recipe.pulse_log:
        _tried(logged(card.device), "pulse_log", place)
    return recipe


def check_no_run(settings: Sequence[tuple[str, object]]) -> None:
    """InputError for a setting that only ``hwsim run`` acts on, where something else was requested."""
    key = "in_situ.tune_epochs"
    if dict(settings).get(key):
        raise InputError(f"--set {key}: adds a case to `hwsim run`, the only job that has it; leave it out")


def _takes(network: EnergyConfig, recipe: LearningSection, place: Place) -> None:
    """InputError for what works on other energies alone."""
    if isinstance(recipe, LearningConfig) and recipe.solver == ERROR_SWEEPS:
        _has_errors(network, ("solver",), place)
    if isinstance(network, LayeredConfig | ConvConfig | ModuleConfig) or not isinstance(recipe, LearningConfig):
        return
    what = f"not for a network of type {network.type}"
    if recipe.damping == "auto":
        raise place(("damping",), f"auto is {what}; give a number, such as 1.0")
    if recipe.nudge == "linear-response":
        raise place(("nudge",), f"linear-response is {what}; use centred, or rule exact-gradient")
    if recipe.gain_rate and isinstance(network, ResistiveConfig):
        raise place(("gain_rate",), f"a digital gain behind an array is {what}: a circuit has no place for it")


def _tried(device: Device, key: str, place: Place) -> None:
    """InputError, at the key, where an array of the device cannot be built."""
    try:
        device.synapse(2, 3, Streams(0))
    except InputError as error:
        raise place((key,), str(error).removeprefix(f"{key}: ")) from error


def _has_errors(network: EnergyConfig, keys: tuple[int | str, ...], place: Place) -> None:
    if not isinstance(network, PredictiveConfig):
        message = (
            f"{ERROR_SWEEPS} is for networks of type predictive-coding, got {network.type}; use odd-even or up-down"
        )
        raise place(keys, message)


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
        channels, expected = len(network.normalise.mean), dataset.shape[0]
        message = f"has {channels} channels and images of {dataset.name} have {expected}; expected as many"
        raise document.error(("network", "normalise"), message)
    if not isinstance(network, VectorConfig):
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
