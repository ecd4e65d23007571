"""Pulses sent for each that counts, and how close an update comes, on updates whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from update_cells import STEP, SYMMETRIC, rows

from hwsim.crossbar.synapse import Device
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.crossbar.updates.normalised import NormalisedDevice
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.network import Network
from hwsim.learning.update_quality import UpdateQuality, update_quality
from hwsim.rng import Streams

MEAN = replace(SYMMETRIC, pulses="mean")
PULL = 1e-3


def quality(device: Device, steps: int = 3, noise: float = 0.0) -> UpdateQuality:
    """Rows u and then -4/5 u: 1.8 units are sent for each .2 that stays. ``noise`` reaches the devices alone."""
    net = layered_hopfield([6, 5], device, Streams(0))
    net.program([torch.zeros(5, 6), torch.zeros(5, 1)])

    def step(net: Network, pre: Tensor, post: Tensor, rng: torch.Generator) -> None:
        synapse = net.synapses[0]
        wrong = torch.randn(2, 5, generator=rng) * noise * synapse.noisy
        synapse.update(torch.cat([pre, pre]), torch.cat([post, -0.8 * post]) + wrong, 0.02)
        net.tick()

    batches = [(rows(1, 6, i), rows(1, 5, i + 9)) for i in range(steps)]
    (only,) = update_quality(net, step, batches, ["array", "bias"], PULL, torch.Generator().manual_seed(0))
    return only


def test_traffic_that_cancels_is_seen() -> None:
    found = quality(MEAN)
    exact = torch.stack([0.2 * 0.02 * (rows(1, 5, i + 9).T @ rows(1, 6, i)).abs().mean() for i in range(3)]).mean()
    assert found.layer == "array"
    assert found.net_pulses == pytest.approx(float(exact) / STEP, rel=1e-4)
    assert found.rho == pytest.approx(1.8 / 0.2, rel=1e-4)
    assert found.held_weight == pytest.approx(STEP / (PULL * 9), rel=1e-3)
    assert found.cosine == pytest.approx(1.0, abs=1e-4)


def test_a_ratio_does_not_depend_on_the_rate() -> None:
    assert quality(NormalisedDevice(MEAN, 3.0)).rho == pytest.approx(9, rel=1e-3)


def test_a_digital_sum_sends_what_counts_alone() -> None:
    fine = replace(MEAN, desired_bl=1000, cell=replace(MEAN.cell, dw_min=1e-5))  # type: ignore[type-var]
    found = quality(AccumulatedDevice(fine))
    assert found.rho == pytest.approx(1, abs=0.05)
    assert found.cosine > 0.99


def test_what_is_not_the_update_is_noise() -> None:
    found = quality(replace(MEAN, forward=replace(MEAN.forward, out_noise=1e-9)), noise=0.2)
    assert 0 < found.cosine < 0.9
    assert found.signal_to_noise == pytest.approx(found.cosine / (1 - found.cosine**2) ** 0.5)
