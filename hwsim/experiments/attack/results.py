"""What an attack left: accuracies with intervals, the figure to report with its flags, and every caveat."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.experiments.ageing import told_age
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.records import (
    AttackResults,
    Checked,
    ChecksRecord,
    EqualInstances,
    OfSlice,
    OverSeeds,
    Reported,
    SliceRecord,
    ThreatResult,
    Worst,
    WorstSeedRecord,
)
from hwsim.experiments.evaluation import MAX_UNSETTLED_SHARE
from hwsim.jobs.durations import told_duration
from hwsim.jobs.records import Record, write_file
from hwsim.jobs.store import written_aside
from hwsim.robustness.suite import attacks_named, least_classes, norms_of
from hwsim.stats.interval import Interval, accuracy

Shares = NDArray[np.float64]

COLUMNS: tuple[str, ...] = (
    *("image", "label", "threat", "age_s", "chip", "attack", "seed", "clean", "attacked", "draws", "distance"),
)


def write_results(job: AttackJob, records: Sequence[Record]) -> AttackResults:
    """Write ``results.json`` and ``examples.csv``; returns the results."""
    results = AttackResults(
        model=job.subject.name,
        device=job.device_name,
        data=job.data.name,
        images=job.examples,
        chips=job.instances if job.device else 0,
        knows=job.knows,
        gradient=job.gradient,
        seeds=list(job.seeds),
        threats=[_threat(job, str(threat), age, records) for threat, age in job.conditions],
        caveats=list(caveats(job, records)),
        config_hash=job.config_hash,
        effort=job.chosen,
    )
    with written_aside(job.folder / "examples.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(example_rows(records))
    write_file(job.folder / "results.json", results)
    return results


def example_rows(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """One row an image, threat, age, device instance, attack and attack seed: the shares of draws that were right.

    Where there are several attack seeds, the rows of attack "worst" with seed "all" are the worst over them.
    """
    for record in (r for r in records if isinstance(r, OfSlice)):
        worst = (np.array(record.hits).mean(0) / record.draws).tolist()
        attacked = record.attacked if isinstance(record, SliceRecord) else {}
        for name, shares in {**attacked, "worst": worst}.items():
            for i, share in enumerate(shares):
                yield {
                    "image": record.first + i,
                    "label": record.labels[i],
                    "threat": record.threat,
                    "age_s": "" if record.age_s is None else record.age_s,
                    "chip": "all" if record.chip is None else record.chip,
                    "attack": name,
                    "seed": record.seed if isinstance(record, SliceRecord) else "all",
                    "clean": record.clean[i],
                    "attacked": share,
                    "draws": record.draws,
                    "distance": record.distance[i] if name == "worst" else "",
                }


def _threat(job: AttackJob, threat: str, age: float | None, records: Sequence[Record]) -> ThreatResult:
    own = [r for r in records if isinstance(r, OfSlice) and (r.threat, r.age_s) == (threat, age)]
    slices = [r for r in own if isinstance(r, SliceRecord)]
    several = len(job.seeds) > 1
    measured = [r for r in own if isinstance(r, WorstSeedRecord)] if several else slices
    draws, counts = slices[0].draws, [len(r.labels) for r in slices]

    def by_seed(part: Callable[[SliceRecord], Any]) -> Shares:
        return np.stack([_matrix(job, [r for r in slices if r.seed == seed], part) for seed in job.seeds])

    def mean(part: Callable[[SliceRecord], float]) -> float:
        return sum(part(r) * count for r, count in zip(slices, counts, strict=True)) / sum(counts)

    shares = _matrix(job, measured, lambda r: r.hits) / draws
    by_draw = np.concatenate(
        [sum(np.array(r.hits_by_draw) for r in measured if r.chip == target) for target in job.targets]
    )
    accuracies = by_draw / job.examples
    attacks = {
        name: _over_seeds(by_seed(lambda r, name=name: [r.attacked[name]]), draws) for name in slices[0].attacked
    }
    # How much one seed alone would have left; the row's own figure is of the worst seed for each image.
    alone = by_seed(lambda r: np.array(r.hits) / draws).mean((1, 2))
    worst = Worst(
        **asdict(accuracy(shares)),
        spread=float(accuracies.std(ddof=1)) if accuracies.size > 1 else 0.0,
        majority=float((shares > 0.5).mean()),
        **_each_seed(alone),
    )
    # A noisy pick of each image's worst attack can be worse than one attack throughout.
    least = min((worst, *attacks.values()), key=lambda row: row.mean)
    result: dict[str, Any] = {"reported": replace(_reported(least, "the attacks"), upper_bound=job.knows == "nothing")}
    for checks in (r for r in records if isinstance(r, ChecksRecord) and (r.threat, r.age_s) == (threat, age)):
        result["checks"] = Checked(checks.images, checks.checks, checks.accuracies, checks.lowest)
        result["flags"] = [check.name for check in checks.checks if not check.passed]
        # Only what is lower on the same images is a stronger attack, and not easier images.
        if checks.lowest < min(shares[0][: checks.images].mean(), least.mean):
            left = round(checks.lowest * checks.images)
            lower = accuracy(np.repeat([1.0, 0.0], [left, checks.images - left])[None])
            where = f"first {checks.images} images" + (", first chip" if job.device else "")
            result["reported"] = Reported(**{**asdict(lower), "mean": checks.lowest}, of=f"the checks, {where}")
        result["reported"] = replace(result["reported"], upper_bound=bool(result["flags"]))
    return ThreatResult(
        threat=threat,
        age_s=age,
        draws=draws,
        age=None if age is None else told_age(age),
        clean=accuracy(by_seed(lambda r: [r.clean]).mean(0)),
        attacks=attacks,
        worst=worst,
        strayed={name: mean(lambda r, name=name: r.strayed[name]) for name in slices[0].strayed},
        unsettled_share=mean(lambda r: r.unsettled_share),
        **result,
    )


def _reported(row: Interval, of: str) -> Reported:
    return Reported(mean=row.mean, low=row.low, high=row.high, over=row.over, of=of)


def _over_seeds(shares: Shares, draws: int) -> OverSeeds:
    """One attack's shares (seeds, instances, images): the mean over seeds with its interval, and every seed's accuracy.

    Without noise the least over seeds, image by image, stands beside it; with noise that would count luck as strength.
    """
    least = float(shares.min(0).mean()) if len(shares) > 1 and draws == 1 else None
    return OverSeeds(**asdict(accuracy(shares.mean(0))), **_each_seed(shares.mean((1, 2))), least_over_seeds=least)


def _each_seed(accuracies: Shares) -> dict[str, Any]:
    """Of several attack seeds, the accuracy that each leaves, and their spread."""
    if len(accuracies) < 2:
        return {}
    return {"by_seed": accuracies.tolist(), "seed_spread": float(accuracies.std(ddof=1))}


def _matrix(job: AttackJob, slices: Sequence[OfSlice], part: Callable[[Any], Any]) -> Shares:
    """(instances, images) from the slices' (instances, images of the slice)."""
    rows = []
    for target in job.targets:
        parts = sorted((r for r in slices if r.chip == target), key=lambda r: r.slice)
        rows.append(np.concatenate([np.array(part(r), dtype=float) for r in parts], axis=1))
    return np.concatenate(rows)


