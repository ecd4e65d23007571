"""Training a network epoch by epoch, with a checkpoint after each: stopped anywhere, it goes on.

Every epoch draws its own streams (order of the examples, signs of the nudge), so all that a
checkpoint has to keep is the arrays' state. What a resumed training repeats exactly is what the
device's state can hold: everything for float and python cells, see ``AihwDevice.not_exact`` for tiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hwsim.convolution import ConvLayer, conv_hopfield
from hwsim.energy import Cost, CrossEntropy, SquaredError
from hwsim.errors import WorkError
from hwsim.hopfield import LayeredHopfield, Normalise, initial_weights, layered_hopfield
from hwsim.learn import EquilibriumProp, LearningRule
from hwsim.oracle import ExactGradient
from hwsim.rng import Streams
from hwsim.settle import SOLVERS, Phase
from hwsim.study.config import LayeredConfig, LearningConfig, NetworkConfig
from hwsim.study.data import augment
from hwsim.study.store import written_aside
from hwsim.synapse import Device, FloatDevice
from hwsim.twin import TwinDevice

COSTS: dict[str, Cost] = {"squared-error": SquaredError(), "cross-entropy": CrossEntropy()}


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


def network(config: NetworkConfig, device: Device, streams: Streams, *, momentum: float = 0.0) -> LayeredHopfield:
    """The network of a model card with its arrays on ``device`` and digital biases in float."""
    scale = config.normalise and Normalise(tuple(config.normalise.mean), tuple(config.normalise.std))
    common: dict[str, Any] = {"c": config.c, "output": config.output, "start": config.start, "bias": config.bias}
    common |= {"normalise": scale, "bias_device": FloatDevice(momentum=momentum)}
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
    free = Phase(config.free_steps, config.average_last, config.tolerance)
    if config.rule == "exact-gradient":
        return ExactGradient()
    nudged = Phase(config.nudged_steps, config.average_last, config.tolerance)
    return EquilibriumProp(
        config.beta, config.nudge, free, nudged, solver, config.update_form, hold_input=config.hold_input
    )


def rate_factor(config: LearningConfig, progress: float) -> float:
    """The schedule's factor on all rates; ``progress`` counts epochs, with fractions."""
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress / config.epochs))
    return config.rate_decay ** math.floor(progress) if config.schedule == "exponential" else 1.0


def train(
    net: LayeredHopfield,
    network_config: NetworkConfig,
    config: LearningConfig,
    x: Tensor,
    labels: Tensor,
    streams: Streams,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Train ``net`` in place, from its checkpoint where there is one.

    Args:
        net: freshly built; programmed with initial weights unless the checkpoint says more.
        x, labels: (N, ...) and (N,) training examples.
        checkpoint: a safetensors file, replaced as a whole after every epoch.
        on_epoch: told of each finished epoch; epochs that the checkpoint holds are not told again.
            The last one may be told twice where a run died between telling and keeping it.

    Raises WorkError when the training diverges, naming the epoch and what to try.
    """
    cost, rule = COSTS[network_config.cost], learning_rule(config)
    done = load_state(net, checkpoint) if checkpoint.exists() else -1
    if done < 0:
        net.program(initial_weights(net, network_config.init_gain, streams))
        save_state(net, checkpoint, 0)
        done = 0
    size = min(config.batch_size, len(x))
    batches = len(x) // size
    for epoch in range(done, config.epochs):
        own = streams.child("epoch", epoch)
        order = torch.randperm(len(x), generator=own.generator("data"))
        signs, changes = own.generator("update"), own.child("augment").generator("data")
        for synapse in net.synapses:
            synapse.meter.reset()
        started, totals, correct = time.perf_counter(), [0.0, 0.0, 0.0], 0
        for batch in range(batches):
            index = order[batch * size : (batch + 1) * size]
            factor = rate_factor(config, epoch + batch / batches)
            rates = [rate * factor for rate in config.rates]
            images = x[index]
            if config.augment.flip or config.augment.crop_padding:
                images = augment(images, changes, flip=config.augment.flip, crop_padding=config.augment.crop_padding)
            stats = rule.step(net, cost, images, labels[index], rates, signs)
            if not math.isfinite(stats.cost):
                raise WorkError(
                    f"training diverged in epoch {epoch + 1}, batch {batch + 1}: the cost is {stats.cost}; "
                    f"try smaller learning.rates (now {config.rates}) or a smaller learning.beta (now {config.beta})"
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
                rates=[rate * rate_factor(config, epoch) for rate in config.rates],
                k_mean=[synapse.meter.k_mean for synapse in net.synapses],
                k_max=[synapse.meter.k_max for synapse in net.synapses],
                k_limit=[synapse.meter.k_limit for synapse in net.synapses],
                seconds=time.perf_counter() - started,
            )
        )
        save_state(net, checkpoint, epoch + 1)


def save_state(net: LayeredHopfield, path: Path, epoch: int) -> None:
    """Write the state of every array, generators included, replacing the file as a whole."""
    tensors = {f"{i}.{name}": t.contiguous() for i, s in enumerate(net.synapses) for name, t in s.state_dict().items()}
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata={"epoch": str(epoch)})
        except SafetensorError as error:
            raise WorkError(f"{path}: could not be written ({error})") from error


def load_state(net: LayeredHopfield, path: Path) -> int:
    """Take over a saved state; the epochs it holds. WorkError for a file that is not one of this network's."""
    states: list[dict[str, Tensor]] = [{} for _ in net.synapses]
    try:
        with safe_open(path, framework="pt") as file:
            epoch = int(file.metadata()["epoch"])
            for key in file.keys():  # noqa: SIM118 - not a mapping
                index, _, name = key.partition(".")
                states[int(index)][name] = file.get_tensor(key)
        for synapse, state in zip(net.synapses, states, strict=True):
            synapse.load_state_dict(state)
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise WorkError(f"{path}: not a saved state of this network ({error}); remove it to start anew") from error
    return epoch


def as_record(epoch: Epoch) -> dict[str, Any]:
    """An epoch as a record of ``metrics.jsonl``."""
    return asdict(epoch)


def layer_names(net: LayeredHopfield) -> Sequence[str]:
    """A name for each of ``net.synapses``: layer0.weight, layer0.bias, layer1.weight, ..."""
    return [f"layer{i}.{part}" for i, link in enumerate(net.links) for part in ("weight", "bias")[: len(link.synapses)]]
