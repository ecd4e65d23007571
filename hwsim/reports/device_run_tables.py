"""The tables of a run's page, by section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.cost import rows as cost_rows
from hwsim.experiments.device_run.cost import with_unit
from hwsim.experiments.device_run.results import REFERENCE, Record, Run, accuracy_of, middle_level
from hwsim.reports.page import Bullets, Cell, Column, Files, Fold, Item, Table, number
from hwsim.stats.interval import Interval, percent

Level = tuple[str, float, str]
"""Condition, level and its unit."""

ENDS = ("clipped", "saturated")


def interval_of(row: Record) -> Interval:
    """The accuracy of a row of the summary."""
    return Interval.from_record(row)


def difference_of(row: Record | None) -> Interval | None:
    """The paired difference of a row to the reference, where there is one."""
    return Interval.from_record(row["difference"]) if row and row["difference"] else None


def shown_levels(summary: Record) -> list[Level]:
    """The columns of the main table: each condition at its middle level."""
    return [(c["name"], middle_level(c), c["level_unit"]) for c in summary["conditions"]]


def accuracies(summary: Record, flagged: Counter[str]) -> list[Item]:
    columns = shown_levels(summary)
    if not summary["accuracy"]:
        return []

    def named(case: str) -> Cell:
        count = flagged[case]
        return case, f"{count} warning{'s' * (count > 1)}" if count else ""

    def head(kind: Literal["number", "points"]) -> list[Column | str]:
        below = [f"{unit} {level:g}" if unit else "test images" for _, level, unit in columns]
        return ["case", *(Column(name, kind, small) for (name, _, _), small in zip(columns, below, strict=True))]

    found = {case: [accuracy_of(summary, case, name, level) for name, level, _ in columns] for case in summary["cases"]}
    guessing = f" Guessing gives {percent(summary['chance'])}." if summary["chance"] else ""
    caption = f"Test accuracy, with its 95 % interval below; each perturbation at its middle level.{guessing}"
    rows = [[named(case), *(row and interval_of(row) for row in own)] for case, own in found.items()]
    tables: list[Item] = [Table("accuracy", caption, head("number"), rows)]
    others = [[case, *map(difference_of, own)] for case, own in found.items() if case != summary["reference"]]
    if others:
        caption = f"Difference to {summary['reference']} on the same images, in points, with its 95 % interval below."
        tables.append(Table("difference", caption, head("points"), others))
    return tables


def every_accuracy(summary: Record) -> list[Item]:
    if not summary["accuracy"]:
        return []
    caption = (
        "Every case and condition, over its repeats. Unsettled: share of images still moving when read; at the noise "
        "floor: moving by what read noise moves them."
    )
    columns = ["case", Column("condition", "words"), "accuracy", "repeats", "draws", "unsettled", "at the noise floor"]
    rows = [
        [
            row["case"],
            described(row["condition"], row["level"], row["level_unit"]),
            interval_of(row),
            *(str(row[key]) for key in ("repeats", "draws")),
            *(percent(row[key]) for key in ("unsettled_share", "noise_floor_share")),
        ]
        for row in summary["accuracy"]
    ]
    return [Fold(f"All {len(rows)} accuracies", [Table("accuracies", caption, columns, rows)])]


def attacks(summary: Record) -> list[Item]:
    attacked = summary["attacks"]
    if not attacked:
        return []
    rows = [
        [
            row["case"],
            str(row["repeat"] + 1),
            row["condition"],
            *(interval_of(row[key]) for key in ("clean", "worst", "reported")),
            ", ".join(row["flags"]) or ("none" if row["checked"] else "not checked"),
        ]
        for row in attacked
    ]
    caption = (
        "Accuracy over all images, with its 95 % interval below. Report the last: the lowest of attacks and checks."
    )
    head: list[Column | str] = ["case", "repeat", "budget", "clean", "worst over attacks", "to report"]
    one = attacked[0]
    return [
        Table("attacks", caption, [*head, Column("failed checks", "words")], rows),
        Bullets(list(dict.fromkeys(caveat for row in attacked for caveat in row["caveats"]))),
        f"Attacks of the card's evaluation.attack ({one['attack']}, {one['images']} images). The result of each image "
        "and every check in words are in attacks/.",
    ]


def learning(summary: Record) -> list[Item]:
    if not summary["learning"]:
        return []
    columns = [
        *("case", "repeats", "epochs", "training accuracy", "validation accuracy"),
        *("cost", "unsettled", "seconds a repeat"),
    ]
    rows = [
        [
            row["case"],
            *(str(row[key]) for key in ("repeats", "epochs")),
            *(percent(row[key]) for key in ("accuracy_train", "accuracy_validation")),
            number(row["cost"]),
            percent(row["unsettled_share"]),
            number(row["seconds_per_repeat"]),
        ]
        for row in summary["learning"]
    ]
    return [Table("learning", "Last epoch of each training, means over its repeats.", columns, rows)]


def diagnostics(summary: Record) -> list[Item]:
    made: list[Item] = []
    if summary["diagnostics"]:
        caption = (
            "Every array. Tiles: physical arrays that hold it, and the share of their cross-points in use; float has "
            "none. Pulses: expected number for a cross-point and sample in the epoch with most of them, and the length "
            "of one train. Clipped: cross-points within 1 % of their bound. Saturated: conversions at the converter's "
            "bound."
        )
        columns = [
            *("case", Column("array", "words"), "outputs × inputs", "tiles", "in use", "pulses, mean"),
            *("pulses, largest", "train length", "clipped", "saturated"),
        ]
        made.append(Table("diagnostics", caption, columns, [_array(row) for row in summary["diagnostics"]]))
    if summary["relaxation"]:
        caption = (
            "Relaxation from rest. Settled: no unit moves by more than the tolerance in a step. Noise floor: units "
            "move by no more than read noise moves them. Steps: until the last larger move, mean over settled examples."
        )
        columns = [
            *("case", "steps to settle", "not settled", "at the noise floor"),
            *("tolerance", "mean residual at the end"),
        ]
        rows = [
            [
                row["case"],
                number(row["steps_mean"]),
                *(percent(row[key]) for key in ("unsettled_share", "noise_floor_share")),
                *(number(row[key]) for key in ("tolerance", "residual_end")),
            ]
            for row in summary["relaxation"]
        ]
        made.append(Table("relaxation", caption, columns, rows))
    return made


def circuit(summary: Record) -> list[Item]:
    """The static power of a network that is a circuit; nothing of others."""
    found = summary.get("circuit")
    if not found:
        return []
    caption = (
        f"Static power of the settled circuit, from its own voltages and currents, mean over {found[0]['images']} test "
        "images. Conductances and diodes take what sources and amplifiers give."
    )
    columns = ["case", "power", "of it conductances", "diodes", "from sources", "from amplifiers"]
    parts = ("total_W", "conductances_W", "diodes_W", "sources_W", "amplifiers_W")
    rows = [[row["case"], *(with_unit(row[part], "W") for part in parts)] for row in found]
    return [Table("power", caption, columns, rows)]


def _array(row: Record) -> Sequence[Cell]:
    held = [None, None] if row["case"] == REFERENCE else [str(row["tiles"] or 1), percent(row["utilisation"] or 1)]
    pulses = [None] * 3 if row["k_limit"] is None else [number(row[key]) for key in ("k_mean", "k_max", "k_limit")]
    shape = " × ".join(map(str, row["shape"])) if row["shape"] else None
    return [row["case"], row["layer"], shape, *held, *pulses, *(percent(row[f"{k}_share"]) for k in ENDS)]


def cost(summary: Record) -> list[Item]:
    cost = summary["cost"]
    if not cost:
        return []
    caption = (
        f"What the device's arrays do, counted, and its price. Training: the first step, a batch of {cost['batch']}; "
        "it has the most pulses, later errors are smaller."
    )
    columns = ["of all arrays", *(activity["title"] for activity in cost["activities"])]
    try:
        rows = [[title, *values] for title, values in cost_rows(cost)]
    except KeyError as error:
        return [f"Counted by another version of hwsim: cost.json lacks {error}. Remove it, and run the command again."]
    assumptions = Fold(f"Assumptions of the prices ({cost['table']})", [Bullets(cost["assumptions"])])
    return [Table("cost", caption, columns, rows), assumptions]


def weights(run: Run) -> list[Item]:
    names = sorted(path.name for path in (run.folder / "weights").glob("*.safetensors"))
    if not names:
        return ["No weights are saved yet."]
    return ["Weights and conductances of every case and repeat:", Files([(f"weights/{name}", "") for name in names])]
