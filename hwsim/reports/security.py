"""The security curve: accuracy against the budget of an attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from hwsim.reports.plotting import PERCENT, Figure, accuracy_axis, curve, forest, label_values, line_style, panels
from hwsim.robustness.threat import Threat
from hwsim.stats.interval import Interval

WORST = "worst case per image"


@dataclass(frozen=True)
class Budget:
    """What is left under one budget.

    Attributes:
        attacks: accuracy by name: "clean", every attack, and ``WORST``.
        reported: the one to report.
        age: since the devices were programmed, in words.
    """

    threat: Threat
    attacks: dict[str, Interval]
    reported: Interval
    age: str | None = None

    @property
    def name(self) -> str:
        return str(self.threat) + (f", {self.age} after programming" if self.age else "")


def security(budgets: Sequence[Budget]) -> Figure:
    """Accuracy against the budget, a panel for each norm and age; a single budget is a list of attacks."""
    kinds: dict[tuple[str, str | None], dict[float, Budget]] = {}
    for budget in budgets:
        kinds.setdefault((budget.threat.norm, budget.age), {})[budget.threat.epsilon] = budget
    lines = max(len(budget.attacks) for budget in budgets)
    canvas, axes = panels(len(kinds), 2, max(3.4, 0.3 * lines))
    words = []
    for ax, ((norm, age), own) in zip(axes, kinds.items(), strict=True):
        where = norm + (f", {age} after programming" if age else "")
        draw = _curves if len(own) > 1 else _single
        words += [f"{where}, {sentence}" for sentence in draw(ax, dict(sorted(own.items())), norm)]
        ax.set_title(where)
    labelled = [ax for ax in axes if ax.get_legend_handles_labels()[0]]
    if labelled:
        labelled[0].legend(loc="lower left", fontsize=8)
    last = budgets[-1]
    title = f"Accuracy under attack: {last.reported.percent} to report at {last.name}"
    caption = "Means over all images with 95 % intervals; budget 0 is the clean test set."
    return Figure("security", title, caption, words, canvas)


def _curves(ax: Axes, budgets: dict[float, Budget], norm: str) -> list[str]:
    x = [0.0, *budgets]
    rows = [budget.attacks for budget in budgets.values()]
    names = dict.fromkeys(name for row in rows for name in row if name != "clean")
    words = []
    for i, name in enumerate(names):
        intervals = [rows[0]["clean"], *(row.get(name, row[WORST]) for row in rows)]
        style = line_style(i)
        words.append(f"{name}, by budget: {curve(ax, x, intervals, style)}.")
        ax.plot([], [], label=name, **style)
    accuracy_axis(ax)
    label_values(ax, x)
    ax.set(xlabel=f"budget ε ({'changed pixels' if norm == 'l0' else 'pixel units'})", ylabel="accuracy")
    return words


def _single(ax: Axes, budgets: dict[float, Budget], norm: str) -> list[str]:
    ((epsilon, budget),) = budgets.items()
    rows = budget.attacks
    forest(ax, list(rows), list(rows.values()))
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_xlabel(f"accuracy at budget ε = {epsilon:.3g}")
    return [f"budget {epsilon:.3g}, {name}: {interval.percent_with_range}." for name, interval in rows.items()]
