"""Solvers by the names that cards have for them."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.ebm.predictive import ErrorSweeps
from hwsim.ebm.solvers import Anderson, Newton, OddEven, Solver, Synchronous, UpDown


def _undamped(name: str, damping: float, solver: Solver) -> Solver:
    if damping != 1.0:
        raise ValueError(f"solver damping: {name!r} takes none, got {damping}")
    return solver


SOLVERS: dict[str, Callable[[float], Solver]] = {
    "synchronous": Synchronous,
    "odd-even": OddEven,
    "up-down": UpDown,
    "anderson": lambda damping: _undamped("anderson", damping, Anderson()),
    "newton": lambda damping: _undamped("newton", damping, Newton()),
    "error-sweeps": ErrorSweeps,
}
"""Solvers by name, each made from its damping."""
