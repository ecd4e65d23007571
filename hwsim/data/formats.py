"""Readers of published data set files. None of them runs code from a file: no pickle, fixed layouts, checked sizes.

Every reader gives images as uint8 arrays (N, C, H, W) and labels as int64 arrays (N,), and raises
InputError, naming the file, what was found and what is expected.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hwsim.data.pictures import SUFFIXES, read_picture
from hwsim.errors import InputError
from hwsim.files import read_unzipped

Images = tuple[np.ndarray, np.ndarray]

_CIFAR_PIXELS = 3 * 32 * 32


def read_cifar(path: Path, label_bytes: int, label_column: int, classes: int) -> Images:
    """Records of ``label_bytes`` label bytes and 3,072 pixels (red, green, blue plane), any whole number of them.

    Layout: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
    """
    raw = np.frombuffer(read_unzipped(path), np.uint8)
    record = label_bytes + _CIFAR_PIXELS
    if raw.size == 0 or raw.size % record:
        raise InputError(
            f"{path}: {raw.size:,} bytes are not a whole number of {record:,}-byte records, "
            "so the file is truncated or of another layout; fetch or unpack it again"
        )
    records = raw.reshape(-1, record)
    labels = records[:, label_column].astype(np.int64)
    check_labels(path, labels, classes)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def read_idx_images(images_path: Path, labels_path: Path, classes: int) -> Images:
    """MNIST's IDX layout, plain or gzipped: grey images as (N, 1, H, W) and their labels."""
    images = _read_idx(images_path, dimensions=3)
    labels = _read_idx(labels_path, dimensions=1).astype(np.int64)
    if len(images) != len(labels):
        raise InputError(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path.name}")
    check_labels(labels_path, labels, classes)
    return images[:, None], labels


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    raw = read_unzipped(path)
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))  # 8: unsigned bytes
    if raw[:4] != magic or len(raw) < header:
        raise InputError(
            f"{path}: starts with {raw[:4].hex(' ') or 'nothing'}; an IDX file of {dimensions}-dimensional "
            f"unsigned bytes starts with {magic.hex(' ')}"
        )
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, offset=4))
    if math.prod(shape) == 0 or len(raw) - header != math.prod(shape):
        raise InputError(
            f"{path}: {len(raw) - header:,} bytes of data, but the header announces {' x '.join(map(str, shape))}; "
            "the file is truncated or damaged"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_image_folder(directory: Path, classes: tuple[str, ...], size: int | None) -> Images:
    """One folder of images a class, in the order of ``classes``; RGB where any image is coloured, else grey.

    All images must be of one size, unless ``size`` asks for square images resized to it (bilinear).
    """
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(path for path in (directory / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{directory / name}: holds no image; expected {', '.join(SUFFIXES)} files")
        paths += found
        labels += [label] * len(found)
    images: list[np.ndarray] = []
    for path in paths:
        pixels = read_picture(path, size)
        if images and pixels.shape[:2] != images[0].shape[:2]:
            raise InputError(
                f"{path}: is {_width_by_height(pixels)} pixels, but {paths[0]} is {_width_by_height(images[0])}; "
                "all images of a set must be of one size, or be resized by the setting `size`"
            )
        images.append(pixels)
    if any(pixels.ndim == 3 for pixels in images):
        images = [pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2) for pixels in images]
        return np.stack(images).transpose(0, 3, 1, 2), np.array(labels, np.int64)
    return np.stack(images)[:, None], np.array(labels, np.int64)


def _width_by_height(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def read_corrupted(path: Path, labels_path: Path, severity: int, classes: int, count: int | None) -> Images:
    """The first ``count`` images (default: all) of one severity, 1 to 5, of a CIFAR-10-C or CIFAR-100-C ``.npy`` file.

    The file holds five blocks of equal length, one a severity, (5 N, 32, 32, 3) uint8; it is memory-mapped, so only
    the images asked for are read. ``labels.npy`` holds the labels of all five blocks. Source: Hendrycks and
    Dietterich 2019, https://zenodo.org/records/2535967.
    """
    images, labels = _map_npy(path), _map_npy(labels_path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3) or len(images) % 5:
        raise InputError(
            f"{path}: holds {images.dtype} numbers of shape {images.shape}; expected uint8 of shape (5 N, 32, 32, 3), "
            "five severities one after the other"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise InputError(
            f"{labels_path}: holds {labels.dtype} numbers of shape {labels.shape}; "
            f"expected {len(images)} integers, one for each image of {path.name}"
        )
    block = len(images) // 5
    if count is not None and not 1 <= count <= block:
        raise InputError(f"{path}: {count} images were asked for; each severity has 1 to {block}")
    rows = slice((severity - 1) * block, (severity - 1) * block + (block if count is None else count))
    chosen = labels[rows].astype(np.int64)
    check_labels(labels_path, chosen, classes)
    return np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)), chosen


def _map_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file; unpack CIFAR-10-C.tar or CIFAR-100-C.tar here")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is not a whole .npy file of numbers ({error}); fetch it again") from error


def check_labels(path: Path, labels: np.ndarray, classes: int) -> None:
    """InputError unless every label is in [0, classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise InputError(
            f"{path}: record {wrong[0]} has label {labels[wrong[0]]}, but there are {classes} classes, 0 to "
            f"{classes - 1}; {wrong.size} of {labels.size} labels are out of range, so the file is damaged or of "
            "another layout"
        )
