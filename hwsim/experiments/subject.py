"""What is attacked or corrupted: a model of the shelf with its weights, in float or on a device, or a torch module."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from hwsim.cards import shelf
from hwsim.cards.build import as_built
from hwsim.cards.device import read_device
from hwsim.cards.model import ModelConfig
from hwsim.cards.plugins import plugin, read_code
from hwsim.cards.read import check_fit, read_model
from hwsim.cards.yamlfile import Document
from hwsim.crossbar.synapse import Device
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.experiments.ageing import compensation
from hwsim.experiments.evaluation import relaxation
from hwsim.experiments.requests import SubjectRequest
from hwsim.experiments.trained import programmed
from hwsim.experiments.training.learners import classifier_of
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Job
from hwsim.jobs.place import CPU, check_place
from hwsim.jobs.weights import WEIGHTS, load_weights
from hwsim.learning.gradient_ways import way_named
from hwsim.rng import Streams
from hwsim.robustness.attacker import surrogate
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier, TorchClassifier
from hwsim.robustness.models import as_classifier


@dataclass(frozen=True)
class Subject:
    """A model with its weights, read and checked.

    Attributes:
        identity: what it is, down to the checksums of its files; part of a job's configuration.
        config, net: the card and the float network; None for a torch module.
        module: the torch module's classifier; None for a network.
    """

    name: str
    identity: dict[str, Any]
    config: ModelConfig | None = None
    net: Network | None = None
    module: TorchClassifier | None = None

    def classifier(self, net: Network | None = None) -> Classifier:
        """The model as it predicts: with the relaxation of its card on ``net``, by default the float network."""
        if self.config is None or self.net is None:
            assert self.module is not None
            return self.module
        return EquilibriumClassifier(net or self.net, **relaxation(self.config.inference))

    def classifiers(self, nets: Sequence[Network]) -> list[Classifier]:
        """The model on every device instance; in float where there are none."""
        return [self.classifier(net) for net in nets] or [self.classifier()]

    def surrogate(self, gradient: str, net: Network | None = None) -> Classifier:
        """What an attacker climbs, see ``robustness.attacker``. Raises InputError for an unknown way."""
        way_named(gradient)
        classifier = self.classifier()
        return surrogate(classifier, gradient, net) if isinstance(classifier, EquilibriumClassifier) else classifier


@dataclass(frozen=True, kw_only=True)
class SubjectJob(Job):
    """A job on one model with its weights, in float or on ``instances`` instances of a device.

    Attributes:
        draws: classifications of an image on each instance, each on fresh read noise.
        examples: test images, the first ones.
        place: where torch computes; no part of the configuration.
        given: instances that are there already, of a job that is part of another; by default it programs its own.
    """

    subject: Subject
    data: Dataset
    instances: int
    draws: int
    examples: int
    place: str = CPU
    given: list[Network] | None = field(default=None, compare=False, repr=False)

    def images(self, rows: slice) -> data.Split:
        """Test images and labels, where torch computes."""
        return self.data.test[rows].to(self.place)

    def pool(self, pool: Pool | None) -> Pool | None:
        """Where it is done: on the CPU in several processes, a GPU is one process's."""
        return pool if self.place == CPU else None

    @cached_property
    def nets(self) -> list[Network]:
        """The instances of the device, each programmed with the model's weights once; none in float."""
        if self.given is not None or self.device is None:
            return self.given or []
        streams, states = Streams(self.seed).child("programmed"), self.folder / "states"
        return programmed_instances(self.subject, self.device.device, self.instances, streams, states)

    @property
    def compensation(self) -> str:
        """What the device does against its drift in this network, in words."""
        assert self.device is not None
        assert self.subject.config is not None
        return compensation(as_built(self.subject.config.energy, self.device.device))

    @property
    def label(self) -> str:
        return f"{self.kind}-{self.subject.name.replace(':', '-')}-{self.device_name}-seed{self.seed}"


def read_subject(
    model: str, weights: Path | None, data_name: str | None, data_dir: Path | None, place: str = CPU
) -> tuple[Subject, data.Dataset]:
    """A model with its weights, and the data that it is measured on. Raises InputError for the first mistake.

    Args:
        model: a name on the shelf, a folder, a card, or ``./net.py:MyNet``, a torch module made without arguments.
        weights: a safetensors file; by default what lies beside the card.
        data_name: in place of the card's; a torch module has none.
        place: where torch computes it.
    """
    if _is_module(model):
        return _module(model, weights, data_name, data_dir, place)
    document, config = read_model(model)
    dataset = data.load(data_name or config.data, data_dir)
    check_fit(document, config, dataset)
    folder = shelf.find("models", model).folder
    path = weights or (folder / WEIGHTS if folder else None)
    if path is None or not path.is_file():
        where = f"--weights {weights}: no such file" if weights else f"model {config.name} comes without weights"
        raise InputError(
            f"{where}; run `hwsim train --model {model}` and give the {WEIGHTS} that it writes with --weights"
        )
    card = config.model_dump(include={"name", "network", "inference"})
    identity = {"card": card, "weights": _sha256(path)}
    classifier = classifier_of(config, path, place)
    if isinstance(classifier, TorchClassifier):
        return Subject(config.name, identity, module=classifier), dataset
    return Subject(config.name, identity, config, classifier.net), dataset


