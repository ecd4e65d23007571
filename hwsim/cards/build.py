"""Training a network epoch by epoch, with a checkpoint after each: stopped anywhere, it goes on.

Every epoch draws its own streams (order of the examples, signs of the nudge), so all that a
checkpoint has to keep is the learner's state. What a resumed training repeats exactly is what the
device's state can hold: everything for float and python cells, see ``AihwDevice.not_exact`` for tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hwsim.cards.network import (
    ConvConfig,
    EnergyConfig,
    LayeredConfig,
    NormaliseConfig,
    PredictiveConfig,
    ResistiveConfig,
)
from hwsim.cards.recipe import AdversarialConfig, LearningConfig
from hwsim.cards.updates import parse_mode
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.non_negative import non_negative
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.gain import GainDevice
from hwsim.crossbar.updates.log import logged
from hwsim.crossbar.updates.normalised import NormalisedDevice
from hwsim.ebm.build import Conv, Layer, layered_hopfield, predictive
from hwsim.ebm.circuit import SOURCES
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network
from hwsim.ebm.normalise import Normalise
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.ebm.settle import SOLVERS, Phase
from hwsim.learning.coupled import CoupledLearning
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.exact import ExactGradient
from hwsim.learning.gradient_ways import Truncated
from hwsim.learning.rule import LearningRule
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


def normalisation(config: NormaliseConfig | None) -> Normalise | None:
    """What a network does to pixels first."""
    return Normalise(tuple(config.mean), tuple(config.std)) if config else None


def network(
    config: EnergyConfig,
    device: Device | Sequence[Device],
    streams: Streams,
    *,
    momentum: float = 0.0,
    place: str = "cpu",
) -> Network:
    """The network of a model card with its arrays on ``device``, one or one a link, and digital biases in float.

    Everything digital is computed at ``place``.
    """
    if isinstance(config, ResistiveConfig):
        return resistive(config, device, streams)
    common: dict[str, Any] = {"c": config.c, "bias": config.bias, "normalise": normalisation(config.normalise)}
    common |= {"bias_device": FloatDevice(momentum, place=place)}
    if isinstance(config, PredictiveConfig):
        return predictive(_image_layers(config), device, streams, **common)
    common |= {"output": config.output, "start": config.start}
    layers = config.layers if isinstance(config, LayeredConfig) else _image_layers(config)
    return layered_hopfield(layers, device, streams, **common)


def _image_layers(config: ConvConfig | PredictiveConfig) -> list[Layer]:
    channels, height, width = config.image
    return [(channels, height, width), *(Conv(**layer.model_dump()) for layer in config.convolutions), *config.dense]


def as_built(config: EnergyConfig, device: Device) -> Device:
    """A device as the arrays of this network have it: as conductances, where the network is a circuit."""
    return non_negative(device, config.conductances) if isinstance(config, ResistiveConfig) else device


def resistive(config: ResistiveConfig, device: Device | Sequence[Device], streams: Streams) -> ResistiveNetwork:
    """The resistive network of a card, each array on its device as conductances."""
    devices = [device] * config.links if isinstance(device, Device) else list(device)
    inputs, *hidden, classes = config.layers
    below, above = [2 * inputs, *hidden], [*hidden, 2 * classes]
    arrays = [
        as_built(config, on).synapse(post, pre + SOURCES, streams.child("layer", layer))
        for layer, (on, post, pre) in enumerate(zip(devices, above, below, strict=True))
    ]
    return ResistiveNetwork(
        arrays,
        amplifier_gain=config.amplifier_gain,
        input_V=config.input_V,
        bias_V=config.bias_V,
        diode=config.diodes,
        unit_uS=config.unit_uS,
    )


def hardware(device: Device, config: LearningConfig) -> Device | list[Device]:
    """What a recipe trains on: arrays that both phases share, or two for every weight, and how they are written to.

    One device for all links, or one a link where the recipe says something of its own for each.
    """
    if config.pulse_log:
        device = logged(device)
    if config.phase_hardware == "twin":
        device = TwinDevice(device)
    if isinstance(config.update, str) and config.rate_pulses is None and not config.gain_rate:
        return parse_mode(config.update).device(device)
    return [_of_link(device, config, link) for link in range(len(config.rates))]


def _of_link(device: Device, config: LearningConfig, link: int) -> Device:
    """The device of one link: its update mode, then its rate in pulses, then its gain."""

    def own(setting: Any) -> Any:
        return setting[link] if isinstance(setting, list) else setting

    device, rate = parse_mode(own(config.update)).device(device), config.rates[link]
    if config.rate_pulses is not None:
        device = NormalisedDevice(device, own(config.rate_pulses) / rate if rate else 0.0)
    gain_rate = own(config.gain_rate)
    if gain_rate:
        device = GainDevice(device, gain_rate / rate if rate else 0.0, config.gain_per)
    return device


def array_shapes(config: EnergyConfig) -> list[tuple[int, int]]:
    """(post, pre) of every link's array, without building one."""
    net = network(config, FloatDevice(place="meta"), Streams(0), place="meta")
    return [link.synapses[0].shape for link in net.links]


def learning_rule(config: LearningConfig, factor: float = 1.0) -> LearningRule:
    """The rule that a recipe names; ``factor`` is the damping where that is auto."""
    solver = SOLVERS[config.solver](factor if config.damping == "auto" else config.damping)
    free = Phase(config.free_steps, config.average_last, config.tolerance, config.stop_early)
    if config.rule == "exact-gradient":
        way = Implicit(replace(free, average_last=1, stop_early=True), ADJOINT, solver)
        rule: LearningRule = ExactGradient(way, config.tolerance)
    else:
        nudged = replace(free, steps=config.nudged_steps)
        form, hold = config.update_form, config.hold_input
        if config.rule == "coupled-learning":
            rule = CoupledLearning(config.eta, free, nudged, solver, form, hold)
        else:
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


def layer_names(net: Network) -> Sequence[str]:
    """A name for each of ``net.synapses``: layer0.weight, layer0.bias, layer1.weight, ..."""
    return [f"layer{i}.{part}" for i, link in enumerate(net.links) for part in ("weight", "bias")[: len(link.synapses)]]
