"""``hwsim compare``: configuration and figures of two folders, against what was planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attackfolder
import numpy as np
import pytest
import runfolder

from hwsim.study.compare import compare, differences, unpaired
from hwsim.study.interval import Interval, accuracy

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
