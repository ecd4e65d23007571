"""Which file may import which: the house is built in floors, and the lower ones read no file, clock or environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwsim

PACKAGE = Path(hwsim.__file__).parent

# The first part of a module's name below hwsim, and the floor it stands on; packages are one floor throughout.
FLOORS = {
    "errors": 0,
    "rng": 0,
    "window": 0,
    "synapse": 0,
    "energy": 1,
    "kernels": 1,
    "pulses": 1,
    "readpath": 1,
    "vectorread": 1,
    "imageread": 1,
    "arrayreads": 2,
    "circuit": 1,
    "conductance": 1,
    "faults": 1,
    "wires": 1,
    "array": 2,
    "tiling": 2,
    "twin": 2,
    "settle": 2,
    "links": 2,
    "hopfield": 2,
    "convolution": 2,
    "crossbar": 2,
    "learn": 3,
    "oracle": 3,
    "basecell": 3,
    "cells": 3,
    "cells_steps": 3,
    "aihw": 3,
    "robust": 4,
    "fitting": 4,
    "testing": 4,
    "cost": 4,
    "study": 5,
    "cli": 6,
    "__main__": 6,
}
TOP_FLOOR_WITHOUT_WORLD = 4
WORLD = {"yaml", "os", "time", "pathlib", "datetime", "shutil", "tempfile", "socket", "subprocess", "urllib"}
READERS = {"open", "input", "exec", "eval"}


def part_of(module: str) -> str:
    """``hwsim.robust.attacks`` -> ``robust``."""
    return module.split(".")[1]


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of every import, those inside functions and of type checking included."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from hwsim import energy` names a module, `from hwsim.energy import Energy` what is in one.
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module's source does that its floor forbids, as sentences with the line."""
    part = part_of(module)
    if part not in FLOORS:
        return [f"{module} has no floor; give it one in FLOORS"]
    floor = FLOORS[part]
    tree = ast.parse(source)
    told = []
    for line, name in imported(tree, module, is_package):
        root = name.split(".")[0]
        if root == "hwsim" and "." in name and name != "hwsim.__version__":
            other = part_of(name)
            if other not in FLOORS:
                told.append(f"{module}:{line} imports {name}, which has no floor")
            elif FLOORS[other] > floor:
                told.append(f"{module}:{line} (floor {floor}) imports {name} (floor {FLOORS[other]})")
        if root == "aihwkit" and part != "aihw":
            told.append(f"{module}:{line} imports aihwkit; only hwsim.aihw may")
        if root in WORLD and floor <= TOP_FLOOR_WITHOUT_WORLD:
            told.append(f"{module}:{line} (floor {floor}) imports {name}")
    if floor <= TOP_FLOOR_WITHOUT_WORLD:
        told += [
            f"{module}:{node.lineno} (floor {floor}) calls {node.func.id}()"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS
        ]
    return told


def modules() -> dict[str, Path]:
    """Every module of the package but ``hwsim`` itself, which stands on no floor."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(["hwsim", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        if name != "hwsim" and "_content" not in parts:
            found[name] = path
    return found


MODULES = modules()


def test_every_module_has_a_floor() -> None:
    assert {part_of(name) for name in MODULES} <= set(FLOORS)
    assert len(MODULES) > 10


@pytest.mark.parametrize("module", MODULES)
def test_modules_keep_to_their_floor(module: str) -> None:
    path = MODULES[module]
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


def test_no_two_modules_import_each_other() -> None:
    graph = {}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # Imports inside functions may close a circle on purpose; they run after both modules are loaded.
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        names = {other for _, other in imported(top, name, path.name == "__init__.py")}
        graph[name] = {other if other in MODULES else other.rpartition(".")[0] for other in names} & set(MODULES)
    assert circle(graph) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names of one circle of imports, or []."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := visit(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, []))), [])


@pytest.mark.parametrize(
    ("source", "module", "complaint"),
    [
        ("from hwsim.study import store", "hwsim.energy", r"floor 1\) imports hwsim.study"),
        ("from hwsim import learn", "hwsim.settle", r"floor 2\) imports hwsim.learn"),
        ("import hwsim.cli", "hwsim.study.run", r"floor 5\) imports hwsim.cli"),
        ("from .. import study", "hwsim.robust.attacks", r"floor 4\) imports hwsim.study"),
        ("def f():\n    from hwsim.robust.threat import Threat", "hwsim.oracle", ":2 .*imports hwsim.robust.threat"),
        ("if TYPE_CHECKING:\n    import hwsim.learn", "hwsim.crossbar", ":2 .*imports hwsim.learn"),
        ("from hwsim.novelty import x", "hwsim.cli", "which has no floor"),
        ("def f():\n    import aihwkit.simulator", "hwsim.study.run", "only hwsim.aihw may"),
        ("from aihwkit.simulator.configs import SingleRPUConfig", "hwsim.crossbar", "only hwsim.aihw may"),
        ("import os.path", "hwsim.robust.attacks", "imports os.path"),
        ("from pathlib import Path", "hwsim.aihw.read", "imports pathlib"),
        ("import yaml", "hwsim.rng", "imports yaml"),
        ("import time", "hwsim.settle", "imports time"),
        ("from datetime import date", "hwsim.learn", "imports datetime"),
        ("", "hwsim.novelty", "has no floor; give it one"),
        ("text = open('x').read()", "hwsim.cells", r"calls open\(\)"),
    ],
)
def test_a_planted_violation_is_found(source: str, module: str, complaint: str) -> None:
    found = violations(source, module)
    assert len(found) == 1
    assert re.search(complaint, found[0])


def test_what_is_allowed_is_not_complained_about() -> None:
    source = "import os\nfrom hwsim.energy import Energy\nfrom . import store\nfrom hwsim import __version__\nopen('x')"
    assert violations(source, "hwsim.study.run") == []
    assert violations("from aihwkit.simulator import configs", "hwsim.aihw.tile") == []


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
