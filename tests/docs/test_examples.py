"""The gallery: short scripts that use the front door only, run as they stand, and end in a figure."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.py"))


def test_there_are_about_ten() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_comes_in_by_the_front_door(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert "import hwsim as hw" in text
    inner = [
        node.module
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwsim")
    ]
    assert inner == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_draws(path: Path, tmp_path: Path) -> None:
    counted = (
        "import sys, runpy, matplotlib.pyplot as plt; shown = []; plt.show = lambda: shown.append(plt.get_fignums());"
        "runpy.run_path(sys.argv[1]); assert any(shown), 'no figure was shown'"
    )
    done = subprocess.run(
        [sys.executable, "-c", counted, str(path)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
