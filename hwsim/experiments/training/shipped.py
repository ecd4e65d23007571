"""Weights that come with a model: put on the shelf from a training, with a card of what they reach, and measured again.

``card.json`` beside the weights is the training's own, less what belongs to the place where it ran. The part of the
model's README between two markers is written from it, so that no figure there is typed by hand.
"""

from __future__ import annotations

import hashlib
import math
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.cards import shelf
from hwsim.cards.read import check_fit, read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.data import dataset as data
from hwsim.errors import InputError
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.training.learners import model_of
from hwsim.experiments.training.work import SHORTENED_ON
from hwsim.files import read_json
from hwsim.jobs.records import read_file, read_records
from hwsim.jobs.store import write_json, write_text, written_aside
from hwsim.jobs.weights import WEIGHTS
from hwsim.rng import Streams

CARD = "card.json"
PARTS = ("validation", "test")
BEGIN, END = "<!-- trained:begin -->", "<!-- trained:end -->"

ROUNDING = 0.002
"""Difference of accuracies that is put down to another processor's rounding: an argmax between two nearly equal scores
may fall the other way, and a relaxation may stop a step earlier."""

_OF_THE_PLACE = ("--data-dir", "--out", "--threads")


@dataclass(frozen=True)
class Reached:
    """An accuracy of a card, with its interval."""

    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class CardFile:
    """What ``card.json`` has to say at least."""

    model: str
    command: str
    data: str
    device: str
    seed: int
    sha256: str
    weights: int
    seconds: float
    epochs: int
    best_epoch: int
    curve: list[float | None]
    accuracy_test: Reached
    accuracy_validation: Reached


@dataclass(frozen=True)
class Again:
    """One part of the data, measured again.

    Attributes:
        part: "validation" or "test".
        images, of_card: how many now, and for the card. A copy of the data may have more or fewer.
        stated, measured: shares of images classified correctly, by the card and now.
    """

    part: str
    images: int
    of_card: int
    stated: float
    measured: float

    @property
    def within(self) -> float:
        """The difference that is no contradiction: rounding on the card's images; on others the 95 % interval of the
        difference of two proportions as well."""
        if self.images == self.of_card:
            return ROUNDING
        pooled = (self.stated * self.of_card + self.measured * self.images) / (self.of_card + self.images)
        return ROUNDING + 1.96 * math.sqrt(pooled * (1 - pooled) * (1 / self.of_card + 1 / self.images))

    @property
    def agrees(self) -> bool:
        return abs(self.measured - self.stated) <= self.within


def ship(training: Path, to: Path | None = None) -> Path:
    """Put a training's weights and card beside its model's card and write its README's figures; that folder.

    ``to``: the model's folder, by default the one on the shelf. InputError where the training has not ended, was on a
    device, or is another model's.
    """
    card = _read_card(training / CARD, "a finished training's folder, written by `hwsim train`")
    if card.get("device") != "float":
        raise InputError(
            f"{training}: trained on {card.get('device')!r}; a shelf holds weights that were trained in float"
        )
    folder = to or shelf.find("models", card["model"]).folder
    if folder is None or not (folder / shelf.CARDS["models"]).is_file():
        raise InputError(f"{folder}: no folder with a {shelf.CARDS['models']}; --to names the model's folder")
    config = read_model(str(folder / shelf.CARDS["models"]))[1]
    if config.name != card["model"]:
        raise InputError(f"{folder}: the card of {config.name!r}, and {training} trained {card['model']!r}")
    if _sha256(training / WEIGHTS) != card["sha256"]:
        raise InputError(f"{training / WEIGHTS}: not the weights that {CARD} describes (sha256 {card['sha256']})")
    model_of(config, config.learning, FloatDevice(), Streams(0)).load_weights(training / WEIGHTS)  # do they fit?
    epochs = {record.epoch: record.accuracy_train for record in read_records(training / "metrics.jsonl", EpochRecord)}
    card["command"] = _portable(card["command"])
    if epochs:
        card["curve_train"] = [round(epochs[epoch], 4) for epoch in sorted(epochs)]
    with written_aside(folder / WEIGHTS) as aside:
        shutil.copyfile(training / WEIGHTS, aside)
    write_json(folder / CARD, card)
    write_page(folder)
    return folder


def write_page(folder: Path) -> None:
    """Write the figures of ``card.json`` between the markers of README.md; at its end where there are none."""
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {folder.name}\n"
    section = f"{BEGIN}\n{described(_read_card(folder / CARD, 'a card'))}\n{END}"
    if BEGIN in text and END in text:
        text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: section, text, flags=re.DOTALL)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    write_text(page, text)


