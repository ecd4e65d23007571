"""Attacked images beside the clean ones: kept by an attack, drawn on its page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from hwsim.rng import Streams
from hwsim.study.attackjob import AttackJob
from hwsim.study.attackrun import Unit
from hwsim.study.plotting import WIDTH_IN, Drawn
from hwsim.study.store import written_aside
from hwsim.study.subject import chips

FILE = "gallery.safetensors"
SHOWN_IMAGES = 5
SHOWN_BUDGETS = 3


@dataclass(frozen=True)
class Perturbed:
    """The images under one budget: (N, C, H, W) in [0, 1], and the class that one read of each gave (N,)."""

    name: str
    images: NDArray[np.float32]
    predicted: NDArray[np.int64]


@dataclass(frozen=True)
class Gallery:
    """Images that were attacked; ``clean`` holds them as they were. ``classes`` names the labels."""

    clean: Perturbed
    labels: NDArray[np.int64]
    attacked: list[Perturbed]
    classes: list[str]


def keep_gallery(job: AttackJob) -> Path:
    """Write the first slice's worst images of every threat, with the labels predicted on the (first) chip."""
    net = None
    if job.device is not None:
        streams = Streams(job.seed).child("programmed")
        net = chips(job.subject, job.device.device, job.instances, streams, job.folder / "states")[0]
        net.reseed_reads(Streams(job.seed).child("gallery"))
    judge = job.subject.judge(net)
    age, target = job.moments[0], job.targets[0]
    first = Unit(job.threats[0], age, target, 0)
    _, x, y = first.images(job)
    tensors = {"labels": y, "clean": x, "clean.predicted": judge.logits(x).argmax(1)}
    names = []
    for i, threat in enumerate(job.threats):
        images = load_file(Unit(threat, age, target, 0).path(job))["images"]
        tensors |= {f"{i}": images, f"{i}.predicted": judge.logits(images).argmax(1)}
        names.append(str(threat))
    told = {"threats": json.dumps(names), "classes": json.dumps([str(name) for name in job.data.classes])}
    with written_aside(job.folder / FILE) as aside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside, told)
    return job.folder / FILE


def read_gallery(folder: Path) -> Gallery | None:
    """What an attack kept; None where there is nothing that can be read."""
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            told = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        names = json.loads(told["threats"])
        attacked = [Perturbed(name, tensors[f"{i}"], tensors[f"{i}.predicted"]) for i, name in enumerate(names)]
        clean = Perturbed("clean", tensors["clean"], tensors["clean.predicted"])
        return Gallery(clean, tensors["labels"], attacked, json.loads(told["classes"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def draw(gallery: Gallery) -> Drawn:
    """A row an image: clean, then perturbed and difference at up to three budgets, with the predicted labels."""
    rows = _rows(gallery)
    shown = gallery.attacked[:: max(1, -(-len(gallery.attacked) // SHOWN_BUDGETS))][:SHOWN_BUDGETS]
    columns = 1 + 2 * len(shown)
    size = min(WIDTH_IN / columns, 1.5)
    canvas = Canvas(
        figsize=(max(size * columns, 4.0), (size + 0.22) * len(rows) + 0.45),
        layout=ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.02),
    )
    axes = canvas.subplots(len(rows), columns, squeeze=False)
    told = []
    scales = [float(np.abs(each.images - gallery.clean.images).max()) or 1.0 for each in shown]
    for line, image in zip(axes, rows, strict=True):
        truth = int(gallery.labels[image])
        words = [f"clean read as {_class(gallery, gallery.clean.predicted[image])}"]
        _picture(line[0], gallery.clean.images[image])
        _label(line[0], gallery, int(gallery.clean.predicted[image]), truth)
        for i, (each, scale) in enumerate(zip(shown, scales, strict=True)):
            change = each.images[image] - gallery.clean.images[image]
            _picture(line[1 + 2 * i], each.images[image])
            _label(line[1 + 2 * i], gallery, int(each.predicted[image]), truth)
            _change(line[2 + 2 * i], change, scale)
            read = f"{each.name} read as {_class(gallery, each.predicted[image])}"
            words.append(f"{read}, largest change {np.abs(change).max():.3g}")
        told.append(f"Test image {image}, a {_class(gallery, truth)}: {'; '.join(words)}.")
    axes[0][0].set_title("clean\n" + axes[0][0].get_title(loc="center"), loc="center", fontsize=8)
    for i, (each, scale) in enumerate(zip(shown, scales, strict=True)):
        head = axes[0][1 + 2 * i]
        head.set_title(f"{each.name}\n{head.get_title(loc='center')}", loc="center", fontsize=8)
        axes[0][2 + 2 * i].set_title(f"change\n±{scale:.2g}", loc="center", fontsize=8)
    fooled = [f"{each.name} {_fooled(gallery, each)}" for each in shown]
    title = f"Attacked images; read wrongly though right when clean: {', '.join(fooled)} of {len(gallery.labels)}"
    caption = (
        "Chosen, not drawn at random: first images that are right when clean and wrong under the largest budget. Above "
        "each the label read once on the (first) chip, ✗ where it is wrong; a change is drawn from blue (darker) to "
        "red (brighter) over the range above its column, in pixel units. Images that nothing fooled are kept clean."
    )
    return Drawn("gallery", "attacks", title, caption, tuple(told), canvas)


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