def caveats(job: AttackJob, records: Sequence[Record]) -> Iterator[str]:
    """What has to be known before a figure is believed or compared."""
    if job.chosen is not None and (job.attack, job.examples) != (job.chosen.attack, job.chosen.images):
        yield (
            f"Not the full effort: {job.chosen.name} (--budget {told_duration(job.chosen.budget_s)}), {job.attack} on "
            f"{job.examples:,} images. {job.chosen.attack} on {job.chosen.images:,} was requested and may leave less."
        )
    if job.subject.net is not None:
        yield (
            "Not comparable with RobustBench's leaderboard, at its budgets either: it admits no model with an "
            "optimisation loop or noise in its forward pass."
        )
    elif job.subject.module is not None and job.subject.module.noisy:
        yield "Not comparable with RobustBench's leaderboard: it admits no model with noise in its forward pass."
    else:
        yield (
            "Comparable with RobustBench's leaderboard only for CIFAR or ImageNet at its budgets, with all its test "
            "images and the standard attack."
        )
    total = len(job.data.test)
    if job.examples < total:
        yield f"On the first {job.examples} of {total} test images."
    fits = all(
        len(job.data.classes) >= least_classes(attack)
        and all(threat.norm in norms_of(attack) for threat in job.threats)
        for attack in attacks_named("standard")
    )
    if job.attack != "standard" and fits:
        yield f"Attacked by {job.attack}; the standard ensemble (--attack standard) may leave less."
    if job.device is not None:
        yield _knowledge(job.knows)
        if job.ages:
            ages = ", ".join(told_age(age) for age in job.ages)
            yield f"At {ages} after programming; the drift is {job.compensation}."
        elif job.device.device.drifts:
            yield "Right after programming: this device drifts, and ageing is not part of the figure (--age 1h,1month)."
        if not job.device.device.ideal and job.instances < 5:
            yield f"On {job.instances} programmed chips; at least 5 are needed to speak of a device."
        if any(isinstance(record, EqualInstances) and record.equal for record in records):
            yield (
                "All chips hold the same weights: this device takes programmed weights exactly, so its chips differ "
                "in read noise only. Give weights that were trained in situ on it (hwsim train --device) instead."
            )
    elif job.knows == "nothing":
        yield _knowledge(job.knows)
    if job.cascade:
        yield "Each attack saw only what the ones before had left (--cascade): its figure is what it left of that."
    if len(job.seeds) == 1:
        yield "One attack seed: how much another finds is not part of the intervals (--seeds 3)."
    if not job.checks and job.white_box:
        yield "The checks were left out (--no-checks), so nothing speaks against masked gradients."
    for threat in job.threats:
        own = [r for r in records if isinstance(r, SliceRecord) and r.threat == str(threat)]
        unsettled = max(r.unsettled_share for r in own)
        if unsettled > MAX_UNSETTLED_SHARE:
            yield (
                f"{threat}: up to {unsettled:.0%} of a slice's adversarial images had not settled when they were "
                "classified; their class depends on when it is read."
            )
        strayed = {name: max(r.strayed[name] for r in own) for name in (attack.name for attack in job.attacks)}
        for name, share in strayed.items():
            if share:
                yield f"{threat}: {name} left the budget on up to {share:.1%} of a slice's images, which were clipped."


def _knowledge(knows: str) -> str:
    return {
        "nothing": "The attacker may only query: an upper bound, no white-box figure.",
        "float-weights": "The attacker knows the weights before programming, not those of a chip; who knows more does "
        "better (--knows conductances).",
        "conductances": "The attacker knows what each chip's arrays hold, and differentiates without its noise.",
        "device": "The attacker reads the chips themselves and averages gradients over their noise (EOT).",
    }[knows]
