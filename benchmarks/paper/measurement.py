"""The measurement of the paper study: weights of the shelf judged clean, corrupted, or attacked by one protocol.

A point whose model has no weights, or whose data are not there, fails with a sentence; the study goes on without it.
The seed of a point is the attack's (random starts, Square's draws) and the corruption's; weights are one training each,
unless ``measurement.weights`` names files of several.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from hwsim.cards import modules
from hwsim.cards.build import network
from hwsim.cards.network import ModuleConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.data import dataset as data
from hwsim.data import sources as datasources
from hwsim.ebm.network import Network
from hwsim.errors import InputError, WorkError
from hwsim.experiments.subject import Subject
from hwsim.experiments.sweep.measurement import Measurement, Missing, Record
from hwsim.experiments.sweep.study import Spec
from hwsim.experiments.trained import programmed
from hwsim.jobs.place import check_place, products_in
from hwsim.jobs.weights import WEIGHTS, load_weights
from hwsim.rng import Streams
from hwsim.robustness.attacks import input_gradient, pgd
from hwsim.robustness.classifier import Classifier, TorchClassifier
from hwsim.robustness.corruptions.corruptions import SEVERITIES, corrupt
from hwsim.robustness.library import Square
from hwsim.robustness.measure import measure
from hwsim.robustness.warm import warmed

from .cost import training_work, work_of
from .options import OPTIONS, Request, card_of, request_of
from .protocol import away_from, ensemble, one_after_another, pgd_by, protocol_named

SLICE = 100
"""Images attacked at once, which bounds memory."""


def _resolve(spec: Spec) -> Record:
    request = request_of(spec)
    known = _test_images(request.data, spec.data_dir, request.examples)
    card = request.config.model_dump(include={"network", "inference"})
    return {
        "card": card,
        "weights": _digest(str(request.weights), _time(request.weights)) or str(request.weights),
        "data": [request.data, request.examples, known if isinstance(known, str) else known[2]],
        "device": request.device.resolved if request.device else "float",
        "seed": spec.seed if request.random else 0,  # seeds of what draws nothing are one point
    }


def _time(path: Path | None) -> float | None:
    return path.stat().st_mtime if path is not None and path.is_file() else None


@functools.lru_cache(maxsize=64)
def _digest(path: str, time: float | None) -> str | None:
    return None if time is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.lru_cache(maxsize=8)
def _test_images(name: str, data_dir: str | None, count: int) -> tuple[Tensor, Tensor, str] | str:
    """The first test images, their labels and a checksum; in their place the sentence that says why there are none.

    CIFAR's training images, a thousand times as many bytes in float, are left alone.
    """
    try:
        if name in datasources.NAMES and name != "digits":
            found = datasources.find(name, data_dir)
            if found.test is None:
                return f"data {name}: has no test images"
            pixels, labels = (torch.from_numpy(part[:count].copy()) for part in found.test)
            x, y = pixels.float() / found.white, labels.long()
        else:
            dataset = data.load(name, data_dir)
            x, y = dataset.test[:count]
    except (InputError, WorkError) as error:
        return str(error)
    if len(x) < count:
        return f"data {name}: has {len(x)} test images, {count} were asked for (measurement.examples)"
    return x, y, hashlib.sha256(x.contiguous().numpy().tobytes() + y.numpy().tobytes()).hexdigest()


@functools.lru_cache(maxsize=4)
def _subject(spec_json: str, path: str, time: float, place: str) -> Subject:
    """A model with its weights where torch computes; ``time`` is the file's, so that a new file is read anew."""
    del time
    config = card_of(*json.loads(spec_json))
    weights = Path(path)
    if isinstance(config.network, ModuleConfig):
        module = modules.build(config.network, Streams(0))
        load_weights(module, weights)
        module.requires_grad_(False).to(place)
        return Subject(config.name, {}, module=modules.classifier(config.network, module))
    net = network(config.network, FloatDevice(place=place), Streams(0), place=place)
    load_weights(net, weights)
    return Subject(config.name, {}, config, net)


