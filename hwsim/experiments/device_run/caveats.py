"""What a reader of a run's results has to know before believing them: one caveat for each figure out of bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hwsim.experiments.evaluation import MAX_UNSETTLED_SHARE
from hwsim.stats.interval import percent, signed_points

MIN_PULSES = 0.01
"""Expected pulses a cross-point and sample: one update's relative noise is 18 there and grows as 1/sqrt(k)."""
MAX_CLIPPED_SHARE = 0.10
"""Share of cross-points at their bound; their weights cannot follow an update in that direction."""
MAX_SATURATED_SHARE = 0.01
"""Share of conversions at the converter's bound. A saturated read breaks W and W^T being transposes of each other."""
MAX_UNSETTLED_TRAINING_SHARE = 0.5
"""Equilibrium propagation learns from phases cut short as well (97 % on digits with a fifth still moving); beyond
this most updates are those of another rule. Below it, down to ``MAX_UNSETTLED_SHARE``, the share is a note."""
LEARNT_SHARE = 0.10
"""A case has learnt something when it is at least this share of the way from chance to perfect."""
DECIDING_LINF = 0.5
"""L-infinity budget at which every image in [0, 1] can be made one grey: no classifier is above chance."""
MAX_ATTACKED_ACCURACY = 0.10
"""Accuracy under the largest budget above which a run does not show that its attack succeeds at all."""
MIN_CHANGE = 1e-6
"""Share of the largest weight below which the changes of an epoch are rounding."""
NO_UPDATES = (
    "no weight changed in any epoch: every update was zero, or too small to be written. Raise the rates, or beta."
)


@dataclass(frozen=True)
class Caveat:
    """``code`` names the kind, ``level`` is "warning" or "note", ``section`` the part of a report it belongs to."""

    code: str
    level: str
    section: str
    case: str | None
    text: str


MIN_RISE = 0.02
"""Accuracy that a larger budget must win back to be told; read noise alone moves a few images up and down."""


def find(summary: dict[str, Any], receipt: dict[str, Any]) -> list[Caveat]:
    """Every caveat of a run, warnings first; ``summary`` as by ``summary_of``, without its warnings."""
    parts = (_unfinished, _learning, _still, _noise_in_training, _updates, _settling, _arrays, _masking)
    caveats = [caveat for part in parts for caveat in part(summary)]
    return sorted([*caveats, *_exactness(summary, receipt)], key=lambda caveat: caveat.level != "warning")


def _unfinished(summary: dict[str, Any]) -> Iterator[Caveat]:
    if damage := summary.get("damage"):
        text = f"Damaged: {damage} of metrics.jsonl. The run's own command keeps the file aside and measures again "
        text += "what is missing."
        yield Caveat("damaged", "warning", "accuracy", None, text)
    elif not summary["finished"]:
        done, expected = summary["evaluations"]["done"], summary["evaluations"]["expected"]
        text = f"Not finished: {done} of {'at least ' if done < expected else ''}{expected} evaluations are measured. "
        text += "The same command goes on from here."
        yield Caveat("unfinished", "warning", "accuracy", None, text)


def _learning(summary: dict[str, Any]) -> Iterator[Caveat]:
    chance = summary["chance"]
    for row in summary["accuracy"]:
        if row["condition"] != "clean" or chance is None:
            continue
        clean = f"{percent(row['mean'])} on clean images"
        if row["mean"] < chance + LEARNT_SHARE * (1 - chance):
            text = f"{row['case']} did not learn: {clean}, where guessing gives {percent(chance)}. "
            yield Caveat(
                "did-not-learn", "warning", "accuracy", row["case"], f"{text}Its robustness figures say nothing."
            )
        elif row["low"] <= chance:
            text = f"{row['case']}: {clean} with an interval that reaches guessing, {percent(chance)}. "
            yield Caveat("not-above-chance", "warning", "accuracy", row["case"], f"{text}More --repeats narrow it.")


