"""benchmarks/speed: which checkouts of published code are taken, and a row of the growth table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from hwsim.errors import InputError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "speed"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"speed_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_checkouts_are_known_by_their_files(tmp_path: Path) -> None:
    peers = script("peers")
    with pytest.raises(InputError, match="expected a checkout named Equilibrium-Propagation or energy-based-learning"):
        peers.checkouts(tmp_path)
    (tmp_path / peers.LABORIEUX).mkdir()
    (tmp_path / peers.LABORIEUX / "model_utils.py").touch()
    assert peers.checkouts(tmp_path) == {peers.LABORIEUX: tmp_path / peers.LABORIEUX}


@pytest.mark.parametrize(("kind", "hidden"), [("dense", [16, 16]), ("conv", [2, 3])])
def test_a_row_of_the_growth_table(kind: str, hidden: list[int]) -> None:
    found = script("growth").measured(kind, hidden, 2, 2, 1)
    units = 16 + 16 + 10 if kind == "dense" else (2 + 3) * 16 * 16 + 10
    assert found["states"] == pytest.approx(4 * 2 * units / 2**20)
    assert found["ms"] > 0
