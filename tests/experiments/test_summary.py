"""A run folder's numbers, and the caveats that a planted fault must raise."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runfolder

from hwsim.errors import InputError
from hwsim.experiments.device_run.results import accuracy_of, middle_level, read_run, summarise, summary_of
from hwsim.jobs.store import append_line
from hwsim.stats.interval import accuracy

Record = dict[str, Any]


def summary_with(
    folder: Path, change: Callable[[Record], Record | None] = lambda record: record, **options: Any
) -> Record:
    return summary_of(read_run(runfolder.write_run(folder / "run", change=change, **options)))


def test_the_accuracies_are_those_of_the_records(tmp_path: Path) -> None:
    summary = summary_with(tmp_path)
    records = [r for r in runfolder.records(runfolder.CASES, 3, 120) if r["kind"] == "evaluation"]
    assert len(summary["accuracy"]) == len(records) / 3
    for row in summary["accuracy"]:
        key = (row["case"], row["condition"], row["level"])
        same = [r for r in records if (r["case"], r["condition"], r["level"]) == key]
        expected = accuracy([np.array(r["hits"]) / r["draws"] for r in same])
        assert (row["mean"], row["low"], row["high"], row["over"]) == (
            pytest.approx(expected.mean),
            pytest.approx(expected.low),
            pytest.approx(expected.high),
            "repeats and images",
        )
        assert (row["repeats"], row["images"]) == (3, 120)


def test_differences_to_float_are_paired_and_the_order_is_the_records(tmp_path: Path) -> None:
    summary = summary_with(tmp_path)
    assert summary["reference"] == "float"
    assert summary["cases"] == list(runfolder.CASES)
    assert [c["name"] for c in summary["conditions"]] == [
        "clean",
        "input-noise",
        "gaussian-blur",
        "contrast",
        "pgd-linf",
    ]
    for row in summary["accuracy"]:
        if row["case"] == "float":
            assert row["difference"] is None
            continue
        reference = accuracy_of(summary, "float", row["condition"], row["level"])
        assert row["difference"]["mean"] == pytest.approx(row["mean"] - reference["mean"])
        assert row["difference"]["low"] < row["difference"]["mean"] < row["difference"]["high"]


def test_a_cell_told_twice_counts_once_and_foreign_records_do_not_count(tmp_path: Path) -> None:
    folder = runfolder.write_run(tmp_path / "run")
    head = {"kind": "evaluation", "case": "float", "repeat": 0, "condition": "clean", "level": 0.0}
    for broken in (
        {"hits": [7], "draws": 5},
        {"hits": [], "draws": 5},
        {"hits": None, "draws": 5},
        {"hits": [1], "draws": 0},
    ):
        append_line(folder / "metrics.jsonl", {**head, "case": "broken", **broken})
    append_line(folder / "metrics.jsonl", {**head, "hits": [1] * 120, "draws": 1, "new field": {}})
    append_line(folder / "metrics.jsonl", {"kind": "evaluation", "case": 3, "repeat": 0})
    run = read_run(folder)
    assert "broken" not in run.cases
    found = accuracy_of(summary_of(run), "float", "clean", 0.0)
    assert found["repeats"] == 3
    before = accuracy_of(summary_with(tmp_path / "other"), "float", "clean", 0.0)
    assert found["mean"] > before["mean"]


def test_files_say_what_the_summary_says(tmp_path: Path) -> None:
    folder = runfolder.write_run(tmp_path / "run")
    summary = summarise(folder)
    assert json.loads((folder / "summary.json").read_text()) == summary
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(summary["accuracy"])
    for row, expected in zip(rows, summary["accuracy"], strict=True):
        assert (row["case"], row["condition"], float(row["level"])) == tuple(
            expected[k] for k in ("case", "condition", "level")
        )
        assert float(row["accuracy_mean_share"]) == expected["mean"]
        apart = expected["difference"]
        assert row["difference_mean_share"] == (str(apart["mean"]) if apart else "")


def test_an_interrupted_run_says_how_far_it_is(tmp_path: Path) -> None:
    def until_blur(record: Record) -> Record | None:
        late = record["repeat"] == 2 or (record.get("condition") in ("contrast", "pgd-linf") and record["repeat"] == 1)
        return None if late else record

    summary = summary_with(tmp_path, until_blur, receipt=False)
    planned = 3 * 3 * len(list(runfolder.conditions()))
    missing = 3 * len(list(runfolder.conditions())) + 3 * 10
    assert (summary["finished"], summary["evaluations"]) == (False, {"done": planned - missing, "expected": planned})
    assert summary["warnings"][0]["code"] == "unfinished"
    assert {row["repeats"] for row in summary["accuracy"]} == {1, 2}


def test_a_folder_without_a_record_is_summarised_and_one_without_a_run_refused(tmp_path: Path) -> None:
    summary = summary_with(tmp_path, lambda record: None, receipt=False)
    assert (summary["accuracy"], summary["reference"], summary["evaluations"]["done"]) == ([], None, 0)
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither config\.yaml nor metrics\.jsonl"):
        read_run(tmp_path)


def test_the_middle_level_is_the_middle_one() -> None:
    assert middle_level({"levels": [1, 2, 3, 4, 5]}) == 3
    assert middle_level({"levels": [0.0]}) == 0.0


def test_a_sound_run_has_no_warning(tmp_path: Path) -> None:
    found = summary_with(tmp_path)["warnings"]
    assert [w["code"] for w in found] == ["statistical"]
    assert "pulses of the compiled tile" in found[0]["text"]


def in_situ(record: Record, kind: str) -> bool:
    return record["case"] == "in-situ" and record["kind"] == kind


def too_many_pulses(record: Record) -> Record:
    return (
        {**record, "k_mean": [80.0, 0.0, 1.0, 0.0]} if in_situ(record, "training") and record["epoch"] == 2 else record
    )


def too_few_pulses(record: Record) -> Record:
    return {**record, "k_mean": [0.002, 0.0, 1.0, 0.0]} if in_situ(record, "training") else record


def first_layer(**values: float) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        if not in_situ(record, "diagnostics"):
            return record
        return {**record, "layers": [{**record["layers"][0], **values}, *record["layers"][1:]]}

    return change


def unsettled(record: Record) -> Record:
    return {**record, "unsettled_share": 0.2} if in_situ(record, "evaluation") and record["level"] == 3 else record


def unsettled_training(record: Record) -> Record:
    return {**record, "unsettled_share": 0.6} if in_situ(record, "training") else record


def guessing(record: Record) -> Record:
    if in_situ(record, "evaluation"):
        images = len(record["hits"])
        return {**record, "hits": [5 * (i % 10 == record["repeat"]) for i in range(images)], "draws": 5}
    return record


def rising(record: Record) -> Record:
    """Masked gradients: the larger budget finds nothing."""
    attacked = in_situ(record, "evaluation") and record["condition"] == "pgd-linf" and record["level"] >= 0.2
    return {**record, "hits": [5] * 80 + [0] * 40, "draws": 5} if attacked else record


def flat(record: Record) -> Record:
    """Masked gradients: no budget finds anything."""
    attacked = in_situ(record, "evaluation") and record["condition"] == "pgd-linf"
    return {**record, "hits": [5] * 80 + [0] * 40, "draws": 5} if attacked else record


def small_budgets(record: Record) -> Record | None:
    return None if record.get("condition") == "pgd-linf" and record["level"] > 0.05 else record


FAULTS = {
    "pulses-saturate": (
        too_many_pulses,
        "diagnostics",
        "layer0.weight: updates ask for 80 pulses a cross-point where 31",
    ),
    "pulses-too-few": (too_few_pulses, "diagnostics", "0.002 pulses"),
    "clipped": (first_layer(clipped_share=0.3), "diagnostics", "30% of the cross-points"),
    "saturated": (first_layer(saturated_share=0.04), "diagnostics", "4.0 % of the reads"),
    "unsettled": (unsettled, "accuracy", "20% of the images had not settled"),
    "unsettled-training": (unsettled_training, "learning", "60% of the training examples"),
    "did-not-learn": (guessing, "accuracy", "10.0 %"),
    "masking": (rising, "attacks", "rises with the budget of pgd-linf"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_planted_fault_is_told_at_its_place(code: str, tmp_path: Path) -> None:
    change, section, words = FAULTS[code]
    found = [w for w in summary_with(tmp_path, change)["warnings"] if w["code"] == code]
    assert len(found) == 1
    assert (found[0]["level"], found[0]["section"], found[0]["case"]) == ("warning", section, "in-situ")
    assert words in found[0]["text"]


def test_an_attack_that_leaves_much_at_half_the_range_is_suspected(tmp_path: Path) -> None:
    found = [w for w in summary_with(tmp_path, flat)["warnings"] if w["code"] == "masking"]
    assert [w["case"] for w in found] == ["in-situ"]
    assert "66.7 % under pgd-linf at epsilon 0.5" in found[0]["text"]


def test_budgets_too_small_to_decide_are_noted(tmp_path: Path) -> None:
    found = [w for w in summary_with(tmp_path, small_budgets)["warnings"] if w["code"] == "attack-undecided"]
    assert [w["case"] for w in found] == list(runfolder.CASES)
    assert all(w["level"] == "note" for w in found)


def test_phases_cut_short_are_a_note_until_most_are(tmp_path: Path) -> None:
    found = summary_with(tmp_path, lambda r: {**r, "unsettled_share": 0.2} if in_situ(r, "training") else r)["warnings"]
    assert [w["level"] for w in found if w["code"] == "unsettled-training"] == ["note"]


def test_one_repeat_is_noted(tmp_path: Path) -> None:
    summary = summary_with(tmp_path, repeats=1)
    assert {row["over"] for row in summary["accuracy"]} == {"images only"}
    assert "images-only" in [w["code"] for w in summary["warnings"]]
