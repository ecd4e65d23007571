"""Which room may import which: arrows point down only, and the pure rooms read no file, clock or environment."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwsim

PACKAGE = Path(hwsim.__file__).parent

# A room is the first part of a module's name below hwsim; rooms on one floor do not know each other.
FLOORS = {
    "errors": 0,
    "rng": 0,
    "files": 1,
    "crossbar": 1,
    "data": 2,
    "stats": 1,
    "devices": 2,
    "ebm": 2,
    "testing": 2,
    "learning": 3,
    "robustness": 4,
    "cards": 5,
    "jobs": 6,
    "experiments": 7,
    "reports": 8,
    "characterisation": 9,
    "attacks": 9,  # sub-modules of the front door, which gather names; no room imports them
    "corruptions": 9,
    "plot": 9,
    "commands": 9,
    "cli": 10,
    "__main__": 11,
}
PURE = {"errors", "rng", "stats", "crossbar", "devices", "ebm", "testing", "learning", "robustness"}
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
            elif other != part and FLOORS[other] >= floor:
                told.append(f"{module}:{line} (floor {floor}) imports {name} (floor {FLOORS[other]})")
        if root == "aihwkit" and not module.startswith("hwsim.devices.aihw"):
            told.append(f"{module}:{line} imports aihwkit; only hwsim.devices.aihw may")
        if root in WORLD and part in PURE:
            told.append(f"{module}:{line} (floor {floor}) imports {name}")
    if part in PURE:
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


def graph_of(sources: dict[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Which module imports which, inside functions and for type checking, too."""
    graph = {}
    for name, (source, is_package) in sources.items():
        names = {other for _, other in imported(ast.parse(source), name, is_package)}
        graph[name] = {other if other in sources else other.rpartition(".")[0] for other in names} & set(sources)
    return graph


def test_no_modules_import_each_other_in_a_circle() -> None:
    sources = {name: (path.read_text("utf-8"), path.name == "__init__.py") for name, path in MODULES.items()}
    assert circle(graph_of(sources)) == []


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
        ("from hwsim.cards import shelf", "hwsim.ebm.energy", r"floor 2\) imports hwsim.cards"),
        ("from hwsim.learning import ep", "hwsim.ebm.settle", r"floor 2\) imports hwsim.learning"),
        ("from hwsim.devices import cell", "hwsim.ebm.settle", r"floor 2\) imports hwsim.devices"),
        ("import hwsim.cli", "hwsim.experiments.compare", r"floor 7\) imports hwsim.cli"),
        ("from .. import jobs", "hwsim.robustness.attacks", r"floor 4\) imports hwsim.jobs"),
        (
            "def f():\n    from hwsim.robustness.threat import Threat",
            "hwsim.learning.equilibrium_gradients",
            ":2 .*robustness.threat",
        ),
        ("if TYPE_CHECKING:\n    import hwsim.learning.ep", "hwsim.crossbar.twin", ":2 .*imports hwsim.learning.ep"),
        ("from hwsim.novelty import x", "hwsim.cli", "which has no floor"),
        ("def f():\n    import aihwkit.simulator", "hwsim.cards.device", "only hwsim.devices.aihw may"),
        ("from aihwkit.simulator.configs import C", "hwsim.devices.cell", "only hwsim.devices.aihw may"),
        ("import os.path", "hwsim.robustness.attacks", "imports os.path"),
        ("from pathlib import Path", "hwsim.devices.aihw.pair", "imports pathlib"),
        ("import yaml", "hwsim.rng", "imports yaml"),
        ("import time", "hwsim.ebm.settle", "imports time"),
        ("from datetime import date", "hwsim.learning.ep", "imports datetime"),
        ("", "hwsim.novelty", "has no floor; give it one"),
        ("text = open('x').read()", "hwsim.devices.cell", r"calls open\(\)"),
    ],
)
def test_a_planted_violation_is_found(source: str, module: str, complaint: str) -> None:
    found = violations(source, module)
    assert len(found) == 1
    assert re.search(complaint, found[0])


def test_what_is_allowed_is_not_complained_about() -> None:
    source = "import os\nfrom hwsim.ebm.energy import Energy\nfrom . import x\nfrom hwsim import __version__\nopen('x')"
    assert violations(source, "hwsim.jobs.folder") == []
    assert violations("from aihwkit.simulator import configs", "hwsim.devices.aihw.tile") == []


@pytest.mark.parametrize(
    "hidden", ["def f():\n    from hwsim.jobs import a", "if TYPE_CHECKING:\n    import hwsim.jobs.a"]
)
def test_a_planted_circle_in_a_function_or_for_type_checking_is_found(hidden: str) -> None:
    sources = {"hwsim.jobs.a": ("from hwsim.jobs.b import x", False), "hwsim.jobs.b": (hidden, False)}
    assert circle(graph_of(sources)) == ["hwsim.jobs.a", "hwsim.jobs.b"]


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def unexported(source: str, module: str, exports: dict[str, set[str]], modules: set[str]) -> list[str]:
    """Names that a module takes from another room which that room does not export.

    A function called as its own file cannot be told from it in the room, and is taken from the file.
    """
    complaints = []
    for line, name in imported(ast.parse(source), module, False):
        parts = name.split(".")
        if parts[0] != "hwsim" or len(parts) < 3 or name in modules or part_of(name) == part_of(module):
            continue
        own_file = f"hwsim.{part_of(name)}.{parts[-1]}" in modules
        if part_of(name) in exports and parts[-1] not in exports[part_of(name)] and not own_file:
            complaints.append(f"{module}:{line} imports {name}, which room {part_of(name)} does not export")
    return complaints


def exports_of_rooms() -> dict[str, set[str]]:
    rooms = {part_of(name) for name, path in MODULES.items() if path.name == "__init__.py" and name.count(".") == 1}
    return {room: set(importlib.import_module(f"hwsim.{room}").__all__) for room in rooms - {"cli"}}


@pytest.mark.parametrize("module", MODULES)
def test_rooms_use_what_others_export(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    assert unexported(source, module, exports_of_rooms(), set(MODULES)) == []


def test_a_name_that_is_not_exported_is_seen() -> None:
    source = "def f():\n    from hwsim.ebm.settle import _secret"
    assert "does not export" in unexported(source, "hwsim.learning.ep", exports_of_rooms(), set(MODULES))[0]
    assert unexported("from hwsim.ebm.settle import Phase", "hwsim.learning.ep", exports_of_rooms(), set(MODULES)) == []


def test_no_room_holds_more_than_a_quarter_of_the_lines() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    rooms: dict[str, int] = {}
    for name, count in lines.items():
        rooms[part_of(name)] = rooms.get(part_of(name), 0) + count
    assert max(rooms.values()) <= sum(rooms.values()) / 4, rooms
