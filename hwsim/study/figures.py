"""The figures of a run, each as SVG and PNG, with a text that tells what is in it.

A case has one colour, marker and dash in every figure: Okabe and Ito's palette, safe for colour-blind
readers, and the shapes for those who print in grey. The ground is white, on light and dark pages alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from safetensors import SafetensorError, safe_open

from hwsim.study.caveats import described
from hwsim.study.store import written_aside
from hwsim.study.summary import REFERENCE, Record, Run

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (8, 2)), (0, (2, 2)))
WIDTH_IN = 7.2
PNG_DPI = 200
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g} %")
LEVEL_NAMES = {
    "severity": "severity (1 to 5)",
    "sigma": "noise σ (pixel units)",
    "epsilon": "attack budget ε (pixel units)",
}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "hwsim",  # equal data, equal file
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure: ``name`` is its files' stem, ``section`` the part of a report it belongs to.

    ``caption`` says how to read it, ``text`` states what the data in it are, for those who do not see it.
    """

    name: str
    section: str
    title: str
    caption: str
    text: tuple[str, ...]
    svg: Path
    png: Path


@dataclass(frozen=True)
class _Drawn:
    name: str
    section: str
    title: str
    caption: str
    text: tuple[str, ...]
    canvas: Canvas


def write_figures(run: Run, summary: Record) -> list[Figure]:
    """Draw every figure that the run has data for into ``figures/`` of its folder."""
    folder = run.folder / "figures"
    figures = []
    with matplotlib.rc_context(STYLE):
        for drawn in _all(run, summary):
            svg, png = folder / f"{drawn.name}.svg", folder / f"{drawn.name}.png"
            FigureCanvasAgg(drawn.canvas)
            drawn.canvas.draw_without_rendering()  # lays it out, once for both files
            drawn.canvas.set_layout_engine("none")
            with written_aside(svg) as aside:
                drawn.canvas.savefig(aside, format="svg", metadata={"Date": None})
            with written_aside(png) as aside:
                drawn.canvas.savefig(aside, format="png", dpi=PNG_DPI)
            figures.append(Figure(drawn.name, drawn.section, drawn.title, drawn.caption, drawn.text, svg, png))
    return figures


def _all(run: Run, summary: Record) -> Iterator[_Drawn]:
    styles = {case: _style(i) for i, case in enumerate(summary["cases"])}
    attacks = [c for c in summary["conditions"] if c["level_unit"] == "epsilon"]
    others = [c for c in summary["conditions"] if c["level_unit"] not in ("", "epsilon")]
    if others:
        yield _robustness("robustness", "accuracy", others, summary, styles)
    if attacks:
        yield _robustness("attacks", "attacks", attacks, summary, styles)
    if run.training:
        yield _learning(run, summary, styles)
    if run.relaxation:
        yield _relaxation(run, summary, styles)
    arrays = dict(_arrays(run))
    for kind in ("weight", "conductance"):
        drawn = _histograms(kind, _of_kind(kind, arrays), styles)
        if drawn is not None:
            yield drawn
    yield from _crossbars(_of_kind("conductance", arrays))


