"""From a run folder's records to its results: accuracies with intervals, differences, learning, diagnostics.

Cases, conditions and levels are data, kept in the order in which the records bring them. Records of an
unknown kind, and fields that nobody asks for, are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.cards.yamlfile import read_yaml
from hwsim.errors import InputError
from hwsim.experiments.device_run import caveats
from hwsim.experiments.device_run.records import (
    RUN_RECORDS,
    AttackRecord,
    CircuitRecord,
    DiagnosticsRecord,
    EvaluationRecord,
    LayerHealth,
    RelaxationRecord,
)
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.update_quality import FILE as UPDATES
from hwsim.jobs.folder import read_json
from hwsim.jobs.records import damage, read_log
from hwsim.jobs.store import write_json, write_text
from hwsim.stats.interval import accuracy, difference

Record = dict[str, Any]

LEFT_OUT = ("kind", "seconds")
"""Fields of an attack's record that its summary does without."""

REFERENCE = "float"
"""The case that the others are compared with, where a run has it; else the first one."""

CSV_COLUMNS = (
    *("case", "condition", "level", "level_unit"),
    *("accuracy_mean_share", "accuracy_low95_share", "accuracy_high95_share", "interval_over"),
    *("repeats", "draws_per_image", "images"),
    *("reference", "difference_mean_share", "difference_low95_share", "difference_high95_share"),
    *("unsettled_share", "noise_floor_share"),
)


@dataclass(frozen=True)
class Run:
    """What a run folder holds, as far as it is there. ``receipt`` is written last: None while a run is under way."""

    folder: Path
    config: Record
    receipt: Record | None
    evaluation: list[EvaluationRecord]
    training: list[EpochRecord]
    diagnostics: list[DiagnosticsRecord]
    relaxation: list[RelaxationRecord]
    circuits: list[CircuitRecord]
    attacks: list[AttackRecord]
    cost: Record | None = None
    updates: list[Record] = field(default_factory=list)
    damage: str | None = None

    @property
    def cases(self) -> list[str]:
        """Every case, in the order of the matrix; those that only trained so far come last."""
        return _unique(r.case for part in (self.evaluation, self.training, self.diagnostics) for r in part)

    @property
    def model(self) -> Record:
        return _map(self.config, "model")


