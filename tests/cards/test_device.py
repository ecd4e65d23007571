"""Device cards: what is on the shelf works, what a researcher writes is read as meant or refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from hwsim.cards import device as devicecard
from hwsim.cards import listing, plugins, shelf
from hwsim.cards.device import describe, read_device
from hwsim.cards.listing import list_devices
from hwsim.cards.model import LearningConfig
from hwsim.cards.yamlfile import parse_yaml, to_yaml
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.errors import InputError
from hwsim.rng import Streams

SHELF = shelf.items("devices")
WANTED = {
    *("ideal", "idealized", "capacitor", "ecram", "reram-es", "reram-sb"),
    *("tiki-taka-reram-sb", "mixed-precision-pcm", "pcm-inference", "soft-bounds-cell"),
}
CELL = (shelf.shelf("devices") / "soft-bounds-cell" / "cell.py").read_text()


def write(folder: Path, text: str, cell: str | None = None) -> Path:
    path = folder / "rpu-config.yaml"
    path.write_text(text)
    if cell is not None:
        (folder / "cell.py").write_text(cell)
    return path


def test_the_shelf_is_complete():
    assert set(SHELF) >= WANTED
    summaries = {item.name: item for item in list_devices()}
    assert set(summaries) == set(SHELF)
    for item in summaries.values():
        assert not item.problem
        assert item.summary
        assert item.kind in ("aihwkit", "cell", "float")


@pytest.mark.parametrize("name", SHELF)
def test_a_shelf_device_is_read_described_and_works(name: str):
    card = read_device(name)
    assert card.name == name
    assert card.source
    assert card.folder == shelf.shelf("devices") / name
    LearningConfig.model_validate({"rates": [0.5, 0.25], **card.learning})
    described = describe(card)
    assert parse_yaml(to_yaml(described), "f").data == described
    json.dumps(card.resolved, sort_keys=True)
    synapse = card.device.synapse(5, 7, Streams(1))
    synapse.program(torch.full((5, 7), 0.2))
    assert synapse.read(torch.rand(3, 7)).shape == (3, 5)
    assert synapse.read_transpose(torch.rand(3, 5)).shape == (3, 7)


@pytest.mark.parametrize("name", SHELF)
def test_a_shelf_card_is_complete(name: str):
    folder = shelf.shelf("devices") / name
    text = (folder / "README.md").read_text()
    for heading in ("## Effects that are modelled", "## Seeding", "## What equilibrium propagation reaches on it"):
        assert heading in text
    assert len(re.findall(r"<!-- results:begin -->\n(?:.*\n)*?<!-- results:end -->", text)) == 1
    exact = "Exact" in text.split("## Seeding")[1].split("\n\n")[1]
    assert exact == read_device(name).device.seedable, "the card and the device disagree about seeds"


def test_resolved_is_the_whole_device_and_says_when_it_changed():
    plain, same = read_device("ecram"), read_device(shelf.shelf("devices") / "ecram")
    assert plain.resolved == same.resolved
    assert plain.resolved["device"]["class"] == "EcRamPresetDevice"
    assert plain.resolved["forward"]["out_bound"] == 12.0
    changed = read_device("ecram", [("device.dw_min", 0.01), ("forward.out_bound", 8)])
    assert changed.resolved["device"]["dw_min"] == 0.01
    assert changed.device.config.forward.out_bound == 8.0
    assert changed.device.config.backward.out_bound == 12.0, "the two directions share text, not settings"


def test_a_cell_from_the_library(tmp_path: Path):
    card = read_device(
        write(
            tmp_path,
            "cell: soft-bounds\nparameters: {dw_min: 1/500, w_max_dtod: 0.1}\nmapping: {omega: 0.3}\n"
            "update: {desired_bl: 7, substeps: 2}\nforward: {inp_bound: 1, inp_res: 7bit}\n"
            "backward: {out_noise: 0.2}\n",
        )
    )
    device = card.device
    assert isinstance(device, CellDevice)
    assert (device.cell.dw_min, device.omega, device.desired_bl, device.substeps) == (1 / 500, 0.3, 7, 2)
    assert device.forward.inp_res == 1 / 126
    assert device.backward is not None
    assert device.backward.out_noise == 0.2
    assert card.resolved["parameters"]["w_max_dtod"] == 0.1
    assert (card.kind, device.seedable) == ("cell", True)


def test_every_setting_of_a_cell_device_has_a_place():
    placed = {name for names in devicecard.CELL_KEYS.values() for name in names} | {"cell", "forward", "backward"}
    assert placed == set(CellDevice.__dataclass_fields__)


def test_a_cell_beside_the_card(tmp_path: Path):
    path = write(tmp_path, "cell: ./cell.py:SoftBounds\nparameters: {asymmetry: 0.2}\n", CELL)
    first = read_device(path)
    assert first.device.cell.asymmetry == 0.2  # pyright: ignore[reportAttributeAccessIssue]
    (tmp_path / "cell.py").write_text(CELL + "\n# another run\n")
    assert read_device(path).resolved != first.resolved, "the run's hash must see the source"


def test_a_float_device(tmp_path: Path):
    assert read_device(write(tmp_path, "float: {momentum: 0.9}\n")).device == FloatDevice(momentum=0.9)
    assert read_device(write(tmp_path, "float:\n")).device == FloatDevice()


def test_options_of_an_aihwkit_device(tmp_path: Path):
    card = read_device(write(tmp_path, "preset: EcRamPreset\nprogramming: pulsed\ncompiled_reads: true\n"))
    assert (card.device.programming, card.device.compiled_reads) == ("pulsed", True)
    assert card.resolved["programming"] == "pulsed"


def test_devices_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lab_cells.py").write_text(
        CELL + "\nfrom hwsim.crossbar.exact import FloatDevice\nREADY = FloatDevice(0.5)\n"
        "class Old:\n    seedable, trains, drifts, ideal = True, 'in-situ', False, False\n    synapse = READY.synapse\n"
        "OLD = Old()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    named = {"soft": "SoftBounds", "ready": "READY", "old": "OLD"}.items()
    points = [EntryPoint(n, f"lab_cells:{v}", "hwsim.devices") for n, v in named]
    for module in (shelf, plugins, devicecard):
        monkeypatch.setattr(module, "entry_points", lambda group: points if group == "hwsim.devices" else [])
    assert {"soft", "ready"} < {item.name for item in list_devices()}
    cell = read_device("soft", [("parameters.asymmetry", 0.1)])
    assert cell.device.cell.asymmetry == 0.1  # pyright: ignore[reportAttributeAccessIssue]
    assert read_device("ready").device == FloatDevice(0.5)
    with pytest.raises(InputError, match=r"device old \(lab_cells:OLD\): lacks not_exact, not_used, unseeded_reads; a"):
        read_device("old")
    inside = read_device(write(tmp_path, "cell: soft\nparameters: {asymmetry: 0.3}\n"))
    assert inside.device.cell.asymmetry == 0.3  # pyright: ignore[reportAttributeAccessIssue]


FAILS = CELL.replace("del rng", "raise RuntimeError('no such state')  #")


@pytest.mark.parametrize(
    ("text", "cell", "message"),
    [
        ("", None, ": expected exactly one of the keys preset, class, cell, float at the top, got none of them"),
        (
            "float: {}\ncell: ideal\n",
            None,
            ": expected exactly one of the keys preset, class, cell, float at the top, got cell and float",
        ),
        ("name: x\npreest: EcRamPreset\n", None, ":2: preest: unknown key; did you mean 'preset'? Known keys: array, "),
        ("float: {momentun: 1}\n", None, ":1: float.momentun: unknown key; did you mean 'momentum'? Known keys: "),
        ("float: {momentum: 1}\n", None, ":1: float.momentum: expected a number in [0, 1), got 1.0"),
        ("float: [1]\n", None, ":1: float: expected a map of keys and values, got a list"),
        ("float: {}\nforward: {}\n", None, ":2: forward: unknown key. Known keys: array, float, learning, "),
        ("float: {}\nlearning: [1]\n", None, ":2: learning: expected a map of keys and values, got a list"),
        ("float: {}\nname: 3\n", None, ":2: name: expected text, got the number 3"),
        ("cell: soft-bonds\n", None, ":1: cell: unknown cell 'soft-bonds'; did you mean 'soft-bounds'? Known: "),
        ("cell: 3\n", None, ":1: cell: expected a cell's name or ./file.py:Name, got the number 3"),
        (
            "cell: soft-bounds\nparameters: {dw_mni: 1}\n",
            None,
            ":2: parameters.dw_mni: unknown key; did you mean 'dw_min'? Known keys: ",
        ),
        (
            "cell: soft-bounds\nparameters:\n  w_max: 1\n  w_min: 2\n",
            None,
            ":4: parameters.w_min: expected less than w_max",
        ),
        ("cell: soft-bounds\nparameters: {dw_min: a}\n", None, ":2: parameters.dw_min: expected a number, got the te"),
        ("cell: soft-bounds\nforward: {out_bound: 0}\n", None, ":2: forward.out_bound: expected a number > 0, got 0"),
        ("cell: soft-bounds\nupdate: {omega: 1}\n", None, ":2: update.omega: unknown key. Known keys: desired_bl, "),
        (
            "cell: soft-bounds\nupdate: {desired_bl: 0}\n",
            None,
            ":2: update.desired_bl: expected an integer >= 1, got 0",
        ),
        ("cell: soft-bounds\nmaping: {}\n", None, ":2: maping: unknown key; did you mean 'mapping'? Known keys: "),
        ("cell: ./cell.py:SoftBound\n", CELL, ":1: cell: cell.py defines no 'SoftBound'; did you mean 'SoftBounds'? "),
        (
            "cell: ./cell.py:dataclass\n",
            CELL,
            ":1: cell: expected a dataclass that derives from hwsim.BaseCell, got dataclass",
        ),
        (
            "cell: ./cell.py:SoftBounds\n",
            CELL.replace("@dataclass(frozen=True)\n", ""),
            ":1: cell: SoftBounds lacks @dataclass(frozen=True), so asymmetry would be no parameters",
        ),
        (
            "cell: ./cell.py:SoftBounds\n",
            FAILS,
            ": an array of 2x3 cannot be built, read and updated (RuntimeError: no such state)",
        ),
        (
            "cell: ./cell.py:SoftBounds\n",
            CELL.replace("(1 - g / self.w_max)", "(1 - g / self.w_max) * float('nan')"),
            ": weight of an array of 2x3 gives NaN or infinity; expected finite numbers, (2, 3)",
        ),
        ("preset: EcRamPreset\nfoward: {}\n", None, ":2: foward: unknown key; did you mean 'forward'? Known keys: "),
        ("preset: EcRamPreset\nlerning: {}\n", None, ":2: lerning: unknown key; did you mean 'learning'? Known keys: "),
        (
            "preset: EcRamPreset\nprogramming: fast\n",
            None,
            ":2: programming: expected one of ideal, pulsed, got 'fast'",
        ),
        (
            "preset: EcRamPreset\nmapping: {learn_out_scaling: true}\n",
            None,
            ":2: mapping.learn_out_scaling: expected false; ",
        ),
    ],
)
def test_mistakes_are_told_where_they_stand(text: str, cell: str | None, message: str, tmp_path: Path):
    path = write(tmp_path, text, cell)
    with pytest.raises(InputError) as error:
        read_device(path)
    assert str(error.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("forward.out_bond", 8), "--set device.forward.out_bond: unknown key; did you mean 'out_bound'? Known keys: "),
        (("forward.out_bound", 0), "--set device.forward.out_bound: expected a number > 0, got 0"),
        (("forward", [1]), "--set device.forward: expected a map of keys and values, got a list"),
        (("preset", "EcRmPreset"), "--set device.preset: unknown preset 'EcRmPreset'; did you mean 'EcRamPreset'? "),
        (("preset.x", 1), "--set device.preset.x: preset is the text 'EcRamPreset', not a map; nothing can be set "),
        (("learning.rates", 1), "--set device.learning.rates: input should be a valid list, got the number 1"),
        (("learning.foo", 3), "--set device.learning.foo: unknown key. Known keys: "),
        (("learning.epochs", -4), "--set device.learning.epochs: input should be greater than or equal to 0, got "),
    ],
)
def test_mistakes_in_settings(setting: tuple[str, Any], message: str):
    with pytest.raises(InputError) as error:
        read_device("ecram", [setting])
    assert str(error.value).startswith(message)


def test_a_broken_card_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, text in (("good", "float: {}\nsummary: exact\n"), ("bad", "a: b: c\n")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, text)
    for module in (shelf, listing):
        monkeypatch.setattr(module, "shelf", lambda kind: tmp_path)
    bad, good = list_devices()
    assert (good.name, good.kind, good.summary, good.problem) == ("good", "float", "exact", "")
    assert "not valid YAML" in bad.problem


def test_aihwkit_is_loaded_only_where_it_is_needed():
    code = (
        "import sys; sys.modules['aihwkit'] = None\n"
        "from hwsim.cards.device import read_device\nfrom hwsim.cards.listing import list_devices\n"
        "list_devices(); read_device('ideal'); read_device('soft-bounds-cell')\n"
        "from hwsim.errors import WorkError\n"
        "try:\n    read_device('ecram')\nexcept WorkError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "hwsim doctor" in done.stdout or "cure" in done.stdout
