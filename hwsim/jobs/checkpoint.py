"""Checkpoints: all that a network or a learner has to remember, in one file that is replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hwsim.errors import WorkError
from hwsim.jobs.store import written_aside
from hwsim.learning.train import Stateful


def save_state(of: Stateful, path: Path, epoch: int) -> None:
    """Write all that has to be remembered, generators included, replacing the file as a whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in of.state_dict().items()}
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata={"epoch": str(epoch)})
        except SafetensorError as error:
            raise WorkError(f"{path}: could not be written ({error})") from error


def load_state(of: Stateful, path: Path) -> int:
    """Take over a saved state; the epochs it holds. WorkError for a file that is not one of this network's."""
    try:
        with safe_open(path, framework="pt") as file:
            epoch = int(file.metadata()["epoch"])
            of.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise WorkError(f"{path}: not a saved state of this network ({error}); remove it to start anew") from error
    return epoch
