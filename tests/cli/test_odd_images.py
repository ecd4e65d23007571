"""Images that are not square, or too small: what can be made of them runs, what cannot is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", params=[(6, 8), (5, 7)], ids=["6x8", "5x7"])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder of two classes that brightness tells apart, and the number of pixels."""
    rng, shape = np.random.default_rng(0), request.param
    place = tmp_path_factory.mktemp("odd")
    for label, level in (("dark", 0.35), ("light", 0.65)):
        folder = place / "data" / label
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(level + rng.normal(0, 0.1, shape), 0, 1) * 255
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return place, shape[0] * shape[1]


def settings(pixels: int) -> list[str]:
    values = f"network.layers=[{pixels}, 4, 2]", "learning.epochs=1", "in_situ.epochs=1", "evaluation.draws=1"
    sizes = "learning.batch_size=4", "in_situ.batch_size=4", "evaluation.input_noise.sigma=[]"
    return [part for value in (*values, *sizes, "evaluation.pgd.epsilon=[0.1]") for part in ("--set", value)]


def test_a_run_refuses_corruptions_before_it_begins(hwsim_here: Call, images: tuple[Path, int], tmp_path: Path) -> None:
    place, pixels = images
    out = tmp_path / "run"
    code, _, err = hwsim_here("run", "--data", str(place / "data"), *settings(pixels), "--out", str(out))
    assert code == 2
    assert "evaluation.corruptions.types" in err
    assert "expected square images of 8 to 64 pixels a side, got" in err
    assert not out.exists()


def test_the_same_run_without_them_finishes(hwsim_here: Call, images: tuple[Path, int], tmp_path: Path) -> None:
    place, pixels = images
    without = ["--set", "evaluation.corruptions.types=[]", "--repeats", "1", "--out", str(tmp_path / "run")]
    code, _, err = hwsim_here("run", "--data", str(place / "data"), *settings(pixels), *without)
    assert code == 0, err
    assert (tmp_path / "run" / "report.html").exists()


MODEL = """import torch

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.f = torch.nn.Linear({pixels}, 2)

    def forward(self, x):
        return self.f(x.flatten(1))
"""


@pytest.fixture(scope="module")
def subject(images: tuple[Path, int]) -> list[str]:
    place, pixels = images
    (place / "net.py").write_text(MODEL.format(pixels=pixels))
    weight = torch.ones(2, pixels) * torch.tensor([[-1.0], [1.0]]) / pixels
    save_file({"f.weight": weight * 20, "f.bias": torch.tensor([10.0, -10.0])}, place / "w.safetensors")
    return [
        *("--model", f"{place}/net.py:Two", "--weights", f"{place}/w.safetensors"),
        *("--data", f"{place}/data", "--examples", "4"),
    ]


def test_corrupt_refuses_types_and_takes_noise(hwsim_here: Call, subject: list[str], tmp_path: Path) -> None:
    code, _, err = hwsim_here("corrupt", *subject, "--out", str(tmp_path / "c"))
    assert code == 2
    assert "(none does without): expected square images of 8 to 64 pixels a side" in err
    assert not (tmp_path / "c").exists()
    noise = ["--types", "none", "--noise", "0.1", "--out", str(tmp_path / "n")]
    code, _, err = hwsim_here("corrupt", *subject, *noise)
    assert code == 0, err
    assert (tmp_path / "n" / "report.html").exists()


@pytest.mark.parametrize("threat", ["linf:0.3", "l2:1.5", "l1:4"])
def test_square_windows_fit_into_oblong_images(
    hwsim_here: Call, subject: list[str], tmp_path: Path, threat: str
) -> None:
    """Windows of 80 % of the pixels are larger than the shorter side: fra31/auto-attack issue 95."""
    more = ["--threat", threat, "--attack", "square", "--no-checks", "--out", str(tmp_path / "a")]
    code, _, err = hwsim_here("attack", *subject, *more)
    assert code == 0 or (code == 2 and "square" in err), err
    assert "Traceback" not in err
