"""Jobs of several processes leave what those of one leave, bit for bit, and go on bit for bit when they are killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small
from folder_bits import bits

from hwsim.jobs import tasks

Call = Callable[..., tuple[int, str, str]]

CELL = ("--device", "soft-bounds-cell")
FEW = small("evaluation.examples=20", "evaluation.pgd.epsilon=[]")
ATTACKED = ["evaluation.attack.threat=linf:0.1", "evaluation.attack.attack=pgd-2", "evaluation.attack.examples=6"]
JOBS = {
    "run": ["run", *CELL, "--repeats", "2", *FEW],
    "run with attacks": [
        *("run", *CELL, "--repeats", "1", "--set", "evaluation.attack.checks=false"),
        *small("evaluation.examples=20", "evaluation.corruptions.types=[]", *ATTACKED),
    ],
    "attack": [
        *("attack", *CELL, "--instances", "2", "--draws", "2", "--eot", "2", "--seeds", "2", "--attack", "pgd-2"),
        *("--threat", "linf:0.1", "--examples", "6", "--check-images", "4"),
    ],
    "corrupt": [
        *("corrupt", *CELL, "--instances", "2", "--draws", "2", "--types", "contrast,fog", "--severities", "1,3"),
        *("--examples", "20"),
    ],
    "train": ["train", *small("learning.epochs=1", "inference.steps=60")],
    "ablate": [
        *("ablate", *CELL, "--case", "programmed", "--seeds", "1", "--property", "output noise"),
        *small("evaluation.examples=20"),
    ],
}


@pytest.mark.parametrize("job", JOBS)
def test_several_processes_leave_what_one_leaves(
    job: str, hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "START_AFTER_S", 0.0)
    for jobs in ("1", "2"):
        code, _, err = hwsim_here(*JOBS[job], "--jobs", jobs, "--out", str(tmp_path / jobs))
        assert (code, err) == (0, "")
    whole, parts = (bits(tmp_path / jobs) for jobs in ("1", "2"))
    assert whole.keys() == parts.keys()
    assert [name for name in whole if whole[name] != parts[name]] == []
