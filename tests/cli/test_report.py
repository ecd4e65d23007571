"""The report as a reader's browser sees it: whole without a network, told in words too, true to the summary."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import runfolder
from htmlpage import Page
from rich.console import Console

from hwsim.experiments.device_run.results import summarise
from hwsim.reports.device_run import terminal_table, write_report
from hwsim.stats.interval import Interval


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def saturating(record: dict) -> dict:
        pulses = [80.0, 0.0, 1.0, 0.0]
        return {**record, "k_mean": pulses} if (record["kind"], record["case"]) == ("training", "in-situ") else record

    return runfolder.write_run(tmp_path_factory.mktemp("report") / "run", change=saturating)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text())


def test_it_needs_no_network_and_nobody_is_left_out(page: Page, folder: Path) -> None:
    assert page.faults(folder) == []
    assert not page.open
    assert page.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for rule in ("prefers-color-scheme: dark", "@media print"):
        assert rule in page.text


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("<style>", '<link rel="stylesheet" href="https://example.org/a.css"><style>', "https://example.org/a.css"),
        ("<main", '<script src="//example.org/a.js"></script><main', "<script>"),
        (" alt=", " title=", "an image without a text"),
        (' scope="row"', "", "a cell of a head without scope"),
        ('href="results.csv"', 'href="result.csv"', "result.csv is not in the run folder"),
        ('href="#diagnostics"', 'href="#diagnosis"', "#diagnosis leads nowhere"),
    ],
)
def test_the_check_above_rejects_a_broken_page(good: str, bad: str, told: str, page: Page, folder: Path) -> None:
    broken = Page(page.text.replace(good, bad, 1))
    assert any(told in fault for fault in broken.faults(folder))


def test_every_figure_is_drawn_twice_told_in_words_and_on_the_page(page: Page, folder: Path) -> None:
    drawn = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert drawn == {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {
        *("robustness", "attacks", "learning", "relaxation", "weights", "conductances"),
        *("crossbars-programmed", "crossbars-in-situ"),
    }
    for name in drawn:
        assert re.search(r"float|programmed|layer", page.below[f"figure-{name}"])
    words = page.below["figure-robustness"]
    row = next(
        r
        for r in summarise(folder)["accuracy"]
        if (r["case"], r["condition"], r["level"]) == ("in-situ", "contrast", 5)
    )
    assert f"5: {Interval.from_record(row).percent_with_range}" in words


def test_the_tables_hold_the_summary(page: Page, folder: Path) -> None:
    summary = summarise(folder)
    for row in summary["accuracy"]:
        mean, interval = Interval.from_record(row).percent, Interval.from_record(row).percent_range
        assert mean in page.below["table-accuracies"]
        assert interval in page.below["table-accuracies"]
        if row["level"] in (0, 3, 0.2, 0.1) and row["condition"] == "clean":
            assert mean + interval in page.below["table-accuracy"]
            if row["difference"]:
                points = Interval.from_record(row["difference"]).points
                assert points in page.below["table-difference"]
                assert f"{points} points" in page.below["summary"]
    assert "hwsim run --device devices/ecram/rpu-config.yaml" in page.below["reproduce"]
    assert "2.10.0" in page.below["table-receipt"]


def test_a_planted_fault_stands_in_the_summary_and_where_it_matters(page: Page) -> None:
    told = "in-situ, layer0.weight: updates ask for 80 pulses a cross-point where 31 fit"
    for place in ("summary", "diagnostics"):
        assert told in page.below[place]
    assert told not in page.below["accuracy"]
    assert "1 warning" in page.below["table-accuracy"]


def test_a_page_speaks_of_no_attack_where_none_was_made(page: Page, tmp_path: Path) -> None:
    def clean(record: dict) -> dict | None:
        return record if record.get("condition", "clean") == "clean" else None

    assert "White-box attacks" in page.below["attacks"]
    assert "accuracy and robustness" in page.below["summary"]
    quiet = Page(write_report(runfolder.write_run(tmp_path / "run", change=clean, images=20)).read_text())
    assert "attacks" not in quiet.below
    assert "White-box" not in quiet.text
    assert "How does the accuracy of digits-mlp" in quiet.below["summary"]


def test_names_are_text_never_markup(tmp_path: Path) -> None:
    def hostile(record: dict) -> dict | None:
        if record["kind"] in ("training", "relaxation") or record.get("condition", "clean") != "clean":
            return None
        return {**record, "case": "<script>alert(1)</script>"} if record["case"] == "programmed" else record

    page = Page(write_report(runfolder.write_run(tmp_path / "run", change=hostile, images=20)).read_text())
    assert not page.all("script")
    assert "<script>alert(1)</script>" in page.below["table-accuracy"]


@pytest.mark.parametrize("kept", [0, 1, 40])
def test_an_interrupted_run_has_a_page_that_says_so(kept: int, tmp_path: Path) -> None:
    left = iter([True] * kept)
    folder = runfolder.write_run(
        tmp_path / "run", change=lambda record: record if next(left, False) else None, receipt=False, images=20
    )
    for path in (folder / "weights").iterdir():
        path.write_bytes(b"torn") if kept else path.unlink()
    page = Page(write_report(folder).read_text())
    assert page.faults(folder) == []
    evaluations = summarise(folder)["evaluations"]
    assert f"not finished: {evaluations['done']} of {evaluations['expected']} evaluations" in page.text
    assert evaluations["done"] < evaluations["expected"]
    terminal_table(folder)


def test_the_terminal_table_is_short_and_true(folder: Path) -> None:
    console = Console(width=80, record=True, file=(folder / "out.txt").open("w"))
    console.print(terminal_table(folder))
    text = console.export_text()
    summary = summarise(folder)
    for row in summary["accuracy"]:
        if row["condition"] == "clean":
            assert re.search(rf"{row['case']} +{100 * row['mean']:.1f} %", text)
    assert "1 warning, see the report" in text
    assert len(text.splitlines()) < 25
    assert max(map(len, text.splitlines())) <= 80
