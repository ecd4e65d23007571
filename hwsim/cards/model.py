"""What a model card and a run may say, and how mistakes in them are told.

Layers of settings go over each other, later ones win: the model's ``learning``, its ``in_situ``, the
device's ``learning`` and ``--set``. A mistake is told at the place it was written.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hwsim.cards.card import Card, Solvers
from hwsim.cards.network import EnergyConfig, ModuleConfig, NetworkConfig
from hwsim.cards.recipe import LearningConfig, LearningSection
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
    in_situ_for: dict[Literal["per-sample", "accumulate", "low-rank", "pooled"], dict[str, Any]] = Field(default={})
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def energy(self) -> EnergyConfig:
        """The network, where it has an energy. InputError for a feed-forward module."""
        return require_energy(self)

    @property
    def settled_learning(self) -> LearningConfig:
        """The recipe, where the model learns at equilibria. InputError for a feed-forward module."""
        require_energy(self)
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


def require_energy(model: ModelConfig) -> EnergyConfig:
    """The network of a model that has an energy. InputError for a feed-forward module."""
    if isinstance(model.network, ModuleConfig):
        raise InputError(
            f"model {model.name}: is a feed-forward torch module; this needs an energy-based network "
            "(network.type layered-hopfield, conv-hopfield, resistive or predictive-coding)"
        )
    return model.network
