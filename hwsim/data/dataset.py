"""Data sets: where they are found, how they are split, and how training draws from them.

Images are float32 in [0, 1] of shape (N, C, H, W), labels int64 of shape (N,). Normalisation belongs to the
model, so that budgets of attacks and corruptions are in pixel units. The validation images are held out of the
training images, stratified and by a fixed seed: every choice is made on them, none on the test images.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwsim.data import sources as datasources
from hwsim.data.download import Progress
from hwsim.data.formats import Images, read_corrupted
from hwsim.data.sources import NAMES, Found
from hwsim.data.split import Split
from hwsim.errors import InputError
from hwsim.rng import Streams

DIGITS_TEST = 360  # of 1,797
FOLDER_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits; ``shape`` is (C, H, W), ``source`` says where the images came from.

    >>> import hwsim as hw
    >>> data = hw.load_data("digits")
    >>> len(data.train), len(data.validation), len(data.test), data.shape
    (1150, 287, 360, (1, 8, 8))
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    source: str

    def to(self, place: str) -> Dataset:
        """The same with all images and labels where torch computes."""
        train, validation, test = (split.to(place) for split in self.splits.values())
        return replace(self, train=train, validation=validation, test=test)

    def merged(self) -> Dataset:
        """Training on all that may be learned from, once the choices are made; no validation images are left."""
        (x, y), (held_x, held_y) = self.train, self.validation
        everything = Split(torch.cat([x, held_x]), torch.cat([y, held_y]))
        return replace(self, train=everything, validation=self.validation[:0])

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def load_data(
    name: str,
    data_dir: str | Path | None = None,
    *,
    validation: float | None = None,
    split_seed: int = 0,
    size: int | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of that name, or of the folder of class folders of images that ``name`` is the path of.

    Its splits ``train``, ``validation`` and ``test`` are pairs of images (N, C, H, W), float32 in [0, 1], and labels
    (N,), int64.

    Args:
        name: one of NAMES, or a folder: ``train/CLASS/*.png`` and ``test/CLASS/*.png``, or ``CLASS/*.png`` alone,
            of which a stratified fifth becomes the test images.
        data_dir: looked in first, before ``$HWSIM_DATA`` and the user's cache; what is downloaded goes there.
        validation: share of the training images held out for choices, in [0, 1); default .2 for digits, else .1.
        split_seed: of the splits that the data set does not come with.
        size: for folders, the side in pixels that images are resized to.
        download: fetch CIFAR from its official address where it is not found.
        progress: called with the bytes done and the bytes in all during a download.

    Raises:
        InputError: an unknown name, missing, truncated or damaged files, labels out of range, sizes that do not fit.
        WorkError: a download that broke off or has another checksum.

    >>> import hwsim as hw
    >>> x, y = hw.load_data("digits").test
    >>> tuple(x.shape), tuple(y.shape)
    ((360, 1, 8, 8), (360,))
    """
    share = (0.2 if name == "digits" else 0.1) if validation is None else validation
    if not 0 <= share < 1:
        raise InputError(f"data {name}: validation share is {share}; expected a number in [0, 1)")
    if size is not None and (name in NAMES or size < 1):
        raise InputError(f"data {name}: size is {size}; only folders of images can be resized, to at least 1 pixel")
    if name == "digits":
        found = datasources.digits()
    elif name in NAMES:
        found = datasources.find(name, data_dir, download, progress)
    elif Path(name).is_dir():
        found = datasources.image_folder(Path(name), size)
    else:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise InputError(
            f"data {name!r}: is neither a data set nor a folder{f' (did you mean {near[0]}?)' if near else ''}; "
            f"expected {', '.join(NAMES)} or the path of a folder with a folder of images for each class"
        )
    return _split(name, found, share, split_seed)


load = load_data


