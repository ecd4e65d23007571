"""``hwsim compare``: configuration and figures of two folders, against what was planted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import attackfolder
import jobfolders
import numpy as np
import pytest
import runfolder
from htmlpage import Page

from hwsim.cards.differences import differences
from hwsim.experiments.attack.records import Reported, Worst
from hwsim.experiments.compare import compare
from hwsim.experiments.device_run.records import AttackRecord
from hwsim.jobs.store import append_line
from hwsim.stats.interval import Interval, accuracy
from hwsim.stats.paired import unpaired

Call = Callable[..., tuple[int, str, str]]


def test_attacks_are_compared_in_pairs_where_the_images_are_the_same(tmp_path: Path, hwsim_here: Call) -> None:
    one = attackfolder.write_attack(tmp_path / "one", (0.8, 0.7))
    other = attackfolder.write_attack(tmp_path / "other", (0.8, 0.3))
    elsewhere = attackfolder.write_attack(tmp_path / "elsewhere", (0.8, 0.3), data="cifar10")
    found = compare(one, other)
    assert found.configuration == {"seed": (70, 30)}
    rows = {row.name: row for row in found.rows}
    worst, same = rows["linf:0.1, worst"], rows["linf:0.05, worst"]
    assert worst.difference == pytest.approx(0.4)
    assert worst.apart
    assert worst.p is not None
    assert worst.p < 0.001
    assert "paired: 40 images" in worst.how
    assert same.difference == 0
    assert not same.apart
    apart = {row.name: row for row in compare(one, elsewhere).rows}["linf:0.1, worst"]
    assert apart.how == "unpaired: other test images"
    assert apart.p is None
    assert apart.high - apart.low > worst.high - worst.low
    code, out, err = hwsim_here("compare", str(one), str(other), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["configuration"] == {"seed": [70, 30]}
    code, out, _ = hwsim_here("compare", str(one), str(other))
    assert code == 0
    assert "seed" in out


def test_runs_are_compared_cell_by_cell(tmp_path: Path) -> None:
    one = runfolder.write_run(tmp_path / "one")
    other = runfolder.write_run(tmp_path / "other", change=_worse)
    rows = {row.name: row for row in compare(one, other).rows}
    assert rows["in-situ, clean"].apart
    assert rows["in-situ, clean"].difference > 0.2
    assert rows["float, clean"].difference == 0
    assert not rows["float, clean"].apart


def _worse(record: dict) -> dict:
    if record["kind"] == "evaluation" and (record["case"], record["condition"]) == ("in-situ", "clean"):
        return {**record, "hits": [hit if i % 3 else 0 for i, hit in enumerate(record["hits"])]}
    return record


FOLDERS = {
    "attack": (lambda folder, share: attackfolder.write_attack(folder, (0.8, share)), "linf:0.1, apgd-ce"),
    "corrupt": (jobfolders.write_corrupt, "model, gaussian-blur 3"),
    "train": (jobfolders.write_training, "test"),
    "ablate": (jobfolders.write_ablation, "all on"),
    "sweep": (jobfolders.write_sweep, "step, dw 0.1: accuracy"),
}
"""Kind -> what writes such a folder with a share planted, and the figure that has it."""


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_kind_of_job_is_compared(kind: str, tmp_path: Path, hwsim_here: Call) -> None:
    """The planted difference is found, what is equal is not told apart, and the page says both."""
    write, planted = FOLDERS[kind]
    one, other = write(tmp_path / "one", 0.8), write(tmp_path / "other", 0.3)
    found = compare(one, other)
    rows = {row.name: row for row in found.rows}
    assert rows[planted].difference == pytest.approx(0.5)
    assert rows[planted].low < 0.5 < rows[planted].high
    apart = [row.name for row in found.rows if row.apart]
    assert apart == ([planted, "linf:0.1, worst"] if kind == "attack" else [planted])
    assert rows[planted].paired is (kind != "train")
    assert found.only == ([], [])
    page = tmp_path / "pages" / "page.html"
    code, out, err = hwsim_here("compare", str(one), str(other), "--out", str(page))
    assert (code, err) == (0, "")
    assert out == f"page: {page}\n"
    text = page.read_text()
    summary = Page(text).below["summary"]
    assert f"{planted}: 80.0 % against 30.0 %, +50.0 points" in summary
    assert f"{len(apart)} of {len(found.rows)} result" in summary
    assert all(f'<th scope="row">{path}</th>' in text for path in found.configuration)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "Warning" not in summary
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_a_page_says_what_is_missing_and_what_else_differs(tmp_path: Path, hwsim_here: Call) -> None:
    one = jobfolders.write_sweep(tmp_path / "one", 0.8)
    other = jobfolders.write_sweep(tmp_path / "other", 0.3, model="adv-ep-digits", unfinished=True)
    plan = json.loads((other / "sweep.json").read_text())
    (other / "sweep.json").write_text(json.dumps({**plan, "versions": {"hwsim": "0.2.0"}}))
    rows = compare(one, other).rows
    assert [row.how for row in rows] == ["unpaired: other test images"]
    assert hwsim_here("compare", str(one), str(other), "--out", str(tmp_path / "page.html"))[0] == 0
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.below["summary"].count("Warning") == 2, "a result that only one has, and another software"
    assert "step, dw 0.1" in page.below["summary"]
    assert "0.2.0" in page.below["table-software"]
    assert "adv-ep-digits" in page.below["table-configuration"]
    empty = jobfolders.write_sweep(tmp_path / "empty", 0.3)
    for cell in (empty / "points").iterdir():
        cell.unlink()
    assert hwsim_here("compare", str(one), str(empty), "--out", str(tmp_path / "page.html"))[0] == 0
    nothing = Page((tmp_path / "page.html").read_text())
    assert "cannot be compared" in nothing.below["summary"]
    assert "table-results" not in nothing.below


def test_many_figures_are_drawn_by_how_far_apart_they_are(tmp_path: Path, hwsim_here: Call) -> None:
    drifting = {"cases": (*runfolder.CASES[:2], *runfolder.DRIFT), "repeats": 1}
    one = runfolder.write_run(tmp_path / "one", **drifting)
    other = runfolder.write_run(tmp_path / "other", change=_last, **drifting)
    count = len(compare(one, other).rows)
    assert count > 40
    assert hwsim_here("compare", str(one), str(other), "--out", str(tmp_path / "page.html"))[0] == 0
    text = (tmp_path / "page.html").read_text()
    assert f"40 of {count} results" in text
    shown = text.partition('id="table-results"')[2].partition("</table>")[0]
    assert shown.count("<tr>") == 41
    assert "programmed, 1 month, pgd-linf 0.02" in shown
    assert text.partition('id="table-all"')[2].partition("</table>")[0].count("<tr>") == count + 1


def _last(record: dict) -> dict:
    if record["kind"] == "evaluation" and (record["case"], record["level"]) == (runfolder.DRIFT[-1], 0.02):
        return {**record, "hits": [0] * len(record["hits"])}
    return record


def test_attacked_cases_of_runs_are_compared_image_by_image(tmp_path: Path) -> None:
    one, other = (runfolder.write_run(tmp_path / name, repeats=2) for name in ("one", "other"))
    for folder, shares in ((one, (0.8, 0.7)), (other, (0.8, 0.3))):
        for repeat in (0, 1):
            attacked = attackfolder.write_attack(folder / "attacks" / f"in-situ-{repeat}", shares)
            left = (shares[1], shares[1] - 0.1, shares[1] + 0.1, "images only")
            record = AttackRecord(
                case="in-situ",
                repeat=repeat,
                condition="linf:0.1",
                attack="apgd-ce",
                images=40,
                clean=Interval(*left),
                worst=Worst(*left, spread=0.0, majority=shares[1]),
                reported=Reported(*left, of="the attacks"),
                flags=[],
                checked=False,
                caveats=[],
                folder=str(attacked.relative_to(folder)),
            )
            append_line(folder / "metrics.jsonl", record.plain())
    rows = {row.name: row for row in compare(one, other).rows}
    assert rows["in-situ, linf:0.1, worst"].difference == pytest.approx(0.4)
    assert rows["in-situ, linf:0.1, worst"].how == "paired: 40 images, 2 repeats"
    assert rows["in-situ, linf:0.05, worst"].difference == 0


@pytest.mark.parametrize("second", ["run", "nothing", "gone"])
def test_what_cannot_be_compared_is_told(second: str, tmp_path: Path, hwsim_here: Call) -> None:
    attack = attackfolder.write_attack(tmp_path / "attack")
    runfolder.write_run(tmp_path / "run")
    (tmp_path / "nothing").mkdir()
    code, _, err = hwsim_here("compare", str(attack), str(tmp_path / second))
    assert code == 2
    assert {"run": "expected two of one kind", "nothing": "config.yaml", "gone": "no such folder"}[second] in err


def test_newcombes_published_example() -> None:
    """56 of 70 against 48 of 80 (Newcombe 1998, Stat Med 17:873, table II, a): .0524 to .3339."""
    one, other = (accuracy(np.repeat([1.0, 0.0], [k, n - k])[None]) for k, n in ((56, 70), (48, 80)))
    gap, low, high = unpaired(one, other)
    assert gap == pytest.approx(0.2)
    # Ours takes Student's t in place of the normal quantile, so it is a little wider.
    assert low == pytest.approx(0.0524, abs=0.004)
    assert high == pytest.approx(0.3339, abs=0.004)
    assert low < 0.0524
    assert unpaired(Interval(1.0, 0.9, 1.0, ""), Interval(0.0, 0.0, 0.1, ""))[2] == 1.0


def test_key_paths() -> None:
    assert differences({"a": {"b": 1, "c": 1}}, {"a": {"b": 1, "c": True}, "d": [1]}) == {
        "a.c": (1, True),
        "d": (None, [1]),
    }
    assert differences({"a": float("nan")}, {"a": float("nan")}) == {}
