"""What stands on the shelves, read from the cards alone: nothing is built, and no torch is loaded for a list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwsim.cards.shelf import CARDS, find, items, shelf
from hwsim.cards.yamlfile import Document, read_yaml, shown
from hwsim.errors import InputError
from hwsim.files import read_json

KINDS = {"preset": "aihwkit", "class": "aihwkit", "cell": "cell", "float": "float"}
"""The key at the top of a device card -> the kind of the device."""


@dataclass(frozen=True)
class DeviceSummary:
    """A line of `device list`; ``problem`` says why a card cannot be read."""

    name: str
    kind: str
    summary: str
    path: Path | None
    problem: str = ""


@dataclass(frozen=True)
class ModelSummary:
    """A line of `model list`; ``weights`` and ``reached`` (accuracy in % with its interval) of those that come with."""

    name: str
    data: str
    summary: str
    weights: str = "to train"
    reached: str = ""


def list_devices() -> list[DeviceSummary]:
    """What is on the shelf and in installed packages."""
    return [_device(name) for name in items("devices")]


def list_models() -> list[ModelSummary]:
    """What is on the shelf and in installed packages; what is wrong with a card stands in its summary."""
    return [_model(name) for name in items("models")]


def text_at(document: Document, key: str) -> str:
    """The text under a top-level key on one line, "" where there is none. InputError where it is no text."""
    value = document.data.get(key)
    if value is not None and not isinstance(value, str):
        raise document.error((key,), f"expected text, got {shown(value)}")
    return " ".join((value or "").split())


def _device(name: str) -> DeviceSummary:
    path = shelf("devices") / name / CARDS["devices"]
    if not path.is_file():
        return DeviceSummary(name, "package", "from an installed package", None)
    try:
        document = read_yaml(path)
        kinds = [kind for key, kind in KINDS.items() if key in document.data]
        return DeviceSummary(name, kinds[0] if kinds else "unknown", text_at(document, "summary"), path)
    except InputError as error:
        return DeviceSummary(name, "unknown", "", path, problem=str(error))


def _model(name: str) -> ModelSummary:
    try:
        item = find("models", name)
        document = item.document()
        data, summary = text_at(document, "data") or "digits", text_at(document, "summary")
    except InputError as error:
        return ModelSummary(name, "", f"cannot be read: {error}")
    folder = item.folder
    if folder is None or not (folder / "weights.safetensors").is_file() or not (folder / "card.json").is_file():
        return ModelSummary(name, data, summary)
    try:
        card = read_json(folder / "card.json")
        mean, low, high = (100 * card["accuracy_test"][key] for key in ("mean", "low", "high"))
        return ModelSummary(name, data, summary, f"{card['weights']:,}", f"{mean:.1f} ({low:.1f} to {high:.1f})")
    except (InputError, KeyError, TypeError, ValueError):
        return ModelSummary(name, data, summary, "damaged", "card.json cannot be read")
