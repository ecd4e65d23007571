"""From an ablation's records to what each property costs, and which one limits the device."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import WorkError
from hwsim.experiments.ablation.job import ALL_OFF, ALL_ON, LOG, Ablation, VariantRecord, only, without
from hwsim.jobs.records import read_records
from hwsim.jobs.store import write_text
from hwsim.stats.interval import Interval, accuracy, difference


@dataclass(frozen=True)
class Cost:
    """What one property costs in accuracy, in shares; positive: accuracy lost.

    Args:
        alone: accuracy with everything off, less that with this property alone.
        gained: accuracy without this property, less that of the device as it is.
        alone_joint, gained_joint: the same with intervals that hold for all properties at once (Bonferroni).
        accuracy_only, accuracy_without: the two accuracies behind them.
        diverged: trainings of the two variants that diverged.
    """

    name: str
    alone: Interval
    gained: Interval
    alone_joint: Interval
    gained_joint: Interval
    accuracy_only: Interval
    accuracy_without: Interval
    diverged: int


@dataclass(frozen=True)
class Results:
    """Accuracies of the device as it is and with the properties off, their difference, and the costs, largest first."""

    all_on: Interval
    all_off: Interval
    lost: Interval
    costs: tuple[Cost, ...]
    repeats: int
    images: int


class Measured:
    """The records in an ablation's folder, by variant. WorkError where one is asked for that is not there yet."""

    def __init__(self, ablation: Ablation) -> None:
        self._ablation = ablation
        self._records = {record.key: record for record in read_records(ablation.folder / LOG, VariantRecord)}
        self._first = {id(variant): name for name, variant in ablation.work()}

    def of(self, variant: str) -> list[VariantRecord]:
        """A record a repeat."""
        name = self._first[id(self._ablation.variants[variant])]
        try:
            return [self._records[name, repeat] for repeat in range(self._ablation.run.repeats)]
        except KeyError as error:
            folder = self._ablation.folder
            raise WorkError(f"{folder}: {name} is not measured yet; the same command goes on") from error

    def shares(self, variant: str) -> NDArray[np.float64]:
        """(repeats, images) shares of correct draws."""
        return np.array([np.array(r.hits) / r.draws for r in self.of(variant)])

    def diverged(self, variant: str) -> int:
        """Trainings that diverged."""
        return sum(record.diverged is not None for record in self.of(variant))


def results(ablation: Ablation) -> Results:
    """The costs, from the records in the ablation's folder. Raises WorkError where one is missing."""
    measured = Measured(ablation)
    shares = measured.shares
    on, off, costs = shares(ALL_ON), shares(ALL_OFF), []
    count = len(ablation.properties)
    for item in ablation.properties:
        left, removed = only(item.name), without(item.name)
        costs.append(
            Cost(
                item.name,
                difference(off, shares(left)),
                difference(shares(removed), on),
                difference(off, shares(left), count),
                difference(shares(removed), on, count),
                accuracy(shares(left)),
                accuracy(shares(removed)),
                measured.diverged(left) + measured.diverged(removed),
            )
        )
    costs.sort(key=lambda cost: -max(cost.gained.mean, cost.alone.mean))
    return Results(accuracy(on), accuracy(off), difference(off, on), tuple(costs), *on.shape)


@dataclass(frozen=True)
class Verdict:
    """What can be concluded.

    ``kind``: "limits": without ``cost``'s property accuracy rises; "none": all properties together cost nothing that
    can be resolved; "several": removing any one of them gains nothing, though ``cost``'s costs most alone;
    "unresolved": together they cost something, but which of them cannot be resolved, ``cost``'s gained most.
    """

    kind: Literal["limits", "none", "several", "unresolved"]
    cost: Cost


def verdict(measured: Results) -> Verdict:
    """The limiting property, where it can be resolved; the largest of many must hold among all of them."""
    gained = max(measured.costs, key=lambda cost: cost.gained.mean)
    alone = max(measured.costs, key=lambda cost: cost.alone.mean)
    if measured.lost.low <= 0:
        return Verdict("none", gained)
    if gained.gained_joint.low > 0:
        return Verdict("limits", gained)
    return Verdict("several", alone) if alone.alone_joint.low > 0 else Verdict("unresolved", gained)


def write_table(folder: Path, measured: Results) -> Path:
    """Write ``ablation.csv``, a row for each property."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    kinds = ("cost_alone", "gained_without", "accuracy_only", "accuracy_without")
    writer.writerow(["property", *(f"{k}_{part}_share" for k in kinds for part in ("mean", "low95", "high95"))])
    for cost in measured.costs:
        spans = (cost.alone, cost.gained, cost.accuracy_only, cost.accuracy_without)
        writer.writerow([cost.name, *(f"{v:.6f}" for span in spans for v in (span.mean, span.low, span.high))])
    write_text(folder / "ablation.csv", rows.getvalue())
    return folder / "ablation.csv"
