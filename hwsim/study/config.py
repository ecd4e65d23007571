"""What a model card and a run may say, and how mistakes in them are told.

Layers of settings go over each other, later ones win: the model's ``learning``, its ``in_situ``, the
device's ``learning`` and ``--set``. A mistake is told at the place it was written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwsim.errors import InputError
from hwsim.study.yamlfile import Document, Keys, shown

Solvers = Literal["synchronous", "odd-even", "up-down"]


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NormaliseConfig(_Card):
    """Means and standard deviations of the channels, see ``hwsim.hopfield.Normalise``."""

    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)

    @model_validator(mode="after")
    def _matching(self) -> NormaliseConfig:
        if len(self.mean) != len(self.std) or not all(0 < std < math.inf for std in self.std):
            raise ValueError(f"std: expected a number > 0 for each of {len(self.mean)} means, got {self.std}")
        return self


class _NetworkConfig(_Card):
    """What all networks have; names are those of ``hwsim.hopfield.LayeredHopfield``."""

    c: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    output: Literal["linear", "clamped", "readout"] = "linear"
    start: Literal["zero", "feed-forward"] = "zero"
    bias: Literal["digital", "column"] = "digital"
    init_gain: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    cost: Literal["squared-error", "cross-entropy"] = "squared-error"
    normalise: NormaliseConfig | None = None


class LayeredConfig(_NetworkConfig):
    """A fully connected network. ``layers`` are units a layer, input first."""

    type: Literal["layered-hopfield"] = "layered-hopfield"
    layers: list[int] = Field(min_length=2)

    @model_validator(mode="after")
    def _sizes(self) -> LayeredConfig:
        if min(self.layers) < 1:
            raise ValueError(f"layers: expected sizes of at least 1, got {self.layers}")
        return self

    @property
    def pixels(self) -> int:
        return self.layers[0]

    @property
    def classes(self) -> int:
        return self.layers[-1]

    @property
    def links(self) -> int:
        return len(self.layers) - 1


class ConvLayerConfig(_Card):
    """One convolution, see ``hwsim.convolution.ConvLayer``."""

    channels: int = Field(ge=1)
    kernel: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=1, ge=0)
    pool: Literal["none", "max", "average"] = "none"


class ConvConfig(_NetworkConfig):
    """A convolutional network on images of (channels, height, width), then fully connected layers, classes last."""

    type: Literal["conv-hopfield"]
    image: list[int] = Field(min_length=3, max_length=3)
    convolutions: list[ConvLayerConfig] = Field(min_length=1)
    dense: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _sizes(self) -> ConvConfig:
        for name, sizes in (("image", self.image), ("dense", self.dense)):
            if min(sizes) < 1:
                raise ValueError(f"{name}: expected sizes of at least 1, got {sizes}")
        return self

    @property
    def pixels(self) -> int:
        return math.prod(self.image)

    @property
    def classes(self) -> int:
        return self.dense[-1]

    @property
    def links(self) -> int:
        return len(self.convolutions) + len(self.dense)


NetworkConfig = LayeredConfig | ConvConfig
NETWORK_TYPES = "'layered-hopfield', 'conv-hopfield'"


class InferenceConfig(_Card):
    """The relaxation behind a prediction."""

    solver: Solvers = "synchronous"
    damping: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=60, ge=1)
    average_last: int = Field(default=1, ge=1)
    tolerance: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    hold_input: bool = True

    @model_validator(mode="after")
    def _window(self) -> InferenceConfig:
        if self.average_last > self.steps:
            raise ValueError(f"average_last: expected at most steps ({self.steps}), got {self.average_last}")
        return self


class AugmentConfig(_Card):
    """Random changes of training images, see ``hwsim.study.data.augment``."""

    flip: bool = False
    crop_padding: int = Field(default=0, ge=0)


class LearningConfig(_Card):
    """A training recipe; the names are those of ``hwsim.learn.EquilibriumProp``."""

    rule: Literal["equilibrium-propagation", "exact-gradient"] = "equilibrium-propagation"
    nudge: Literal["centred", "one-sided", "random-sign"] = "centred"
    beta: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    update_form: Literal["difference", "interleaved", "two-phase"] = "difference"
    hold_input: bool = True
    solver: Solvers = "synchronous"
    damping: float = Field(default=1.0, gt=0, le=1)
    free_steps: int = Field(default=20, ge=1)
    nudged_steps: int = Field(default=10, ge=1)
    average_last: int = Field(default=1, ge=1)
    tolerance: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    epochs: int = Field(default=20, ge=0)
    batch_size: int = Field(default=32, ge=1)
    rates: list[float] = Field(min_length=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    augment: AugmentConfig = AugmentConfig()
    validation_examples: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> LearningConfig:
        for rate in self.rates:
            if not 0 <= rate < float("inf"):
                raise ValueError(f"rates: expected finite numbers >= 0, got {rate}")
        if self.average_last > min(self.free_steps, self.nudged_steps):
            shortest = min(self.free_steps, self.nudged_steps)
            raise ValueError(f"average_last: expected at most the shorter phase ({shortest}), got {self.average_last}")
        if self.rate_decay != 1.0 and self.schedule != "exponential":
            raise ValueError(f"rate_decay: acts under schedule 'exponential' only, and it is {self.schedule!r}")
        return self


class InputNoiseConfig(_Card):
    sigma: list[float] = Field(default=[])


class CorruptionsConfig(_Card):
    types: list[str] = Field(default=[])
    severities: list[int] = Field(default=[1, 2, 3, 4, 5])


class PgdConfig(_Card):
    norm: Literal["linf", "l2"] = "linf"
    epsilon: list[float] = Field(default=[])
    steps: int = Field(default=20, ge=1)


class EvaluationConfig(_Card):
    """What accuracy is measured under. Budgets and noise are in pixel units, images lie in [0, 1]."""

    draws: int = Field(default=5, ge=1)
    examples: int | None = Field(default=None, ge=1)
    input_noise: InputNoiseConfig = InputNoiseConfig()
    corruptions: CorruptionsConfig = CorruptionsConfig()
    pgd: PgdConfig = PgdConfig()

    @model_validator(mode="after")
    def _levels(self) -> EvaluationConfig:
        for name, levels in (("input_noise.sigma", self.input_noise.sigma), ("pgd.epsilon", self.pgd.epsilon)):
            if any(not 0 < level < float("inf") for level in levels):
                raise ValueError(f"{name}: expected finite numbers > 0, got {levels}")
        if any(level not in range(1, 6) for level in self.corruptions.severities):
            raise ValueError(f"corruptions.severities: expected numbers from 1 to 5, got {self.corruptions.severities}")
        return self


class ModelConfig(_Card):
    """A model card."""

    schema_version: Literal[1] = 1
    name: str
    summary: str = ""
    source: str = ""
    data: str = "digits"
    network: NetworkConfig = Field(discriminator="type")
    inference: InferenceConfig = InferenceConfig()
    learning: LearningConfig
    in_situ: dict[str, Any] = {}
    evaluation: EvaluationConfig = EvaluationConfig()


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
        keys = (*keys, "type")
        found = first["input"].get("type") if isinstance(first["input"], dict) else first["input"]
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
        tagged = [m for m in members if len(members) > 1 and m.model_fields["type"].annotation == Literal[part]]
        if tagged:
            members = tuple(tagged)
            continue
        keys.append(part)
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        known = sorted({field for model in models for field in model.model_fields}) or known
        found = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        members = tuple(inner for annotation in found for inner in (get_args(annotation) or (annotation,)))
    return tuple(keys), known