def _style(index: int) -> dict[str, Any]:
    i = index % len(COLOURS)
    return {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": DASHES[i]}


def _panels(count: int, across: int, height_in: float) -> tuple[Canvas, list[Axes]]:
    across = min(across, count)
    down = math.ceil(count / across)
    canvas = Canvas(figsize=(WIDTH_IN, height_in * down + 0.45), layout=ConstrainedLayoutEngine(wspace=0.06))
    axes = canvas.subplots(down, across, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.remove()
    return canvas, list(axes[:count])


def _legend(canvas: Canvas, styles: dict[str, dict[str, Any]], cases: Sequence[str]) -> None:
    handles = [Line2D([], [], label=case, **styles[case]) for case in cases]
    canvas.legend(handles=handles, loc="outside upper left", ncols=3 if len(handles) > 4 else 4, handlelength=3)


def _robustness(
    name: str, section: str, conditions: Sequence[Record], summary: Record, styles: dict[str, dict[str, Any]]
) -> _Drawn:
    across = 3 if len(conditions) in (3, 5, 6) else 2
    canvas, axes = _panels(len(conditions), across, 2.7)
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
    _legend(canvas, styles, [case for case in styles if case in seen])
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
    return _Drawn(name, section, title, caption, tuple(told), canvas)


def _accuracy_axis(ax: Axes, chance: float | None = None) -> None:
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PERCENT)
    if chance:
        ax.axhline(chance, color="#777777", linewidth=1, linestyle=":")


def _learning(run: Run, summary: Record, styles: dict[str, dict[str, Any]]) -> _Drawn:
    canvas, (left, right) = _panels(2, 2, 3.0)
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
    _legend(canvas, styles, cases)
    caption = "Training accuracy and cost are taken on the way, before each update. Bands span the repeats"
    caption += "; dotted lines are the validation split." if validated else "."
    ends = [
        f"{row['case']} ends at {row['accuracy_train']:.1%}" for row in summary["learning"] if row["accuracy_train"]
    ]
    title = f"Learning curves: {', '.join(ends)} of the training examples"
    return _Drawn("learning", "learning", title, caption, tuple(told), canvas)


def _relaxation(run: Run, summary: Record, styles: dict[str, dict[str, Any]]) -> _Drawn:
    canvas, (left, right) = _panels(2, 2, 3.0)
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
    _legend(canvas, styles, cases)
    caption = "The free phase from rest, mean over test images. A residual that levels off above zero is read noise"
    caption += f"; the dotted line is the tolerance, {tolerance:g}." if tolerance else "."
    settled = [row["case"] for row in summary["relaxation"] if row["steps_to_tolerance"] is not None]
    title = f"Relaxation to equilibrium: {', '.join(settled) or 'no case'} within tolerance"
    return _Drawn("relaxation", "diagnostics", title, caption, tuple(told), canvas)


def _arrays(run: Run) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each case with the 2-D tensors of its first weights file that can be read."""
    slugs = {re.sub(r"\W+", "", case): case for case in run.cases}
    found: dict[str, Path] = {}
    for path in sorted((run.folder / "weights").glob("*.safetensors")):
        case = slugs.get(re.sub(r"\W+", "", path.stem.rpartition("-")[0]))
        if case is not None:
            found.setdefault(case, path)
    for case in run.cases:
        if case in found:
            try:
                with safe_open(found[case], framework="numpy") as file:
                    tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            except (SafetensorError, OSError):
                continue  # a file from a crash of an earlier version must not cost the report
            yield case, {key: tensor for key, tensor in sorted(tensors.items(), key=_order) if tensor.ndim == 2}


def _histograms(
    kind: str, arrays: dict[str, dict[str, np.ndarray]], styles: dict[str, dict[str, Any]]
) -> _Drawn | None:
    names = list(dict.fromkeys(key for tensors in arrays.values() for key in tensors))
    if not names:
        return None
    canvas, axes = _panels(len(names), 2, 2.5)
    told, seen = [], set()
    for ax, name in zip(axes, names, strict=True):
        values = {case: t[name].ravel() for case, t in arrays.items() if name in t}
        joined = np.concatenate([v[np.isfinite(v)] for v in values.values()])
        low, high = (float(joined.min()), float(joined.max())) if joined.size else (0.0, 1.0)
        bins = int(np.clip(np.sqrt(joined.size / len(values)), 15, 60))
        edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
        for case, value in values.items():
            seen.add(case)
            share = np.histogram(value, edges)[0] / max(value.size, 1)
            style = styles[case]
            ax.stairs(share, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.6)
            spread = f"mean {value.mean():.3g}, standard deviation {value.std():.3g}"
            told.append(f"{name}, {case}: {spread}, from {value.min():.3g} to {value.max():.3g}.")
        ax.set(title=_array_title(name), xlabel=_array_unit(name))
        ax.yaxis.set_major_formatter(PERCENT)
        ax.set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("share of cross-points")
    _legend(canvas, {c: {**s, "marker": ""} for c, s in styles.items()}, [case for case in styles if case in seen])
    caption = "First repeat, all cases over the same bins. A peak at an edge is devices at their bound."
    return _Drawn(f"{kind}s", "arrays", f"{kind.capitalize()}s of every array", caption, tuple(told), canvas)


def _crossbars(arrays: dict[str, dict[str, np.ndarray]]) -> Iterator[_Drawn]:
    """A picture of each crossbar of each case; all cases on one scale, so that they can be compared."""
    names = list(dict.fromkeys(key for tensors in arrays.values() for key in tensors))
    limits = {}
    for name in names:
        joined = np.concatenate([t[name].ravel() for t in arrays.values() if name in t])
        low, high = np.nanquantile(joined, (0.001, 0.999))
        limits[name] = (-max(-low, high), max(-low, high)) if low < 0 < high else (low, high if high > low else low + 1)
    for case, tensors in arrays.items():
        own = [name for name in names if name in tensors]
        if not own:
            continue
        canvas, axes = _panels(len(own), 2, 2.9)
        told = []
        for ax, name in zip(axes, own, strict=True):
            g, (low, high) = tensors[name], limits[name]
            colours = "RdBu_r" if low < 0 < high else "cividis"
            picture = ax.imshow(g, vmin=low, vmax=high, cmap=colours, aspect="auto", interpolation="nearest")
            ax.grid(False)
            ax.set(
                title=f"{_array_title(name)} ({g.shape[0]} × {g.shape[1]})",
                xlabel="column: input",
                ylabel="row: output",
            )
            bar = canvas.colorbar(picture, ax=ax, pad=0.02)
            bar.set_label(_array_unit(name))
            bar.outline.set_visible(False)
            told.append(f"{name}, {g.shape[0]} by {g.shape[1]}: mean {g.mean():.3g}, standard deviation {g.std():.3g}.")
        caption = (
            "Every cross-point of the first repeat. Stripes are rows or columns that learn little or sit at a bound."
        )
        slug = re.sub(r"\W+", "-", case).strip("-")
        yield _Drawn(f"crossbars-{slug}", "arrays", f"Crossbars: {case}", caption, tuple(told), canvas)


def _of_kind(kind: str, arrays: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """The arrays `layer0.weight` or `layer0.conductance.<name>` of each case that has any.

    The reference's conductances are left out where other cases have some: a float array's are its weights.
    """
    found = {case: {n: g for n, g in t.items() if n.partition(".")[2].startswith(kind)} for case, t in arrays.items()}
    found = {case: tensors for case, tensors in found.items() if tensors}
    if kind == "conductance" and len(found) > 1:
        found.pop(REFERENCE, None)
    return found


def _order(item: tuple[str, np.ndarray]) -> list[tuple[int, str]]:
    """Layers by number, an array's own weight before its parts."""
    parts = re.split(r"(\d+)", item[0].replace("conductance.weight", "conductance."))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _array_title(key: str) -> str:
    layer, _, rest = key.partition(".")
    part = rest.removeprefix("conductance.").removesuffix("_uS").replace("_", " ")
    return re.sub(r"(\d+)$", r" \1", layer) + ("" if part == "weight" else f", {part}")


def _array_unit(key: str) -> str:
    """The axis label of an array; a unit other than the normalised one is the end of its name."""
    if "conductance" not in key:
        return "weight (dimensionless)"
    return "conductance (µS)" if key.endswith("_uS") else "conductance (normalised)"
