"""Python beside a card: a module of its folder's package, whole or an error, and what its code is."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from hwsim.cards.plugins import plugin, read_code
from hwsim.cards.yamlfile import Document
from hwsim.errors import InputError

CARD = Document({}, "card.yaml", {("cell",): 3})


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    size: float = 1.0
"""


def test_a_plugin_file_is_a_module_of_its_own(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cell.py").write_text(DATACLASS)
    first, again, other = (
        plugin("./cell.py:Mine", tmp_path / name, "hwsim.devices", CARD, ("cell",)) for name in ("a", "a", "b")
    )
    assert first is again, "one class, however often the card is read"
    assert first is not other
    assert first.__module__.startswith("_hwsim_plugin_")
    assert sys.modules[first.__module__].Mine is first
    assert "cell" not in sys.modules


def test_an_edited_plugin_file_is_loaded_anew(tmp_path: Path):
    path = tmp_path / "cell.py"
    path.write_text(DATACLASS)
    before = plugin("cell.py:Mine", tmp_path, "hwsim.devices", CARD, ("cell",))
    path.write_text(DATACLASS.replace("1.0", "2.0"))
    assert (before().size, plugin("cell.py:Mine", tmp_path, "hwsim.devices", CARD, ("cell",))().size) == (1, 2)


def test_a_neighbours_file_is_shared(tmp_path: Path):
    for name in ("mine", "other", "no-card"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cell.py").write_text(DATACLASS)
    (tmp_path / "other" / "rpu-config.yaml").write_text("cell: ./cell.py:Mine\n")
    mine = tmp_path / "mine"
    assert plugin("../other/cell.py:Mine", mine, "hwsim.devices", CARD, ("cell",)).__name__ == "Mine"
    with pytest.raises(InputError, match="outside the card's folder"):
        plugin("../no-card/cell.py:Mine", mine, "hwsim.devices", CARD, ("cell",))


@pytest.mark.parametrize(
    ("reference", "source", "message"),
    [
        ("./cell.py:Mnie", DATACLASS, "card.yaml:3: cell: cell.py defines no 'Mnie'; did you mean 'Mine'? Known: Mine"),
        ("./no.py:Mine", DATACLASS, "card.yaml:3: cell: no such file: "),
        ("../cell.py:Mine", DATACLASS, "card.yaml:3: cell: '../cell.py' lies outside the card's folder; "),
        ("./cell.txt:Mine", DATACLASS, "card.yaml:3: cell: expected ./file.py:Name or an installed entry point's name"),
        ("nowhere", DATACLASS, "card.yaml:3: cell: 'nowhere' is no entry point of hwsim.devices. Known: none"),
        ("./cell.py:Mine", "x = 1\ny = x +\n", "cell.py:2: cannot be loaded (SyntaxError: invalid syntax"),
        ("./cell.py:Mine", "x = 1\n\ny = z\n", "cell.py:3: cannot be loaded (NameError: name 'z' is not defined)"),
        ("./cell.py:Mine", "import no_such_package\n", "cell.py:1: cannot be loaded (ModuleNotFoundError: No module"),
        ("./cell.py:Mine", "x = 1\nraise SystemExit(0)\n", "cell.py:2: cannot be loaded (SystemExit: 0)"),
    ],
)
def test_plugin_mistakes(reference: str, source: str, message: str, tmp_path: Path):
    (tmp_path / "cell.py").write_text(source)
    with pytest.raises(InputError) as error:
        plugin(reference, tmp_path, "hwsim.devices", CARD, ("cell",))
    assert message in str(error.value)
    assert str(error.value).startswith("card.yaml:3: cell: ")
    assert not [
        name
        for name, module in sys.modules.items()
        if getattr(module, "__file__", "") == str(tmp_path / "cell.py") and "Mine" not in vars(module)
    ]


def test_a_plug_in_is_never_seen_half_loaded(tmp_path: Path) -> None:
    """Two threads that name one file get the same, whole module."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.2)\nthing = 1\n")
    found: list[object] = []

    def load() -> None:
        found.append(plugin("./slow.py:thing", tmp_path, "hwsim.devices", Document({}, "card"), ("cell",)))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [1, 1, 1]


def load(folder: Path, reference: str = "./measurement.py:value") -> object:
    return plugin(reference, folder, "hwsim.measurements", CARD, ("cell",))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    """Plain, in a function, in a sub-folder and back up from it; folders with files of the same names do not mix."""
    for name, number in (("a", 1), ("b", 2)):
        write(
            tmp_path / name,
            measurement="from . import protocol\nfrom .parts.low import total\n\n"
            "def value():\n    from .late import FACTOR\n    return total(protocol.BASE) * FACTOR\n",
            protocol=f"BASE = {number}\n",
            parts__low="from ..protocol import BASE\n\ndef total(x):\n    return x + BASE\n",
            late="FACTOR = 10\n",
        )
    first, second = (load(tmp_path / name) for name in ("a", "b"))
    assert callable(first)
    assert callable(second)
    assert (first(), second()) == (20, 40)
    assert not {"protocol", "measurement", "late"} & set(sys.modules)
    assert not list(tmp_path.rglob("__pycache__"))
    assert set(read_code("./measurement.py:value", tmp_path / "a", CARD, ()).files) == {
        "measurement.py",
        "protocol.py",
        "parts/low.py",
        "late.py",
    }


def test_two_files_of_a_folder_share_what_both_import_of_it(tmp_path: Path) -> None:
    """As long as their own imports are the same code: here each imports the other."""
    write(tmp_path, measurement="from . import page\nvalue = object()\n", page="from . import measurement\n")
    page = load(tmp_path, "./page.py:measurement")
    assert getattr(page, "value", None) is load(tmp_path)


def test_an_edited_neighbour_is_loaded_anew_and_changes_the_digest(tmp_path: Path) -> None:
    write(tmp_path, measurement="from .protocol import value\n", protocol="value = 1\n", page="x = 1\n")
    code = read_code("./measurement.py:value", tmp_path, CARD, ())
    assert load(tmp_path) == 1
    write(tmp_path, page="x = 2\n")
    assert read_code("./measurement.py:value", tmp_path, CARD, ()).digest == code.digest, "it does not import page.py"
    write(tmp_path, protocol="value = 2\n")
    assert read_code("./measurement.py:value", tmp_path, CARD, ()).digest != code.digest
    assert load(tmp_path) == 2


def test_the_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        write(tmp_path / name, measurement="from .protocol import value\n", protocol="value = 1\n")
        digests.add(read_code("./measurement.py:value", tmp_path / name, CARD, ()).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        ("from .protocol import *\n", "protocol.py:2: cannot be loaded (NameError: name 'z' is not defined)"),
        ("from .broken import x\n", "broken.py:3: cannot be loaded (SyntaxError: "),
        ("from .leaves import x\n", "leaves.py:1: cannot be loaded (SystemExit: 3)"),
        (
            "\nfrom .nothing import x\n",
            "measurement.py:2: cannot be loaded (ModuleNotFoundError: No module named 'mi",
        ),
        ("import fine\n", "a file of the folder is imported by a plain `from .fine import ...`"),
        (
            "import importlib\nvalue = importlib.import_module('.fine', __package__)\n",
            "a file of the folder is imported by a plain `from .fine import ...`",
        ),
        ("from ..other import x\n", "attempted relative import beyond top-level package"),
    ],
)
def test_a_neighbours_mistake_is_told_where_it_is(measurement: str, message: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "mine",
        measurement=measurement,
        protocol="x = 1\ny = z\n",
        broken="x = 1\n\ny = x +\n",
        leaves="import sys; sys.exit(3)\n",
        fine="x = 1\n",
    )
    before = set(sys.modules)
    with pytest.raises(InputError) as error:
        load(folder)
    assert message in str(error.value)
    assert str(error.value).startswith("card.yaml:3: cell: ")
    assert set(sys.modules) == before, "nothing half loaded is left"


def test_dataclasses_of_a_neighbour_know_their_module(tmp_path: Path) -> None:
    write(tmp_path, measurement="from .cell import Mine\nvalue = Mine(2.0).size\n", cell=DATACLASS)
    assert load(tmp_path) == 2.0
