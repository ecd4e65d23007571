"""Training epoch by epoch, without a card, a file or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.errors import WorkError
from hwsim.learning.rule import StepStats
from hwsim.rng import Streams


@dataclass(frozen=True)
class Epoch:
    """One epoch's record; accuracies are shares of examples.

    ``accuracy_train`` is measured on the way, each batch before its update. ``k_mean``, ``k_max`` and
    ``k_limit`` have one entry an array: expected pulses a cross-point and sample, see ``Meter``.
    """

    epoch: int
    cost: float
    accuracy_train: float
    unsettled_share: float
    residual: float
    rates: list[float]
    k_mean: list[float]
    k_max: list[float]
    k_limit: list[float | None]


class Stateful(Protocol):
    """What can be kept and taken up again: a network, a torch module, a learner with all that it needs to go on."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> Any: ...


class Learner(Stateful, Protocol):
    """What ``train`` trains: something with weights and a way to step them."""

    @property
    def synapses(self) -> Sequence[Synapse]:
        """The arrays whose pulses are counted; none where there are no arrays."""
        ...

    def begin(self, streams: Streams) -> None:
        """Take the initial weights."""
        ...

    def step(self, x: Tensor, labels: Tensor, factor: float, rng: torch.Generator) -> StepStats:
        """Learn from a batch with all rates multiplied by ``factor``."""
        ...


class Schedule(Protocol):
    """How long a training takes and how its rates change; a recipe of a card is one."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def rates(self) -> Sequence[float]:
        """Learning rates at the start, in the order that the learner takes them."""
        ...

    @property
    def cure(self) -> str:
        """What to try where training diverges."""
        ...

    def rate_factor(self, progress: float) -> float:
        """The factor on all rates; ``progress`` counts epochs, with fractions."""
        ...


Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a batch of training images at random."""


def train_epochs(
    learner: Learner,
    schedule: Schedule,
    x: Tensor,
    labels: Tensor,
    streams: Streams,
    *,
    done: int = 0,
    augment: Augment | None = None,
) -> Iterator[Epoch]:
    """Train in place, yielding after each epoch; ``done`` epochs are over already.

    Every epoch draws its own streams (order of the examples, signs of the nudge), so that all there is to keep between
    epochs is the learner's state.

    Args:
        learner: has its weights, see ``Learner.begin``.
        x, labels: (N, ...) and (N,) training examples, where the learner computes. The last N modulo ``batch_size`` of
            an epoch's order are left out.

    Raises WorkError when the training diverges, naming the epoch and what to try.
    """
    size = min(schedule.batch_size, len(x))
    batches = len(x) // size
    for epoch in range(done, schedule.epochs):
        own = streams.child("epoch", epoch)
        order = torch.randperm(len(x), generator=own.generator("data"))
        signs, changes = own.generator("update"), own.child("augment").generator("data")
        for synapse in learner.synapses:
            synapse.meter.reset()
        totals, correct = [0.0, 0.0, 0.0], 0
        for batch in range(batches):
            index = order[batch * size : (batch + 1) * size]
            images = x[index] if augment is None else augment(x[index], changes)
            stats = learner.step(images, labels[index], schedule.rate_factor(epoch + batch / batches), signs)
            if not math.isfinite(stats.cost):
                raise WorkError(
                    f"training diverged in epoch {epoch + 1}, batch {batch + 1}: the cost is {stats.cost}; "
                    f"try {schedule.cure}"
                )
            correct += stats.correct
            for i, value in enumerate((stats.cost, stats.unsettled_share, stats.residual)):
                totals[i] += value / batches
        yield Epoch(
            epoch=epoch + 1,
            cost=totals[0],
            accuracy_train=correct / (batches * size),
            unsettled_share=totals[1],
            residual=totals[2],
            rates=[rate * schedule.rate_factor(epoch) for rate in schedule.rates],
            k_mean=[synapse.meter.k_mean for synapse in learner.synapses],
            k_max=[synapse.meter.k_max for synapse in learner.synapses],
            k_limit=[synapse.meter.k_limit for synapse in learner.synapses],
        )
