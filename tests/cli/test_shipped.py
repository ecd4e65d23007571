"""Weights that come with a model: their card is true of them, and a command says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small

from hwsim.cards import shelf
from hwsim.experiments.training import shipped
from hwsim.jobs.weights import WEIGHTS

Call = Callable[..., tuple[int, str, str]]
SHIPPED = shipped.with_weights(shelf.items("models"))
HOMES = [home for name in SHIPPED for home in shipped.homes_of(name)]


@pytest.fixture
def model(hwsim_here: Call, tmp_path: Path) -> Path:
    """A model's folder with the weights of a short training."""
    folder = tmp_path / "digits-mlp"
    folder.mkdir()
    for name in ("model.yaml", "README.md"):
        shutil.copyfile(shelf.shelf("models") / "digits-mlp" / name, folder / name)
    assert hwsim_here("train", "--out", str(tmp_path / "t"), "--set", "learning.epochs=2")[0] == 0
    assert hwsim_here("model", "ship", str(tmp_path / "t"), "--to", str(folder))[0] == 0
    return folder


def test_every_shipped_model_has_a_card() -> None:
    folders = {path.relative_to(shelf.shelf("models")).parts[0] for path in shelf.shelf("models").rglob(WEIGHTS)}
    assert sorted(folders) == SHIPPED
    assert "digits-mlp" in SHIPPED


@pytest.mark.parametrize(
    "home", [home for name in SHIPPED for home in shipped.homes_of(name)], ids=lambda home: home.name
)
def test_card_and_page_describe_the_weights(home: Path) -> None:
    card = json.loads((home / shipped.CARD).read_text())
    folder = home if card["device"] == "float" else home.parents[1]
    weights = (home / WEIGHTS).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert len(weights) <= 8 * 2**20
    assert card["model"] == folder.name
    page = (folder / "README.md").read_text(encoding="utf-8")
    begin, end = shipped.marks(card["device"])
    between = page.partition(begin)[2].partition(end)[0].strip()
    assert between == shipped.described(card)
    assert page.count(card["sha256"]) == 1
    assert "/" not in card["command"]
    assert "without weights" not in page
    assert "No weights" not in page


def test_shipped_digits_reproduce_their_card(hwsim_here: Call) -> None:
    code, out, err = hwsim_here("model", "verify", "digits-mlp")
    assert (code, err) == (0, "")
    assert out.count("as on its card") == 2


def test_another_accuracy_on_the_card_is_noticed(hwsim_here: Call, model: Path) -> None:
    card = json.loads((model / shipped.CARD).read_text())
    card["accuracy_test"]["mean"] -= 0.02
    (model / shipped.CARD).write_text(json.dumps(card))
    code, out, err = hwsim_here("model", "verify", str(model))
    assert code == 1
    assert "test" in err
    assert "its card says" in out


def test_other_weights_than_the_cards_are_noticed(hwsim_here: Call, model: Path) -> None:
    shutil.copyfile(shelf.shelf("models") / "digits-mlp" / WEIGHTS, model / WEIGHTS)
    code, _, err = hwsim_here("model", "verify", str(model))
    assert code == 2
    assert "sha256" in err


def test_what_is_shipped_names_no_places(model: Path, tmp_path: Path) -> None:
    for name in (shipped.CARD, "README.md"):
        assert str(tmp_path) not in (model / name).read_text()
    assert "--out" not in json.loads((model / shipped.CARD).read_text())["command"]


def test_shipping_twice_writes_the_figures_once(hwsim_here: Call, model: Path, tmp_path: Path) -> None:
    before = (model / "README.md").read_text()
    assert hwsim_here("model", "ship", str(tmp_path / "t"), "--to", str(model))[0] == 0
    assert (model / "README.md").read_text() == before


def test_what_was_learned_in_situ_is_shipped_with_its_conductances_and_verified_on_a_copy(
    hwsim_here: Call, model: Path, tmp_path: Path
) -> None:
    training = ("train", "--device", "soft-bounds-cell", "--out", str(tmp_path / "s"), "--set", "in_situ.epochs=2")
    assert hwsim_here(*training, "--set", "device.forward.out_noise=0.05")[0] == 0
    assert hwsim_here("model", "ship", str(tmp_path / "s"), "--to", str(model))[0] == 0
    home = model / "in-situ" / "soft-bounds-cell"
    assert {path.name for path in home.iterdir()} == {WEIGHTS, "conductances.safetensors", shipped.CARD}
    assert shipped.homes_of(str(model)) == [model, home]
    page = (model / "README.md").read_text()
    assert page.count("<!-- trained:begin -->") == page.count("<!-- trained-soft-bounds-cell:begin -->") == 1
    assert "copied to another instance" in page
    code, out, err = hwsim_here("model", "verify", str(model))
    assert (code, err) == (0, "")
    assert out.count("as on its card") == 4
    assert out.count("learned on soft-bounds-cell, copied: ") == 2
    # The settings of the training belong to it: without them another device would be verified.
    card = json.loads((home / shipped.CARD).read_text())
    assert card["settings"] == ["in_situ.epochs=2", "device.forward.out_noise=0.05"]
    card["accuracy_test_copied"]["mean"] -= 0.15
    (home / shipped.CARD).write_text(json.dumps(card))
    assert hwsim_here("model", "verify", str(model))[0] == 1


@pytest.mark.parametrize("wrong", ["absent", "empty"])
def test_a_folder_without_a_training_is_a_sentence(hwsim_here: Call, tmp_path: Path, wrong: str) -> None:
    folder = tmp_path / wrong
    if wrong == "empty":
        folder.mkdir()
    code, _, err = hwsim_here("model", "ship", str(folder))
    assert code == 2
    assert "hwsim train" in err


def test_a_training_of_another_model_is_refused(hwsim_here: Call, model: Path, tmp_path: Path) -> None:
    code, _, err = hwsim_here("model", "ship", str(tmp_path / "t"), "--to", str(shelf.shelf("models") / "vit"))
    assert code == 2
    assert "'vit'" in err


def test_a_training_of_another_network_is_refused(hwsim_here: Call, tmp_path: Path) -> None:
    assert hwsim_here("train", "--out", str(tmp_path / "t"), *small("inference.steps=80"))[0] == 0
    code, _, err = hwsim_here("model", "ship", str(tmp_path / "t"))
    assert code == 2
    assert "shape" in err


def test_on_more_images_only_a_difference_beyond_chance_counts() -> None:
    assert shipped.Again("test", 10_000, 5_000, 0.785, 0.779).agrees
    assert not shipped.Again("test", 10_000, 5_000, 0.785, 0.75).agrees
    assert not shipped.Again("test", 5_000, 5_000, 0.785, 0.779).agrees
