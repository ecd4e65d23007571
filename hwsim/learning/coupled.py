"""Coupled learning: outputs are held a little closer to their targets, and every element compares its two energies.

With the free outputs o the clamped state holds them at o + eta (y - o). A conductance with the squared voltage drops
d_free^2 and d_clamped^2 learns

    dG = rate (d_free^2 - d_clamped^2) / (2 eta)

(Stern, Hexner, Rocks and Liu, Phys. Rev. X 11:021045, 2021), and any other energy E by -(dE_clamped - dE_free) / eta.
To hold a voltage takes a current, so the clamped state is that of a nudge by this current: for small eta it is
equilibrium propagation whose pull is weighted by how stiff the network is at its outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hwsim.ebm.energy import Clamped
from hwsim.ebm.settle import Phase, Solver, Synchronous, settle
from hwsim.errors import InputError
from hwsim.learning.ep import UPDATE_FORMS, Contrast, Contrastive, Side


@dataclass(frozen=True)
class CoupledLearning(Contrastive):
    """Coupled learning.

    Attributes:
        eta: share of the way from the free outputs to the targets at which they are held, in (0, 1].
        free, clamped: lengths of the phases; the clamped one starts from the free state.
        update_form, hold_input: see ``EquilibriumProp``.

    Raises ValueError for an eta out of range and for an unknown form; a step raises InputError for a cost that has no
    target in the last layer, such as one behind a readout.

    >>> import hwsim as hw
    >>> rule = hw.CoupledLearning(eta=0.2, solver=hw.OddEven())
    >>> records = hw.train(hw.hopfield([64, 16, 10]), rule, hw.load_data("digits").validation, rates=0.5, epochs=1)
    >>> 0 < records[0].accuracy_train < 1
    True
    """

    eta: float = 0.1
    free: Phase = field(default_factory=lambda: Phase(20))
    clamped: Phase = field(default_factory=lambda: Phase(10))
    solver: Solver = field(default_factory=Synchronous)
    update_form: str = "difference"
    hold_input: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.eta <= 1:
            raise ValueError(f"CoupledLearning.eta: expected a number in (0, 1], got {self.eta}")
        if self.update_form not in UPDATE_FORMS:
            expected = ", ".join(UPDATE_FORMS)
            raise ValueError(f"CoupledLearning.update_form: expected one of {expected}, got {self.update_form!r}")

    def _contrast(self, side: Side, other: Side, target: Tensor, rng: torch.Generator) -> Contrast:
        del rng
        output = side.free.state[-1]
        linear, stiffness = side.cost.bowl(output, target)
        if not stiffness > 0:
            raise InputError("coupled learning: holds the outputs near targets, and this cost is behind a readout")
        held = output + self.eta * (linear / stiffness - output)
        start = (*side.free.state[:-1], held)
        end = settle(Clamped(side.relaxed, held), start, solver=self.solver, phase=self.clamped)
        positive, negative = side.given.couplings(end.state), other.given.couplings(other.free.state)
        return Contrast(positive, negative, self.eta, (end, other.free))
