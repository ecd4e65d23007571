"""Adversarial training by any learning rule: the rule learns from images that an attack just moved (AdvEP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase
from hwsim.learning.equilibrium_gradients import Equilibrium
from hwsim.learning.gradient_ways import Truncated
from hwsim.learning.rule import LearningRule, StepStats
from hwsim.robustness.attacks import Attack
from hwsim.robustness.classifier import EquilibriumClassifier
from hwsim.robustness.suite import Pgd
from hwsim.robustness.threat import Threat


@dataclass(frozen=True)
class Adversarial:
    """Another rule, on moved images (Madry et al. 2018).

    The attack differentiates the noise-free twin with the weights that the arrays hold at this step, or with
    ``on_device`` the network on its arrays. The statistics are those of the moved images.

    Attributes:
        share: of each batch's images that are moved, in [0, 1]; the others stay clean.
        through: the gradient; a few truncated steps cost little and climb nearly as far.
    """

    rule: LearningRule
    threat: Threat
    attack: Attack = field(default_factory=lambda: Pgd(7, loss="ce"))
    share: float = 1.0
    through: Equilibrium = field(default_factory=lambda: Truncated(5, Phase(20)))
    on_device: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Adversarial.share: expected a number in [0, 1], got {self.share}")

    def step(
        self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
    ) -> StepStats:
        moved = x.clone()
        count = round(self.share * len(x))
        if count:
            attacked = EquilibriumClassifier(net if self.on_device else net.float_twin(), through=self.through)
            moved[:count] = self.attack(attacked, x[:count], labels[:count], self.threat, rng)
        return self.rule.step(net, cost, moved, labels, rates, rng)
