"""What attacks and checks take, counted in passes: gradients and queries of an image, before any is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack
from hwsim.robustness.checks.strength import price
from hwsim.robustness.library import Ead, Fab, FmnL0, HopSkipJump, Square
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.suite import Fgsm, Fmn, Pgd, RandomSearch, Transfer


@dataclass(frozen=True)
class Passes:
    """Of one image.

    Attributes:
        gradients, queries: where the image stays to the end.
        leaves: "climb" or "search" where an image leaves when it is fooled, by gradients or by queries; "" where all
            stay.
        first: passes that an image takes even so.
    """

    gradients: float
    queries: float
    leaves: str = ""
    first: float = 10.0

    @property
    def first_share(self) -> float:
        """Share of the passes that all images take."""
        most = max(self.gradients, self.queries)
        return min(1.0, self.first / most) if most and self.leaves else 1.0


def passes_of(attack: Attack, classes: int) -> Passes:
    """What an attack takes; of one that is not ours, a hundred gradients."""
    wrong = classes - 1
    match attack:
        case Pgd():
            leaves = "climb" if attack.stop_when_fooled else ""
            return Passes(attack.steps * attack.restarts, attack.restarts, leaves)
        case Apgd():
            targets = min(attack.targets, wrong) if attack.loss == "targeted" else 1
            steps = (attack.steps + 1) * attack.restarts * targets
            return Passes(steps, 0, "climb" if attack.stop_when_fooled else "")
        case Fab():
            # It takes all steps towards a class; untargeted it differentiates every class in each.
            runs = attack.restarts * (min(attack.targets, wrong) if attack.targeted else 1)
            each = attack.steps * (1 if attack.targeted else classes)
            return Passes(each * runs, (attack.steps + 3) * runs, "climb", each)
        case Square():
            return Passes(0, attack.queries * attack.restarts, "search")
        case SparseRs():
            return Passes(0, attack.queries, "search")
        case RandomSearch():
            return Passes(0, attack.draws)
        case Fgsm():
            return Passes(1, 0)
        case Fmn():
            return Passes(attack.steps, attack.steps)
        case FmnL0():
            return Passes(attack.steps, attack.steps)
        case Ead():
            return Passes(attack.steps * attack.searches, attack.steps * attack.searches)
        case HopSkipJump():
            # A hundred queries times the root of the step for each direction, and a line search.
            return Passes(0, sum(100 * step**0.5 + 25 for step in range(1, attack.steps + 1)))
        case Transfer():
            return passes_of(attack.attack, classes)
        case _:
            return Passes(100, 0)


def passes_of_checks(attacks: Sequence[Attack], classes: int, queries: int, noisy: bool) -> Passes:
    """What ``unmask`` takes beside attacks of this kind: the probe eleven times, and weaker attackers once.

    The probe: as requested and by three other gradients, at a huge budget, at three budgets, of its steps and of twice
    as many; where gradients are averages over draws, over one and four times the draws, too.
    """
    white = [attack for attack in attacks if attack.white_box]
    probe = passes_of(min(white, key=price), classes) if white else Passes(0, 0)
    times = 16 if noisy else 11
    gradients, others = times * probe.gradients + 50, times * probe.queries + 150 + queries
    return Passes(gradients, others, probe.leaves, probe.first_share * max(gradients, others))
