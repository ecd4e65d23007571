"""What a model card and a run may say, and how mistakes in them are told.

Layers of settings go over each other, later ones win: the model's ``learning``, its ``in_situ``, the
device's ``learning`` and ``--set``. A mistake is told at the place it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from hwsim.cards.card import Card, Solvers
from hwsim.cards.network import EnergyConfig, ModuleConfig, NetworkConfig
from hwsim.cards.recipe import LearningConfig, LearningSection
from hwsim.cards.yamlfile import Document, Keys, shown
from hwsim.ebm.settle import SOLVERS
from hwsim.errors import InputError
from hwsim.learning.gradient_ways import way_named
from hwsim.robustness.suite import attacks_named
from hwsim.robustness.threat import parse


class InferenceConfig(Card):
    """The relaxation behind a prediction."""

    solver: Solvers = "synchronous"
    damping: float = Field(default=1.0, gt=0, lt=2)
    steps: int = Field(default=60, ge=1)
    average_last: int = Field(default=1, ge=1)
    tolerance: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    stop_early: bool = False
    hold_input: bool = True

    @model_validator(mode="after")
    def _window(self) -> InferenceConfig:
        SOLVERS[self.solver](self.damping)  # raises where it is too large for that solver
        if self.average_last > self.steps:
            raise ValueError(f"average_last: expected at most steps ({self.steps}), got {self.average_last}")
        return self


class InputNoiseConfig(Card):
    sigma: list[float] = Field(default=[])


class CorruptionsConfig(Card):
    types: list[str] = Field(default=[])
    severities: list[int] = Field(default=[1, 2, 3, 4, 5])


class PgdConfig(Card):
    norm: Literal["linf", "l2"] = "linf"
    epsilon: list[float] = Field(default=[])
    steps: int = Field(default=20, ge=1)


class AttackConfig(Card):
    """A full evaluation by attacks, of every case of a run; fields are the options of ``hwsim attack``."""

    threat: list[str] = Field(min_length=1)
    attack: str | None = None
    gradient: str | None = None
    knows: str | None = None
    eot: int = Field(default=10, ge=1)
    examples: int = Field(default=100, ge=1)
    draws: int = Field(default=20, ge=1)
    seeds: int = Field(default=1, ge=1)
    checks: bool = True
    check_images: int = Field(default=100, ge=1)

    @field_validator("threat", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> AttackConfig:
        place = "threat"
        try:
            for threat in self.threat:
                parse(threat)
            place = "attack"
            attacks_named(self.attack or "quick")
            place = "gradient"
            way_named(self.gradient or "implicit")
        except InputError as error:
            raise ValueError(f"{place}: {error}") from error
        if self.knows not in (None, "conductances", "device"):
            raise ValueError(f"knows: expected conductances or device, got {self.knows!r}")
        return self


class EvaluationConfig(Card):
    """What accuracy is measured under. Budgets and noise are in pixel units, images lie in [0, 1]."""

    draws: int = Field(default=5, ge=1)
    examples: int | None = Field(default=None, ge=1)
    input_noise: InputNoiseConfig = InputNoiseConfig()
    corruptions: CorruptionsConfig = CorruptionsConfig()
    pgd: PgdConfig = PgdConfig()
    attack: AttackConfig | None = None

    @model_validator(mode="after")
    def _levels(self) -> EvaluationConfig:
        for name, levels in (("input_noise.sigma", self.input_noise.sigma), ("pgd.epsilon", self.pgd.epsilon)):
            if any(not 0 < level < float("inf") for level in levels):
                raise ValueError(f"{name}: expected finite numbers > 0, got {levels}")
        if any(level not in range(1, 6) for level in self.corruptions.severities):
            raise ValueError(f"corruptions.severities: expected numbers from 1 to 5, got {self.corruptions.severities}")
        return self


class ModelConfig(Card):
    """A model card."""

    schema_version: Literal[1] = 1
    name: str
    summary: str = ""
    source: str = ""
    data: str = "digits"
    network: NetworkConfig = Field(discriminator="type")
    inference: InferenceConfig = InferenceConfig()
    learning: LearningSection = Field(discriminator="rule")
    in_situ: dict[str, Any] = Field(default={})
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def energy(self) -> EnergyConfig:
        """The network, where it has an energy. InputError for a feed-forward module."""
        if isinstance(self.network, ModuleConfig):
            raise InputError(
                f"model {self.name}: is a feed-forward torch module; this needs an energy-based network "
                "(network.type layered-hopfield or conv-hopfield)"
            )
        return self.network

    @property
    def settled_learning(self) -> LearningConfig:
        """The recipe, where the model learns at equilibria. InputError for a feed-forward module."""
        self.energy  # noqa: B018 - refuses modules
        assert isinstance(self.learning, LearningConfig)  # read_model has seen to it
        return self.learning

    @model_validator(mode="before")
    @classmethod
    def _usual_rule(cls, card: Any) -> Any:
        """A recipe that names no rule is one of equilibrium propagation."""
        learning = card.get("learning") if isinstance(card, dict) else None
        if isinstance(learning, dict) and "rule" not in learning:
            return {**card, "learning": {"rule": "equilibrium-propagation", **learning}}
        return card


@dataclass(frozen=True)
class Layer:
    """One place that settings come from: the map at ``prefix`` of a document."""

    document: Document
    prefix: Keys = ()

    @property
    def mapping(self) -> dict[str, Any]:
        value: Any = self.document.data
        for key in self.prefix:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.document.error(self.prefix, f"expected a map of keys and values, got {shown(value)}")
        return value

    def has(self, keys: Keys) -> bool:
        value: Any = self.mapping
        for key in keys:
            known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if key not in known:
                return False
            value = cast(Any, value)[key]
        return True


TAGS = {"network": "type", "learning": "rule"}
"""Sections of a model card that come in several kinds, and the key that says which."""

NETWORK_TYPES = "'layered-hopfield', 'conv-hopfield', 'module'"

Config = TypeVar("Config", bound=BaseModel)


def build(kind: type[Config], layers: Sequence[Layer]) -> Config:
    """Validate settings laid over each other, later layers over earlier ones, top-level key by key.

    Raises InputError for the first mistake, at the place it was written.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer.mapping)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise _told(error, kind, layers) from error


