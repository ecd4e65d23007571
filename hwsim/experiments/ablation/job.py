"""What each non-ideality of a device costs: all switched off but one, and all but one, each trained and measured."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.cards.build import hardware, network
from hwsim.cards.device import DeviceCard, read_device
from hwsim.cards.nonidealities import AGEING_ONLY, TRAINING_ONLY, Property, properties, switched_off
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.yamlfile import did_you_mean, parse_setting
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.errors import InputError, WorkError
from hwsim.experiments.device_run.job import Job, plan_run
from hwsim.experiments.evaluation import measure
from hwsim.experiments.training.learners import EquilibriumModel
from hwsim.experiments.training.resume import EpochRecord, train
from hwsim.jobs.folder import claimed
from hwsim.jobs.job import Progress
from hwsim.jobs.job_receipt import write_receipt
from hwsim.jobs.store import append_line, read_lines
from hwsim.rng import Streams

CASES = ("in-situ", "programmed")
ALL_ON, ALL_OFF = "all on", "all off"


def only(name: str) -> str:
    """The variant with one property left."""
    return f"only {name}"


def without(name: str) -> str:
    """The variant with one property switched off."""
    return f"all but {name}"


@dataclass(frozen=True)
class Ablation:
    """A resolved and validated ablation.

    Args:
        job: the run that every variant is a change of; its ``repeats`` are the trainings a variant.
        properties: what is switched.
        variants: name -> the device card with what is off in it off; equal variants share one card.
        case: ``in-situ``: every variant is trained on its own device; ``programmed``: weights trained in float are
            written into it.
        age_s: seconds since programming at which devices that drift are measured.
        folder: of the ablation.
    """

    job: Job
    properties: tuple[Property, ...]
    variants: dict[str, DeviceCard]
    case: str
    age_s: float
    folder: Path

    @property
    def command(self) -> str:
        return self.job.command

    @property
    def device(self) -> DeviceCard:
        """As it is, nothing switched off."""
        return self.job.device

    @property
    def seed(self) -> int:
        return self.job.seed

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        off = {item.name: dict(item.off) for item in self.properties}
        return {**self.job.resolved, "ablation": {"case": self.case, "age_s": self.age_s, "off": off}}

    @property
    def config_hash(self) -> str:
        """SHA-256 of the configuration, first 16 digits."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    def work(self) -> list[tuple[str, DeviceCard]]:
        """Each different device once, under the first name it has."""
        found: list[tuple[str, DeviceCard]] = []
        for name, card in self.variants.items():
            if all(card is not other for _, other in found):
                found.append((name, card))
        return found


def plan_ablation(
    *,
    device: str,
    model: str | None,
    data_name: str | None,
    data_dir: Path | None,
    seed: int,
    seeds: int,
    case: str,
    age_s: float,
    names: Sequence[str],
    out: Path | None,
    settings: Sequence[str],
    command: str,
) -> Ablation:
    """Resolve an ablation and read every variant. Raises InputError for the first mistake.

    ``names`` limits it to these properties; the others stay as they are in every variant.
    """
    if case not in CASES:
        raise InputError(f"--case: expected one of {', '.join(CASES)}, got {case!r}")
    if not 0 <= age_s < float("inf"):
        raise InputError(f"--age: expected seconds >= 0, got {age_s:g}")
    job = plan_run(
        device=device,
        model=model,
        data_name=data_name,
        data_dir=data_dir,
        seed=seed,
        repeats=seeds,
        out=out,
        settings=settings,
        command=command,
    )
    card = job.device
    if age_s and not card.device.drifts:
        raise InputError(f"--age: {card.name} does not drift; leave it out")
    ignored = {*(AGEING_ONLY if not age_s else ()), *(TRAINING_ONLY if case == "programmed" else ())}
    found = [item for item in properties(card) if item.name not in ignored]
    known = [item.name for item in found]
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f"--property {name!r}: {card.name} has none{near} Known: {', '.join(known) or 'none'}")
    chosen = [item for item in found if not names or item.name in names]
    if not chosen:
        raise InputError(f"--device {device}: {card.name} has nothing that could be switched off")

    parsed = [parse_setting(setting) for setting in settings]
    own = [(path.removeprefix("device."), value) for path, value in parsed if path.startswith("device.")]
    cards: dict[str, DeviceCard] = {"[]": card}

    def built(off: list[Property]) -> DeviceCard:
        changes = switched_off(off)
        key = json.dumps(changes)
        if key not in cards:
            cards[key] = read_device(device, [*own, *changes])
        return cards[key]

    variants = {ALL_ON: card, ALL_OFF: built(chosen)}
    for item in chosen:
        variants[without(item.name)] = built([item])
        variants[only(item.name)] = built([other for other in chosen if other is not item])
    ablation = Ablation(job, tuple(chosen), variants, case, age_s, Path("."))
    name = f"ablate-{job.model.name}-{card.name}-{case}-seed{seed}-{ablation.config_hash[:8]}"
    return Ablation(job, tuple(chosen), variants, case, age_s, out or Path("runs") / name)


