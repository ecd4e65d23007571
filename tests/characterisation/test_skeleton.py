"""The skeleton of a device of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwsim.cards.device import read_device
from hwsim.characterisation.skeleton import write_skeleton
from hwsim.errors import InputError
from hwsim.testing import check_device


def test_the_skeleton_is_a_device_that_conforms(tmp_path: Path) -> None:
    folder = write_skeleton("hf-ox_2", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "cell.py", "rpu-config.yaml"]
    assert not any("@" in line.replace("@dataclass", "") for path in folder.iterdir() for line in path.open())
    card = read_device(folder)
    assert (card.name, card.kind, card.learning) == ("hf-ox_2", "cell", {"rate_scale": 0.5})
    check_device(card.device)


def test_the_skeletons_equation_is_what_it_says(tmp_path: Path) -> None:
    cell = read_device(write_skeleton("mine", tmp_path)).device.cell  # type: ignore[attr-defined]
    rng, g = torch.Generator(), torch.tensor([[-1.0, 0.0, 1.0]])
    e = torch.tensor(0.5).exp().item()
    assert torch.allclose(cell.pulse(g, True, rng), 0.002 * torch.tensor([[e, 1.0, 1 / e]]))
    assert torch.allclose(cell.pulse(g, False, rng), -0.002 * torch.tensor([[1 / e, 1.0, e]]))


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "2d", "a b", "a.b"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected letters"):
        write_skeleton(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=r"mine: exists; give another name"):
        write_skeleton("mine", tmp_path)
    assert not list((tmp_path / "mine").iterdir())
