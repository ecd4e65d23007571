"""What one cell of a study computes. A kind of cell resolves a spec to plain values, whose hash is the cell's key, and
computes its record: ``columns`` of the table of results and, where images were judged, their ``hits``."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import __version__
from hwsim.errors import InputError
from hwsim.hopfield import LayeredHopfield
from hwsim.rng import Streams
from hwsim.study import data, shelf
from hwsim.study.config import ModelConfig
from hwsim.study.devicecard import DeviceCard, read_device
from hwsim.study.evaluation import Condition, Measured, conditions, measure, perturbed
from hwsim.study.learners import EquilibriumModel
from hwsim.study.plan import check_fit, in_situ_recipe, read_model
from hwsim.study.studyfile import Spec
from hwsim.study.training import Epoch, hardware, network, train
from hwsim.study.yamlfile import Document, did_you_mean

Record = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of cell.

    Args:
        resolve: a spec as plain values, down to the last default; InputError for what cannot be.
        compute: the record of a spec: `columns`, plain numbers and texts by column name, and what else the page needs.
        options: the settings `cell.KEY` that it knows, with their defaults.
    """

    resolve: Callable[[Spec], Record]
    compute: Callable[[Spec], Record]
    options: tuple[tuple[str, Any], ...] = ()


def kind_of(spec: Spec) -> Kind:
    """The kind that a spec names, by name or as `./file.py:name` beside its study. Raises InputError."""
    if spec.cell in KINDS:
        return KINDS[spec.cell]
    if ":" not in spec.cell:
        near = did_you_mean(spec.cell, KINDS)
        raise InputError(f"cell {spec.cell!r}: unknown kind{near} Known: {', '.join(KINDS)}, or ./file.py:name")
    kind = shelf.plugin(spec.cell, Path(spec.folder), "hwsim.cells", Document({}, "the study's cell"), ("cell",))
    if not isinstance(kind, Kind):
        raise InputError(f"cell {spec.cell}: expected a hwsim.study.cells.Kind, got {type(kind).__name__}")
    return kind


def key_of(spec: Spec) -> str:
    """SHA-256 of all that a cell's record depends on, first 24 digits. Raises InputError for a spec that cannot be."""
    kind = kind_of(spec)
    known = dict(kind.options)
    for option in spec.options():
        if option not in known:
            near = did_you_mean(option, known)
            raise InputError(f"cell.{option}: unknown setting of {spec.cell}{near} Known: {', '.join(known) or 'none'}")
    whole: Record = {"hwsim": __version__, "cell": spec.cell, "options": {**known, **spec.options()}}
    if spec.cell not in KINDS:
        whole["source"] = hashlib.sha256(Path(inspect.getfile(kind.compute)).read_bytes()).hexdigest()
    whole |= kind.resolve(spec)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]


def compute(spec: Spec) -> Record:
    """A cell's record, with the seconds that it took."""
    started = time.perf_counter()
    record = kind_of(spec).compute(spec)
    return {**record, "seconds": time.perf_counter() - started}


@dataclass(frozen=True)
class Resolved:
    """The model, device, recipe and data that a spec stands for."""

    model: ModelConfig
    card: DeviceCard
    recipe: Any
    digest: str
    dataset: data.Dataset

    def plain(self, seed: int) -> Record:
        model = self.model.model_dump(include={"network", "inference", "learning", "evaluation"})
        sizes = {part: len(getattr(self.dataset, f"x_{part}")) for part in ("train", "test")}
        known = {"name": self.dataset.name, "sha256": self.digest, **sizes}
        device = {"kind": self.card.kind, "resolved": self.card.resolved}
        return {"model": model, "recipe": self.recipe.model_dump(), "device": device, "data": known, "seed": seed}


def resolve(spec: Spec) -> Resolved:
    """Read the cards of a spec with its settings laid over them. Raises InputError."""
    settings = json.dumps(spec.for_device()), json.dumps(spec.for_model())
    return _resolved(spec.device, spec.model, spec.data, spec.data_dir, *settings)


