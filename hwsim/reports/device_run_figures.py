"""The figures of a run, each as SVG and PNG, with a text that tells what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.gallery import galleries
from hwsim.experiments.device_run.results import Record, Run
from hwsim.reports.arrays import crossbars, histograms, of_kind, read_arrays
from hwsim.reports.gallery import draw as draw_gallery
from hwsim.reports.plotting import PERCENT, STYLE, Drawn, Figure, LineStyles, legend, line_style, panels, write_figure

LEVEL_NAMES = {
    "severity": "severity (1 to 5)",
    "sigma": "noise σ (pixel units)",
    "epsilon": "attack budget ε (pixel units)",
}


def write_figures(run: Run, summary: Record) -> list[Figure]:
    """Draw every figure that the run has data for into ``figures/`` of its folder."""
    with matplotlib.rc_context(STYLE):
        return [write_figure(drawn, run.folder / "figures") for drawn in _all(run, summary)]


def _all(run: Run, summary: Record) -> Iterator[Drawn]:
    styles = {case: line_style(i) for i, case in enumerate(summary["cases"])}
    attacks = [c for c in summary["conditions"] if c["level_unit"] == "epsilon"]
    others = [c for c in summary["conditions"] if c["level_unit"] not in ("", "epsilon")]
    if others:
        yield _robustness("robustness", "accuracy", others, summary, styles)
    if attacks:
        yield _robustness("attacks", "attacks", attacks, summary, styles)
    budgets = [(c["name"], level) for c in attacks for level in c["levels"]]
    for case, kept in galleries(run.folder, summary["cases"], budgets):
        yield draw_gallery(kept, case)
    if run.training:
        yield _learning(run, summary, styles)
    if run.relaxation:
        yield _relaxation(run, summary, styles)
    arrays = dict(read_arrays(run))
    for kind in ("weight", "conductance"):
        drawn = histograms(kind, of_kind(kind, arrays), styles)
        if drawn is not None:
            yield drawn
    yield from crossbars(of_kind("conductance", arrays))


def _robustness(name: str, section: str, conditions: Sequence[Record], summary: Record, styles: LineStyles) -> Drawn:
    across = 3 if len(conditions) in (3, 5, 6) else 2
    canvas, axes = panels(len(conditions), across, 2.7)
    told: list[str] = []
    seen: set[str] = set()
    for ax, condition in zip(axes, conditions, strict=True):
        for case, style in styles.items():
            wanted = (condition["name"], "clean")
            rows = [r for r in summary["accuracy"] if r["case"] == case and r["condition"] in wanted]
            rows.sort(key=lambda r: r["level"])
            if not any(r["condition"] == condition["name"] for r in rows):
                continue
            seen.add(case)
            x, mean, low, high = (np.array([r[key] for r in rows]) for key in ("level", "mean", "low", "high"))
            ax.fill_between(x, low, high, color=style["color"], alpha=0.14, linewidth=0)
            ax.plot(x, mean, **style)
            points = "; ".join(f"{r['level']:g}: {r['mean']:.1%} ({r['low']:.1%} to {r['high']:.1%})" for r in rows)
            told.append(f"{condition['name']}, {case}, by {condition['level_unit']}: {points}.")
        _accuracy_axis(ax, summary["chance"])
        if condition["level_unit"] == "severity":
            ax.xaxis.set_major_locator(MultipleLocator(1))
        ax.set(title=condition["name"], xlabel=LEVEL_NAMES.get(condition["level_unit"], condition["level_unit"]))
    for ax in axes[::across]:
        ax.set_ylabel("test accuracy")
    legend(canvas, styles, [case for case in styles if case in seen])
    kind = "attack budget" if name == "attacks" else "corruption and noise"
    apart = [r for r in summary["accuracy"] if r["difference"] and r["condition"] in {c["name"] for c in conditions}]
    title = f"Accuracy against {kind}"
    if apart:
        worst = max(apart, key=lambda r: abs(r["difference"]["mean"]))
        title += (
            f": {worst['case']} is furthest from {summary['reference']}, by {100 * worst['difference']['mean']:+.1f} "
        )
        title += f"points under {described(worst['condition'], worst['level'], worst['level_unit'])}"
    caption = "Lines are means, bands 95 % intervals; level 0 is the clean test set"
    caption += ", the dotted line guessing." if summary["chance"] else "."
    return Drawn(name, section, title, caption, tuple(told), canvas)


def _accuracy_axis(ax: Axes, chance: float | None = None) -> None:
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PERCENT)
    if chance:
        ax.axhline(chance, color="#777777", linewidth=1, linestyle=":")


def _learning(run: Run, summary: Record, styles: LineStyles) -> Drawn:
    canvas, (left, right) = panels(2, 2, 3.0)
    told, validated = [], False
    cases = [case for case in styles if any(r["case"] == case for r in run.training)]
    for case in cases:
        style = {**styles[case], "linestyle": "-"}
        every = [r for r in run.training if r["case"] == case]
        epochs = sorted({r["epoch"] for r in every})
        every_tenth = max(1, len(epochs) // 10)
        for ax, key, extra in (
            (left, "accuracy_train", {}),
            (left, "accuracy_validation", {"linestyle": ":", "markerfacecolor": "white"}),
            (right, "cost", {}),
        ):
            values = [[r[key] for r in every if r["epoch"] == e and r.get(key) is not None] for e in epochs]
            if not all(values):
                continue
            validated |= key == "accuracy_validation"
            mean = [float(np.mean(v)) for v in values]
            ax.fill_between(
                epochs, list(map(min, values)), list(map(max, values)), color=style["color"], alpha=0.14, lw=0
            )
            ax.plot(epochs, mean, **{**style, **extra}, markevery=every_tenth)
            form = ".1%" if ax is left else ".3g"
            told.append(
                f"{case}, {key.replace('_', ' ')}: {mean[0]:{form}} in epoch 1, {mean[-1]:{form}} in {epochs[-1]}."
            )
    _accuracy_axis(left)
    left.set(title="Accuracy", xlabel="epoch", ylabel="accuracy while training")
    right.set(title="Cost", xlabel="epoch", ylabel="mean cost of a batch (dimensionless)")
    right.set_ylim(bottom=0)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(canvas, styles, cases)
    caption = "Training accuracy and cost are taken on the way, before each update. Bands span the repeats"
    caption += "; dotted lines are the validation split." if validated else "."
    ends = [
        f"{row['case']} ends at {row['accuracy_train']:.1%}" for row in summary["learning"] if row["accuracy_train"]
    ]
    title = f"Learning curves: {', '.join(ends)} of the training examples"
    return Drawn("learning", "learning", title, caption, tuple(told), canvas)


def _relaxation(run: Run, summary: Record, styles: LineStyles) -> Drawn:
    canvas, (left, right) = panels(2, 2, 3.0)
    told = []
    cases = [case for case in styles if any(r["case"] == case for r in run.relaxation)]
    for case in cases:
        for ax, key in ((left, "energy"), (right, "residual")):
            curves = [r[key] for r in run.relaxation if r["case"] == case and r.get(key)]
            length = min(map(len, curves), default=0)
            if not length or any(v is None for c in curves for v in c[:length]):
                continue
            mean = np.mean([c[:length] for c in curves], axis=0)
            ax.plot(range(1, length + 1), mean, **styles[case], markevery=max(1, length // 8))
            told.append(f"{case}, {key}: {mean[0]:.3g} after step 1, {mean[-1]:.3g} after step {length}.")
    left.set(title="Energy", xlabel="step", ylabel="mean energy (dimensionless)")
    right.set(title="Residual", xlabel="step", ylabel="largest change of a unit (log)", yscale="log")
    tolerance = next((row["tolerance"] for row in summary["relaxation"] if row["tolerance"]), None)
    if tolerance:
        right.axhline(tolerance, color="#777777", linewidth=1, linestyle=":")
    legend(canvas, styles, cases)
    caption = "The free phase from rest, mean over test images. A residual that levels off above zero is read noise"
    caption += f"; the dotted line is the tolerance, {tolerance:g}." if tolerance else "."
    settled = [row["case"] for row in summary["relaxation"] if row["steps_to_tolerance"] is not None]
    title = f"Relaxation to equilibrium: {', '.join(settled) or 'no case'} within tolerance"
    return Drawn("relaxation", "diagnostics", title, caption, tuple(told), canvas)
