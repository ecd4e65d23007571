"""What a point of the paper study asks for: a model of the shelf, its weights' file, a measure and a protocol."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.cards import shelf
from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import ModelConfig
from hwsim.cards.network import ModuleConfig
from hwsim.cards.read import read_model
from hwsim.errors import InputError
from hwsim.experiments.sweep.study import Spec
from hwsim.jobs.weights import WEIGHTS
from hwsim.learning.gradient_ways import way_named
from hwsim.robustness.corruptions.corruptions import CORRUPTIONS
from hwsim.robustness.threat import Threat

from .protocol import EFFORTS, LADDER, protocol_named

MEASURES = ("clean", "corruption", "pgd", "autoattack", "square")
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("measure", "clean"),
    ("protocol", "mended"),
    ("norm", "linf"),
    ("epsilon", None),
    ("type", None),
    ("examples", 200),
    ("energy_examples", None),
    ("steps", 20),
    ("restarts", 1),
    ("effort", "quick"),
    ("queries", 1000),
    ("truncated", "unrolled-10"),
    ("weights", None),
    ("published", None),
    ("accelerator", "cpu"),
    ("draws", 5),
)
"""The settings `measurement.KEY`, with their defaults.

examples, energy_examples: test images, and those that energy-based models are judged on
steps, restarts: of PGD; effort: of the ensemble; queries: of Square
truncated: the gradient of protocols that stop short of equilibrium
weights: a file in which {model} and {seed} stand for the point's
published: the published model beside which the page shows this one
draws: verdicts an image on noisy arrays
"""


@dataclass(frozen=True)
class Request:
    """A spec of this study, read and checked."""

    config: ModelConfig
    options: dict[str, Any]
    weights: Path | None
    spec: Spec
    device: DeviceCard | None = None

    @property
    def energy_based(self) -> bool:
        return not isinstance(self.config.network, ModuleConfig)

    @property
    def examples(self) -> int:
        own = self.options["energy_examples"] if self.energy_based else None
        return own or self.options["examples"]

    @property
    def threat(self) -> Threat | None:
        epsilon = self.options["epsilon"]
        return None if epsilon is None else Threat(self.options["norm"], float(epsilon))

    @property
    def data(self) -> str:
        return self.spec.data or self.config.data

    @property
    def random(self) -> bool:
        """Does the seed change what is measured?"""
        measure, protocol = self.options["measure"], protocol_named(self.options["protocol"])
        if self.device is not None:
            return True
        return measure not in ("clean", "pgd") or (measure == "pgd" and protocol.restarts and self.options["restarts"])

    def training(self, seed: object = None) -> str:
        """The command that makes the weights, where they are looked for if that is no place beside a card.

        ``seed`` stands in place of the point's, for a command that stands for several.
        """
        parts = ["hwsim train --model", self.spec.model]
        for path, value in self.spec.for_model():
            parts.append(f"--set {path}={value}".lower() if isinstance(value, bool) else f"--set {path}={value}")
        if pattern := self.options["weights"]:
            seed = self.spec.seed if seed is None else seed
            where = os.path.relpath(_named(self.spec, pattern, seed).parent)
            parts += [f"--seed {seed}" if "{seed}" in pattern else "", f"--out {where}"]
        return " ".join(part for part in (*parts, "--data-dir DIR") if part)


def request_of(spec: Spec) -> Request:
    """Read a spec. Raises InputError for options that cannot be; missing weights and data are for ``compute``."""
    options = dict(OPTIONS) | spec.options()
    for name, known in (("measure", MEASURES), ("protocol", LADDER), ("effort", EFFORTS)):
        if options[name] not in known:
            raise InputError(f"measurement.{name}: expected one of {', '.join(known)}, got {options[name]!r}")
    for name, least in (("examples", 1), ("steps", 1), ("restarts", 0), ("queries", 1), ("draws", 1)):
        if not isinstance(options[name], int) or options[name] < least:
            raise InputError(f"measurement.{name}: expected a whole number >= {least}, got {options[name]!r}")
    if options["measure"] in ("pgd", "autoattack", "square") and options["epsilon"] is None:
        raise InputError(f"measurement.epsilon: measure {options['measure']} needs a budget, e.g. 0.03")
    if options["measure"] == "corruption" and options["type"] not in CORRUPTIONS:
        raise InputError(f"measurement.type: expected one of {', '.join(sorted(CORRUPTIONS))}, got {options['type']!r}")
    way_named(options["truncated"])
    config = card_of(spec.model, json.dumps(spec.for_model()))
    device = read_device(spec.device, spec.for_device()) if spec.device != "ideal" else None
    request = Request(config, options, _weights(spec, options["weights"]), spec, device)
    if device is not None and not request.energy_based:
        raise InputError(f"device {spec.device}: {config.name} is a torch module; only networks run on devices")
    if device is not None and options["measure"] not in ("clean", "pgd"):
        raise InputError(f"measurement.measure: on a device expected clean or pgd, got {options['measure']}")
    _ = request.threat  # a budget that cannot be is refused here
    return request


@functools.lru_cache(maxsize=64)
def card_of(model: str, settings: str) -> ModelConfig:
    """A model's card with settings, as JSON, laid over it."""
    return read_model(model, json.loads(settings))[1]


def _weights(spec: Spec, pattern: str | None) -> Path | None:
    """The file that the weights should be in; None where a card from a package has no folder."""
    if pattern:
        return _named(spec, pattern, spec.seed)
    folder = shelf.find("models", spec.model).folder
    return folder / WEIGHTS if folder else None


def _named(spec: Spec, pattern: str, seed: object) -> Path:
    return Path(spec.folder) / pattern.format(model=Path(spec.model).name, seed=seed)
