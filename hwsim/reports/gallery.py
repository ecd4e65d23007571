"""Attacked images beside the clean ones: kept by an attack or a run, drawn on its page."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from hwsim.experiments.gallery import Gallery, Perturbed, file_stem
from hwsim.reports.plotting import WIDTH_IN, Figure

SHOWN_IMAGES = 5
SHOWN_BUDGETS = 3


def draw(gallery: Gallery, case: str = "") -> Figure:
    """A row an image: clean, then perturbed and difference at up to three budgets, with the predicted labels.

    ``case`` names whose images they are where a page shows several galleries.
    """
    rows = _rows(gallery)
    shown = gallery.attacked[:: max(1, -(-len(gallery.attacked) // SHOWN_BUDGETS))][:SHOWN_BUDGETS]
    columns = 1 + 2 * len(shown)
    size = min(WIDTH_IN / columns, 1.5)
    canvas = Canvas(
        figsize=(max(size * columns, 4.0), (size + 0.22) * len(rows) + 0.45),
        layout=ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.02),
    )
    axes = canvas.subplots(len(rows), columns, squeeze=False)
    sentences = []
    scales = [float(np.abs(each.images - gallery.clean.images).max()) or 1.0 for each in shown]
    for line, image in zip(axes, rows, strict=True):
        truth = int(gallery.labels[image])
        words = [f"clean predicted as {_class(gallery, gallery.clean.predicted[image])}"]
        _picture(line[0], gallery.clean.images[image])
        _label(line[0], gallery, int(gallery.clean.predicted[image]), truth)
        for i, (each, scale) in enumerate(zip(shown, scales, strict=True)):
            change = each.images[image] - gallery.clean.images[image]
            _picture(line[1 + 2 * i], each.images[image])
            _label(line[1 + 2 * i], gallery, int(each.predicted[image]), truth)
            _change(line[2 + 2 * i], change, scale)
            read = f"{each.name} predicted as {_class(gallery, each.predicted[image])}"
            words.append(f"{read}, largest change {np.abs(change).max():.3g}")
        sentences.append(f"Test image {image}, a {_class(gallery, truth)}: {'; '.join(words)}.")
    axes[0][0].set_title("clean\n" + axes[0][0].get_title(loc="center"), loc="center", fontsize=8)
    for i, (each, scale) in enumerate(zip(shown, scales, strict=True)):
        head = axes[0][1 + 2 * i]
        head.set_title(f"{each.name}\n{head.get_title(loc='center')}", loc="center", fontsize=8)
        axes[0][2 + 2 * i].set_title(f"change\n±{scale:.2g}", loc="center", fontsize=8)
    fooled = [f"{each.name} {_fooled(gallery, each)}" for each in shown]
    whose = f" of {case}" if case else ""
    title = (
        f"Attacked images{whose}; correct when clean, wrong under attack: {', '.join(fooled)} of {len(gallery.labels)}"
    )
    caption = (
        "Chosen, not drawn at random: first images that are correct when clean and wrong under the largest budget. "
        "Above each the label predicted in one read of the (first) device instance, ✗ where it is wrong. A change is "
        "drawn from blue (darker) to red (brighter) over the range above its column, in pixel units. Images on which "
        "no attack succeeded are shown unchanged."
    )
    name = "gallery" + (f"-{file_stem(case)}" if case else "")
    return Figure(name, title, caption, sentences, canvas)


def _rows(gallery: Gallery) -> list[int]:
    right = gallery.clean.predicted == gallery.labels
    fooled = right & (gallery.attacked[-1].predicted != gallery.labels)
    order = [*np.flatnonzero(fooled), *np.flatnonzero(right & ~fooled), *np.flatnonzero(~right)]
    return [int(image) for image in order[:SHOWN_IMAGES]]


def _fooled(gallery: Gallery, each: Perturbed) -> int:
    right = gallery.clean.predicted == gallery.labels
    return int((right & (each.predicted != gallery.labels)).sum())


def _class(gallery: Gallery, label: int | np.integer) -> str:
    return gallery.classes[int(label)] if int(label) < len(gallery.classes) else str(int(label))


def _label(ax: Axes, gallery: Gallery, predicted: int, truth: int) -> None:
    wrong = predicted != truth
    text = _class(gallery, predicted) + (" ✗" if wrong else "")
    ax.set_title(text, loc="center", fontsize=8, color="#a63c00" if wrong else "black")


def _picture(ax: Axes, image: NDArray[np.float32]) -> None:
    shown = image.transpose(1, 2, 0)
    ax.imshow(
        shown.squeeze(-1) if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    _bare(ax)


def _change(ax: Axes, change: NDArray[np.float32], scale: float) -> None:
    """One channel as blue to red, three as colours around grey."""
    if len(change) == 1:
        ax.imshow(change[0], cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    else:
        ax.imshow(np.clip(0.5 + change.transpose(1, 2, 0) / (2 * scale), 0, 1), interpolation="nearest")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
