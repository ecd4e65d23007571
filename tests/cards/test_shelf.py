"""Shelves: an item is found by name, by path and in installed packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hwsim.cards import plugins, shelf
from hwsim.cards.yamlfile import Document
from hwsim.errors import InputError

CARD = Document({}, "card.yaml", {("cell",): 3})


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of the group hwsim.devices, as an installed package would bring them."""
    found: list[EntryPoint] = []
    for module in (shelf, plugins):
        monkeypatch.setattr(module, "entry_points", lambda group: [p for p in found if p.group == group])
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
        ("ecrma", "device 'ecrma': unknown name; did you mean 'ecram'? Known devices: agad-ecram, capacitor, ecram, "),
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
    assert plugins.plugin("hfox", None, "hwsim.devices", CARD, ("cell",)).__name__ == "Cell"


def test_studies_are_a_shelf_of_their_own(tmp_path: Path) -> None:
    """The folders of benchmarks/ with a study; the others there are programs."""
    assert {"paper", "ideal-vs-analog", "tolerance"} <= set(shelf.items("studies"))
    assert "speed" not in shelf.items("studies")
    assert shelf.find("studies", "paper").path == shelf.shelf("studies") / "paper" / "study.yaml"
    (tmp_path / "study.yaml").write_text("name: mine\n")
    assert shelf.find("studies", str(tmp_path) + "/").folder == tmp_path
    for given, near in (("papr", "paper"), ("benchmarks/paper.yaml", "paper")):
        with pytest.raises(InputError, match=rf"study .*{given}.*did you mean '{near}'\? Known studies: ideal-vs-"):
            shelf.find("studies", given)
