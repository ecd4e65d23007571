"""The public API: its names, that it is lazy, that every name is explained, and the example of the README."""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import hwsim as hw

HEAVY = ("torch", "aihwkit", "numpy", "scipy", "matplotlib", "pydantic")


@pytest.mark.parametrize("command", ["import hwsim", "import sys; sys.argv = ['hwsim', '--help']; import hwsim.cli"])
def test_the_door_opens_without_anything_heavy(command: str) -> None:
    ask = f"{command}; import sys; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", hw.__all__)
def test_every_public_name_is_explained_by_an_example_that_runs(name: str) -> None:
    examples = doctest.DocTestFinder(recurse=False).find(getattr(hw, name), name, globs={})
    assert examples
    assert examples[0].examples, f"{name} has no example"
    report: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples[0], out=report.append).failed
    assert not failed, "".join(report)


def ten_lines() -> str:
    """The Python of the README's first screen."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(import hwsim as hw\n.*?)```", readme, re.DOTALL)
    assert found, "the README shows no Python"
    return found[1]


def test_the_ten_lines_of_the_readme_run_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed, but on fewer images: what they take on all of them is no test's time."""
    whole = hw.load_data("digits")
    few = replace(whole, train=whole.train[:96], test=whole.test[:8])
    monkeypatch.setattr(hw, "load_data", lambda name: few)
    monkeypatch.chdir(tmp_path)
    lines = ten_lines()
    assert len(lines.splitlines()) <= 12
    exec(compile(lines, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[\d.]+ % \([\d.]+ to [\d.]+ %\)", printed[0])
    assert printed[1].startswith("{'linf:0.05': Interval(mean=")
    assert "linf:0.1" in printed[1]
    assert (tmp_path / "security.svg").read_text(encoding="utf-8").startswith("<?xml")


PLUG_INS = [*Path(__file__).parents[1].glob("devices/*/cell.py"), *Path(__file__).parents[1].glob("models/*/net.py")]


@pytest.mark.parametrize("path", PLUG_INS, ids=lambda path: path.parent.name)
def test_plug_ins_of_devices_and_models_know_the_front_door_only(path: Path) -> None:
    """Then rooms may move without breaking them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hwsim":
            assert node.module == "hwsim"
            assert {alias.name for alias in node.names} <= set(hw.__all__)
        elif isinstance(node, ast.Import):
            assert all(not alias.name.startswith("hwsim.") for alias in node.names)
