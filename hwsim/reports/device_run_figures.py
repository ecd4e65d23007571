"""The figures of a run, by the section of its page that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from hwsim.experiments.device_run.caveats import described
from hwsim.experiments.device_run.gallery import galleries
from hwsim.experiments.device_run.job import COPIED
from hwsim.experiments.device_run.results import Record, Run
from hwsim.reports.arrays import crossbars, histograms, of_kind, read_arrays
from hwsim.reports.endurance import endurance
from hwsim.reports.gallery import draw as draw_gallery
from hwsim.reports.plotting import Figure, LineStyles, accuracy_axis, curve, label_values, legend, line_style, panels
from hwsim.reports.update_ratios import update_ratios
from hwsim.stats.interval import Interval

LEVEL_NAMES = {
    "severity": "severity (1 to 5)",
    "sigma": "noise σ (pixel units)",
    "epsilon": "attack budget ε (pixel units)",
}


def draw(run: Run, summary: Record) -> dict[str, list[Figure]]:
    """Every figure that the run has data for, by section; call it under ``plotting.STYLE``."""
    styles = {case: line_style(i) for i, case in enumerate(summary["cases"])}
    attacks = [c for c in summary["conditions"] if c["level_unit"] == "epsilon"]
    others = [c for c in summary["conditions"] if c["level_unit"] not in ("", "epsilon")]
    budgets = [(c["name"], level) for c in attacks for level in c["levels"]]
    learned = [case for case in summary["cases"] if case != COPIED]
    attacked = [draw_gallery(kept, case) for case, kept in galleries(run.folder, learned, budgets)]
    return {
        "accuracy": [_robustness("robustness", others, summary, styles)] if others else [],
        "attacks": ([_robustness("attacks", attacks, summary, styles)] if attacks else []) + attacked,
        "learning": [figure for figure in (_learning(run, summary, styles), update_ratios(run)) if figure]
        if run.training
        else [],
        "diagnostics": [_relaxation(run, summary, styles)] if run.relaxation else [],
        "circuit": [_node_voltages(run)] if run.circuits else [],
        "arrays": list(_arrays(run, styles)),
    }


def _node_voltages(run: Run) -> Figure:
    """Every node of every layer at rest, image by image, of the first and the last case."""
    cases = {r.case: r for r in reversed(run.circuits) if r.repeat == 0}
    shown = [cases[name] for name in dict.fromkeys((run.circuits[0].case, run.circuits[-1].case)) if name in cases]
    layers = [(r.case, i, np.array(volts)) for r in shown for i, volts in enumerate(r.node_voltages_V)]
    largest = max(float(np.abs(volts).max()) for _, _, volts in layers) or 1.0
    across = len(shown[0].node_voltages_V) if shown else 1
    canvas, axes = panels(len(layers), across, 2.4)
    words = []
    for ax, (case, i, volts) in zip(axes, layers, strict=True):
        picture = ax.imshow(volts, vmin=-largest, vmax=largest, cmap="RdBu_r", aspect="auto", interpolation="nearest")
        ax.grid(False)
        ax.set(title=f"{case}, layer {i + 1}", xlabel="node", ylabel="test image")
        bar = canvas.colorbar(picture, ax=ax, pad=0.02)
        bar.set_label("voltage (V)")
        bar.outline.set_visible(False)
        share = float((volts == 0).mean())
        words.append(
            f"{case}, layer {i + 1}: {volts.min():.3g} to {volts.max():.3g} V, {share:.0%} held at 0 V by diodes."
        )
    caption = (
        "Node voltages at rest for the first test images. White nodes are held at 0 V by ideal diodes; the first half "
        "of a hidden layer is kept from below, the rest from above. Of the last layer the second half is subtracted."
    )
    return Figure("node-voltages", f"Node voltages at rest, within {largest:.2g} V", caption, words, canvas)


def _arrays(run: Run, styles: LineStyles) -> Iterator[Figure]:
    arrays = dict(read_arrays(run))
    for kind in ("weight", "conductance"):
        drawn = histograms(kind, of_kind(kind, arrays), styles)
        if drawn is not None:
            yield drawn
    yield from crossbars(of_kind("conductance", arrays))
    worn = endurance(of_kind("pulses", arrays))
    if worn is not None:
        yield worn


def _robustness(name: str, conditions: Sequence[Record], summary: Record, styles: LineStyles) -> Figure:
    across = 3 if len(conditions) in (3, 5, 6) else 2
    canvas, axes = panels(len(conditions), across, 2.7)
    words: list[str] = []
    seen: set[str] = set()
    for ax, condition in zip(axes, conditions, strict=True):
        for case, style in styles.items():
            wanted = (condition["name"], "clean")
            rows = [r for r in summary["accuracy"] if r["case"] == case and r["condition"] in wanted]
            rows.sort(key=lambda r: r["level"])
            if not any(r["condition"] == condition["name"] for r in rows):
                continue
            seen.add(case)
            drawn = curve(ax, [r["level"] for r in rows], [Interval.from_record(r) for r in rows], style)
            words.append(f"{condition['name']}, {case}, by {condition['level_unit']}: {drawn}.")
        accuracy_axis(ax, summary["chance"])
        label_values(ax, [0, *condition["levels"]])
        ax.set(title=condition["name"], xlabel=LEVEL_NAMES.get(condition["level_unit"], condition["level_unit"]))
    for ax in axes[::across]:
        ax.set_ylabel("test accuracy")
    legend(canvas, styles, [case for case in styles if case in seen])
    kind = "attack budget" if name == "attacks" else "corruption and noise"
    guessing = ", the dotted line guessing" if summary["chance"] else ""
    caption = f"Lines are means, bands 95 % intervals; level 0 is the clean test set{guessing}."
    return Figure(name, f"Accuracy against {kind}{_furthest(summary, conditions)}", caption, words, canvas)


def _furthest(summary: Record, conditions: Sequence[Record]) -> str:
    """The largest difference to the reference among these conditions."""
    names = {condition["name"] for condition in conditions}
    apart = [r for r in summary["accuracy"] if r["difference"] and r["condition"] in names]
    if not apart:
        return ""
    row = max(apart, key=lambda r: abs(r["difference"]["mean"]))
    where = described(row["condition"], row["level"], row["level_unit"])
    difference = Interval.from_record(row["difference"]).points
    return f": largest difference to {summary['reference']} {difference} points ({row['case']}, {where})"


def _learning(run: Run, summary: Record, styles: LineStyles) -> Figure:
    canvas, (left, right) = panels(2, 2, 3.0)
    words, validated = [], False
    cases = [case for case in styles if any(r.case == case for r in run.training)]
    for case in cases:
        style = {**styles[case], "linestyle": "-"}
        every = [r for r in run.training if r.case == case]
        epochs = sorted({r.epoch for r in every})
        every_tenth = max(1, len(epochs) // 10)
        for ax, key, extra in (
            (left, "accuracy_train", {}),
            (left, "accuracy_validation", {"linestyle": ":", "markerfacecolor": "white"}),
            (right, "cost", {}),
        ):
            values = [[getattr(r, key) for r in every if r.epoch == e and getattr(r, key) is not None] for e in epochs]
            if not all(values):
                continue
            validated |= key == "accuracy_validation"
            mean = [float(np.mean(v)) for v in values]
            low, high = list(map(min, values)), list(map(max, values))
            ax.fill_between(epochs, low, high, color=style["color"], alpha=0.14, linewidth=0)
            ax.plot(epochs, mean, **{**style, **extra}, markevery=every_tenth)
            form = ".1%" if ax is left else ".3g"
            words.append(
                f"{case}, {key.replace('_', ' ')}: {mean[0]:{form}} in epoch 1, {mean[-1]:{form}} in {epochs[-1]}."
            )
    accuracy_axis(left)
    left.set(title="Accuracy", xlabel="epoch", ylabel="accuracy while training")
    right.set(title="Cost", xlabel="epoch", ylabel="mean cost of a batch (dimensionless)")
    right.set_ylim(bottom=0)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(canvas, styles, cases)
    dotted = "; dotted lines are the validation split" if validated else ""
    caption = f"Training accuracy and cost are taken before each update. Bands span the repeats{dotted}."
    ends = [f"{row['case']} {row['accuracy_train']:.1%}" for row in summary["learning"] if row["accuracy_train"]]
    title = f"Learning curves: training accuracy at the end, {', '.join(ends)}"
    return Figure("learning", title, caption, words, canvas)


def _relaxation(run: Run, summary: Record, styles: LineStyles) -> Figure:
    canvas, (left, right) = panels(2, 2, 3.0)
    words = []
    cases = [case for case in styles if any(r.case == case for r in run.relaxation)]
    for case in cases:
        for ax, key in ((left, "energy"), (right, "residual")):
            curves = [getattr(r, key) for r in run.relaxation if r.case == case and getattr(r, key)]
            length = min(map(len, curves), default=0)
            if not length or any(v is None for c in curves for v in c[:length]):
                continue
            mean = np.mean([c[:length] for c in curves], axis=0)
            ax.plot(range(1, length + 1), mean, **styles[case], markevery=max(1, length // 8))
            words.append(f"{case}, {key}: {mean[0]:.3g} after step 1, {mean[-1]:.3g} after step {length}.")
    left.set(title="Energy", xlabel="step", ylabel="mean energy (dimensionless)")
    right.set(title="Residual", xlabel="step", ylabel="largest change of a unit (log)", yscale="log")
    tolerance = next((row["tolerance"] for row in summary["relaxation"] if row["tolerance"]), None)
    if tolerance:
        right.axhline(tolerance, color="#777777", linewidth=1, linestyle=":")
    legend(canvas, styles, cases)
    dotted = f"; the dotted line is the tolerance, {tolerance:g}" if tolerance else ""
    caption = (
        f"The free phase from rest, mean over test images. A residual that levels off above zero is read noise{dotted}."
    )
    settled = [row["case"] for row in summary["relaxation"] if row["steps_to_tolerance"] is not None]
    title = f"Relaxation to equilibrium: {', '.join(settled) or 'no case'} within tolerance"
    return Figure("relaxation", title, caption, words, canvas)
