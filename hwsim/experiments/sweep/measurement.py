"""What measurements are made of: specs resolved to cards, recipes and data, networks trained and evaluated."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.model import ModelConfig, require_energy
from hwsim.cards.read import check_fit, check_no_run, in_situ_recipe, read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.averaged import AveragedDevice
from hwsim.data import dataset as data
from hwsim.ebm.network import Network
from hwsim.experiments.evaluation import measure, perturbed
from hwsim.experiments.sweep.study import Spec
from hwsim.experiments.trained import deployed, float_device, trained
from hwsim.learning.train import Epoch
from hwsim.rng import Streams
from hwsim.robustness.corruptions.condition import Condition
from hwsim.robustness.measure import Measured

Record = dict[str, Any]


@dataclass(frozen=True)
class Missing:
    """The command that makes what a point lacks, its multiply-accumulates, and the seed that SEED in it stands for."""

    command: str
    work: float
    seed: int | None = None


@dataclass(frozen=True)
class Measurement:
    """How points are measured.

    Args:
        resolve: a spec as plain values, down to the last default; InputError for what cannot be.
        compute: the record of a spec: `columns`, plain numbers and texts by column name, and what else the page needs.
        options: the settings `measurement.KEY` that it knows, with their defaults.
        work: multiply-accumulates of a point, for the time that is told before anything is measured.
        missing: what a point lacks, such as weights; None for a point that lacks nothing.
    """

    resolve: Callable[[Spec], Record]
    compute: Callable[[Spec], Record]
    options: tuple[tuple[str, Any], ...] = ()
    work: Callable[[Spec], float] | None = None
    missing: Callable[[Spec], Missing | None] | None = None


@dataclass(frozen=True)
class Resolved:
    """The model, device, recipe and data that a spec stands for."""

    model: ModelConfig
    card: DeviceCard
    recipe: LearningConfig
    digest: str
    dataset: data.Dataset

    def plain(self, seed: int) -> Record:
        model = self.model.model_dump(include={"network", "inference", "learning", "evaluation"})
        sizes = {part: len(self.dataset.splits[part]) for part in ("train", "test")}
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
    require_energy(model)
    check_no_run(json.loads(for_model))
    recipe = in_situ_recipe(document, model, card)
    dataset, digest = _data(data_name or model.data, data_dir)
    check_fit(document, model, dataset)
    return Resolved(model, card, recipe, digest, dataset)


@functools.lru_cache(maxsize=2)
def _data(name: str, data_dir: str | None) -> tuple[data.Dataset, str]:
    """All that may be learned from and the test images, with a checksum of both."""
    dataset = data.load(name, data_dir).merged()
    digest = hashlib.sha256()
    for part in (*dataset.train, *dataset.test):
        digest.update(part.contiguous().numpy().tobytes())
    return dataset, digest.hexdigest()


def plain(spec: Spec) -> Record:
    """All that a spec stands for as plain values."""
    return resolve(spec).plain(spec.seed)


def in_situ(resolved: Resolved, seed: int, reads: int = 1) -> tuple[Network, Record]:
    """A network trained on its device, and what its last epoch tells; each read the mean of ``reads``.

    Raises WorkError where training diverges.
    """
    device, streams = resolved.card.device, Streams(seed)
    device = AveragedDevice(device, reads) if reads > 1 else device
    epochs: list[Epoch] = []

    def keep(epoch: Epoch, seconds: float) -> None:
        epochs.append(epoch)

    net = trained(resolved.model, device, resolved.recipe, resolved.dataset, streams, on_epoch=keep)
    columns: Record = {"epochs": len(epochs), "accuracy_train_share": epochs[-1].accuracy_train if epochs else None}
    return deployed(resolved.model.energy, device, net, streams.child("deployed")), columns


def in_float(resolved: Resolved, seed: int) -> Network:
    """The model trained in float by its own recipe, from the same initial weights and order of examples."""
    model = resolved.model
    return trained(model, float_device(model), model.settled_learning, resolved.dataset, Streams(seed))


def evaluated(
    resolved: Resolved, net: Network, seed: int, condition: Condition, images: Tensor | None = None
) -> Measured:
    """Hits under a condition, or of images that were perturbed before. Images are the same for all seeds."""
    evaluation = resolved.model.evaluation
    x, labels = test_images(resolved)
    if images is None:
        streams = Streams(0).child(condition.name, condition.level)
        images = perturbed(net, condition, x, labels, evaluation, streams)
    read = Streams(seed).child("judge", condition.name, condition.level)
    return measure(net, images, labels, resolved.model.inference, evaluation.draws, read)


def test_images(resolved: Resolved) -> data.Split:
    """The test images and labels that a model card's evaluation asks for."""
    return resolved.dataset.test[: resolved.model.evaluation.examples]


def column(condition: Condition, what: str = "accuracy") -> str:
    """The column of a condition's accuracy: accuracy_share, accuracy_input-noise_sigma0.1_share."""
    parts = (what, *(() if condition.name == "clean" else (condition.name, f"{condition.unit}{condition.level:g}")))
    return "_".join((*parts, "share"))
