"""How hard pulses pull a device to its symmetry point, and the weight that it can hold against them.

Where up and down steps differ by more the further a device is from its symmetry point, every pulse takes a share of the
weight with it, whichever way it goes (Wu et al. 2025, arXiv 2502.06309). An update that sends rho pulses for each that
counts can hold weights up to pulse / (share x rho): there the pull takes back what the update adds.
"""

from __future__ import annotations

import math

import torch

from hwsim.crossbar.composite import arrays_of
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.updates.pulsed import Pulsed
from hwsim.rng import Streams

SIDE = 32
LEVEL = 0.2
PAIRS = 40
PROBES = 10
_SIGMAS = 4.0


def pull_per_pulse(device: Device, streams: Streams) -> float | None:
    """Share of its weight that a device loses by one pulse, in the mean over both directions.

    None where no pulses move the weight that is read: exact and digital arrays, compounds whose pulses go to another
    device first.
    Measured on a new array of 32 x 32, half of it programmed to +0.2 and half to -0.2 so that what moves both alike
    cancels: 40 pairs of one pulse up and one down. 0 where it is less than four standard errors.
    """
    synapse = device.synapse(SIDE, SIDE, streams)
    array = arrays_of(synapse)[0]
    if not isinstance(array, Pulsed) or array.granularity is None or not torch.as_tensor(array.granularity).any():
        return None
    array.program(torch.zeros(array.shape))
    for _ in range(PROBES):
        array.pulse(torch.ones(array.shape))
    moved = float((array.weight() / torch.as_tensor(array.granularity)).mean()) / PROBES
    if not 0.5 < moved < 2:
        return None
    signs = torch.ones(array.shape)
    signs[::2] = -1
    array.program(LEVEL * signs)
    start = array.weight() * signs
    for _ in range(PAIRS):
        array.pulse(torch.ones(array.shape))
        array.pulse(-torch.ones(array.shape))
    lost = start - array.weight() * signs
    halves = torch.stack([lost[::2].mean(), lost[1::2].mean()])
    error = float(lost.std()) / math.sqrt(lost.numel())
    share = float(halves.mean()) / float(start.mean())
    if share <= _SIGMAS * error / float(start.mean()):
        return 0.0
    return -math.log1p(-min(share, 0.99)) / (2 * PAIRS)  # what is left falls by the same share with every pulse


def held_weight(step: float, pull: float, rho: float) -> float:
    """The largest weight that can be held, for a pulse of ``step``; infinite where nothing pulls."""
    return step / (pull * rho) if pull * rho else math.inf
