"""Does a network that relaxes still relax on attacked images?"""

from __future__ import annotations

from torch import Tensor

from hwsim.ebm.settle import Settled
from hwsim.robustness.checks.check import Check
from hwsim.robustness.classifier import EquilibriumClassifier


def settles_under_attack(classifier: EquilibriumClassifier, clean: Tensor, moved: Tensor, limit: float = 0.05) -> Check:
    """How relaxations end on attacked images, beside the untouched ones (Yang, Pang and Liu 2022)."""
    before, after = classifier.relaxed(clean)[1], classifier.relaxed(moved)[1]
    return Check(
        "settled under attack",
        after.unsettled_share <= limit,
        f"{after.unsettled_share:.1%} of the attacked images have not settled, {before.unsettled_share:.1%} of the "
        f"clean ones; {_pace(after)}, clean {_pace(before)} (tolerance {limit:.0%}).",
        "Their prediction depends on when it is read; relax longer, or say that it is read early.",
    )


def _pace(settled: Settled) -> str:
    steps, residual = settled.steps.double(), settled.residual.double()
    return f"{steps.mean().item():.1f} steps, residual {residual.median().item():.1e} at the median"
