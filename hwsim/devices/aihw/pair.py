"""Do the installed aihwkit and torch work together? A wrong pair imports, and then fails with a riddle."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from functools import cache

from hwsim.errors import WorkError

# aihwkit's wheels are compiled against one torch each; these pairs were run.
PAIRS = "Python 3.11: aihwkit==1.1.0 with torch==2.10.*; Python 3.12 or later: aihwkit==1.2.0 with torch==2.14.*"


@cache
def check_pair() -> None:
    """A forward read, a transpose read and an update on a 2x3 array, once a process; WorkError if they fail."""
    try:
        torch = importlib.import_module("torch")
        configs = importlib.import_module("aihwkit.simulator.configs")
        config = configs.SingleRPUConfig(device=configs.ConstantStepDevice())
        tile = config.tile_class(2, 3, config)
        tile.set_weights(torch.zeros(2, 3))
        tile.joint_forward(torch.ones(4, 3))
        tile.backward(torch.ones(4, 2))
        tile.update(torch.ones(4, 3), torch.ones(4, 2))
        moved = bool(tile.get_weights()[0].ne(0).any())
        failure = None if moved else "an update did not change the weights"
    except Exception as error:  # a broken binary pair fails in any way it likes, ImportError and TypeError among them
        failure = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        )
    if failure:
        raise WorkError(sentence(failure))


def absent(what: str = "this device") -> str:
    """What to install where there is no aihwkit, in one sentence; ``what`` needs it."""
    return (
        f"aihwkit, needed by {what}, is not installed here; cure: {_cure()}; "
        "float and devices written in Python (type cell in `hwsim device list`) do without"
    )


def _cure() -> str:
    aihwkit, torch = ("1.1.0", "2.10.*") if sys.version_info < (3, 12) else ("1.2.0", "2.14.*")
    return f'pip install "aihwkit=={aihwkit}" "torch=={torch}"'


def sentence(failure: str) -> str:
    """What failed, which pairs work and the cure, in one sentence."""
    return (
        f"aihwkit {_version('aihwkit')} does not work with torch {_version('torch')} here ({failure}), because its "
        f"compiled part fits one torch only; pairs that work are {PAIRS}; "
        f"cure: {_cure()}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