MIN_GAIN = 0.05
"""What a case trained in situ must gain on float under a perturbation, in shares, to be worth an explanation."""


def _noise_in_training(summary: dict[str, Any]) -> Iterator[Caveat]:
    """Training under a device's noise makes robust whatever the device: a gain needs a control before it is one."""
    for case in (case for case in summary["cases"] if case.startswith("in-situ")):
        rows = [r for r in summary["accuracy"] if r["case"] == case and r["difference"] and r["level_unit"]]
        gains = [row for row in rows if row["difference"]["low"] > 0 and row["difference"]["mean"] >= MIN_GAIN]
        if not gains:
            continue
        best = max(gains, key=lambda row: row["difference"]["mean"])
        where = described(best["condition"], best["level"], best["level_unit"])
        text = (
            f"{case} keeps {signed_points(best['difference']['mean'])} points more than {summary['reference']} under "
            f"{where}. It learned under the noise of its reads and updates, and training under noise can do that "
            "on any hardware: the gain belongs to the device only if float, trained with the same noise on its "
            "reads, does not have it. This run does not contain that control."
        )
        yield Caveat("trained-under-noise", "note", "accuracy", case, text)


def _settling(summary: dict[str, Any]) -> Iterator[Caveat]:
    worst: dict[str, dict[str, Any]] = {}
    for row in summary["accuracy"]:
        share = row["unsettled_share"] or 0.0
        if share > MAX_UNSETTLED_SHARE and share > (worst.get(row["case"], {}).get("unsettled_share") or 0.0):
            worst[row["case"]] = row
    for case, row in worst.items():
        text = f"{case}: up to {row['unsettled_share']:.0%} of the images had not settled when they were read "
        text += f"({described(row['condition'], row['level'], row['level_unit'])}). "
        text += "Allow more steps (inference.steps) before trusting its accuracy."
        yield Caveat("unsettled", "warning", "accuracy", case, text)
    for row in summary["learning"]:
        share = row["unsettled_share"] or 0.0
        if share > MAX_UNSETTLED_SHARE:
            text = f"{row['case']}: {share:.0%} of the training examples had not settled in the last epoch, "
            text += "so its updates compare states that are no equilibria. Allow more steps (learning.free_steps)."
            level = "warning" if share > MAX_UNSETTLED_TRAINING_SHARE else "note"
            yield Caveat("unsettled-training", level, "learning", row["case"], text)


def _still(summary: dict[str, Any]) -> Iterator[Caveat]:
    for row in summary["learning"]:
        change = row.get("weight_change")
        if change is not None and change < MIN_CHANGE:
            yield Caveat("no-updates", "warning", "learning", row["case"], f"{row['case']}: {NO_UPDATES}")


def _arrays(summary: dict[str, Any]) -> Iterator[Caveat]:
    return of_arrays(summary["diagnostics"])


def of_arrays(diagnostics: Iterable[dict[str, Any]]) -> Iterator[Caveat]:
    """What the pulses and the bounds of arrays say against a training; rows as in a run's ``diagnostics``."""
    for row in diagnostics:
        where, mean, limit = f"{row['case']}, {row['layer']}", row["k_mean"], row["k_limit"]
        if mean is not None and limit is not None and mean > limit:
            text = f"{where}: updates ask for {mean:.3g} pulses a cross-point where {limit:.3g} fit. Trains saturate, "
            text += "and large updates are cut: lower the learning rate or allow longer trains."
            yield Caveat("pulses-saturate", "warning", "diagnostics", row["case"], text)
        if mean is not None and limit is not None and mean < MIN_PULSES:
            text = (
                f"{where}: updates ask for {mean:.2g} pulses a cross-point, so a single update is nearly all chance, "
            )
            text += "and deterministic trains write nothing. Raise the learning rate or take finer steps."
            yield Caveat("pulses-too-few", "warning", "diagnostics", row["case"], text)
        if (row["clipped_share"] or 0.0) > MAX_CLIPPED_SHARE:
            text = f"{where}: {row['clipped_share']:.0%} of the cross-points are at a bound of their conductance. "
            text += "Scale the weights down, or give the device a wider range."
            yield Caveat("clipped", "warning", "diagnostics", row["case"], text)
        if (row["saturated_share"] or 0.0) > MAX_SATURATED_SHARE:
            text = f"{where}: {percent(row['saturated_share'])} of the reads end at the converter's bound. "
            text += "Widen out_bound, or scale the weights down."
            yield Caveat("saturated", "warning", "diagnostics", row["case"], text)


