"""Noisy hardware: gradients averaged over draws, and verdicts on draws that the attacker never saw.

An attack's own verdict on a noisy model is a lucky draw in either direction and is never reported: images are
frozen, then judged again. Programming noise is fixed on a chip (one classifier an instance), read noise is drawn
anew at every forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.errors import InputError
from hwsim.robustness.classifier import Classifier, correct

KNOWLEDGE = ("nothing", "float-weights", "conductances", "device")
"""What an attacker knows: no weights (queries or another model only), those trained in float, what the arrays of
this chip hold, or the chip itself, on which reads and transpose reads can be run."""


def attacked_net(knowledge: str, device: LayeredHopfield, trained: LayeredHopfield) -> LayeredHopfield:
    """The network that a white-box attacker of this knowledge differentiates.

    Args:
        device: the network on the arrays that will judge.
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
        instances: one classifier to attack this very chip, or several to attack a chip not yet made.
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
        return torch.stack([one.logits(x) for one in self._each()]).mean(0)

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return torch.stack([one.differentiable(x) for one in self._each()]).mean(0)

    def _each(self) -> list[Classifier]:
        return [one for one in self.instances for _ in range(self.draws if one.noisy else 1)]


@dataclass(frozen=True)
class Verdict:
    """Frozen images judged on unseen draws. ``hits`` (instances, draws, B) bool: was the label found?"""

    hits: Tensor

    @property
    def share(self) -> Tensor:
        """(B,) share of the draws that found each image's label, over all instances."""
        return self.hits.double().mean((0, 1))

    @property
    def accuracy(self) -> float:
        """Mean over instances, draws and images."""
        return self.hits.double().mean().item()

    @property
    def spread(self) -> float:
        """Standard deviation of the accuracy over instances and draws; 0 for a single one."""
        single = self.hits.double().mean(2).flatten()
        return single.std().item() if len(single) > 1 else 0.0

    @property
    def majority(self) -> float:
        """Accuracy of the vote "was the label found in more than half of the draws", over all instances."""
        return (self.share > 0.5).double().mean().item()


def judge_on_fresh_draws(
    instances: Sequence[Classifier], x_adv: Tensor, y: Tensor, draws: int = 20, batch: int = 1000
) -> Verdict:
    """Judge frozen images on every instance, ``draws`` times where it is noisy and once where it is not.

    Each instance goes on with its own read noise: its generator must not be the one that an attack drew from.
    """
    if not instances or draws < 1:
        raise InputError(f"judge: expected an instance and a draw at least, got {len(instances)} and {draws}")
    times = draws if any(one.noisy for one in instances) else 1
    hits = []
    for one in instances:
        seen = torch.stack([correct(one, x_adv, y, batch) for _ in range(times if one.noisy else 1)])
        hits.append(seen.expand(times, -1))
    return Verdict(torch.stack(hits))
