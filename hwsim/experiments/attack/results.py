"""What an attack found: accuracies with intervals, the figure to report with its flags, and every caveat."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.experiments.ageing import compensation, told_age
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.evaluation import MAX_UNSETTLED_SHARE
from hwsim.jobs.store import write_json, written_aside
from hwsim.stats.interval import accuracy

Record = dict[str, Any]
Shares = NDArray[np.float64]

COLUMNS: tuple[str, ...] = (
    *("image", "label", "threat", "age_s", "chip", "attack", "seed", "clean", "attacked", "draws", "distance"),
)


def write_results(job: AttackJob, records: Sequence[Record]) -> Record:
    """Write ``results.json``, ``examples.csv`` and, for several budgets, the security curve; returns the results."""
    results = {
        "model": job.subject.name,
        "device": job.device.name if job.device else "float",
        "data": job.data.name,
        "images": job.examples,
        "chips": job.instances if job.device else 0,
        "knows": job.knows,
        "gradient": job.gradient,
        "seeds": list(job.seeds),
        "threats": [_threat(job, str(threat), age, records) for threat, age in job.conditions],
        "caveats": list(caveats(job, records)),
        "config_hash": job.config_hash,
    }
    with written_aside(job.folder / "examples.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(example_rows(records))
    write_json(job.folder / "results.json", results)
    return results


def example_rows(records: Sequence[Record]) -> Iterator[Record]:
    """One row an image, threat, age, chip, attack and attack seed: the shares of draws that found the label.

    Where there are several attack seeds, the rows of attack "worst" with seed "all" are the worst over them.
    """
    for record in (r for r in records if r["kind"] in ("attack", "worst")):
        worst = np.array(record["hits"]).mean(0) / record["draws"]
        for name, shares in (*record.get("attacked", {}).items(), ("worst", worst.tolist())):
            for i, share in enumerate(shares):
                yield {
                    "image": record["first"] + i,
                    "label": record["labels"][i],
                    "threat": record["threat"],
                    "age_s": "" if record["age_s"] is None else record["age_s"],
                    "chip": "all" if record["chip"] is None else record["chip"],
                    "attack": name,
                    "seed": record.get("seed", "all"),
                    "clean": record["clean"][i],
                    "attacked": share,
                    "draws": record["draws"],
                    "distance": record["distance"][i] if name == "worst" else "",
                }


def _threat(job: AttackJob, threat: str, age: float | None, records: Sequence[Record]) -> Record:
    own = [r for r in records if r["threat"] == threat and r.get("age_s") == age]
    slices = [r for r in own if r["kind"] == "attack"]
    several = len(job.seeds) > 1
    judged = [r for r in own if r["kind"] == "worst"] if several else slices
    draws = slices[0]["draws"]

    def by_seed(part: Callable[[Record], Shares]) -> Shares:
        return np.stack([_matrix(job, [r for r in slices if r["seed"] == seed], part) for seed in job.seeds])

    hits = _matrix(job, judged, lambda r: np.array(r["hits"], dtype=float))
    by_draw = np.concatenate(
        [sum(np.array(r["hits_by_draw"]) for r in judged if r["chip"] == chip) for chip in job.targets]
    )
    found: Record = {"threat": threat, "age_s": age, "draws": draws}
    found["age"] = None if age is None else told_age(age)
    found["clean"] = _interval(by_seed(lambda r: np.array([r["clean"]])).mean(0))
    found["attacks"] = {
        name: _over_seeds(by_seed(lambda r, name=name: np.array([r["attacked"][name]])), draws)
        for name in slices[0]["attacked"]
    }
    accuracies = by_draw / job.examples
    found["worst"] = {
        **_interval(hits / draws),
        "spread": float(accuracies.std(ddof=1)) if accuracies.size > 1 else 0.0,
        "majority": float((hits / draws > 0.5).mean()),
    }
    if several:
        # How much one seed alone would have found; the row's own figure is of the worst seed for each image.
        alone = by_seed(lambda r: np.array(r["hits"], dtype=float) / draws).mean((1, 2))
        found["worst"] |= {"by_seed": alone.tolist(), "seed_spread": float(alone.std(ddof=1))}
    count = sum(len(r["labels"]) for r in slices)
    found["strayed"] = {
        name: sum(r["strayed"][name] * len(r["labels"]) for r in slices) / count for name in slices[0]["strayed"]
    }
    found["unsettled_share"] = sum(r["unsettled_share"] * len(r["labels"]) for r in slices) / count
    # A noisy pick of each image's worst attack can be worse than one attack throughout.
    least = min((found["worst"], *found["attacks"].values()), key=lambda one: one["mean"])
    found["reported"] = {**{key: least[key] for key in ("mean", "low", "high", "over")}, "of": "the attacks"}
    for checks in (r for r in own if r["kind"] == "checks"):
        count = checks["images"]
        found["checks"] = {key: checks[key] for key in ("images", "checks", "accuracies", "lowest")}
        found["flags"] = [check["name"] for check in checks["checks"] if not check["passed"]]
        # Only what is lower on the same images is a stronger attack, and not easier images.
        if checks["lowest"] < min((hits[0] / draws)[:count].mean(), found["reported"]["mean"]):
            left = round(checks["lowest"] * count)
            lower = _interval(np.repeat([1.0, 0.0], [left, count - left])[None])
            where = f"first {count} images" + (", first chip" if job.device else "")
            found["reported"] = {**lower, "mean": checks["lowest"], "of": f"the checks, {where}"}
    return found


def _over_seeds(shares: Shares, draws: int) -> Record:
    """One attack's shares (seeds, chips, images): the mean over seeds with its interval, and every seed's accuracy.

    Without noise the least over seeds, image by image, stands beside it; with noise that would count luck as strength.
    """
    found = _interval(shares.mean(0))
    if len(shares) > 1:
        alone = shares.mean((1, 2))
        found |= {"by_seed": alone.tolist(), "seed_spread": float(alone.std(ddof=1))}
        if draws == 1:
            found["least_over_seeds"] = float(shares.min(0).mean())
    return found


def _matrix(job: AttackJob, slices: Sequence[Record], part: Callable[[Record], Shares]) -> Shares:
    """(chips, images) from the slices' (chips, images of the slice)."""
    rows = []
    for chip in job.targets:
        parts = sorted((r for r in slices if r["chip"] == chip), key=lambda r: r["slice"])
        rows.append(np.concatenate([part(r) for r in parts], axis=1))
    return np.concatenate(rows)