def described(card: dict[str, Any]) -> str:
    """A card as Markdown: command, accuracies with intervals, learning curve, checksum."""
    settles = "unsettled_share_test" in card
    lines = [
        f"`{WEIGHTS}` ({card['weights']:,} numbers, float32) was written by",
        "",
        "```sh",
        f"{card['command']}    # {card['data']}, seed {card['seed']}",
        "```",
        "",
        f"in {card['seconds']:,.0f} s: the best by validation of {card['epochs']} epochs (epoch {card['best_epoch']}).",
        f"`hwsim model verify {card['model']}` measures again:",
        "",
        "| images | accuracy % | 95 % interval over images |" + (" not settled % |" if settles else ""),
        "|---|---|---|" + ("---|" if settles else ""),
    ]
    for part in PARTS:
        reached = card[f"accuracy_{part}"]
        row = f"| {reached['images']:,} for {part} | {100 * reached['mean']:.1f} "
        row += f"| {100 * reached['low']:.1f} to {100 * reached['high']:.1f} |"
        lines.append(row + (f" {100 * card[f'unsettled_share_{part}']:.1f} |" if settles else ""))
    lines += ["", f"Accuracy after each epoch in %, on validation images: {_listed(card['curve'])}."]
    if "curve_train" in card:
        lines += [f"On training images, on the way: {_listed(card['curve_train'])}."]
    if settles:
        steps = card["accuracy_validation_by_steps"]
        by_steps = ", ".join(f"{100 * share:.1f} after {n}" for n, share in steps.items())
        first = min(SHORTENED_ON, card["accuracy_validation"]["images"])
        lines += ["", f"With fewer steps of inference, on the first {first:,} validation images, in %: {by_steps}."]
    lines += ["", f"SHA-256 of the weights: `{card['sha256']}` (torch {card['versions']['torch']})."]
    return "\n".join(lines)


def verify(model: str, data_dir: Path | None) -> list[Again]:
    """Judge a model's shipped weights again, as their card did. InputError where there are none, or not the card's."""
    document, config = read_model(model)
    folder = shelf.find("models", model).folder
    if folder is None or not (folder / WEIGHTS).is_file():
        raise InputError(f"model {config.name} comes without weights; `hwsim train --model {model}` makes them")
    card = card_of(model)
    if (digest := _sha256(folder / WEIGHTS)) != card["sha256"]:
        raise InputError(f"{folder / WEIGHTS}: sha256 {digest}; its card says {card['sha256']}")
    dataset = data.load(card["data"], data_dir)
    check_fit(document, config, dataset)
    model_again = model_of(config, config.learning, FloatDevice(), Streams(card["seed"]))
    model_again.load_weights(folder / WEIGHTS)
    streams, again = Streams(card["seed"]).child("card"), []
    for part in PARTS:
        stated = card[f"accuracy_{part}"]
        x, labels = dataset.splits[part]
        measured = model_again.measure(x, labels, 1, streams.child(part))
        again.append(Again(part, len(x), stated["images"], stated["mean"], measured.accuracy))
    return again


def with_weights(names: Sequence[str]) -> list[str]:
    """Those of the shelf's models that come with weights and their card."""
    folders = {name: shelf.find("models", name).folder for name in names}
    return [n for n, at in folders.items() if at is not None and (at / WEIGHTS).is_file() and (at / CARD).is_file()]


def card_of(model: str) -> dict[str, Any]:
    """The card of a model's shipped weights. InputError where there is none."""
    folder = shelf.find("models", model).folder
    path = (folder or Path(model)) / CARD
    return _read_card(path, f"the card of what {WEIGHTS} reaches; `hwsim model ship` writes both")


def _portable(command: str) -> str:
    """A command without what names places of the machine that it ran on."""
    words, kept = shlex.split(command), list[str]()
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _OF_THE_PLACE:
            skip = True
        elif word.partition("=")[0] not in _OF_THE_PLACE:
            kept.append(word)
    return shlex.join(kept)


def _read_card(path: Path, what: str) -> dict[str, Any]:
    try:
        if read_file(path, CardFile) is None:
            raise InputError(f"{path}: no such file")
    except InputError as error:
        raise InputError(f"{error}; expected {what}") from error
    return read_json(path)


def _listed(shares: Sequence[float]) -> str:
    return " ".join(f"{100 * share:.1f}" for share in shares)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
