"""A soft-bounds memristor: what one pulse does to the conductance g, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim import BaseCell


@dataclass(frozen=True)
class SoftBounds(BaseCell):
    """A step is proportional to the distance from the bound that it moves to (Fusi & Abbott, Nat. Neurosci. 2007).

    Every field is a parameter of the YAML file. A field with a twin ``<field>_dtod`` is drawn for each cross-point
    with that relative spread; ``dw_min``, ``w_max`` and ``w_min`` have theirs in ``BaseCell``.
    """

    asymmetry: float = 0.0

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        """(post, pre) -> (post, pre): mean change of g by one pulse. The base class adds noise and keeps the bounds."""
        del rng  # for noise of another kind than from pulse to pulse
        if up:
            return self.dw_min * (1 + self.asymmetry) * (1 - g / self.w_max)
        return -self.dw_min * (1 - self.asymmetry) * (1 - g / self.w_min)
