"""What images are measured under: one word for a clean image, a corruption, noise or a budget of an attack."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hwsim.rng import Streams
from hwsim.robustness.corruptions.corruptions import corrupt, input_noise, salt_and_pepper

KINDS = {
    "": "clean",
    "severity": "corruption",
    "sigma": "input-noise",
    "share": "salt-and-pepper",
    "epsilon": "attack",
}
"""Unit of a level -> kind of the condition."""


@dataclass(frozen=True)
class Condition:
    """A condition by its name.

    Attributes:
        level: a severity, a noise's sigma or a budget in pixel units, or a share of pixel values; 0 when clean.
        unit: of the level, a key of ``KINDS``.
    """

    name: str
    level: float = 0.0
    unit: str = ""

    @property
    def kind(self) -> str:
        return KINDS[self.unit]

    def __str__(self) -> str:
        return f"{self.name} {self.level:g}" if self.unit else self.name


CLEAN = Condition("clean")


def corrupted(x: Tensor, condition: Condition, streams: Streams) -> Tensor:
    """Images (N, C, H, W) in [0, 1] under any condition but an attack, which needs a model as well."""
    if condition.kind == "clean":
        return x
    rng = streams.generator("corruption")
    if condition.kind == "input-noise":
        return input_noise(x, condition.level, rng)
    if condition.kind == "salt-and-pepper":
        return salt_and_pepper(x, condition.level, rng)
    assert condition.kind == "corruption", condition
    return corrupt(condition.name, x, int(condition.level), rng)
