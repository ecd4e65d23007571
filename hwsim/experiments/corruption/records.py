"""What a measurement of corruptions leaves: the lines of its ``metrics.jsonl``, and its ``results.json``."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from hwsim.jobs.records import Record, check_hits
from hwsim.stats.interval import Interval


@dataclass(frozen=True, kw_only=True)
class CorruptionRecord(Record):
    """A line of the log: hits of (instances, images) under a condition, in so many draws.

    ``kind`` is the condition's, ``case`` "model" or "baseline".
    """

    kind: str
    case: str
    name: str
    level: int | float
    draws: int
    hits: list[list[int]]

    def __post_init__(self) -> None:
        check_hits(self.hits, self.draws)

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.case, self.name, self.level


@dataclass(frozen=True, kw_only=True)
class Row(Interval):
    """The accuracy of one case under one condition."""

    case: str
    kind: str
    name: str
    level: int | float


@dataclass(frozen=True, kw_only=True)
class Means:
    """Over the types of one group and all severities, with the ratios to the baseline where there is one.

    A ratio that cannot be had is the sentence that says why: a baseline that loses nothing divides by zero.
    ``interval`` and the ends are 95 % intervals, see ``robustness.scores``; an end that is None lies at infinity, where
    some drawn images leave a baseline that loses nothing.
    """

    over: str
    types: int
    accuracy: float
    interval: Interval
    baseline_accuracy: float | None = None
    mce: float | str | None = None
    mce_ends: tuple[float | None, float | None] | None = None
    relative_mce: float | str | None = None
    relative_mce_ends: tuple[float | None, float | None] | None = None

    @property
    def ratios(self) -> str:
        """Both ratios to the baseline with their intervals, or why there is none: ``mCE 0.912 (0.870 to 0.955)``."""
        ratios = (("mCE", self.mce, self.mce_ends), ("relative mCE", self.relative_mce, self.relative_mce_ends))
        return "; ".join(
            f"{name} {ratio:.3f} ({_end(ends[0])} to {_end(ends[1])})"
            if isinstance(ratio, float) and ends
            else f"no {name} ({ratio})"
            for name, ratio, ends in ratios
        )


def _end(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.3f}"


@dataclass(frozen=True, kw_only=True)
class CorruptionResults:
    """``results.json``; ``chips`` counts device instances, 0 in float."""

    model: str
    baseline: str | None
    device: str
    data: str
    images: int
    chips: int
    severities: list[int]
    rows: list[Row]
    means: list[Means]
    caveats: list[str]
    config_hash: str