def run_ablation(ablation: Ablation, progress: Progress) -> None:
    """Do what is not done yet; every finished training is a line of ``ablation.jsonl``.

    Raises InputError where the folder holds another job and WorkError where work fails. A training that diverges is a
    result: it classifies nothing.
    """
    job, path = ablation.job, ablation.folder / "ablation.jsonl"
    with claimed(ablation.folder, ablation.config_hash, ablation.config):
        done = {(record["variant"], record["repeat"]) for record in read_lines(path)}
        started, work = time.time(), ablation.work()
        progress.total(job.repeats * len(work))
        for repeat in range(job.repeats):
            for name, card in work:
                if (name, repeat) not in done:
                    append_line(path, {"variant": name, "repeat": repeat, **_measured(ablation, name, card, repeat)})
                    _checkpoint(ablation, name, repeat).unlink(missing_ok=True)
                progress.done(f"{name}, repeat {repeat + 1}")
        if any((name, repeat) not in done for name, _ in work for repeat in range(job.repeats)):
            write_receipt(ablation, started, {"repeats": list(range(job.repeats))})


def _measured(ablation: Ablation, name: str, card: DeviceCard, repeat: int) -> dict[str, Any]:
    job, started = ablation.job, time.perf_counter()
    streams = Streams(job.seed).child("repeat", repeat)
    x, labels = job.data.test[: job.model.evaluation.examples]
    try:
        net = _ready(ablation, name, card, repeat, streams)
    except WorkError as error:
        return {"draws": 1, "hits": [0] * len(x), "diverged": str(error), "seconds": time.perf_counter() - started}
    if ablation.age_s:
        net.age(ablation.age_s)
    # All variants see the same images and the same draws of noise, so that they can be compared in pairs.
    found = measure(net, x, labels, job.model.inference, job.model.evaluation.draws, streams.child("ablation", "read"))
    record = {"draws": found.draws, "hits": found.hits, "unsettled_share": found.unsettled_share}
    return {**record, "seconds": time.perf_counter() - started}


def _ready(ablation: Ablation, name: str, card: DeviceCard, repeat: int, streams: Streams) -> LayeredHopfield:
    """The network of a variant, trained and programmed. Devices are drawn alike in all variants."""
    job, device = ablation.job, card.device
    if ablation.case == "in-situ":
        source = _trained(job, device, job.in_situ, streams, _checkpoint(ablation, name, repeat))
        if device.trains == "in-situ":
            return source
        # Trained under the device's reads, but in digital: what is deployed are devices programmed with the result.
    else:
        learning = job.model.settled_learning
        plain = FloatDevice(learning.momentum, learning.weight_decay)
        source = _trained(job, plain, learning, streams, _checkpoint(ablation, "float", repeat))
    net = network(job.model.energy, device, streams.child("ablation", "deployed"))
    net.program(source.weights())
    return net


def _trained(job: Job, device: Device, recipe: LearningConfig, streams: Streams, checkpoint: Path) -> LayeredHopfield:
    own = streams.child("ablation")
    net = network(job.model.energy, hardware(device, recipe), own, momentum=recipe.momentum)
    learner = EquilibriumModel(net, job.model.energy, recipe, job.model.inference)
    train(learner, recipe, job.data.train.x, job.data.train.y, streams, checkpoint, _unheard)
    return net


def _unheard(epoch: EpochRecord) -> None:
    """Progress is told by the training here, not by the epoch."""


def _checkpoint(ablation: Ablation, name: str, repeat: int) -> Path:
    return ablation.folder / "states" / f"{name.replace(' ', '-').replace('/', '-')}-{repeat}.safetensors"