def _interval(shares: Shares) -> Record:
    found = accuracy(shares)
    return {"mean": found.mean, "low": found.low, "high": found.high, "over": found.over}


def caveats(job: AttackJob, records: Sequence[Record]) -> Iterator[str]:
    """What has to be known before a figure is believed or compared."""
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
    if job.attack != "standard":
        yield f"Attacked by {job.attack}; the standard ensemble (--attack standard) may leave less."
    if job.device is not None:
        yield _knowledge(job.knows)
        if job.ages:
            ages = ", ".join(told_age(age) for age in job.ages)
            yield f"At {ages} after programming; the drift is {compensation(job.device.device)}."
        elif job.device.device.drifts:
            yield "Right after programming: this device drifts, and ageing is not part of the figure (--age 1h,1month)."
        if not job.device.device.ideal and job.instances < 5:
            yield f"On {job.instances} programmed chips; at least 5 are needed to speak of a device."
        if any(record["kind"] == "chips" and record["equal"] for record in records):
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
        own = [r for r in records if r["kind"] == "attack" and r["threat"] == str(threat)]
        unsettled = max(r["unsettled_share"] for r in own)
        if unsettled > MAX_UNSETTLED_SHARE:
            yield (
                f"{threat}: up to {unsettled:.0%} of a slice's adversarial images had not settled when they were "
                "judged; their verdict depends on when it is read."
            )
        strayed = {name: max(r["strayed"][name] for r in own) for name in (attack.name for attack in job.attacks)}
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
