"""What an attack leaves: the lines of its ``metrics.jsonl``, and its ``results.json``."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from hwsim.experiments.attack.job import Chosen
from hwsim.jobs.records import Record, check_hits
from hwsim.stats.interval import Interval


@dataclass(frozen=True, kw_only=True)
class EqualInstances(Record):
    """Do all instances of the device hold the same weights?"""

    kind: Literal["chips"] = "chips"
    equal: bool

    @property
    def key(self) -> tuple[Hashable, ...]:
        return (self.kind,)


@dataclass(frozen=True, kw_only=True)
class OfSlice(Record):
    """Some images under a threat, frozen and measured on fresh draws. Shares are over draws and instances.

    Attributes:
        age_s: seconds after programming; None: right after it.
        chip: the device instance that was attacked, None: all at once, or float.
        slice: which slice of the test images; ``first`` is its first image.
        clean: share of draws in which each untouched image was right.
        distance: how far each was moved, in the threat's norm.
        hits: (instances, images) how often each adversarial image was right in ``draws`` draws.
        hits_by_draw: (instances, draws) how many were.
        unsettled_share: of the relaxations behind these.
    """

    threat: str
    age_s: float | None
    chip: int | None
    slice: int
    first: int
    labels: list[int]
    clean: list[float]
    distance: list[float]
    draws: int
    hits: list[list[int]]
    hits_by_draw: list[list[int]]
    unsettled_share: float

    def __post_init__(self) -> None:
        check_hits(self.hits, self.draws)


@dataclass(frozen=True, kw_only=True)
class SliceRecord(OfSlice):
    """A slice attacked under one attack seed.

    Attributes:
        attacked: attack -> share of each image.
        least: the least share of each image over the attacks, on the draws that chose its worst.
        strayed: attack -> share of its images that were outside the budget, before they were clipped.
    """

    kind: Literal["attack"] = "attack"
    seed: int
    attacked: dict[str, list[float]]
    least: list[float]
    strayed: dict[str, float]

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.threat, self.age_s, self.chip, self.slice, self.seed


@dataclass(frozen=True, kw_only=True)
class WorstSeedRecord(OfSlice):
    """Of every image of a slice the worst over the attack seeds; ``seeds`` says which that was."""

    kind: Literal["worst"] = "worst"
    seeds: list[int]

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.threat, self.age_s, self.chip, self.slice


@dataclass(frozen=True)
class CheckRecord:
    """One check in words; ``told`` is the whole sentence."""

    name: str
    passed: bool
    found: str
    meaning: str
    told: str


@dataclass(frozen=True, kw_only=True)
class ChecksRecord(Record):
    """The checks that unmask, on the first ``images`` images; see ``Unmasked``."""

    kind: Literal["checks"] = "checks"
    threat: str
    age_s: float | None
    images: int
    checks: list[CheckRecord]
    accuracies: dict[str, float]
    lowest: float

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.threat, self.age_s


@dataclass(frozen=True, kw_only=True)
class OverSeeds(Interval):
    """An accuracy and, of several attack seeds, that of each alone, their standard deviation, and the least of them
    image by image (where nothing is noisy)."""

    by_seed: list[float] | None = None
    seed_spread: float | None = None
    least_over_seeds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Worst(OverSeeds):
    """The worst over the attacks, image by image, measured on fresh draws.

    ``spread`` is the standard deviation over device instances and draws, ``majority`` the share of images that were
    right in more than half of an instance's draws.
    """

    spread: float
    majority: float


@dataclass(frozen=True, kw_only=True)
class Reported(Interval):
    """The lowest accuracy of all that was tried, and what that was.

    ``upper_bound``: a check failed, or the attacker may only query, so that a better attack leaves less.
    """

    of: str
    upper_bound: bool = False


@dataclass(frozen=True)
class Checked:
    """The checks of a threat, see ``ChecksRecord``."""

    images: int
    checks: list[CheckRecord]
    accuracies: dict[str, float]
    lowest: float


@dataclass(frozen=True, kw_only=True)
class ThreatResult:
    """What is left under one threat at one age; ``flags`` names the checks that failed."""

    threat: str
    age_s: float | None
    draws: int
    age: str | None
    clean: Interval
    attacks: dict[str, OverSeeds]
    worst: Worst
    strayed: dict[str, float]
    unsettled_share: float
    reported: Reported
    checks: Checked | None = None
    flags: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class AttackResults:
    """``results.json``; ``chips`` counts device instances, 0 in float."""

    model: str
    device: str
    data: str
    images: int
    chips: int
    knows: str
    gradient: str
    seeds: list[int]
    threats: list[ThreatResult]
    caveats: list[str]
    config_hash: str
    effort: Chosen | None = None


ATTACK_RECORDS = (EqualInstances, SliceRecord, WorstSeedRecord, ChecksRecord)
