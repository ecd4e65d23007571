"""Networks as every job and measurement gets them: trained in float or on a device, programmed onto one, deployed."""

from __future__ import annotations

from pathlib import Path

from hwsim.cards.build import hardware, network
from hwsim.cards.model import ModelConfig
from hwsim.cards.network import EnergyConfig
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.synapse import Device
from hwsim.data.dataset import Dataset
from hwsim.ebm.network import Network
from hwsim.experiments.training.learners import EquilibriumModel
from hwsim.experiments.training.resume import OnEpoch, train
from hwsim.experiments.update_quality import with_ratios
from hwsim.jobs.checkpoint import load_state, save_state
from hwsim.rng import Streams


def trained(
    model: ModelConfig,
    device: Device,
    recipe: LearningConfig,
    data: Dataset,
    streams: Streams,
    *,
    instance: Streams | None = None,
    source: Network | None = None,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    ratios: bool = False,
) -> Network:
    """The model trained on a device by a recipe.

    Args:
        streams: initial weights and order of examples; equal ones pair trainings on different devices.
        instance: of the devices themselves, by default ``streams``.
        source: whose weights the training begins with, in place of initial ones.
        checkpoint, on_epoch: see ``train``.
        ratios: epochs come with the pulses sent for each that counts (``with_ratios``).

    Raises WorkError where the training diverges.
    """
    net = network(model.energy, hardware(device, recipe), instance or streams, momentum=recipe.momentum)
    learner = EquilibriumModel(net, model.energy, recipe, model.inference, source.weights() if source else None)
    if ratios and on_epoch is not None:
        told, measured = on_epoch, with_ratios(model, device, recipe, data.train, streams)
        on_epoch = lambda epoch, seconds: told(measured(net, epoch), seconds)  # noqa: E731 - two words of glue
    train(learner, recipe, data.train, streams, checkpoint=checkpoint, on_epoch=on_epoch)
    return net


def float_device(model: ModelConfig) -> Device:
    """What the model's own recipe trains on: exact arithmetic with its momentum and weight decay."""
    recipe = model.settled_learning
    return FloatDevice(recipe.momentum, recipe.weight_decay)


def programmed(
    config: EnergyConfig, device: Device, source: Network, streams: Streams, *, state: Path | None = None
) -> Network:
    """A network on a new instance of the device, programmed with the weights of ``source``.

    ``state``: a file that keeps what was programmed; what it holds is taken over.
    """
    net = network(config, device, streams)
    if state is not None and state.exists():
        load_state(net, state)
    else:
        net.program(source.weights())
        if state is not None:
            save_state(net, state, 0)
    return net


def deployed(
    config: EnergyConfig, device: Device, source: Network, streams: Streams, *, state: Path | None = None
) -> Network:
    """What predicts after a training on a device: ``source`` itself where its arrays were updated in situ.

    Where training was hardware-aware, under the device's reads but in digital, it is a new instance programmed with
    the result.
    """
    if device.trains == "hardware-aware":
        return programmed(config, device, source, streams, state=state)
    return source
