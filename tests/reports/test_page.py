"""The page model: what stands in a table's cells, pages that are whole, equal files from equal data."""

from __future__ import annotations

import os
from pathlib import Path

import attackfolder
import jobfolders
import matplotlib
import pytest
from htmlpage import Page as Parsed
from matplotlib.colors import to_hex

from hwsim.reports.attack import write_attack_page
from hwsim.reports.corruption import write_corruption_page
from hwsim.reports.folder import current_page
from hwsim.reports.page import (
    Bullets,
    Caveat,
    Code,
    Column,
    Files,
    Fold,
    Page,
    Section,
    Status,
    Table,
    is_current,
    write_page,
)
from hwsim.reports.plotting import COLOURS, STYLE, Figure, curve, forest, heat_map, line_style, panels
from hwsim.stats.interval import Interval

SHARE = Interval(0.952, 0.919, 0.972, "images only")
GAP = Interval(-0.012, -0.03, 0.0004, "images only")


def figure(name: str = "lines") -> Figure:
    canvas, (ax,) = panels(1, 1, 2.0)
    words = curve(ax, [0, 1, 2], [SHARE] * 3, line_style(0))
    return Figure(name, "Three alike", "Bands are intervals.", [words], canvas)


def everything() -> Page:
    columns = [Column("case", "words"), "accuracy", Column("difference", "points", below="to float"), "note"]
    rows = [["a <b>", SHARE, GAP, ("text", "below")], ["c", None, None, "text"]]
    with matplotlib.rc_context(STYLE):
        items = [Table("numbers", "All kinds of cells.", columns, rows), figure(), Fold("More", [figure("folded")])]
        return Page(
            answer="It is 95.2 %.",
            details=["One detail."],
            certainty="Images only.",
            caveats=[Caveat("Weak attack.", "warning", "all-results"), Caveat("Few images.", "note")],
            sections=[
                Section("All results", ["Text.", *items]),
                Section("Rest", [Bullets(["x"]), Code("y"), Files([])]),
            ],
            title="A title",
            question="Is it good?",
            lead="hwsim test",
            status=Status(3, 4, "measurement"),
        )


def test_a_page_has_what_it_was_given_and_is_whole(tmp_path: Path) -> None:
    path = write_page(everything(), tmp_path / "page.html")
    page = Parsed(path.read_text())
    assert page.faults(tmp_path) == []
    assert {name.name for name in (tmp_path / "figures").iterdir()} == {
        f"{stem}.{kind}" for stem in ("lines", "folded") for kind in ("svg", "png")
    }
    numbers = page.below["table-numbers"]
    assert "a <b>" in numbers
    assert SHARE.percent + SHARE.percent_range in numbers
    assert GAP.points + GAP.points_range in numbers
    assert "–" in numbers
    assert "Weak attack." in page.below["summary"]
    assert "Weak attack." in page.below["all-results"]
    assert "Few images." not in page.below["all-results"]
    assert "not finished: 3 of 4 measurements" in page.text


def test_a_page_alone_leaves_no_other_file(tmp_path: Path) -> None:
    path = write_page(everything(), tmp_path / "page.html", keep_figures=False)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert Parsed(path.read_text()).faults(tmp_path) == []


@pytest.mark.parametrize("made", [jobfolders.write_corrupt, lambda folder, _: attackfolder.write_attack(folder)])
def test_equal_data_give_equal_files(made, tmp_path: Path) -> None:
    write = write_corruption_page if made is jobfolders.write_corrupt else write_attack_page
    files = []
    for folder in (tmp_path / "one" / "same", tmp_path / "other" / "same"):
        write(made(folder, 0.5))
        files.append({path.name: path.read_bytes() for path in (folder / "figures").iterdir()})
        files[-1]["page"] = (folder / "report.html").read_bytes()
    assert len(files[0]) >= 3, "a page and a figure in two forms"
    assert files[0] == files[1]


def test_a_page_is_current_until_a_source_changes(tmp_path: Path) -> None:
    page, source = tmp_path / "report.html", tmp_path / "metrics.jsonl"
    source.write_text("")
    assert not is_current(page, source)
    write_page(everything(), page)
    assert is_current(page, source, tmp_path / "gone")
    later = page.stat().st_mtime_ns + 1
    os.utime(source, ns=(later, later))
    assert not is_current(page, source)
    write_page(everything(), page)
    page.write_text(page.read_text().replace('content="hwsim ', 'content="hwsim 0.0.', 1))
    assert not is_current(page), "another version wrote it"


def test_a_finished_job_is_not_drawn_again(tmp_path: Path) -> None:
    folder = attackfolder.write_attack(tmp_path / "attack")
    page = current_page(folder)
    made = page.stat().st_mtime_ns
    assert current_page(folder).stat().st_mtime_ns == made
    later = made + 1
    os.utime(folder / "receipt.json", ns=(later, later))
    assert current_page(folder).stat().st_mtime_ns > later


@pytest.mark.parametrize(("count", "line"), [(2, False), (3, True)])
def test_two_values_are_no_line(count: int, line: bool) -> None:
    _, (ax,) = panels(1, 1, 2.0)
    words = curve(ax, range(count), [SHARE] * count, line_style(0))
    assert [each.get_linestyle() == "-" for each in ax.lines if len(each.get_xdata()) == count][:1] == [line]
    assert words.count(SHARE.percent_with_range) == count


def test_a_forest_tells_what_is_resolved() -> None:
    _, (ax,) = panels(1, 1, 2.0)
    forest(ax, ["a", "b"], [GAP, SHARE], [False, True])
    marks = [each for each in ax.lines if each.get_marker() == "o"]
    assert [to_hex(each.get_color()) for each in marks] == ["#777777", COLOURS[0].lower()]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_a_heat_map_writes_what_was_measured() -> None:
    _, (ax,) = panels(1, 1, 2.0)
    heat_map(ax, jobfolders.np.array([[0.5, float("nan")]]), ["blur"], ["1", "2"])
    assert [text.get_text() for text in ax.texts] == ["50"]