def load_corrupted(
    directory: str | Path, corruption: str, severity: int, *, classes: int = 10, count: int | None = None
) -> Split:
    """Images and labels of a published corruption set: ``directory`` holds ``<corruption>.npy`` and ``labels.npy``.

    ``count`` takes the first images only, which are all that is then read. ``severity`` is 1 to 5; ``classes`` is 10
    for CIFAR-10-C and 100 for CIFAR-100-C. Raises InputError, naming what the folder has for an unknown corruption.
    """
    directory = Path(directory)
    if severity not in range(1, 6):
        raise InputError(f"{corruption}: severity is {severity}; expected a whole number from 1 to 5")
    path = directory / f"{corruption}.npy"
    if not path.is_file():
        known = sorted(file.stem for file in directory.glob("*.npy") if file.stem != "labels")
        raise InputError(f"{path}: no such file; {directory} holds {', '.join(known) or 'no .npy file'}")
    return _tensors(read_corrupted(path, directory / "labels.npy", severity, classes, count))


BORDERS = {"zeros": "constant", "edge": "replicate", "reflect": "reflect"}
"""What comes in at the side that an image is shifted from, by torch's names."""


def augment(
    x: Tensor, rng: torch.Generator, *, flip: bool = True, crop_padding: int = 4, crop_border: str = "zeros"
) -> Tensor:
    """Each image of (B, C, H, W) mirrored with probability 1/2 and shifted by up to ``crop_padding`` pixels.

    The border is filled as ``crop_border``, a key of BORDERS, says. Every draw comes from ``rng``, where that computes.
    """
    if crop_padding < 0:
        raise ValueError(f"augment: expected crop_padding >= 0, got {crop_padding}")
    count, _, height, width = x.shape
    place = rng.device
    columns = torch.arange(width, device=place).expand(count, width)
    rows = torch.arange(height, device=place).expand(count, height)
    if flip:
        mirrored = torch.rand(count, 1, generator=rng, device=place) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if crop_padding:
        shifts = torch.randint(0, 2 * crop_padding + 1, (count, 2), generator=rng, device=place)
        rows, columns = rows + shifts[:, :1], columns + shifts[:, 1:]
        x = torch.nn.functional.pad(x, (crop_padding,) * 4, mode=BORDERS[crop_border])
    rows, columns = rows.to(x.device), columns.to(x.device)
    image = torch.arange(count, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def stratified(labels: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of (the rest, ``count`` examples drawn so that each class keeps its share), both ascending.

    The whole numbers are shared out by largest remainder; every class is split as evenly as they allow.
    """
    names, sizes = labels.unique(return_counts=True)
    exact = sizes.double() * count / len(labels)
    take = exact.floor().long()
    take[(exact - take).argsort(descending=True, stable=True)[: count - int(take.sum())]] += 1
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    for name, number in zip(names, take.tolist(), strict=True):
        members = (labels == name).nonzero()[:, 0]
        drawn[members[torch.randperm(len(members), generator=rng)[:number]]] = True
    return (~drawn).nonzero()[:, 0], drawn.nonzero()[:, 0]


def _split(name: str, found: Found, share: float, seed: int) -> Dataset:
    streams, learn = Streams(seed), _tensors(found.learn, found.white)
    if found.test is None:
        count = DIGITS_TEST if name == "digits" else round(FOLDER_TEST_SHARE * len(learn))
        rest, drawn = stratified(learn.y, count, streams.child("test").generator("data"))
        learn, test = learn[rest], learn[drawn]
    else:
        test = _tensors(found.test, found.white)
    if test.x.shape[1:] != learn.x.shape[1:]:
        raise InputError(
            f"data {name}: test images are {tuple(test.x.shape[1:])} and training images {tuple(learn.x.shape[1:])} "
            "(channels, height, width); expected one shape"
        )
    held_out = round(share * len(learn))
    train, validation = stratified(learn.y, held_out, streams.child("validation").generator("data"))
    if not len(train) or not len(test):
        raise InputError(f"data {name}: {len(train)} training and {len(test)} test images; expected some of each")
    channels, height, width = learn.x.shape[1:]
    return Dataset(
        name=name,
        train=learn[train] if held_out else learn,
        validation=learn[validation],
        test=test,
        classes=found.classes,
        shape=(channels, height, width),
        source=found.source,
    )


def _tensors(images: Images, white: float = 255) -> Split:
    pixels, labels = images
    return Split(torch.from_numpy(pixels.astype(np.float32)).div_(white), torch.from_numpy(labels.astype(np.int64)))
