"""Where each data set lies, what its files are called, and what to do where they are not there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.data.download import Archive, Progress, Unreachable, fetch_archive
from hwsim.data.formats import Images, read_cifar, read_idx_images, read_image_folder
from hwsim.errors import InputError
from hwsim.files import read_unzipped


@dataclass(frozen=True)
class Found:
    """A data set as its files have it: pixels from 0 to ``white``; no ``test`` where it comes without a test part."""

    learn: Images
    test: Images | None
    classes: tuple[str, ...]
    source: str
    white: float = 255


@dataclass(frozen=True)
class _Cifar:
    archive: Archive
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int
    label_column: int
    classes: int

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train_files, self.test_file, self.names_file)


# Addresses and checksums: https://www.cs.toronto.edu/~kriz/cifar.html
_ADDRESS = "https://www.cs.toronto.edu/~kriz"
_CIFAR10 = Archive(f"{_ADDRESS}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin")
_CIFAR100 = Archive(f"{_ADDRESS}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary")
_BATCHES = tuple(f"data_batch_{part}.bin" for part in range(1, 6))
_CIFARS = {
    "cifar10": _Cifar(_CIFAR10, _BATCHES, "test_batch.bin", "batches.meta.txt", 1, 0, 10),
    "cifar100": _Cifar(_CIFAR100, ("train.bin",), "test.bin", "fine_label_names.txt", 2, 1, 100),
    "cifar100-coarse": _Cifar(_CIFAR100, ("train.bin",), "test.bin", "coarse_label_names.txt", 2, 0, 20),
}

_IDX_FOLDERS = {"mnist": ("mnist", "MNIST/raw"), "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw")}
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_DEBIAN_DATASETS = Path("/usr/share/datasets")
_FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_IDX_CLASSES = {"mnist": tuple("0123456789"), "fashion-mnist": _FASHION}

NAMES = ("digits", *_IDX_FOLDERS, *_CIFARS)


def data_roots(data_dir: str | Path | None = None) -> list[Path]:
    """The folders that data sets are looked for in, in order; InputError for a given one that is no folder."""
    roots = []
    for origin, given in (("--data-dir", data_dir), ("$HWSIM_DATA", os.environ.get("HWSIM_DATA"))):
        if given:
            if not Path(given).is_dir():
                raise InputError(f"{origin}: {given} is not a folder; create it or name the one that holds the data")
            roots.append(Path(given))
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [*roots, Path(cache) / "hwsim" / "data"]


def locate(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder that holds a named data set, None where it is nowhere; its files are not looked into."""
    folders = (_CIFARS[name].archive.folder,) if name in _CIFARS else _IDX_FOLDERS[name]
    candidates = (root / folder for root in [*data_roots(data_dir), _DEBIAN_DATASETS] for folder in folders)
    return next((folder for folder in candidates if folder.is_dir()), None)


def missing_files(name: str, folder: Path) -> list[str]:
    """The files that a data set's folder lacks; each may be plain or gzipped."""
    files = _CIFARS[name].files if name in _CIFARS else _IDX_FILES
    return [file for file in files if not _plain_or_gz(folder / file).is_file()]


def how_to_get(name: str, data_dir: str | Path | None = None) -> str:
    """The sentence that says what to put where."""
    root = data_roots(data_dir)[0]
    if name in _CIFARS:
        archive = _CIFARS[name].archive
        return f"unpack {archive.address} so that {root / archive.folder / _CIFARS[name].test_file} exists"
    package = ", or install the Debian package dataset-fashion-mnist" if name == "fashion-mnist" else ""
    return f"put {', '.join(_IDX_FILES)} (plain or .gz) into {root / _IDX_FOLDERS[name][0]}{package}"


def find(name: str, data_dir: str | Path | None, download: bool = True, progress: Progress | None = None) -> Found:
    """Read a named data set from the first root that has it; CIFAR is downloaded where none has it.

    Raises InputError where it is not there or its files are not whole, WorkError for a download that failed midway.
    """
    folder = locate(name, data_dir)
    cause = ""
    if folder is None and name in _CIFARS:
        cause = ", and downloading was not allowed"
        if download:
            try:
                folder = _fetch(_CIFARS[name].archive, data_roots(data_dir)[0], progress)
            except Unreachable as error:
                cause = f", and its address cannot be reached ({error})"
    if folder is None:
        places = ", ".join(map(str, data_roots(data_dir)))
        raise InputError(
            f"data {name}: not found in {places}{cause}; {how_to_get(name, data_dir)}. "
            "Another folder can be named by --data-dir or $HWSIM_DATA"
        )
    missing = missing_files(name, folder)
    if missing:
        raise InputError(f"{folder}: lacks {', '.join(missing)}; complete the folder, or remove it to start anew")
    return _cifar(_CIFARS[name], folder) if name in _CIFARS else _idx(name, folder)


def digits() -> Found:
    """scikit-learn's 1,797 images of 8 x 8 pixels and 17 grey levels (UCI, Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    learn = bunch.images[:, None], bunch.target
    return Found(learn, None, tuple("0123456789"), "scikit-learn's load_digits", white=16)


def image_folder(directory: Path, size: int | None) -> Found:
    """A folder with a folder of images for each class, or with two such folders, train and test."""
    parts = (directory / "train", directory / "test")
    if parts[0].is_dir() != parts[1].is_dir():
        raise InputError(f"{directory}: holds only one of the folders train and test; expected both or neither")
    divided = parts[0].is_dir()
    classes = _class_names(parts[0] if divided else directory)
    if divided and _class_names(parts[1]) != classes:
        raise InputError(
            f"{directory}: train holds the classes {', '.join(classes)}, test holds {', '.join(_class_names(parts[1]))}"
        )
    learn = read_image_folder(parts[0] if divided else directory, classes, size)
    return Found(learn, read_image_folder(parts[1], classes, size) if divided else None, classes, str(directory))


def _class_names(directory: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in directory.iterdir() if path.is_dir() and path.name[0] not in "._"))
    if len(names) < 2:
        raise InputError(f"{directory}: holds {len(names)} class folders; expected one for each of at least 2 classes")
    return names


def _fetch(archive: Archive, root: Path, progress: Progress | None) -> Path:
    wanted = {file for layout in _CIFARS.values() if layout.archive == archive for file in layout.files}
    return fetch_archive(archive, root, sorted(wanted), progress)


def _cifar(layout: _Cifar, folder: Path) -> Found:
    names_path = _plain_or_gz(folder / layout.names_file)
    classes = tuple(read_unzipped(names_path).decode("utf-8", "replace").split())
    if len(classes) != layout.classes:
        raise InputError(f"{names_path}: {len(classes)} class names; expected {layout.classes}")

    def read(file: str) -> Images:
        return read_cifar(_plain_or_gz(folder / file), layout.label_bytes, layout.label_column, layout.classes)

    parts = [read(file) for file in layout.train_files]
    learn = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    return Found(learn, read(layout.test_file), classes, str(folder))


def _idx(name: str, folder: Path) -> Found:
    paths = [_plain_or_gz(folder / file) for file in _IDX_FILES]
    classes = _IDX_CLASSES[name]
    learn = read_idx_images(paths[0], paths[1], len(classes))
    return Found(learn, read_idx_images(paths[2], paths[3], len(classes)), classes, str(folder))


def _plain_or_gz(path: Path) -> Path:
    zipped = path.with_name(path.name + ".gz")
    return zipped if zipped.is_file() and not path.is_file() else path
