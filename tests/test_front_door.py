"""The public API: its names, that it is lazy, that every name is explained, and the example of the README."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

import hwsim as hw

HEAVY = ("torch", "aihwkit", "numpy", "scipy", "matplotlib", "pydantic")


@pytest.mark.parametrize("command", ["import hwsim", "import sys; sys.argv = ['hwsim', '--help']; import hwsim.cli"])
def test_the_door_opens_without_anything_heavy(command: str) -> None:
    ask = f"{command}; import sys; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is still to be given an example; this set only shrinks.
UNEXPLAINED = {
    *("Array", "ArrayDevice", "CellDevice", "Device", "FloatDevice", "ReadPath", "Synapse", "TiledDevice", "TwinDevice")
}


@pytest.mark.parametrize("name", [name for name in hw.__all__ if name not in UNEXPLAINED])
def test_every_public_name_is_explained_by_an_example_that_runs(name: str) -> None:
    examples = doctest.DocTestFinder(recurse=False).find(getattr(hw, name), name, globs={})
    assert examples
    assert examples[0].examples, f"{name} has no example"
    report: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples[0], out=report.append).failed
    assert not failed, "".join(report)
