"""The study tutorial: its three files, as printed, are a study that runs to the page that the text tells of."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "study-tutorial.md"
MOST_LINES = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tutorial's folder."""
    text = DOC.read_text(encoding="utf-8")
    files = dict(re.findall(r"^`mystudy/(\S+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert set(files) == {"study.yaml", "measurement.py", "page.py"}
    assert sum(len(content.splitlines()) for content in files.values()) <= MOST_LINES
    (tmp_path / "mystudy").mkdir()
    for name, content in files.items():
        (tmp_path / "mystudy" / name).write_text(content)
    return tmp_path


def test_the_tutorials_study_runs_to_its_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hwsim_here: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(folder)
    code, told, err = hwsim_here("sweep", "./mystudy", "--seeds", "1", "--jobs", "1")
    assert (code, err) == (0, ""), told
    assert "12 points, 0 of them finished" in told
    out = folder / "runs" / "sweep-sparse"
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    shares = {(row["device"], row["left out"]): float(row["accuracy_share"]) for row in rows}
    assert shares["ideal", "0.0"] > 0.95
    assert all(shares[device, "0.9"] < shares[device, "0.0"] for device in ("ideal", "ecram", "pcm-inference"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Five points of accuracy are lost at: smallest weights left out, ideal: 0.7" in page
    assert re.findall(r'<table id="([\w-]+)"', page) == ["table-requirements", "table-ends", "table-receipt"]
    assert re.findall(r'<figure id="figure-([\w-]+)"', page) == ["sparse"]