@products_in()
def _compute(spec: Spec) -> Record:
    request = request_of(spec)
    subject, x, y = _ready(request)
    options, streams = request.options, Streams(spec.seed).child(options_key(request))
    arrays = _programmed(request, subject)
    classifier = subject.classifier(arrays)
    columns: Record = {"published": options["published"], "data": request.data, "images": len(x)}
    hits: Record = {}

    def keep(name: str, moved: Tensor) -> None:
        if arrays is not None:
            arrays.reseed_reads(streams.child("judge", name))
        measured = measure([classifier], moved, y, options["draws"])
        columns[name], hits[name] = measured.accuracy, {"draws": measured.draws, "hits": measured.hits}
        columns["unsettled_share"] = max(columns.get("unsettled_share", 0.0), measured.unsettled_share)

    if options["measure"] == "corruption":
        for severity in SEVERITIES:
            rng = streams.child(severity).generator("corruption")
            keep(f"accuracy_severity{severity}_share", corrupt(options["type"], x.cpu(), severity, rng).to(x.device))
        columns["accuracy_share"] = sum(columns[f"accuracy_severity{s}_share"] for s in SEVERITIES) / len(SEVERITIES)
        every = [hits[f"accuracy_severity{s}_share"]["hits"] for s in SEVERITIES]
        hits["accuracy_share"] = {"draws": len(SEVERITIES), "hits": [sum(one) for one in zip(*every, strict=True)]}
    elif options["measure"] == "clean":
        keep("accuracy_share", x)
        columns |= {"weights": _count(subject), "weights_sha256": _digest(str(request.weights), _time(request.weights))}
    else:
        parts = zip(x.split(SLICE), y.split(SLICE), strict=True)
        moved = [_attacked(request, subject, arrays, a, b, streams.child(i)) for i, (a, b) in enumerate(parts)]
        keep("accuracy_share", torch.cat(moved))
        keep("accuracy_clean_share", x)
        if options["measure"] == "pgd" and arrays is None:
            gradient = input_gradient(_surrogate(request, subject), x[:SLICE], y[:SLICE], "margin")[0]
            columns["zero_gradient_share"] = (gradient.flatten(1).abs().amax(1) == 0).double().mean().item()
    return {"columns": columns, "hits": hits}


def options_key(request: Request) -> str:
    """Names the random streams of what is measured: its models and protocols meet the same draws."""
    options = request.options
    return ":".join(str(options[name]) for name in ("measure", "norm", "epsilon", "type"))


def _ready(request: Request) -> tuple[Subject, Tensor, Tensor]:
    """The model and its images. Raises WorkError where either is not there."""
    images = _test_images(request.data, request.spec.data_dir, request.examples)
    if isinstance(images, str):
        raise WorkError(images)
    time = _time(request.weights)
    if time is None:
        where = f"{request.weights}" if request.options["weights"] else f"{WEIGHTS} beside its card"
        raise WorkError(
            f"{request.config.name} comes without weights; expected {where}; `{request.training()}` makes them"
        )
    place = request.options["accelerator"]
    try:
        check_place(place, request.device is not None)
        named = json.dumps([request.spec.model, json.dumps(request.spec.for_model())])
        subject = _subject(named, str(request.weights), time, place)
    except InputError as error:
        raise WorkError(str(error)) from error
    return subject, images[0].to(place), images[1].to(place)


def _surrogate(request: Request, subject: Subject) -> Classifier:
    """What gradients are taken of: at equilibrium, or through too few steps, as the protocol says."""
    protocol = protocol_named(request.options["protocol"])
    return subject.surrogate("implicit" if protocol.at_equilibrium else request.options["truncated"])


def _programmed(request: Request, subject: Subject) -> Network | None:
    """The weights on arrays of the point's device; None in float."""
    if request.device is None or subject.net is None or isinstance(request.config.network, ModuleConfig):
        return None
    streams = Streams(request.spec.seed).child("programmed")
    return programmed(request.config.network, request.device.device, subject.net, streams)


def _attacked(
    request: Request, subject: Subject, arrays: Network | None, x: Tensor, y: Tensor, streams: Streams
) -> Tensor:
    options, threat = request.options, request.threat
    assert threat is not None
    if arrays is not None:
        # What only just fools the noise-free twin of the arrays, their noise brings back: go for the largest margin.
        twin = subject.surrogate("implicit", arrays.float_twin())
        rng, steps = streams.generator("attack"), options["steps"]
        return pgd(twin, x, y, threat, steps=steps, restarts=1 + options["restarts"], loss="margin", rng=rng)
    protocol, judge, rng = protocol_named(options["protocol"]), subject.classifier(), streams.generator("attack")
    surrogate = _surrogate(request, subject)
    if protocol.at_equilibrium:
        surrogate = warmed(surrogate, x)  # verdicts are the judge's, which starts cold
    if options["measure"] == "pgd":
        sizes = {"steps": options["steps"], "restarts": options["restarts"]}
        return pgd_by(protocol, surrogate, judge, x, y, threat, rng=rng, **sizes)
    labels = away_from(judge, x, y, protocol)
    white, square = ensemble(protocol, options["effort"])
    queries = (judge, square)
    if options["measure"] == "square":
        return one_after_another([(judge, Square(options["queries"]))], judge, x, labels, threat, rng)
    return one_after_another([*((surrogate, one) for one in white), queries], judge, x, labels, threat, rng)


def _count(subject: Subject) -> int:
    if subject.net is not None:
        return sum(weight.numel() for weight in subject.net.weights())
    assert isinstance(subject.module, TorchClassifier)
    return sum(parameter.numel() for parameter in subject.module.module.parameters())


def _work(spec: Spec) -> float:
    request = request_of(spec)
    return work_of(request.config, request.options, request.examples)


def _missing(spec: Spec) -> Missing | None:
    request = request_of(spec)
    if request.weights is not None and request.weights.is_file():
        return None
    several = "{seed}" in (request.options["weights"] or "")
    command = request.training("SEED" if several else None)
    return Missing(command, training_work(request.config), spec.seed if several else None)


PAPER = Measurement(_resolve, _compute, OPTIONS, _work, _missing)
