"""What is lost to reads and what to how updates are written: each way of the one with each of the other."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from hwsim.cards.device import read_device, with_exact_updates
from hwsim.cards.nonidealities import READS, properties, switched_off
from hwsim.cards.read import parted
from hwsim.crossbar.updates.modes import ACCUMULATE, PER_SAMPLE
from hwsim.errors import InputError
from hwsim.experiments.ablation.job import ALL_ON, Ablation, Variant
from hwsim.experiments.ablation.results import Measured
from hwsim.experiments.device_run.job import RunJob, plan_run
from hwsim.experiments.requests import AblationRequest, RunRequest
from hwsim.jobs.request import TrainingRequest
from hwsim.jobs.store import write_text
from hwsim.stats.interval import Interval, accuracy, difference

EXACT = "exact"
UPDATES = (EXACT, ACCUMULATE, PER_SAMPLE)


def pair(mode: str, reads: str) -> str:
    """The variant of a way to write updates and a way to read."""
    return f"{mode} updates, {reads} reads"


def plan_updates(request: AblationRequest) -> Ablation:
    """How updates are written against how exactly arrays are read: each way of the one with each of the other.

    ``all on`` is the device with its own recipe. Raises InputError for the first mistake.
    """
    for option, given in (
        ("--case", request.case != "in-situ"),
        ("--age", request.age),
        ("--property", request.properties),
    ):
        if given:
            raise InputError(f"{option}: --updates compares ways to learn in situ; leave it out")
    common = {each.name: getattr(request, each.name) for each in fields(TrainingRequest)}

    def planned(*settings: str) -> RunJob:
        own = {**common, "settings": [*request.settings, *settings]}
        return plan_run(RunRequest(**own, device=request.device, repeats=request.seeds))

    run = planned()
    if run.device.device.trains != "in-situ":
        raise InputError(f"--updates: updates of {run.device.name} are exact: it is trained in digital")
    recipes = {mode: planned(f"in_situ.update={mode}").in_situ for mode in (ACCUMULATE, PER_SAMPLE)}
    # Exact updates need none of the care that a train for every row does: theirs is the recipe of the sum.
    recipes[EXACT] = recipes[ACCUMULATE].model_copy(update={"update": PER_SAMPLE})
    off = [item for item in properties(run.device) if item.name in READS]
    own, _ = parted(request.settings)
    cards = {"noisy": run.device}
    if off:
        cards["exact"] = read_device(request.device, [*own, *switched_off(off)])
    variants = {ALL_ON: Variant(run.device, run.in_situ)}
    for mode in UPDATES:
        for reads, card in cards.items():
            made = Variant(with_exact_updates(card) if mode == EXACT else card, recipes[mode])
            variants[pair(mode, reads)] = next((v for v in variants.values() if v == made), made)
    return Ablation(
        run=run,
        device=run.device,
        properties=tuple(off),
        variants=variants,
        case="in-situ",
        age_s=0.0,
        updates=True,
        seed=run.seed,
        out=request.out,
        command=request.command,
        again=partial(plan_updates, request),
    )


@dataclass(frozen=True)
class UpdateResults:
    """Accuracies of every way to write and read, and the steps from the exact ones to the device's.

    Attributes:
        accuracy: (mode, reads) -> of that variant.
        steps: (what is added, the accuracy that it costs), in order: noisy reads, whole pulses of a digital sum in
            place of exact updates, trains for every row in place of the sum. Intervals hold for all of them at once.
        diverged: trainings that diverged, by variant.
    """

    accuracy: dict[tuple[str, str], Interval]
    steps: tuple[tuple[str, Interval], ...]
    diverged: dict[str, int]
    repeats: int
    images: int


def update_results(ablation: Ablation) -> UpdateResults:
    """From the records in the ablation's folder. Raises WorkError where one is missing."""
    measured = Measured(ablation)
    reads = [name for name in ("exact", "noisy") if pair(EXACT, name) in ablation.variants]
    chain = [(mode, "noisy") for mode in UPDATES]
    names = ["whole pulses of a digital sum", "a train for every row"]
    if "exact" in reads:
        chain, names = [(EXACT, "exact"), *chain], ["noisy reads", *names]
    shares = {(mode, name): measured.shares(pair(mode, name)) for mode in UPDATES for name in reads}
    steps = [
        (name, difference(shares[before], shares[after], len(names)))
        for name, before, after in zip(names, chain, chain[1:], strict=False)
    ]
    diverged = {pair(*key): measured.diverged(pair(*key)) for key in shares}
    return UpdateResults(
        {key: accuracy(value) for key, value in shares.items()},
        tuple(steps),
        {name: count for name, count in diverged.items() if count},
        *next(iter(shares.values())).shape,
    )


def write_update_table(folder: Path, measured: UpdateResults) -> Path:
    """Write ``ablation.csv``, a row for each way to write and read."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["updates", "reads", *(f"accuracy_{part}_share" for part in ("mean", "low95", "high95"))])
    for (mode, reads), span in measured.accuracy.items():
        writer.writerow([mode, reads, *(f"{value:.6f}" for value in (span.mean, span.low, span.high))])
    write_text(folder / "ablation.csv", rows.getvalue())
    return folder / "ablation.csv"
