"""What of an update reaches the devices: pulses sent for each that counts, and how close it comes to the exact one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.composite import arrays_of
from hwsim.crossbar.non_negative import Centred
from hwsim.crossbar.synapse import Synapse
from hwsim.crossbar.updates.normalised import NormalisedUpdates
from hwsim.crossbar.updates.pull import held_weight
from hwsim.crossbar.updates.pulsed import layers_of, mean_granularity
from hwsim.ebm.network import Network

Step = Callable[[Network, Tensor, Tensor, torch.Generator], object]
"""(network, images, labels, generator): one training step, which changes the network's arrays."""


@dataclass(frozen=True)
class UpdateQuality:
    """Of one array, over the first steps of a training.

    Attributes:
        layer: the array's name.
        sent_pulses, net_pulses: a cross-point and step; those sent, and those that the exact update of the same images
            on the same weights, reads without noise, is worth.
        pulses_a_sample: expected at the strongest cross-point of a row, the mean of each call's largest.
        pull: share of its weight that a device loses by a pulse.
        held_weight: the largest weight that can be held against the pull at this ratio; infinite without one.
        largest_weight: of those that the array holds; like ``held_weight`` it counts from ``centre``.
        centre: the weight that pulses pull to, the mean of the devices; 0 unless they stand for conductances.
        cosine: between all that was written and all that should have been.
        signal_to_noise: the part of what was written along the exact update, over the rest.
    """

    layer: str
    sent_pulses: float
    net_pulses: float
    pulses_a_sample: float
    pull: float
    held_weight: float
    largest_weight: float
    cosine: float
    signal_to_noise: float
    centre: float = 0.0

    @property
    def rho(self) -> float:
        """Pulses sent for each that counts."""
        return self.sent_pulses / self.net_pulses if self.net_pulses else math.inf if self.sent_pulses else 0.0


def update_quality(
    net: Network,
    step: Step,
    batches: Sequence[tuple[Tensor, Tensor]],
    names: Sequence[str],
    pull: float,
    rng: torch.Generator,
) -> list[UpdateQuality]:
    """Train ``net`` by a step a batch and compare with the same steps in float; arrays without pulses are left out.

    Args:
        net: is changed; give one that nothing else uses.
        names: of ``net.synapses``.
        pull: see ``pull_per_pulse``.
    """
    pulsed = [i for i, synapse in enumerate(net.synapses) if mean_granularity(synapse)]
    for index in pulsed:
        net.synapses[index].meter.reset()
    start = net.weights()
    exact, net_sizes = [torch.zeros_like(weight) for weight in start], [0.0] * len(start)
    for x, labels in batches:
        before, twin, signs = net.weights(), net.float_twin(), rng.get_state()
        step(twin, x, labels, rng)
        rng.set_state(signs)  # the same random signs for both
        step(net, x, labels, rng)
        for index, weight in enumerate(twin.weights()):
            change = (weight - before[index]) * _rate_factor(net.synapses[index])
            exact[index] += change
            net_sizes[index] += float(change.abs().mean())
    after = net.weights()
    return [
        _quality(names[i], net.synapses[i], after[i], after[i] - start[i], exact[i], net_sizes[i], len(batches), pull)
        for i in pulsed
    ]


def _quality(
    name: str, synapse: Synapse, weight: Tensor, written: Tensor, exact: Tensor, size: float, steps: int, pull: float
) -> UpdateQuality:
    devices = sum(array.shape[0] * array.shape[1] for array in arrays_of(synapse))
    pulse = mean_granularity(synapse)
    sent, net = synapse.meter.pulses / devices / steps, size / pulse / steps
    along = float((written * exact).sum())
    cosine = along / max(float(written.norm() * exact.norm()), 1e-30)
    rest = math.sqrt(max(1 - cosine**2, 1e-12))
    conductances = [layer for layer in layers_of(synapse) if isinstance(layer, Centred)]
    from_centre = [(layer.weight() - layer.centre).abs().max() for layer in conductances] or [weight.abs().max()]
    centre = sum(float(layer.centre.sum()) for layer in conductances) / devices
    return UpdateQuality(
        layer=name,
        sent_pulses=sent,
        net_pulses=net,
        pulses_a_sample=synapse.meter.k_mean,
        pull=pull,
        held_weight=held_weight(pulse, pull, sent / net) if net else math.inf,
        largest_weight=float(torch.stack(from_centre).max()),
        cosine=cosine,
        signal_to_noise=abs(cosine) / rest,
        centre=centre,
    )


def _rate_factor(synapse: Synapse) -> float:
    """What rates in pulses made of the last rate."""
    return math.prod(layer.rate_factor for layer in layers_of(synapse) if isinstance(layer, NormalisedUpdates))
