"""Attacked images beside the clean ones, as an attack or a run keeps them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from hwsim.files import parse_json
from hwsim.jobs.store import written_aside

FILE = "gallery.safetensors"


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


def perturbed(name: str, images: Tensor, logits: Tensor) -> Perturbed:
    """Images (N, C, H, W) and what one read made of them, (N, classes)."""
    return Perturbed(name, images.detach().cpu().numpy(), logits.argmax(1).cpu().numpy())


def write_gallery(path: Path, gallery: Gallery) -> None:
    """Raises WorkError where the disk refuses."""
    arrays = {"labels": gallery.labels}
    for key, each in (("clean", gallery.clean), *((f"{i}", each) for i, each in enumerate(gallery.attacked))):
        arrays |= {key: each.images, f"{key}.predicted": each.predicted}
    # One entry: the file's writer keeps several in no order, and folders could not be compared byte by byte.
    names = {"names": json.dumps({"threats": [each.name for each in gallery.attacked], "classes": gallery.classes})}
    with written_aside(path) as aside:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, aside, names)


def read_gallery(path: Path) -> Gallery | None:
    """What was kept; None where there is nothing, or, after saying so, where it cannot be read."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        names = parse_json(metadata["names"])
        threats = enumerate(names["threats"])
        attacked = [Perturbed(str(name), tensors[f"{i}"], tensors[f"{i}.predicted"]) for i, name in threats]
        clean = Perturbed("clean", tensors["clean"], tensors["clean.predicted"])
        return Gallery(clean, tensors["labels"], attacked, [str(each) for each in names["classes"]])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        logging.getLogger("hwsim").warning("%s: holds no gallery (%s); it is left out", path, error)
        return None


def file_stem(case: str) -> str:
    """A case's name as part of a file's."""
    return case.replace(", ", "-").replace(" ", "")