def read_run(folder: Path) -> Run:
    """Read a run folder. Raises InputError where it is none, naming what is missing."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a run folder, as `hwsim run` leaves it")
    config, metrics, receipt = folder / "config.yaml", folder / "metrics.jsonl", folder / "receipt.json"
    cost, updates = folder / "cost.json", folder / UPDATES
    if not config.exists() and not metrics.exists():
        raise InputError(f"{folder}: not a run folder (neither config.yaml nor metrics.jsonl is in it)")
    reading = read_log(metrics, *RUN_RECORDS)
    records = reading.records
    return Run(
        folder=folder,
        config=read_yaml(config).data if config.exists() else {},
        receipt=read_json(receipt) if receipt.exists() else None,
        evaluation=[r for r in records if isinstance(r, EvaluationRecord)],
        training=[r for r in records if isinstance(r, EpochRecord)],
        diagnostics=[r for r in records if isinstance(r, DiagnosticsRecord)],
        relaxation=[r for r in records if isinstance(r, RelaxationRecord)],
        circuits=[r for r in records if isinstance(r, CircuitRecord)],
        attacks=[r for r in records if isinstance(r, AttackRecord)],
        cost=read_json(cost) if cost.exists() else None,
        updates=read_json(updates).get("arrays", []),
        damage=damage(reading) if reading.damaged else None,
    )


def summarise(folder: Path) -> Record:
    """The results of a run folder, also written into it as ``summary.json`` and ``results.csv``."""
    summary = summary_of(read_run(folder))
    write_json(folder / "summary.json", summary)
    write_text(folder / "results.csv", _as_csv(summary))
    return summary


def summary_of(run: Run) -> Record:
    """The results of a run as plain values; shares in [0, 1], times in seconds.

    In a row of ``accuracy``, ``difference`` is the paired one to the reference case and, for attacks,
    ``change`` the paired one to the next smaller budget (to clean images for the smallest).
    """
    cases = _unique(r.case for r in run.evaluation)
    reference = REFERENCE if REFERENCE in cases else next(iter(cases), None)
    sizes = _map(run.model, "network").get("layers") or []
    summary: Record = {
        "model": run.model.get("name"),
        "device": _map(run.config, "device").get("name"),
        "data": _map(run.config, "data").get("name"),
        "finished": run.receipt is not None and run.damage is None,
        "damage": run.damage,
        "evaluations": _progress(run),
        "chance": 1 / sizes[-1] if sizes else None,
        "reference": reference,
        "cases": run.cases,
        "conditions": _conditions(run.evaluation),
        "accuracy": _accuracies(run.evaluation, reference),
        "learning": [_learnt(run, case) for case in _unique(r.case for r in run.training)],
        "diagnostics": _diagnosed(run),
        "relaxation": _relaxed(run),
        **({"circuit": _circuits(run)} if run.circuits else {}),
        "attacks": [{key: value for key, value in r.plain().items() if key not in LEFT_OUT} for r in run.attacks],
        "updates": run.updates,
        "cost": run.cost,
    }
    return {**summary, "warnings": [asdict(caveat) for caveat in caveats.find(summary, run.receipt or {})]}


def middle_level(condition: Record) -> float:
    """The level of a condition that stands for it in a table: the middle one."""
    return condition["levels"][len(condition["levels"]) // 2]


def accuracy_of(summary: Record, case: str, condition: str, level: float) -> Record | None:
    """One accuracy of a summary; None where it was not measured."""
    wanted = (case, condition, level)
    return next((c for c in summary["accuracy"] if (c["case"], c["condition"], c["level"]) == wanted), None)


def _conditions(records: Iterable[EvaluationRecord]) -> list[Record]:
    conditions: dict[str, Record] = {}
    for record in records:
        entry = {"name": record.condition, "level_unit": record.level_unit, "levels": []}
        levels = conditions.setdefault(record.condition, entry)["levels"]
        if record.level not in levels:
            levels.append(record.level)
    for condition in conditions.values():
        condition["levels"].sort()
    return list(conditions.values())


def _accuracies(records: Sequence[EvaluationRecord], reference: str | None) -> list[Record]:
    points: dict[tuple[str, str, float], list[EvaluationRecord]] = {}
    for record in records:
        points.setdefault((record.case, record.condition, record.level), []).append(record)
    rows = []
    for (case, condition, level), measured in points.items():
        shares = _shares(measured)
        interval = accuracy(list(shares.values()))
        row: Record = {"case": case, "condition": condition, "level": level}
        row |= {"level_unit": measured[0].level_unit, **asdict(interval)}
        row |= {"repeats": len(shares), "draws": max(r.draws for r in measured), "images": len(measured[0].hits)}
        row |= {key: _mean(getattr(r, key) for r in measured) for key in ("unsettled_share", "noise_floor_share")}
        row |= {"seconds": sum(r.seconds for r in measured)}
        row["difference"] = (
            None if case == reference else _paired(measured, points.get((reference or "", condition, level)))
        )
        if row["level_unit"] == "epsilon":
            below = max((lv for c, name, lv in points if (c, name) == (case, condition) and lv < level), default=None)
            lower = (case, "clean", 0) if below is None else (case, condition, below)
            row["change"] = _paired(measured, points.get(lower))
        rows.append(row)
    return rows


def _paired(measured: Sequence[EvaluationRecord], others: Sequence[EvaluationRecord] | None) -> Record | None:
    """The paired difference of two accuracies, over the repeats and images that both have; None where none are."""
    a, b = _shares(measured), _shares(others) if others else {}
    common = [r for r in a if r in b and len(a[r]) == len(b[r])]
    return asdict(difference([a[r] for r in common], [b[r] for r in common])) if common else None


def _shares(measured: Sequence[EvaluationRecord]) -> dict[int, NDArray[np.float64]]:
    """Repeat -> share of draws in which each image was classified correctly, for repeats that saw the same images."""
    images = len(measured[0].hits)
    return {r.repeat: np.array(r.hits) / r.draws for r in measured if len(r.hits) == images}


def _learnt(run: Run, case: str) -> Record:
    """The last epoch of a case's training, means over the repeats."""
    last: dict[int, EpochRecord] = {}
    records = sorted((r for r in run.training if r.case == case), key=lambda r: r.epoch)
    for record in records:
        last[record.repeat] = record
    row: Record = {"case": case, "repeats": len(last), "epochs": min(r.epoch for r in last.values())}
    for key in ("accuracy_train", "accuracy_validation", "cost", "unsettled_share", "residual"):
        row[key] = _mean(getattr(r, key) for r in last.values())
    row["weight_change"] = _largest(change for r in records for change in r.weight_change)
    return {**row, "seconds_per_repeat": sum(r.seconds for r in records) / len(last)}