@functools.lru_cache(maxsize=64)
def _resolved(
    device: str, model_name: str, data_name: str | None, data_dir: str | None, for_device: str, for_model: str
) -> Resolved:
    """Seeds share it; settings come as JSON, which can be looked up."""
    card = read_device(device, json.loads(for_device))
    document, model = read_model(model_name, json.loads(for_model))
    model.energy  # noqa: B018 - refuses feed-forward modules
    recipe = in_situ_recipe(document, model, card)
    dataset, digest = _data(data_name or model.data, data_dir)
    check_fit(document, model, dataset)
    return Resolved(model, card, recipe, digest, dataset)


@functools.lru_cache(maxsize=2)
def _data(name: str, data_dir: str | None) -> tuple[data.Dataset, str]:
    """All that may be learned from and the test images, with a checksum of both."""
    dataset = data.load(name, data_dir).merged()
    digest = hashlib.sha256()
    for part in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        digest.update(np.ascontiguousarray(part.numpy()))
    return dataset, digest.hexdigest()


def in_situ(found: Resolved, seed: int) -> tuple[LayeredHopfield, Record]:
    """A network trained on its device, and what its last epoch tells. Raises WorkError where training diverges."""
    device, recipe, streams = found.card.device, found.recipe, Streams(seed)
    net = network(found.model.energy, hardware(device, recipe), streams, momentum=recipe.momentum)
    epochs: list[Epoch] = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.safetensors"
        x, labels = found.dataset.x_train, found.dataset.y_train
        learner = EquilibriumModel(net, found.model.energy, recipe, found.model.inference)
        train(learner, recipe, x, labels, streams, state, epochs.append)
    if device.trains == "hardware-aware":
        net.program(net.weights())
    told: Record = {"epochs": len(epochs), "accuracy_train_share": epochs[-1].accuracy_train if epochs else None}
    return net, told


def judged(found: Resolved, net: LayeredHopfield, seed: int, condition: Condition, images: Any = None) -> Measured:
    """Hits under a condition, or of images that were perturbed before. Images are the same for all seeds."""
    evaluation = found.model.evaluation
    x, labels = (t[: evaluation.examples] for t in (found.dataset.x_test, found.dataset.y_test))
    if images is None:
        streams = Streams(0).child(condition.name, condition.level)
        images = perturbed(net, condition, x, labels, evaluation, streams)
    read = Streams(seed).child("judge", condition.name, condition.level)
    return measure(net, images, labels, found.model.inference, evaluation.draws, read)


def column(condition: Condition, what: str = "accuracy") -> str:
    """The column of a condition's accuracy: accuracy_share, accuracy_input-noise_sigma0.1_share."""
    parts = (what, *(() if condition.name == "clean" else (condition.name, f"{condition.unit}{condition.level:g}")))
    return "_".join((*parts, "share"))


def share(measured: Measured) -> float:
    return sum(measured.hits) / (measured.draws * len(measured.hits))


def _in_situ_accuracy(spec: Spec) -> Record:
    """Train in situ, then judge clean images and those that the model card's evaluation asks for."""
    found = resolve(spec)
    net, columns = in_situ(found, spec.seed)
    hits: Record = {}
    for condition in conditions(found.model.evaluation):
        measured = judged(found, net, spec.seed, condition)
        columns[column(condition)] = share(measured)
        hits[column(condition)] = {"draws": measured.draws, "hits": measured.hits}
        if condition.name == "clean":
            columns |= {"unsettled_share": measured.unsettled_share, "noise_floor_share": measured.noise_floor_share}
    return {"columns": columns, "hits": hits}


def _plain(spec: Spec) -> Record:
    return resolve(spec).plain(spec.seed)


KINDS: dict[str, Kind] = {"in-situ-accuracy": Kind(_plain, _in_situ_accuracy)}
