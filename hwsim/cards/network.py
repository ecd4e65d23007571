"""The ``network`` section of a model card: an energy-based network, or somebody's torch module."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from hwsim.cards.card import Card
from hwsim.cards.yamlfile import Document
from hwsim.crossbar.non_negative import Range
from hwsim.ebm.diode import Diode
from hwsim.errors import InputError


class NormaliseConfig(Card):
    """Means and standard deviations of the channels, see ``hwsim.ebm.normalise.Normalise``."""

    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)

    @model_validator(mode="after")
    def _matching(self) -> NormaliseConfig:
        if len(self.mean) != len(self.std) or not all(0 < std < math.inf for std in self.std):
            raise ValueError(f"std: expected a number > 0 for each of {len(self.mean)} means, got {self.std}")
        return self


class _EnergyConfig(Card):
    """What all energy-based networks have; names are those of ``hwsim.ebm.hopfield.LayeredHopfield``."""

    c: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    output: Literal["linear", "clamped", "readout"] = "linear"
    start: Literal["zero", "feed-forward"] = "zero"
    bias: Literal["digital", "column"] = "digital"
    init_gain: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    cost: Literal["squared-error", "cross-entropy"] = "squared-error"
    normalise: NormaliseConfig | None = None


class VectorConfig(Card):
    """What fully connected networks have. ``layers`` are units a layer, input first."""

    layers: list[int] = Field(min_length=2)

    @field_validator("layers")
    @classmethod
    def _sizes(cls, layers: list[int]) -> list[int]:
        if min(layers) < 1:
            raise ValueError(f"expected sizes of at least 1, got {layers}")
        return layers

    @property
    def pixels(self) -> int:
        return self.layers[0]

    @property
    def outputs(self) -> int:
        return self.layers[-1]

    @property
    def links(self) -> int:
        return len(self.layers) - 1


class LayeredConfig(_EnergyConfig, VectorConfig):
    """A fully connected Hopfield network."""

    type: Literal["layered-hopfield"] = "layered-hopfield"


class DiodeConfig(Card):
    """The diodes at hidden nodes, see ``hwsim.ebm.diode.Diode``; ideal ones unless ``saturation_A`` is given."""

    saturation_A: float | None = None
    ideality: float = 1.0


class ResistiveConfig(VectorConfig):
    """A resistive network; names are those of ``hwsim.ebm.resistive.ResistiveNetwork``.

    An input is two sources, a class two nodes, and biases are conductances. ``g_min_uS`` and ``g_max_uS`` are the range
    of a device (float has no upper end), ``unit_uS`` is the conductance of a weight of 1.
    """

    type: Literal["resistive"]
    amplifier_gain: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    input_V: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    bias_V: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    diode: DiodeConfig = DiodeConfig()
    unit_uS: float = 10.0
    g_min_uS: float = 0.1
    g_max_uS: float = 10.0
    init_gain: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    cost: Literal["squared-error", "cross-entropy"] = "squared-error"

    normalise: ClassVar[None] = None  # sources have the voltages that pixels say
    bias: ClassVar[str] = "column"

    @model_validator(mode="after")
    def _physical(self) -> ResistiveConfig:
        try:
            _ = self.conductances, self.diodes  # each says what is wrong with it
        except InputError as error:
            raise ValueError(str(error).removeprefix("network.")) from error
        return self

    @property
    def conductances(self) -> Range:
        return Range(self.g_min_uS, self.g_max_uS, self.unit_uS)

    @property
    def diodes(self) -> Diode:
        return Diode(self.diode.saturation_A, self.diode.ideality)


class ConvolutionConfig(Card):
    """One convolution, see ``hwsim.ebm.build.Conv``."""

    channels: int = Field(ge=1)
    kernel: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=1, ge=0)
    pool: Literal["none", "max", "average"] = "none"


class StackConfig(Card):
    """Images of (channels, height, width), convolutions if there are any, then fully connected layers, classes last."""

    image: list[int] = Field(min_length=3, max_length=3)
    convolutions: list[ConvolutionConfig] = Field(default=[])
    dense: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        for name, sizes in (("image", self.image), ("dense", self.dense)):
            _positive(name, sizes)
        return self

    @property
    def outputs(self) -> int:
        return self.dense[-1]

    @property
    def links(self) -> int:
        return len(self.convolutions) + len(self.dense)


class ConvConfig(_EnergyConfig, StackConfig):
    """A convolutional Hopfield network, its layers those of a ``StackConfig`` with a convolution at least."""

    type: Literal["conv-hopfield"]
    convolutions: list[ConvolutionConfig] = Field(min_length=1)


class PredictiveConfig(StackConfig):
    """A predictive coding network; names are those of ``StackConfig`` and ``hwsim.ebm.predictive.PredictiveCoding``."""

    type: Literal["predictive-coding"]
    c: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    bias: Literal["digital", "column"] = "digital"
    init_gain: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    cost: Literal["squared-error", "cross-entropy"] = "squared-error"
    normalise: NormaliseConfig | None = None


class ModuleConfig(Card):
    """A feed-forward torch module, made by ``module(image, classes, **parameters)``.

    ``module`` is ``./net.py:Name`` beside the card (or beside the card of a neighbour, ``../other/net.py:Name``), or
    an installed entry point of the group hwsim.modules. What it makes maps (B, *image) to scores (B, classes).
    """

    type: Literal["module"]
    module: str
    image: list[int] = Field(min_length=3, max_length=3)
    classes: int = Field(ge=2)
    parameters: dict[str, Any] = Field(default={})
    normalise: NormaliseConfig | None = None
    _home: tuple[Document, Path | None] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _sizes(self) -> ModuleConfig:
        _positive("image", self.image)
        return self

    @property
    def outputs(self) -> int:
        return self.classes

    @property
    def home(self) -> tuple[Document, Path | None]:
        """The card that this stands in and the folder that its files are looked for in."""
        return self._home or (Document({}, "model"), None)

    def at(self, document: Document, folder: Path | None) -> ModuleConfig:
        """The same, in the card ``document`` of ``folder``."""
        placed = self.model_copy()
        placed._home = (document, folder)
        return placed


def _positive(name: str, sizes: list[int]) -> None:
    if min(sizes) < 1:
        raise ValueError(f"{name}: expected sizes of at least 1, got {sizes}")


EnergyConfig = LayeredConfig | ConvConfig | ResistiveConfig | PredictiveConfig
NetworkConfig = LayeredConfig | ConvConfig | ResistiveConfig | PredictiveConfig | ModuleConfig
