"""The attacks by name, each a value to be handed to ``attack`` and ``evaluate``; nothing else belongs here.

>>> import hwsim as hw
>>> net, test = hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:20]
>>> list(hw.attack(net, test, "linf:0.1", [hw.attacks.Pgd(3), hw.attacks.Square(20)], checks=False).reported)
['linf:0.1']
"""

from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack
from hwsim.robustness.library import Ead, Fab, FmnL0, HopSkipJump, Square
from hwsim.robustness.sparse import SparseRs
from hwsim.robustness.suite import PRESETS, Fgsm, Fmn, Pgd, RandomSearch, Transfer, attacks_named

__all__ = [
    "PRESETS",
    "Apgd",
    "Attack",
    "Ead",
    "Fab",
    "Fgsm",
    "Fmn",
    "FmnL0",
    "HopSkipJump",
    "Pgd",
    "RandomSearch",
    "SparseRs",
    "Square",
    "Transfer",
    "attacks_named",
]
