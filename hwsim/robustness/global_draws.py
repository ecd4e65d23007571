"""Code that draws from global generators (dropout, ``torch.rand``, ``np.random``), seeded, leaving no trace outside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class GlobalDraws:
    """The stream that somebody else's code draws from torch's, NumPy's and Python's global generators.

    Inside ``drawing()`` the global generators stand where this stream stands; afterwards they are as they were before.
    Two calls go on with the stream, so what is noisy stays noisy; ``restart`` repeats it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin at ``seed`` (any integer >= 0)."""
        with _kept():
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            self._state = _read()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Global draws inside come from this stream."""
        with _kept():
            _write(self._state)
            try:
                yield
            finally:
                self._state = _read()


@contextmanager
def _kept() -> Iterator[None]:
    before = _read()
    try:
        yield
    finally:
        _write(before)


def _read() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002


def _write(state: tuple[Any, ...]) -> None:
    on_cpu, on_cuda, of_numpy, of_python = state
    torch.set_rng_state(on_cpu)
    if on_cuda is not None:
        torch.cuda.set_rng_state_all(on_cuda)
    np.random.set_state(of_numpy)  # noqa: NPY002
    random.setstate(of_python)
