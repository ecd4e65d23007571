"""Weights that come with a model: put on the shelf from a training, with a card of what they reach, and measured again.

``card.json`` beside the weights is the training's own, less what belongs to the place where it ran. The part of the
model's README between two markers is written from it, so that no figure there is typed by hand. What was learned in
situ lies in the model's folder under ``in-situ``, by device, with the conductances.
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
from hwsim.experiments.requests import TrainRequest
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.training.job import plan_training
from hwsim.experiments.training.learners import model_of
from hwsim.experiments.training.reached import PARTS, SHORTENED_ON
from hwsim.experiments.training.work import copied
from hwsim.files import read_json
from hwsim.jobs.records import read_file, read_records
from hwsim.jobs.store import write_json, write_text, written_aside
from hwsim.jobs.weights import CONDUCTANCES, WEIGHTS
from hwsim.rng import Streams

CARD = "card.json"
IN_SITU = "in-situ"
FLOAT = "float"

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
        device: "float", or the device that the weights were learned on, a new instance of which was programmed.
        images, of_card: how many now, and for the card. A copy of the data may have more or fewer.
        noisy: reads of the device are: two measurements of the same weights differ.
        stated, measured: shares of images classified correctly, by the card and now.
    """

    part: str
    images: int
    of_card: int
    stated: float
    measured: float
    device: str = FLOAT
    noisy: bool = False

    @property
    def within(self) -> float:
        """The difference that is no contradiction: rounding on the card's images; on others, and by noisy reads, the
        95 % interval of the difference of two proportions as well."""
        if self.images == self.of_card and not self.noisy:
            return ROUNDING
        pooled = (self.stated * self.of_card + self.measured * self.images) / (self.of_card + self.images)
        return ROUNDING + 1.96 * math.sqrt(pooled * (1 - pooled) * (1 / self.of_card + 1 / self.images))

    @property
    def agrees(self) -> bool:
        return abs(self.measured - self.stated) <= self.within


def ship(training: Path, to: Path | None = None) -> Path:
    """Put a training's weights and card beside its model's card and write its README's figures; that folder.

    What was learned in situ goes to the model's ``in-situ/DEVICE``, with its conductances.

    ``to``: the model's folder, by default the one on the shelf. InputError where the training has not ended, is another
    model's, or was on a device that is not on the shelf.
    """
    card = _read_card(training / CARD, "a finished training's folder, written by `hwsim train`")
    device = card["device"]
    if device != FLOAT and device not in shelf.items("devices"):
        raise InputError(
            f"{training}: trained on {device!r}, which is not on the shelf: nobody could verify its weights"
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
    home = folder if device == FLOAT else folder / IN_SITU / device
    home.mkdir(parents=True, exist_ok=True)
    for name in [WEIGHTS] if device == FLOAT else [WEIGHTS, CONDUCTANCES]:
        with written_aside(home / name) as aside:
            shutil.copyfile(training / name, aside)
    write_json(home / CARD, card)
    write_page(folder, home)
    return home


def marks(device: str) -> tuple[str, str]:
    """What stands before and after the figures of one set of weights in a model's README."""
    name = "trained" if device == FLOAT else f"trained-{device}"
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def write_page(folder: Path, home: Path) -> None:
    """Write the figures of the ``card.json`` in ``home`` between the markers of README.md; at its end without them."""
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {folder.name}\n"
    card = _read_card(home / CARD, "a card")
    begin, end = marks(card["device"])
    section = f"{begin}\n{described(card)}\n{end}"
    if begin in text and end in text:
        text = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: section, text, flags=re.DOTALL)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    write_text(page, text)


