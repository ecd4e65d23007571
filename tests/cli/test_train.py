"""Training: a card at the end, the same weights however often it was stopped, and a sentence where it diverges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small
from safetensors.torch import load_file

from hwsim.experiments.training import resume as training
from hwsim.jobs.store import read_lines

Call = Callable[..., tuple[int, str, str]]

SMALL_CONV = [
    "network={type: conv-hopfield, image: [1, 8, 8], convolutions: [{channels: 4, stride: 2}], dense: [10], "
    "init_gain: 1.5, start: feed-forward, normalise: {mean: [0.3], std: [0.4]}}",
    "learning.augment={flip: true, crop_padding: 1}",
]


def test_card_says_what_came_out(hwsim_here: Call, tmp_path: Path) -> None:
    settings = small("learning.epochs=3", "inference.steps=80")
    code, out, err = hwsim_here("train", "--out", str(tmp_path / "t"), *settings)
    assert (code, err) == (0, "")
    card = json.loads((tmp_path / "t" / "card.json").read_text())
    assert card["epochs"] == 3
    assert card["accuracy_test"]["images"] == 360
    assert 0 < card["accuracy_test"]["low"] < card["accuracy_test"]["mean"] < card["accuracy_test"]["high"] < 1
    assert "validation:" in out
    assert "test:" in out
    curve = [r["accuracy_validation"] for r in read_lines(tmp_path / "t" / "metrics.jsonl")]
    assert len(curve) == 3
    assert card["best_epoch"] == 1 + curve.index(max(curve))


@pytest.mark.parametrize("more", [[], SMALL_CONV], ids=["dense", "convolutional"])
def test_resumed_equals_uninterrupted(
    hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    settings = small(*more, "learning.epochs=3", "learning.momentum=0.9", "inference.steps=80")
    assert hwsim_here("train", "--out", str(tmp_path / "whole"), *settings)[0] == 0
    save = training.save_state

    def dies(net: object, path: Path, epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        save(net, path, epoch)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(training, "save_state", dies)
    assert hwsim_here("train", "--out", str(tmp_path / "parts"), *settings)[0] == 130
    monkeypatch.setattr(training, "save_state", save)
    assert hwsim_here("train", "--out", str(tmp_path / "parts"), *settings)[0] == 0
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(whole[name].equal(parts[name]) for name in whole)
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("whole", "parts")]
    assert cards[0]["accuracy_test"] == cards[1]["accuracy_test"]


def test_in_situ_training(hwsim_here: Call, tmp_path: Path) -> None:
    code, out, _ = hwsim_here("train", "--device", "soft-bounds-cell", "--out", str(tmp_path / "t"), *small())
    assert code == 0
    assert "soft-bounds-cell" in out


def test_divergence_is_a_sentence(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("train", "--out", str(tmp_path / "t"), *small("learning.rates=[1e30, 1e30]"))
    assert code == 1
    assert "epoch 1" in err
    assert "learning.rates" in err


def test_training_that_does_not_settle_is_given_up(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("train", "--out", str(tmp_path / "t"), *small("inference.steps=3"))
    assert code == 1
    assert "had not settled" in err


def test_device_settings_need_a_device(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("train", "--out", str(tmp_path / "t"), *small("device.forward.out_noise=1"))
    assert code == 2
    assert "--device" in err