def _diagnosed(run: Run) -> list[Record]:
    """One row a case and array; shares are means over the repeats, pulses those of the epoch with most of them."""
    rows: dict[tuple[str, str], list[LayerHealth]] = {}
    for record in run.diagnostics:
        epochs = [r for r in run.training if (r.case, r.repeat) == (record.case, record.repeat)]
        for i, layer in enumerate(record.layers):
            busiest = {key: _largest(_at(getattr(r, key), i) for r in epochs) for key in ("k_mean", "k_max")}
            highest = {key: value for key, value in busiest.items() if value is not None}
            rows.setdefault((record.case, layer.layer), []).append(replace(layer, **highest))
    diagnosed = []
    for (case, layer), same in rows.items():
        row: Record = {"case": case, "layer": layer}
        row |= {key: getattr(same[0], key) for key in ("shape", "tiles", "utilisation")}
        row |= {key: _mean(getattr(r, key) for r in same) for key in ("k_mean", "clipped_share", "saturated_share")}
        row |= {key: _largest(getattr(r, key) for r in same) for key in ("k_max", "k_limit")}
        diagnosed.append(row)
    return diagnosed


def _relaxed(run: Run) -> list[Record]:
    """How far a relaxation went: the first step whose mean residual is within tolerance, None where none is."""
    tolerance = _map(run.model, "inference").get("tolerance")
    rows = []
    for case in _unique(r.case for r in run.relaxation):
        residuals = [r.residual for r in run.relaxation if r.case == case and r.residual]
        if not residuals:
            continue
        firsts = [
            next((i + 1 for i, v in enumerate(c) if tolerance and v is not None and v <= tolerance), None)
            for c in residuals
        ]
        steps = None if None in firsts else _mean(firsts)
        last = _mean(curve[-1] for curve in residuals)
        row: Record = {"case": case, "steps_to_tolerance": steps, "tolerance": tolerance, "residual_end": last}
        ends = [r for r in run.diagnostics if r.case == case]
        shares = ("steps_mean", "unsettled_share", "noise_floor_share")
        row |= {key: _mean(getattr(r, key) for r in ends) for key in shares}
        rows.append(row)
    return rows


def _circuits(run: Run) -> list[Record]:
    """The static power of each case in watts, means over images and repeats."""
    rows = []
    for case in _unique(r.case for r in run.circuits):
        own = [r for r in run.circuits if r.case == case]
        powers = [asdict(r.power) for r in own]
        means = {key: _mean(power[key] for power in powers) for key in powers[0]}
        rows.append({"case": case, "repeats": len(own), "images": own[0].images, **means})
    return rows


def _progress(run: Run) -> Record:
    """Evaluations done and planned; where no plan is told, every case and condition seen, in every repeat."""
    repeats, stated = run.config.get("repeats"), run.config.get("evaluations")
    if isinstance(stated, int):
        return {"done": len(run.evaluation), "expected": max(stated, len(run.evaluation))}
    pairs = {(r.condition, r.level) for r in run.evaluation}
    planned = _planned_conditions(_map(run.model, "evaluation"))
    seen = max(len({r.repeat for r in run.evaluation}), repeats if isinstance(repeats, int) else 0)
    expected = seen * max(len(pairs), planned) * max(len(run.cases), 1)
    done = len(run.evaluation)
    return {"done": done, "expected": done if run.receipt is not None else max(expected, done)}


def _planned_conditions(evaluation: Record) -> int:
    """How many conditions an evaluation section asks for, clean among them; 0 where there is no such section."""
    if not evaluation:
        return 0
    corruptions = _map(evaluation, "corruptions")
    listed = len(_map(evaluation, "input_noise").get("sigma") or []) + len(_map(evaluation, "pgd").get("epsilon") or [])
    return 1 + listed + len(corruptions.get("types") or []) * len(corruptions.get("severities") or [])


def _as_csv(summary: Record) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for row in summary["accuracy"]:
        apart = row["difference"]
        compared = (summary["reference"], apart["mean"], apart["low"], apart["high"]) if apart else ("", "", "", "")
        what = [row[key] for key in ("case", "condition", "level", "level_unit", "mean", "low", "high", "over")]
        counts = [row[key] for key in ("repeats", "draws", "images")]
        ends = [row[key] for key in ("unsettled_share", "noise_floor_share")]
        table.writerow(["" if v is None else v for v in (*what, *counts, *compared, *ends)])
    return text.getvalue()


def _map(mapping: Record, key: str) -> Record:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _at(values: Any, index: int) -> float | None:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
