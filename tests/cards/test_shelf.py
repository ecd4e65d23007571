"""Shelves: an item is found by name, by path and in installed packages, and Python beside a card is its own module."""

from __future__ import annotations

import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hwsim.cards import shelf
from hwsim.cards.yamlfile import Document
from hwsim.errors import InputError

CARD = Document({}, "card.yaml", {("cell",): 3})


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of the group hwsim.devices, as an installed package would bring them."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(shelf, "entry_points", lambda group: [p for p in found if p.group == group])
    return found


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "hwsim.devices")


def test_every_folder_with_a_card_is_an_item():
    folders = {path.parent.name for path in shelf.shelf("devices").glob("*/rpu-config.yaml")}
    assert folders == set(shelf.items("devices"))
    assert "ecram" in folders
    assert not list(shelf.shelf("devices").rglob("__init__.py"))


def test_the_wheel_s_own_content_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "hwsim"
    package.mkdir()
    monkeypatch.setattr(shelf.hwsim, "__file__", str(package / "__init__.py"))
    assert shelf.shelf("devices") == tmp_path / "devices"
    (package / "_content" / "devices").mkdir(parents=True)
    assert shelf.shelf("devices") == package / "_content" / "devices"


def test_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    card = shelf.shelf("devices") / "ecram" / "rpu-config.yaml"
    assert shelf.resolve("devices", "ecram") == card
    assert shelf.resolve("devices", card) == card
    assert shelf.resolve("devices", str(card.parent)) == card
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "rpu-config.yaml").write_text("float: {}\n")
    lone = tmp_path / "other.yaml"
    lone.write_text("float: {}\n")
    assert shelf.find("devices", mine).name == "mine"
    assert shelf.find("devices", lone).name == "other"
    monkeypatch.chdir(tmp_path)
    assert shelf.find("devices", "mine").path == Path("mine/rpu-config.yaml")
    assert shelf.find("devices", "mine/rpu-config.yaml").name == "mine"


def test_a_name_on_the_shelf_wins_over_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ecram").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shelf.find("devices", "ecram").folder == shelf.shelf("devices") / "ecram"
    with pytest.raises(InputError, match="the folder holds no rpu-config"):
        shelf.find("devices", "./ecram")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ecrma", "device 'ecrma': unknown name; did you mean 'ecram'? Known devices: capacitor, ecram, "),
        ("", "device: expected a name or a path, got nothing"),
        ("no/such/ecrm", "device no/such/ecrm: no such file or folder; did you mean 'ecram'? Known devices: "),
        ("ecrm/rpu-config.yaml", "device ecrm/rpu-config.yaml: no such file or folder; did you mean 'ecram'? "),
    ],
)
def test_what_is_not_there(given: str, message: str):
    with pytest.raises(InputError) as error:
        shelf.find("devices", given)
    assert str(error.value).startswith(message)


def test_entry_points(points: list[EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "lab_devices"
    package.mkdir()
    (package / "__init__.py").write_text("HERE = __path__[0]\nclass Cell: pass\n")
    (package / "rpu-config.yaml").write_text("float: {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    points += [point("hfox", "lab_devices:Cell"), point("boxed", "lab_devices"), point("at", "lab_devices:HERE")]
    points += [point("broken", "lab_devices:Nothing"), point("ecram", "lab_devices:Cell")]
    assert {"hfox", "boxed", "broken"} < set(shelf.items("devices"))
    assert shelf.find("devices", "hfox").entry_point == points[0]
    assert shelf.resolve("devices", "boxed") == package / "rpu-config.yaml"
    assert shelf.resolve("devices", "at") == package / "rpu-config.yaml"
    assert shelf.find("devices", "ecram").entry_point is None, "the shelf wins"
    with pytest.raises(InputError, match=r"device hfox: its entry point brings no rpu-config\.yaml"):
        shelf.resolve("devices", "hfox")
    with pytest.raises(InputError, match=r"hwsim\.devices: broken = lab_devices:Nothing: cannot be loaded"):
        shelf.find("devices", "broken")
    assert shelf.plugin("hfox", None, "hwsim.devices", CARD, ("cell",)).__name__ == "Cell"


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
        shelf.plugin("./cell.py:Mine", tmp_path / name, "hwsim.devices", CARD, ("cell",)) for name in ("a", "a", "b")
    )
    assert first is again, "one class, however often the card is read"
    assert first is not other
    assert first.__module__.startswith("_hwsim_plugin_")
    assert sys.modules[first.__module__].Mine is first
    assert "cell" not in sys.modules


def test_an_edited_plugin_file_is_loaded_anew(tmp_path: Path):
    path = tmp_path / "cell.py"
    path.write_text(DATACLASS)
    before = shelf.plugin("cell.py:Mine", tmp_path, "hwsim.devices", CARD, ("cell",))
    path.write_text(DATACLASS.replace("1.0", "2.0"))
    assert (before().size, shelf.plugin("cell.py:Mine", tmp_path, "hwsim.devices", CARD, ("cell",))().size) == (1, 2)


def test_a_neighbours_file_is_shared(tmp_path: Path):
    for name in ("mine", "other", "no-card"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cell.py").write_text(DATACLASS)
    (tmp_path / "other" / "rpu-config.yaml").write_text("cell: ./cell.py:Mine\n")
    mine = tmp_path / "mine"
    assert shelf.plugin("../other/cell.py:Mine", mine, "hwsim.devices", CARD, ("cell",)).__name__ == "Mine"
    with pytest.raises(InputError, match="outside the card's folder"):
        shelf.plugin("../no-card/cell.py:Mine", mine, "hwsim.devices", CARD, ("cell",))


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
    ],
)
def test_plugin_mistakes(reference: str, source: str, message: str, tmp_path: Path, points: list[EntryPoint]):
    (tmp_path / "cell.py").write_text(source)
    with pytest.raises(InputError) as error:
        shelf.plugin(reference, tmp_path, "hwsim.devices", CARD, ("cell",))
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
        found.append(shelf.plugin("./slow.py:thing", tmp_path, "hwsim.devices", Document({}, "card"), ("cell",)))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [1, 1, 1]
