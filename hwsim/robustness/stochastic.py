"""Attacks on noisy hardware: what an attacker knows of a device, and scores averaged over draws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.robustness.classifier import Classifier, reseed

KNOWLEDGE = ("nothing", "float-weights", "conductances", "device")
"""What an attacker knows: no weights (queries or another model only), those trained in float, what the arrays of
this instance hold, or the instance itself, on which reads and transpose reads can be run."""


def attacked_net(knowledge: str, device: Network, trained: Network) -> Network:
    """The network that a white-box attacker of this knowledge differentiates.

    Args:
        device: the network on the arrays that will classify.
        trained: the float network that was programmed onto them.

    Raises InputError for an unknown level, and for "nothing", which allows no gradient of either.
    """
    if knowledge == "nothing":
        raise InputError("attacker's knowledge 'nothing': attack by queries or by transfer from another model")
    known = {"float-weights": lambda: trained, "conductances": device.float_twin, "device": lambda: device}
    if knowledge not in known:
        raise InputError(f"attacker's knowledge: expected one of {', '.join(KNOWLEDGE)}, got {knowledge!r}")
    return known[knowledge]()


@dataclass(frozen=True)
class OverDraws:
    """Expectation over transformation (Athalye et al. 2018): scores averaged over noise draws and instances.

    Attributes:
        instances: one classifier to attack this very device instance, or several to attack one not yet made.
        draws: forward passes of each; grow it until the attack gets no stronger.
    """

    instances: tuple[Classifier, ...]
    draws: int = 10

    def __post_init__(self) -> None:
        if not self.instances or self.draws < 1:
            raise InputError(f"OverDraws: expected an instance and a draw at least, got {self.draws} draws")

    @property
    def classes(self) -> int:
        return self.instances[0].classes

    @property
    def bounds(self) -> tuple[float, float]:
        return self.instances[0].bounds

    @property
    def noisy(self) -> bool:
        return any(instance.noisy for instance in self.instances)

    def logits(self, x: Tensor) -> Tensor:
        return torch.stack([instance.logits(x) for instance in self._each()]).mean(0)

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return torch.stack([instance.differentiable(x) for instance in self._each()]).mean(0)

    def reseed(self, streams: Streams) -> None:
        for i, instance in enumerate(self.instances):
            reseed(instance, streams.child("instance", i))

    def _each(self) -> list[Classifier]:
        return [instance for instance in self.instances for _ in range(self.draws if instance.noisy else 1)]