def described(card: dict[str, Any]) -> str:
    """A card as Markdown: command, accuracies with intervals, learning curve, checksum."""
    settles = "unsettled_share_test" in card
    file = WEIGHTS if card["device"] == FLOAT else f"{IN_SITU}/{card['device']}/{WEIGHTS}"
    lines = [
        f"`{file}` ({card['weights']:,} numbers, float32) was written by",
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
        if copy := card.get(f"accuracy_{part}_copied"):
            row = f"| {copy['images']:,} for {part}, copied to another instance | {100 * copy['mean']:.1f} "
            row += f"| {100 * copy['low']:.1f} to {100 * copy['high']:.1f} |"
            lines.append(row + (" – |" if settles else ""))
    lines += ["", f"Accuracy after each epoch in %, on validation images: {_listed(card['curve'])}."]
    if "curve_train" in card:
        lines += [f"On training images, on the way: {_listed(card['curve_train'])}."]
    if steps := card.get("accuracy_validation_by_steps"):
        by_steps = ", ".join(f"{100 * share:.1f} after {n}" for n, share in steps.items())
        first = min(SHORTENED_ON, card["accuracy_validation"]["images"])
        lines += ["", f"With fewer steps of inference, on the first {first:,} validation images, in %: {by_steps}."]
    lines += ["", f"SHA-256 of the weights: `{card['sha256']}` (torch {card['versions']['torch']})."]
    return "\n".join(lines)


def verify(model: str, data_dir: Path | None) -> list[Again]:
    """Judge a model's shipped weights again, as their cards did: in float, and copied to a new instance of each device
    that some were learned on. InputError where there are none, or not the card's."""
    config, homes = read_model(model)[1], homes_of(model)
    if not homes:
        raise InputError(f"model {config.name} comes without weights; `hwsim train --model {model}` makes them")
    again = []
    for home in homes:
        card = _read_card(home / CARD, _WRITTEN)
        if (digest := _sha256(home / WEIGHTS)) != card["sha256"]:
            raise InputError(f"{home / WEIGHTS}: sha256 {digest}; its card says {card['sha256']}")
        again += _in_float(model, card, home, data_dir) if card["device"] == FLOAT else _on_device(card, home, data_dir)
    return again


def _in_float(model: str, card: dict[str, Any], home: Path, data_dir: Path | None) -> list[Again]:
    document, config = read_model(model)
    dataset = data.load(card["data"], data_dir)
    check_fit(document, config, dataset)
    model_again = model_of(config, config.learning, FloatDevice(), Streams(card["seed"]))
    model_again.load_weights(home / WEIGHTS)
    streams, again = Streams(card["seed"]).child("card"), []
    for part in PARTS:
        stated = card[f"accuracy_{part}"]
        x, labels = dataset.splits[part]
        measured = model_again.measure(x, labels, 1, streams.child(part))
        again.append(Again(part, len(x), stated["images"], stated["mean"], measured.accuracy))
    return again


def _on_device(card: dict[str, Any], home: Path, data_dir: Path | None) -> list[Again]:
    """By the cards of model and device with the settings of the training."""
    job = plan_training(
        TrainRequest(
            model=str(home.parents[1]),
            data=card["data"],
            data_dir=data_dir,
            device=card["device"],
            seed=card["seed"],
            settings=card["settings"],
            command=card["command"],
        )
    )
    copy, streams = copied(job, home / WEIGHTS), Streams(job.seed).child("card", "copied")
    again = []
    for part in PARTS:
        stated = card[f"accuracy_{part}_copied"]
        x, labels = job.data.splits[part]
        measured = copy.measure(x, labels, job.model.evaluation.draws, streams.child(part))
        figures = (len(x), stated["images"], stated["mean"], measured.accuracy)
        again.append(Again(part, *figures, device=card["device"], noisy=copy.net.noisy))
    return again


def homes_of(model: str) -> list[Path]:
    """Folders of a model that hold weights with their card: its own, then those of devices."""
    folder = shelf.find("models", model).folder
    if folder is None:
        return []
    homes = [folder, *sorted(path.parent for path in folder.glob(f"{IN_SITU}/*/{WEIGHTS}"))]
    return [home for home in homes if (home / WEIGHTS).is_file() and (home / CARD).is_file()]


def with_weights(names: Sequence[str]) -> list[str]:
    """Those of the shelf's models that come with weights and their card."""
    return [name for name in names if homes_of(name)]


_WRITTEN = f"the card of what {WEIGHTS} reaches; `hwsim model ship` writes both"


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
