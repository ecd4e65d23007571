"""The records of a run, the lines of its ``metrics.jsonl``; epochs are ``EpochRecord``s."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from hwsim.experiments.attack.records import Reported, Worst
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.jobs.records import Record, check_hits
from hwsim.stats.interval import Interval


@dataclass(frozen=True, kw_only=True)
class OfCase(Record):
    """What is known of one case in one repeat."""

    case: str
    repeat: int


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(OfCase):
    """Hits of every test image under a condition, in so many draws."""

    kind: Literal["evaluation"] = "evaluation"
    condition: str
    level: int | float
    level_unit: str = ""
    draws: int
    hits: list[int]
    unsettled_share: float | None = None
    noise_floor_share: float | None = None

    def __post_init__(self) -> None:
        check_hits([self.hits], self.draws)

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat, self.condition, self.level


@dataclass(frozen=True)
class LayerHealth:
    """One array of a network; pulses are those of the last epoch, see ``Meter``."""

    layer: str
    shape: list[int]
    tiles: int | None = None
    utilisation: float | None = None
    k_mean: float | None = None
    k_max: float | None = None
    k_limit: float | None = None
    clipped_share: float | None = None
    saturated_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class DiagnosticsRecord(OfCase):
    """The health of every array, and how a relaxation ended."""

    kind: Literal["diagnostics"] = "diagnostics"
    layers: list[LayerHealth]
    steps_mean: float | None = None
    unsettled_share: float | None = None
    noise_floor_share: float | None = None

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat


@dataclass(frozen=True, kw_only=True)
class RelaxationRecord(OfCase):
    """Mean energy and largest change of a unit after each step of a relaxation."""

    kind: Literal["relaxation"] = "relaxation"
    energy: list[float | None]
    residual: list[float | None]

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat


@dataclass(frozen=True)
class StaticPower:
    """What a settled circuit draws in watts, the mean over images; see ``hwsim.ebm.power.Power``."""

    conductances_W: float
    diodes_W: float
    sources_W: float
    amplifiers_W: float
    total_W: float


@dataclass(frozen=True, kw_only=True)
class CircuitRecord(OfCase):
    """A circuit at rest on test images: its power, and the node voltages of the first images, layer by layer."""

    kind: Literal["circuit"] = "circuit"
    images: int
    power: StaticPower
    node_voltages_V: list[list[list[float]]]

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat


@dataclass(frozen=True, kw_only=True)
class AttackRecord(OfCase):
    """What an attack of the card's ``evaluation.attack`` left under one threat; the rest is in ``folder``."""

    kind: Literal["attack"] = "attack"
    condition: str
    attack: str
    images: int
    clean: Interval
    worst: Worst
    reported: Reported
    flags: list[str]
    checked: bool
    caveats: list[str]
    folder: str

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat, self.condition


RUN_RECORDS = (EvaluationRecord, EpochRecord, DiagnosticsRecord, RelaxationRecord, CircuitRecord, AttackRecord)
