"""The ``learning`` section of a model card: a rule and all that it needs."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hwsim.cards.card import Card, Solvers
from hwsim.cards.updates import plain_modes
from hwsim.ebm.settle import SOLVERS
from hwsim.errors import InputError
from hwsim.robustness.threat import parse


class AugmentConfig(Card):
    """Random changes of training images, see ``hwsim.data.dataset.augment``."""

    flip: bool = False
    crop_padding: int = Field(default=0, ge=0)
    crop_border: Literal["zeros", "edge", "reflect"] = "zeros"


class AdversarialConfig(Card):
    """Learn from images that projected gradient ascent on the cross-entropy has just moved (Madry et al. 2018).

    ``threat`` and ``step_size`` are in pixel units; ``step_size`` is 2.5 epsilon / steps by default. ``share`` of
    each batch is moved. An energy-based network is differentiated through the last five steps of a settled
    relaxation, a module in evaluation mode.
    """

    threat: str
    steps: int = Field(default=7, ge=1)
    step_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    random_start: bool = True
    share: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _known(self) -> AdversarialConfig:
        try:
            parse(self.threat)
        except InputError as error:
            raise ValueError(f"threat: {error}") from error
        return self


class Recipe(Card):
    """What all rules have.

    ``rate_scale`` multiplies all rates: what a device asks of any network, deep or shallow. ``precision``: of the
    products of reads in float training, ``hwsim.crossbar.reduced``; results are always classified in float32. tf32 acts
    on NVIDIA's GPUs alone, bf16 on energy-based networks.
    """

    epochs: int = Field(default=20, ge=0)
    batch_size: int = Field(default=32, ge=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    decay_epochs: int = Field(default=1, ge=1)
    warmup_epochs: int = Field(default=0, ge=0)
    rate_scale: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    augment: AugmentConfig = AugmentConfig()
    adversarial: AdversarialConfig | None = None
    validation_examples: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    stop_at_training_accuracy: float | None = Field(default=None, gt=0, le=1)
    """End after the first epoch whose images, each measured before its batch was learned, were so well classified."""

    @model_validator(mode="after")
    def _scheduled(self) -> Recipe:
        if self.schedule != "exponential":
            for name, default in (("rate_decay", 1.0), ("decay_epochs", 1)):
                if getattr(self, name) != default:
                    raise ValueError(f"{name}: acts under schedule 'exponential' only, and it is {self.schedule!r}")
        return self

    def rate_factor(self, progress: float) -> float:
        """The schedule's factor on all rates, ``rate_scale`` included; ``progress`` counts epochs, with fractions."""
        factor = self.rate_scale * (min(1.0, progress / self.warmup_epochs) if self.warmup_epochs else 1.0)
        if self.schedule == "cosine":
            return factor * 0.5 * (1 + math.cos(math.pi * progress / self.epochs))
        if self.schedule == "exponential":
            return factor * self.rate_decay ** (math.floor(progress) // self.decay_epochs)
        return factor


class LearningConfig(Recipe):
    """A recipe for an energy-based network; the names are those of ``hwsim.learning.ep.EquilibriumProp``.

    Under rule 'exact-gradient' (``hwsim.learning.exact.ExactGradient``) there are no nudged phases: the implicit
    gradient is taken where a relaxation of at most ``free_steps`` ends.

    Under rule 'coupled-learning' (``hwsim.learning.coupled.CoupledLearning``) outputs are held by ``eta`` of the way
    nearer to their targets, for ``nudged_steps``; ``nudge`` and ``beta`` have no part in it.

    ``damping`` auto: the factor of over-relaxed sweeps is measured on the network as it learns
    (``hwsim.ebm.spectrum.over_relaxation``); 1 until then, and on noisy arrays.

    ``graph``: on a GPU, record a step once and launch it whole (``hwsim.learning.graph``); on the CPU it does nothing.

    On devices, once for all links or once a link: ``update``, how updates are written
    (``hwsim.crossbar.updates.modes.UpdateMode``); ``rate_pulses``, the rates of arrays in pulses, which their biases'
    ``rates`` are not (``hwsim.crossbar.updates.normalised``); ``gain_rate``, that of a digital gain
    (``hwsim.crossbar.updates.gain``), one a ``gain_per``. ``pulse_log``: the pulses that every cross-point is sent are
    kept (``hwsim.crossbar.updates.log``).
    """

    rule: Literal["equilibrium-propagation", "coupled-learning", "exact-gradient"] = "equilibrium-propagation"
    nudge: Literal["centred", "one-sided", "random-sign", "linear-response"] = "centred"
    beta: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    eta: float = Field(default=0.1, gt=0, le=1)
    update_form: Literal["difference", "interleaved", "two-phase"] = "difference"
    update: str | list[str] = "per-sample"
    rate_pulses: float | list[float] | None = None
    gain_rate: float | list[float] = 0.0
    gain_per: Literal["layer", "output"] = "layer"
    pulse_log: bool = False
    phase_hardware: Literal["shared", "twin"] = "shared"
    hold_input: bool = True
    solver: Solvers = "synchronous"
    damping: Annotated[float, Field(gt=0, lt=2)] | Literal["auto"] = 1.0
    free_steps: int = Field(default=20, ge=1)
    nudged_steps: int = Field(default=10, ge=1)
    average_last: int = Field(default=1, ge=1)
    tolerance: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    stop_early: bool = False
    graph: bool = False
    tune_epochs: int = Field(default=0, ge=0)
    rates: list[float] = Field(min_length=1)

    @field_validator("update", mode="before")
    @classmethod
    def _known_modes(cls, update: Any) -> Any:
        return plain_modes(update)

    @model_validator(mode="after")
    def _consistent(self) -> LearningConfig:
        if self.graph and (self.rule == "exact-gradient" or self.nudge == "random-sign" or self.adversarial):
            raise ValueError("graph: records phases of equilibrium propagation alone, with signs that are not drawn")
        if self.damping != "auto":
            SOLVERS[self.solver](self.damping)  # raises where it is too large for that solver
        elif self.solver != "odd-even":
            raise ValueError(f"damping: auto goes with solver 'odd-even', and it is {self.solver!r}")
        pulses = [] if self.rate_pulses is None else self.rate_pulses
        for name, rates in (("rates", self.rates), ("rate_pulses", pulses), ("gain_rate", self.gain_rate)):
            for rate in rates if isinstance(rates, list) else [rates]:
                if not 0 <= rate < float("inf"):
                    raise ValueError(f"{name}: expected finite numbers >= 0, got {rate}")
        if self.average_last > min(self.free_steps, self.nudged_steps):
            shortest = min(self.free_steps, self.nudged_steps)
            raise ValueError(f"average_last: expected at most the shorter phase ({shortest}), got {self.average_last}")
        return self

    @property
    def cure(self) -> str:
        """What to try where training diverges."""
        return f"smaller learning.rates (now {self.rates}) or a smaller learning.beta (now {self.beta})"


class BackpropConfig(Recipe):
    """A recipe for a feed-forward module: a cost's gradient by backpropagation.

    ``cost``: cross-entropy, or the squared error against one-hot targets that networks with an energy learn by.

    ``momentum`` is that of 'sgd', whose weight decay is L2; that of 'adamw' is decoupled, and acts on every parameter.
    """

    rule: Literal["backpropagation"]
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = Field(ge=0, allow_inf_nan=False)
    cost: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> BackpropConfig:
        if self.precision == "bf16":
            raise ValueError("precision: bf16 is for energy-based networks; expected float32 or tf32")
        if self.optimiser == "adamw" and self.momentum:
            raise ValueError("momentum: acts under optimiser 'sgd' only, and it is 'adamw'")
        if self.label_smoothing and self.cost != "cross-entropy":
            raise ValueError(f"label_smoothing: acts on the cross-entropy only, and cost is {self.cost!r}")
        return self

    @property
    def rates(self) -> list[float]:
        return [self.rate]

    @property
    def cure(self) -> str:
        """What to try where training diverges."""
        return f"a smaller learning.rate (now {self.rate:g})"


LearningSection = LearningConfig | BackpropConfig
