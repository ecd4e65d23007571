"""Pictures of results, as matplotlib figures to show, change or save; results themselves know no pictures.

>>> import hwsim as hw
>>> net, test = hw.hopfield([64, 16, 10]), hw.load_data("digits").test[:20]
>>> hw.plot.security(hw.attack(net, test, ["l2:0.2", "l2:0.4"], "fgsm", checks=False)).axes[0].get_xlabel()
'budget ε (pixel units)'
"""

from __future__ import annotations

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.reports import security as curves
from hwsim.reports.plotting import STYLE
from hwsim.robustness.security import AttackResult

__all__ = ["security"]


def security(result: AttackResult) -> Figure:
    """Accuracy against the budget, a line an attack with its 95 % band, a panel a norm.

    The picture is a ``matplotlib.figure.Figure``; ``figure.savefig("security.svg")`` writes it.
    """
    budgets = [
        curves.Budget(
            threat.threat,
            {"clean": threat.clean, **threat.attacks, curves.WORST: threat.worst},
            threat.reported,
        )
        for threat in result.threats
    ]
    with matplotlib.rc_context(STYLE):
        figure = curves.security(budgets).canvas
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    return figure
