"""Pictures of what the arrays hold: histograms of weights and conductances, and every cross-point."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from hwsim.experiments.device_run.results import REFERENCE, Run
from hwsim.reports.plotting import PERCENT, Figure, LineStyles, legend, panels

Arrays = dict[str, dict[str, np.ndarray]]
"""Case -> name of a tensor -> (rows, columns)."""


def read_arrays(run: Run) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
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
            except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
                logging.getLogger("hwsim").warning("%s: holds no weights (%s); they are left out", found[case], error)
                continue
            yield case, {key: tensor for key, tensor in sorted(tensors.items(), key=_order) if tensor.ndim == 2}


def histograms(kind: str, arrays: Arrays, styles: LineStyles) -> Figure | None:
    """Histograms of all arrays of a kind, "weight" or "conductance"; None where there are none."""
    names = list(dict.fromkeys(key for tensors in arrays.values() for key in tensors))
    if not names:
        return None
    canvas, axes = panels(len(names), 2, 2.5)
    words, seen = [], set()
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
            words.append(f"{name}, {case}: {spread}, from {value.min():.3g} to {value.max():.3g}.")
        ax.set(title=_array_title(name), xlabel=_array_unit(name))
        ax.yaxis.set_major_formatter(PERCENT)
        ax.set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("share of cross-points")
    legend(canvas, {c: {**s, "marker": ""} for c, s in styles.items()}, [case for case in styles if case in seen])
    caption = "First repeat, all cases over the same bins. A peak at an edge is devices at their bound."
    return Figure(f"{kind}s", f"{kind.capitalize()}s of every array", caption, words, canvas)


def crossbars(arrays: Arrays) -> Iterator[Figure]:
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
        canvas, axes = panels(len(own), 2, 2.9)
        words = []
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
            words.append(
                f"{name}, {g.shape[0]} by {g.shape[1]}: mean {g.mean():.3g}, standard deviation {g.std():.3g}."
            )
        caption = (
            "Every cross-point of the first repeat. Stripes are rows or columns that learn little or sit at a bound."
        )
        slug = re.sub(r"\W+", "-", case).strip("-")
        yield Figure(f"crossbars-{slug}", f"Crossbars: {case}", caption, words, canvas)


def of_kind(kind: str, arrays: Arrays) -> Arrays:
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
