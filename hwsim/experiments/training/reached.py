"""What a training's best weights reach on validation and test images, in blocks of images that processes share."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from hwsim.experiments.evaluation import measure
from hwsim.experiments.training.job import TrainJob
from hwsim.experiments.training.learners import EquilibriumModel, Model
from hwsim.jobs.engine import Log
from hwsim.jobs.executors import Pool
from hwsim.jobs.job import Progress, Quiet
from hwsim.jobs.place import CPU
from hwsim.jobs.records import Record
from hwsim.jobs.tasks import Task, do_tasks
from hwsim.jobs.weights import WEIGHTS
from hwsim.rng import Streams
from hwsim.robustness.measure import BATCH, Measured

PARTS = ("validation", "test")

STEPS_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)
"""Relaxation lengths at which a card gives the accuracy, as far as inference goes."""

SHORTENED_ON = 1000
"""Validation images, the first ones, that these accuracies are taken on."""

LOG = "reached.jsonl"


@dataclass(frozen=True)
class Block:
    """Some images of a part of the data, after ``steps`` of inference; None: as many as the card says."""

    part: str
    first: int
    last: int
    steps: int | None = None

    @property
    def name(self) -> str:
        return f"{self.part}, images {self.first} to {self.last - 1}" + (f", {self.steps} steps" if self.steps else "")


@dataclass(frozen=True, kw_only=True)
class BlockRecord(Record):
    """Hits of every image of a block in ``draws`` draws, by the weights of this checksum."""

    kind: Literal["reached"] = "reached"
    part: str
    first: int
    steps: int | None
    weights: str
    draws: int
    hits: list[int]
    unsettled_share: float

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.part, self.first, self.steps, self.weights


@dataclass(frozen=True)
class Reached:
    """Of a part of the data: hits of every image in ``draws`` draws, and the share that had not settled."""

    hits: list[int]
    draws: int
    unsettled_share: float

    @property
    def accuracy(self) -> float:
        return sum(self.hits) / (self.draws * len(self.hits))


def checksum(job: TrainJob) -> str:
    """SHA-256 of the best weights."""
    return hashlib.sha256((job.folder / WEIGHTS).read_bytes()).hexdigest()


def measured_best(job: TrainJob, pool: Pool | None) -> dict[tuple[str, int | None], Reached]:
    """By part of the data and steps of inference what is reached; what was measured before is not done again.

    Networks on devices go on with the noise of their own arrays, which only this process has.
    """
    blocks, weights = list(_blocks(job)), checksum(job)
    log: Log[BlockRecord] = Log(job.folder / LOG, BlockRecord)
    keys: list[tuple[Hashable, ...]] = [(block.part, block.first, block.steps, weights) for block in blocks]
    places = {key: place for place, key in enumerate(keys)}
    tasks = [Task(block.name, _measure, (block, weights)) for block in blocks]
    shared = pool if job.device is None and job.place == CPU else None
    do_tasks(job, log, tasks, Quiet(), shared, lambda record: places.get(record.key, -1))
    reached: dict[tuple[str, int | None], list[BlockRecord]] = {}
    for key in keys:
        reached.setdefault((log[key].part, log[key].steps), []).append(log[key])
    return {of: _joined(records) for of, records in reached.items()}


def _joined(records: list[BlockRecord]) -> Reached:
    hits = [hit for record in records for hit in record.hits]
    unsettled = sum(record.unsettled_share * len(record.hits) for record in records) / len(hits)
    return Reached(hits, records[0].draws, unsettled)


def _blocks(job: TrainJob) -> Iterator[Block]:
    """Batches where nothing is noisy; else a part is one block, for its draws follow each other."""
    for part in PARTS:
        count = len(job.data.splits[part])
        size = BATCH if job.device is None else count
        yield from (Block(part, first, min(first + size, count)) for first in range(0, count, size))
    if isinstance(job.best, EquilibriumModel):
        few = min(SHORTENED_ON, len(job.data.validation))
        for steps in (steps for steps in STEPS_SHOWN if steps < job.model.inference.steps):
            yield Block("validation", 0, few, steps)


def _measure(job: TrainJob, log: Log[BlockRecord], progress: Progress, block: Block, weights: str) -> None:
    key = (block.part, block.first, block.steps, weights)
    log.once(key, partial(_measured, job, block, weights))


def _measured(job: TrainJob, block: Block, weights: str) -> BlockRecord:
    x, labels = job.data.splits[block.part].to(job.place)[block.first : block.last]
    streams, model = Streams(job.seed).child("card"), job.best
    if block.steps is None:
        measured = model.measure(x, labels, job.model.evaluation.draws, streams.child(block.part))
    else:
        measured = _shortened(model, block.steps, x, labels, streams.child("steps", block.steps))
    return BlockRecord(
        part=block.part,
        first=block.first,
        steps=block.steps,
        weights=weights,
        draws=measured.draws,
        hits=measured.hits,
        unsettled_share=measured.unsettled_share,
    )


def _shortened(model: Model, steps: int, x: Tensor, labels: Tensor, streams: Streams) -> Measured:
    """After fewer steps than inference takes: what is an equilibrium's, and what was there before it."""
    assert isinstance(model, EquilibriumModel)
    shorter = {"steps": steps, "average_last": min(steps, model.inference.average_last), "stop_early": False}
    return measure(model.net, x, labels, model.inference.model_copy(update=shorter), 1, streams)