def _updates(summary: dict[str, Any]) -> Iterator[Caveat]:
    """What the first batches say of the device's updates, with its cure."""
    for array in summary.get("updates", []):
        if array["warning"]:
            yield Caveat("update-traffic", "warning", "learning", "in-situ", f"In situ, {array['warning']}.")


def _masking(summary: dict[str, Any]) -> Iterator[Caveat]:
    """Signs that an attack fails rather than that a network resists (Carlini et al. 2019, arXiv 1902.06705)."""
    chance = summary["chance"] or 0.0
    for condition in summary["conditions"]:
        if condition["level_unit"] != "epsilon":
            continue
        for case in summary["cases"]:
            rows = [r for r in summary["accuracy"] if (r["case"], r["condition"]) == (case, condition["name"])]
            clean = [r for r in summary["accuracy"] if (r["case"], r["condition"]) == (case, "clean")]
            curve = clean + sorted(rows, key=lambda r: r["level"])
            if not rows:
                continue
            strongest, name = curve[-1], condition["name"]
            budget = f"epsilon {strongest['level']:g}"
            rises = [pair for pair in pairwise(curve) if _rises(pair[1].get("change"))]
            if rises:
                before, after = max(rises, key=lambda pair: pair[1]["change"]["mean"])
                text = (
                    f"{case}: accuracy rises with the budget of {name}, from {percent(before['mean'])} at epsilon "
                    f"{before['level']:g} to {percent(after['mean'])} at {after['level']:g}. Masking suspected: the "
                    "attack fails, this is no robustness."
                )
                yield Caveat("masking", "warning", "attacks", case, text)
            elif "linf" in name and strongest["level"] >= DECIDING_LINF and strongest["low"] > chance:
                text = (
                    f"{case}: accuracy is still {percent(strongest['mean'])} under {name} at {budget}, where every "
                    f"image can be made plain grey and guessing gives {percent(chance)}. Masking suspected: the attack "
                    "fails."
                )
                yield Caveat("masking", "warning", "attacks", case, text)
            elif strongest["low"] > max(MAX_ATTACKED_ACCURACY, chance):
                text = (
                    f"{case}: accuracy is still {percent(strongest['mean'])} under {name} at the largest budget, "
                    f"{budget}. This does not show that the attack succeeds at all; measure a larger budget, where "
                    "accuracy must fall to zero."
                )
                yield Caveat("attack-undecided", "note", "attacks", case, text)


def _rises(change: dict[str, Any] | None) -> bool:
    return change is not None and change["low"] > 0 and change["mean"] >= MIN_RISE


def _exactness(summary: dict[str, Any], receipt: dict[str, Any]) -> Iterator[Caveat]:
    if any(row["over"] == "images only" for row in summary["accuracy"]):
        text = (
            "At least one accuracy comes from one repeat: its interval covers the choice of test images only. Another "
        )
        text += "training or another device may differ by more."
        yield Caveat("images-only", "note", "accuracy", None, text)
    streams = receipt.get("streams")
    statistical = streams.get("statistical") if isinstance(streams, dict) else None
    if statistical:
        text = f"The same seed repeats this run statistically, not bit for bit: {', '.join(map(str, statistical))}."
        yield Caveat("statistical", "note", "reproduce", None, text)


def described(condition: str, level: float, unit: str) -> str:
    """A condition and its level in words: `gaussian-blur, severity 3`; a condition without levels by its name."""
    return f"{condition}, {unit} {level:g}" if unit else condition
