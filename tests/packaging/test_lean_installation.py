"""An installation without aihwkit, pyautoattack and torchvision: float works, a sentence says what else needs them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LEAN = """
import contextlib, importlib.abc, io, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("aihwkit", "pyautoattack", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import hwsim as hw
from hwsim.cli import main

told = {}
for name, words in json.loads(sys.argv[1]).items():
    sys.argv, out = ["hwsim", *words], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    told[name] = [code or 0, out.getvalue()]
print(json.dumps(told))
"""

FEW = ["--model", "digits-mlp", "--examples", "20"]
COMMANDS = {
    "train": ["train", "--model", "digits-mlp", "--set", "learning.epochs=1", "--out", "t"],
    "attack": ["attack", *FEW, "--attack", "pgd-5", "--no-checks", "--out", "a"],
    "corrupt": ["corrupt", *FEW, "--types", "contrast", "--severities", "1", "--out", "c"],
    "cell": [
        "train",
        "--model",
        "digits-mlp",
        "--device",
        "soft-bounds-cell",
        "--set",
        "in_situ.epochs=1",
        "--out",
        "s",
    ],
    "shelf": ["device", "list"],
    "ecram": ["train", "--device", "ecram", "--out", "e"],
    "standard": ["attack", *FEW, "--out", "b"],
    "checks": ["attack", *FEW, "--attack", "pgd-5", "--out", "d"],
    "vit": ["model", "show", "vit"],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What each command ended with and printed, all in one process."""
    home = tmp_path_factory.mktemp("lean")
    done = subprocess.run(
        [sys.executable, "-c", LEAN, json.dumps(COMMANDS)], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["train", "attack", "corrupt", "cell", "shelf"])
def test_float_and_cells_need_none_of_them(told: dict[str, tuple[int, str]], name: str) -> None:
    code, text = told[name]
    assert code == 0, text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ecram", ["aihwkit", 'pip install "aihwkit==']),
        ("standard", ["fab-targeted", "pip install 'pyautoattack=="]),
        ("checks", ["square", "pip install 'pyautoattack==", "leave out the checks"]),
        ("vit", ["torchvision"]),
    ],
)
def test_what_needs_one_says_so(told: dict[str, tuple[int, str]], name: str, words: list[str]) -> None:
    code, text = told[name]
    assert code in (1, 2), text
    assert "Traceback" not in text
    for word in words:
        assert word in text
    assert not Path(COMMANDS[name][-1]).exists()


def test_the_lean_requirements_are_the_others() -> None:
    root = Path(__file__).resolve().parents[2]
    every = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (root / "requirements-lean.txt").read_text().splitlines()
    lean = [line for line in lines if not line.startswith("#")]
    assert lean == [line for line in every if not line.startswith(("aihwkit", "pyautoattack", "torchvision"))]