def _told(error: ValidationError, kind: type[BaseModel], layers: Sequence[Layer]) -> InputError:
    first = error.errors()[0]
    keys, known = _place(kind, first["loc"])
    if first["type"] == "value_error":
        # "path: what" from one of the validators above
        path, _, message = str(first.get("ctx", {})["error"]).partition(": ")
        keys = (*keys, *path.split("."))
    elif first["type"] == "missing":
        message = "missing; expected a value"
    elif first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = TAGS[str(keys[-1])]
        keys = (*keys, tag)
        found = first["input"].get(tag) if isinstance(first["input"], dict) else first["input"]
        message = f"expected one of {first.get('ctx', {}).get('expected_tags', NETWORK_TYPES)}, got {shown(found)}"
    else:
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {shown(first['input'])}"
    home = next((layer for layer in reversed(layers) if layer.has(keys)), layers[-1])
    if first["type"] == "extra_forbidden":
        return home.document.unknown((*home.prefix, *keys), known)
    return home.document.error((*home.prefix, *keys), message)


def _place(kind: type[BaseModel], loc: Sequence[int | str]) -> tuple[Keys, list[str]]:
    """(key path in the file, fields that the map around its last key may have) for pydantic's place of an error.

    Pydantic puts the tag of a union's member into the path, which the file does not have.
    """
    keys: list[int | str] = []
    members: tuple[Any, ...] = (kind,)
    known: list[str] = []
    for part in loc:
        tagged = [m for m in members if len(members) > 1 and part in _tags(m)]
        if tagged:
            members = tuple(tagged)
            continue
        keys.append(part)
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        known = sorted({field for model in models for field in model.model_fields}) or known
        found = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        members = tuple(inner for annotation in found for inner in (get_args(annotation) or (annotation,)))
    return tuple(keys), known


def _tags(kind: Any) -> tuple[Any, ...]:
    """What a member of a union is told by: the values that its type, or its rule, may have."""
    fields = getattr(kind, "model_fields", {})
    return tuple(tag for name in TAGS.values() if name in fields for tag in get_args(fields[name].annotation))
