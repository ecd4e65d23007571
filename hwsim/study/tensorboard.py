"""Training curves for TensorBoard, where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwsim.errors import InputError

FOLDER = "tensorboard"


def teller(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Writes the numbers of every epoch's record below ``folder``/tensorboard.

    Raises InputError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard: TensorBoard is not installed; pip install 'hwsim[tensorboard]'") from error
    writers: list[SummaryWriter] = []

    def tell(record: dict[str, Any]) -> None:
        if not writers:  # made with the first epoch, once the folder is known to be this job's
            writers.append(SummaryWriter(str(folder / FOLDER)))
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ("epoch", "repeat"):
                writers[0].add_scalar(name, value, record["epoch"])
        writers[0].flush()

    return tell
