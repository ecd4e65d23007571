"""Training epoch by epoch, without a card, a file or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.data.split import Split, as_split
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network
from hwsim.errors import InputError, WorkError
from hwsim.learning.rule import LearningRule, StepStats
from hwsim.rng import Streams


@dataclass(frozen=True)
class Epoch:
    """One epoch's record; accuracies are shares of examples.

    ``accuracy_train`` is measured on the way, each batch before its update. ``k_mean``, ``k_max`` and
    ``k_limit`` have one entry an array: expected pulses a cross-point and sample, see ``Meter``. ``weight_change`` is
    the largest change of a weight over the epoch, one entry an array, as a share of the network's largest weight.
    ``rho`` is pulses sent for each that counts at the end of the epoch, one entry an array; None where it is not
    measured, and for arrays without pulses.
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
    weight_change: list[float] = field(default_factory=list)
    rho: list[float | None] | None = None


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

    Raises WorkError when the training diverges, naming the epoch and what to try: at once on the CPU; elsewhere at the
    end of the epoch, because the statistics are fetched once an epoch. There ``augment`` draws where the images are.
    """
    size = min(schedule.batch_size, len(x))
    batches = len(x) // size
    for epoch in range(done, schedule.epochs):
        own = streams.child("epoch", epoch)
        order = torch.randperm(len(x), generator=own.generator("data")).to(x.device)
        signs, changes = own.generator("update"), own.child("augment").generator("data", x.device)
        for synapse in learner.synapses:
            synapse.meter.reset()
        steps: list[StepStats] = []
        before = [synapse.weight() for synapse in learner.synapses]
        for batch in range(batches):
            index = order[batch * size : (batch + 1) * size]
            images = x[index] if augment is None else augment(x[index], changes)
            try:
                stats = learner.step(images, labels[index], schedule.rate_factor(epoch + batch / batches), signs)
            except WorkError as error:
                place = f"training diverged in epoch {epoch + 1}, batch {batch + 1}"
                raise WorkError(f"{place}: {error}; try {schedule.cure}") from error
            if isinstance(stats.cost, float):
                _check_finite(stats.cost, epoch, batch, schedule)
            steps.append(stats)
        totals, correct = [0.0, 0.0, 0.0], 0.0
        names = ("cost", "unsettled_share", "residual", "correct")
        for batch, (*values, hits) in enumerate(zip(*(_numbers(steps, name) for name in names), strict=True)):
            _check_finite(values[0], epoch, batch, schedule)
            correct += hits
            for i, value in enumerate(values):
                totals[i] += value / batches
        after = [synapse.weight() for synapse in learner.synapses]
        if not all(bool(torch.isfinite(weight).all()) for weight in after):
            raise WorkError(f"training diverged in epoch {epoch + 1}: weights are not finite; try {schedule.cure}")
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
            weight_change=_changes(before, after),
        )


def _check_finite(cost: float, epoch: int, batch: int, schedule: Schedule) -> None:
    """WorkError where the cost of a batch is NaN or infinite."""
    if not math.isfinite(cost):
        raise WorkError(
            f"training diverged in epoch {epoch + 1}, batch {batch + 1}: the cost is {cost}; try {schedule.cure}"
        )


def _numbers(steps: Sequence[StepStats], name: str) -> list[float]:
    """One statistic of all steps; what is elsewhere is fetched at once."""
    values = [getattr(step, name) for step in steps]
    if values and isinstance(values[0], Tensor):
        return torch.stack([torch.as_tensor(value, device=values[0].device).double() for value in values]).tolist()
    return [float(value) for value in values]


def _changes(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[float]:
    largest = max((float(weight.abs().max()) for weight in (*before, *after)), default=0.0) or 1.0
    return [float((b - a).abs().max()) / largest for a, b in zip(before, after, strict=True)]


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}
"""Factors on the rates by the share of a training that is done."""


def train(
    net: Network,
    rule: LearningRule,
    data: Split | tuple[Any, Any],
    *,
    rates: float | Sequence[float],
    epochs: int,
    seed: int | Streams = 0,
    batch_size: int = 32,
    cost: Cost | None = None,
    schedule: str | Callable[[float], float] = "constant",
    augment: Augment | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> list[Epoch]:
    """Train a network in place, on the arrays that it has: every read and every update is theirs.

    A device that is trained "hardware-aware" takes exact updates under its own reads; what is deployed then are its
    arrays programmed with the result, ``net.program(net.weights())``.

    Args:
        data: images (N, C, H, W) or (N, pixels) in [0, 1] and labels (N,), as tensors or arrays. The last N modulo
            ``batch_size`` of an epoch's order are left out.
        rates: learning rates, one a link, or one for all.
        epochs: visits of all images, at least 1.
        seed: of the order of the images, the signs of the nudge and ``augment``, or ``Streams``.
        cost: what is minimised; ``SquaredError`` by default.
        schedule: factor on all rates: "constant", "cosine" (to zero), or a function of the share of the training that
            is done, in [0, 1).
        augment: changes each batch of images, (images, generator) -> images.
        on_epoch: called with the record of each epoch when it is over.

    Returns the epochs' records. Raises InputError for data or rates that do not fit the network, and WorkError where
    the cost is no longer finite, naming the epoch.

    >>> import hwsim as hw
    >>> net, rule = hw.hopfield([64, 16, 10]), hw.EquilibriumProp(beta=0.5, solver=hw.OddEven())
    >>> len(hw.train(net, rule, hw.load_data("digits").validation, rates=[0.5, 0.2], epochs=2))
    2
    """
    x, labels = as_split(data)
    rates = [float(rates)] * len(net.links) if isinstance(rates, int | float) else [float(rate) for rate in rates]
    if len(rates) != len(net.links):
        raise InputError(f"train: expected one rate, or one for each of {len(net.links)} links, got {rates}")
    if not all(0 <= rate < math.inf for rate in rates):
        raise InputError(f"train: expected finite rates >= 0, got {rates}")
    if not len(x) or epochs < 1 or batch_size < 1:
        raise InputError(
            f"train: expected at least one image, epoch and image a batch, got {len(x)}, {epochs} and {batch_size}"
        )
    classes = net.classes
    if labels.max() >= classes:
        raise InputError(f"train: the network has {classes} outputs and a label is {int(labels.max())}")
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise InputError(f"train: expected a schedule among {', '.join(SCHEDULES)}, or a function, got {schedule!r}")
    factor = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    streams = seed if isinstance(seed, Streams) else Streams(seed)
    plan = _Plan(epochs, batch_size, rates, factor)
    records = []
    for epoch in train_epochs(NetworkLearner(net, rule, rates, cost), plan, x, labels, streams, augment=augment):
        records.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch)
    return records


class NetworkLearner:
    """A network that learns by a rule, as ``train_epochs`` takes it.

    Args:
        gain: of its initial weights.
        start: weights to begin with in their place.
    """

    def __init__(
        self,
        net: Network,
        rule: LearningRule,
        rates: Sequence[float],
        cost: Cost | None = None,
        gain: float = 2.0,
        start: Sequence[Tensor] | None = None,
    ) -> None:
        self.net, self._start = net, start
        self._rule, self._rates, self._cost, self._gain = rule, rates, cost or SquaredError(), gain

    @property
    def synapses(self) -> Sequence[Synapse]:
        return self.net.synapses

    def begin(self, streams: Streams) -> None:
        self.net.program(self._start or self.net.initial_weights(self._gain, streams))

    def step(self, x: Tensor, labels: Tensor, factor: float, rng: torch.Generator) -> StepStats:
        return self._rule.step(self.net, self._cost, x, labels, [rate * factor for rate in self._rates], rng)

    def state_dict(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.net.load_state_dict(state)


@dataclass(frozen=True)
class _Plan:
    """``Schedule`` of a training that no card describes."""

    epochs: int
    batch_size: int
    rates: Sequence[float]
    factor: Callable[[float], float]

    cure = "smaller rates, or a smaller beta"

    def rate_factor(self, progress: float) -> float:
        return self.factor(progress / self.epochs)
