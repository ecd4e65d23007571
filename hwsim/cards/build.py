"""Training a network epoch by epoch, with a checkpoint after each: stopped anywhere, it goes on.

Every epoch draws its own streams (order of the examples, signs of the nudge), so all that a
checkpoint has to keep is the learner's state. What a resumed training repeats exactly is what the
device's state can hold: everything for float and python cells, see ``AihwDevice.not_exact`` for tiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hwsim.cards.network import EnergyConfig, LayeredConfig, NormaliseConfig
from hwsim.cards.recipe import AdversarialConfig, LearningConfig, LearningSection
from hwsim.crossbar.synapse import Device, FloatDevice, Synapse
from hwsim.crossbar.twin import TwinDevice
from hwsim.data.dataset import augment
from hwsim.ebm.convolution import ConvLayer, conv_hopfield
from hwsim.ebm.energy import Cost, CrossEntropy, SquaredError
from hwsim.ebm.hopfield import LayeredHopfield, Normalise, layered_hopfield
from hwsim.ebm.settle import SOLVERS, Phase
from hwsim.errors import WorkError
from hwsim.jobs.store import written_aside
from hwsim.learning.ep import EquilibriumProp, LearningRule, StepStats
from hwsim.learning.exact import ExactGradient, Implicit
from hwsim.learning.gradient_ways import Truncated
from hwsim.rng import Streams
from hwsim.robustness.attacks import Attack
from hwsim.robustness.suite import Pgd
from hwsim.robustness.threat import Threat, parse
from hwsim.robustness.training import Adversarial

COSTS: dict[str, Cost] = {"squared-error": SquaredError(), "cross-entropy": CrossEntropy()}

ADJOINT = Phase(200, tolerance=3e-4, stop_early=True)
"""How far an exact gradient's adjoint is solved; the tolerance is relative to the output's gradient.

On a network of three convolutions this leaves an error of .4 % in the first layer's gradient, cosine .99999.
"""


@dataclass(frozen=True)
class Epoch:
    """One epoch's record; accuracies are shares of examples, seconds wall time.

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
    seconds: float


def normalisation(config: NormaliseConfig | None) -> Normalise | None:
    """What a network does to pixels first."""
    return Normalise(tuple(config.mean), tuple(config.std)) if config else None


def network(
    config: EnergyConfig, device: Device, streams: Streams, *, momentum: float = 0.0, place: str = "cpu"
) -> LayeredHopfield:
    """The network of a model card with its arrays on ``device`` and digital biases in float, computed at ``place``."""
    common: dict[str, Any] = {"c": config.c, "output": config.output, "start": config.start, "bias": config.bias}
    common |= {"normalise": normalisation(config.normalise), "bias_device": FloatDevice(momentum, place=place)}
    if isinstance(config, LayeredConfig):
        return layered_hopfield(config.layers, device, streams, **common)
    channels, height, width = config.image
    convolutions = [ConvLayer(**layer.model_dump()) for layer in config.convolutions]
    image = (channels, height, width)
    return conv_hopfield(image, convolutions, config.dense, device, streams, **common)


def hardware(device: Device, config: LearningConfig) -> Device:
    """What a recipe trains on: arrays that both phases share, or two for every weight."""
    return TwinDevice(device) if config.phase_hardware == "twin" else device


def learning_rule(config: LearningConfig) -> LearningRule:
    """The rule that a recipe names."""
    solver = SOLVERS[config.solver](config.damping)
    free = Phase(config.free_steps, config.average_last, config.tolerance, config.stop_early)
    if config.rule == "exact-gradient":
        way = Implicit(replace(free, average_last=1, stop_early=True), ADJOINT, solver)
        rule: LearningRule = ExactGradient(way, config.tolerance)
    else:
        nudged = replace(free, steps=config.nudged_steps)
        form, hold = config.update_form, config.hold_input
        rule = EquilibriumProp(config.beta, config.nudge, free, nudged, solver, form, hold_input=hold)
    if config.adversarial is None:
        return rule
    reached = Truncated(5, replace(free, average_last=1, stop_early=True), solver)
    threat, attack = adversary(config.adversarial)
    return Adversarial(rule, threat, attack, config.adversarial.share, reached)


