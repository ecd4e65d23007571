"""Curves and figures for TensorBoard, where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwsim.errors import InputError
from hwsim.experiments.kinds import JobFolder, curves_of, flat, results_of
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.jobs.records import plain

FOLDER = "tensorboard"


def teller(folder: Path) -> Callable[[EpochRecord], None]:
    """Writes the numbers of every epoch's record below ``folder``/tensorboard.

    Raises InputError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard: TensorBoard is not installed; pip install 'hwsim[tensorboard]'") from error
    writers: list[SummaryWriter] = []

    def tell(record: EpochRecord) -> None:
        if not writers:  # made with the first epoch, once the folder is known to be this job's
            writers.append(SummaryWriter(str(folder / FOLDER)))
        for name, value in plain(record).items():
            if isinstance(value, int | float) and name not in ("epoch", "repeat"):
                writers[0].add_scalar(name, value, record.epoch)
        writers[0].flush()

    return tell


def export(folder: JobFolder, logs: Path) -> Path:
    """Write a finished job's curves, main figures and configuration below ``logs``, in a folder of the job's name.

    Raises InputError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard: TensorBoard is not installed; pip install 'hwsim[tensorboard]'") from error
    place = logs / folder.name
    with SummaryWriter(str(place)) as writer:
        for name, epoch, value in curves_of(folder):
            writer.add_scalar(name, value, epoch)
        for name, value in results_of(folder).items():
            writer.add_scalar(f"results/{name}", value, 0)
        settings = "\n".join(f"    {path}: {value}" for path, value in flat(folder.config))
        writer.add_text("configuration", settings)
    return place
