"""From an ablation's records to what each property costs: intervals, a table, a bar chart and a sentence."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

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
        accuracy_only, accuracy_without: the two accuracies behind them.
        diverged: trainings of the two variants that diverged.
    """

    name: str
    alone: Interval
    gained: Interval
    accuracy_only: Interval
    accuracy_without: Interval
    diverged: int


@dataclass(frozen=True)
class Results:
    """An ablation, judged: accuracies of the device as it is and with everything off, and the costs, largest first."""

    all_on: Interval
    all_off: Interval
    lost: Interval
    costs: tuple[Cost, ...]
    repeats: int
    images: int


def results(ablation: Ablation) -> Results:
    """The costs, from the records in the ablation's folder. Raises WorkError where one is missing."""
    records = {record.key: record for record in read_records(ablation.folder / LOG, VariantRecord)}
    first = {id(card): name for name, card in ablation.work()}

    def found(variant: str) -> list[VariantRecord]:
        name = first[id(ablation.variants[variant])]
        try:
            return [records[name, repeat] for repeat in range(ablation.run.repeats)]
        except KeyError as error:
            raise WorkError(f"{ablation.folder}: {name} is not measured yet; the same command goes on") from error

    def shares(variant: str) -> NDArray[np.float64]:
        return np.array([np.array(r.hits) / r.draws for r in found(variant)])

    on, off, costs = shares(ALL_ON), shares(ALL_OFF), []
    for item in ablation.properties:
        left, removed = only(item.name), without(item.name)
        costs.append(
            Cost(
                item.name,
                difference(off, shares(left)),
                difference(shares(removed), on),
                accuracy(shares(left)),
                accuracy(shares(removed)),
                sum(record.diverged is not None for name in (left, removed) for record in found(name)),
            )
        )
    costs.sort(key=lambda cost: -max(cost.gained.mean, cost.alone.mean))
    return Results(accuracy(on), accuracy(off), difference(off, on), tuple(costs), *on.shape)


def verdict(found: Results) -> str:
    """The limiting property, in a sentence: the one whose removal gains most, if that can be told from chance."""
    points = f"{100 * found.lost.mean:.1f} points ({found.lost.points_range})"
    told = [cost for cost in found.costs if cost.gained.low > 0]
    if told:
        best = max(told, key=lambda cost: cost.gained.mean)
        gained = f"{100 * best.gained.mean:.1f} points ({best.gained.points_range})"
        return (
            f"The limiting property is {best.name}: without it the accuracy rises from {found.all_on.percent} to "
            f"{best.accuracy_without.percent}, by {gained}; all properties together cost {points}."
        )
    if found.lost.low <= 0:
        return f"No property limits: all together cost {points}, no more than chance."
    alone = max(found.costs, key=lambda cost: cost.alone.mean)
    if alone.alone.low > 0:
        return (
            f"No single property limits: together they cost {points}, but removing any one alone gains no more than "
            f"chance. Alone, {alone.name} costs most, {100 * alone.alone.mean:.1f} points ({alone.alone.points_range})."
        )
    first = max(found.costs, key=lambda cost: cost.gained.mean)
    return (
        f"Together the properties cost {points}; which of them cannot be told from chance. Removing {first.name} "
        f"gained most, {first.gained.points} ({first.gained.points_range}). Try more --seeds."
    )


def write_table(folder: Path, found: Results) -> Path:
    """``ablation.csv``, a row a property."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    kinds = ("cost_alone", "gained_without", "accuracy_only", "accuracy_without")
    writer.writerow(["property", *(f"{k}_{part}_share" for k in kinds for part in ("mean", "low95", "high95"))])
    for cost in found.costs:
        spans = (cost.alone, cost.gained, cost.accuracy_only, cost.accuracy_without)
        writer.writerow([cost.name, *(f"{v:.6f}" for span in spans for v in (span.mean, span.low, span.high))])
    write_text(folder / "ablation.csv", rows.getvalue())
    return folder / "ablation.csv"