def adversary(config: AdversarialConfig) -> tuple[Threat, Attack]:
    """Who moves the images of an adversarial training, and how far."""
    attack = Pgd(config.steps, loss="ce", step_size=config.step_size, random_start=config.random_start)
    return parse(config.threat), attack


class Stateful(Protocol):
    """What a checkpoint keeps: a network, a torch module, a learner with all that it needs to go on."""

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


def train(
    learner: Learner,
    config: LearningSection,
    x: Tensor,
    labels: Tensor,
    streams: Streams,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Train in place, from the checkpoint where there is one.

    Args:
        learner: freshly built; begins with initial weights unless the checkpoint says more.
        x, labels: (N, ...) and (N,) training examples, where the learner computes.
        checkpoint: a safetensors file, replaced as a whole after every epoch.
        on_epoch: told of each finished epoch; epochs that the checkpoint holds are not told again.
            The last one may be told twice where a run died between telling and keeping it.

    Raises WorkError when the training diverges, naming the epoch and what to try.
    """
    done = load_state(learner, checkpoint) if checkpoint.exists() else -1
    if done < 0:
        learner.begin(streams)
        save_state(learner, checkpoint, 0)
        done = 0
    size = min(config.batch_size, len(x))
    batches = len(x) // size
    change = config.augment
    for epoch in range(done, config.epochs):
        own = streams.child("epoch", epoch)
        order = torch.randperm(len(x), generator=own.generator("data"))
        signs, changes = own.generator("update"), own.child("augment").generator("data")
        for synapse in learner.synapses:
            synapse.meter.reset()
        started, totals, correct = time.perf_counter(), [0.0, 0.0, 0.0], 0
        for batch in range(batches):
            index = order[batch * size : (batch + 1) * size]
            images = x[index]
            if change.flip or change.crop_padding:
                images = augment(images, changes, **change.model_dump())
            stats = learner.step(images, labels[index], config.rate_factor(epoch + batch / batches), signs)
            if not math.isfinite(stats.cost):
                raise WorkError(
                    f"training diverged in epoch {epoch + 1}, batch {batch + 1}: the cost is {stats.cost}; "
                    f"try {config.cure}"
                )
            correct += stats.correct
            for i, value in enumerate((stats.cost, stats.unsettled_share, stats.residual)):
                totals[i] += value / batches
        # Told before it is kept: after a crash in between, the epoch is run and told again, never lost.
        on_epoch(
            Epoch(
                epoch=epoch + 1,
                cost=totals[0],
                accuracy_train=correct / (batches * size),
                unsettled_share=totals[1],
                residual=totals[2],
                rates=[rate * config.rate_factor(epoch) for rate in config.rates],
                k_mean=[synapse.meter.k_mean for synapse in learner.synapses],
                k_max=[synapse.meter.k_max for synapse in learner.synapses],
                k_limit=[synapse.meter.k_limit for synapse in learner.synapses],
                seconds=time.perf_counter() - started,
            )
        )
        save_state(learner, checkpoint, epoch + 1)


def save_state(of: Stateful, path: Path, epoch: int) -> None:
    """Write all that has to be remembered, generators included, replacing the file as a whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in of.state_dict().items()}
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata={"epoch": str(epoch)})
        except SafetensorError as error:
            raise WorkError(f"{path}: could not be written ({error})") from error


def load_state(of: Stateful, path: Path) -> int:
    """Take over a saved state; the epochs it holds. WorkError for a file that is not one of this network's."""
    try:
        with safe_open(path, framework="pt") as file:
            epoch = int(file.metadata()["epoch"])
            of.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise WorkError(f"{path}: not a saved state of this network ({error}); remove it to start anew") from error
    return epoch


def as_record(epoch: Epoch) -> dict[str, Any]:
    """An epoch as a record of ``metrics.jsonl``."""
    return asdict(epoch)


def layer_names(net: LayeredHopfield) -> Sequence[str]:
    """A name for each of ``net.synapses``: layer0.weight, layer0.bias, layer1.weight, ..."""
    return [f"layer{i}.{part}" for i, link in enumerate(net.links) for part in ("weight", "bias")[: len(link.synapses)]]