def read_source(text: str, data_name: str, data_dir: Path | None, place: str = CPU) -> Subject:
    """``MODEL`` or ``MODEL:WEIGHTS.safetensors``, another model measured or attacked on the same data."""
    model, _, weights = text.rpartition(":")
    given = (model, Path(weights)) if weights.endswith(".safetensors") and model else (text, None)
    return read_subject(*given, data_name, data_dir, place)[0]


def programmed_instances(subject: Subject, device: Device, count: int, streams: Streams, folder: Path) -> list[Network]:
    """``count`` instances of the device, each programmed with the model's weights once and kept in ``folder``."""
    if subject.config is None or subject.net is None:
        raise InputError(f"--device: {subject.name} is a torch module; only models of the shelf run on devices")
    energy, net = subject.config.energy, subject.net
    return [
        programmed(energy, device, net, streams.child("chip", i), state=folder / f"chip-{i}.safetensors")
        for i in range(count)
    ]


def reseed(nets: Sequence[Network], streams: Streams) -> None:
    """Give every device instance read noise of its own."""
    for i, net in enumerate(nets):
        net.reseed_reads(streams.child("chip", i))


def _is_module(model: str) -> bool:
    file, colon, _ = model.rpartition(":")
    return bool(colon) and file.endswith(".py")


def _module(
    model: str, weights: Path | None, data_name: str | None, data_dir: Path | None, place: str
) -> tuple[Subject, data.Dataset]:
    """A user's torch module from a file of theirs. The file is run: naming it asks for that."""
    if data_name is None:
        raise InputError(f"--model {model}: a torch module has no card that names its data; give --data, e.g. digits")
    if weights is None:
        raise InputError(f"--model {model}: a torch module needs its weights; give --weights FILE.safetensors")
    file, _, name = model.rpartition(":")
    path = Path(file)
    document = Document({}, f"--model {model}")
    made = plugin(f"{path.name}:{name}", path.parent, "hwsim.models", document, ())
    dataset = data.load(data_name, data_dir)
    try:
        module = made()
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's class
        raise document.error((), f"{name}() cannot be made without arguments ({shelf.summary_of(error)})") from error
    if not isinstance(module, torch.nn.Module):
        raise document.error((), f"{name}() is a {type(module).__name__}; expected a torch.nn.Module")
    load_weights(module, weights)
    module.eval().requires_grad_(False)
    classifier = _checked(document, module, dataset)
    module.to(place)
    source = read_code(f"{path.name}:{name}", path.parent, document, ()).digest
    identity = {"module": f"{path.name}:{name}", "source": source, "weights": _sha256(weights)}
    return Subject(f"{path.name}:{name}", identity, module=classifier), dataset


def _checked(document: Document, module: torch.nn.Module, dataset: data.Dataset) -> TorchClassifier:
    """InputError unless the module gives a score a class; many passes tell whether it is noisy."""
    classes = len(dataset.classes)
    try:
        classifier = as_classifier(module, dataset.test.x)
    except InputError as error:
        raise document.error((), f"{str(error).removeprefix('model: ')}, data {dataset.name}") from error
    assert isinstance(classifier, TorchClassifier)
    if classifier.classes != classes:
        raise document.error(
            (), f"gives {classifier.classes} scores an image; {dataset.name} has {classes} classes, expected as many"
        )
    return classifier


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


INSTANCES = 5
"""Programmed instances of a device, where nothing else is said."""


def resolved_subject(request: SubjectRequest) -> dict[str, Any]:
    """The fields that every ``SubjectJob`` has, from what was requested. Raises InputError for the first mistake."""
    count, model = request.instances, request.model
    if count is not None and request.device is None:
        raise InputError(f"--instances {count}: there is no device to make instances of; give --device")
    check_place(request.accelerator, request.device is not None)
    card = read_device(request.device) if request.device else None
    subject, dataset = read_subject(model, request.weights, request.data, request.data_dir, request.accelerator)
    if card is not None and subject.net is None:
        raise InputError(
            f"--device {request.device}: {subject.name} is a torch module; only models of the shelf run on devices"
        )
    return {
        "subject": subject,
        "data": dataset,
        "device": card,
        "instances": count or (1 if card is None or card.device.ideal else INSTANCES),
        "draws": request.draws,
        "examples": _counted(request.examples, dataset),
        "place": request.accelerator,
        "seed": request.seed,
        "out": request.out,
        "command": request.command,
    }


def _counted(examples: int | None, dataset: Dataset) -> int:
    """How many test images; 1,000 where nothing is said and there are as many."""
    total = len(dataset.test)
    if examples is None:
        return min(1000, total)
    if not 1 <= examples <= total:
        raise InputError(f"--examples: expected 1 to {total}, the test images of {dataset.name}, got {examples}")
    return examples
