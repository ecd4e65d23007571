"""The device tutorial: its files, as printed, are a device that conforms and behaves as the text tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hwsim.cards.device import read_device
from hwsim.rng import Streams
from hwsim.testing import conformance

DOC = Path(__file__).parents[2] / "docs" / "device-tutorial.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOC.read_text(encoding="utf-8")


@pytest.fixture
def build(text: str, tmp_path: Path) -> Callable[[bool], Path]:
    """The tutorial's folder, with the first window or the second one."""

    def made(second: bool) -> Path:
        files = dict(re.findall(r"^`devices/hp-memristor/(\S+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        assert set(files) == {"cell.py", "rpu-config.yaml"}
        (window,) = re.findall(r"^```python\n(    def _window.*?)^```", text, re.MULTILINE | re.DOTALL)
        if second:
            head, found, _ = files["cell.py"].partition("    def _window")
            assert found
            files["cell.py"] = head + window
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return tmp_path

    return made


@pytest.mark.parametrize("second", [False, True], ids=["first window", "second window"])
def test_the_tutorials_device_conforms(build: Callable[[bool], Path], second: bool) -> None:
    checks = conformance(read_device(build(second)).device)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 11


def test_the_first_windows_table_is_as_printed(build: Callable[[bool], Path], text: str) -> None:
    for check in conformance(read_device(build(False)).device):
        # Decimals may differ in the last digit from one build of torch to the next.
        words = re.split(r"[\d.]{4,}", check.found)[0].strip()
        assert re.search(rf"^{check.name} +ok +{re.escape(words)}", text, re.MULTILINE), check


@pytest.mark.parametrize("second", [False, True], ids=["trapped", "free"])
def test_only_the_second_window_lets_devices_leave_an_end(build: Callable[[bool], Path], second: bool) -> None:
    synapse = read_device(build(second)).device.synapse(20, 20, Streams(0))
    pre, post = torch.ones(1, 20), torch.ones(1, 20)
    for _ in range(300):
        synapse.update(pre, post, 0.02)
    top = synapse.weight()
    for _ in range(100):
        synapse.update(pre, -post, 0.02)
    moved = (top - synapse.weight()).median()
    assert moved > 0.5 if second else moved < 0.01
