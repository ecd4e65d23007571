"""The three first half hours of the site, as commands: a measured device, a rule of one's own, a claim."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_settings import small
from safetensors.torch import save_file

START = Path(__file__).parents[2] / "docs" / "start"
Call = Callable[..., tuple[int, str, str]]


def blocks(page: str, language: str) -> list[str]:
    text = (START / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The arguments of every `hwsim` line of a page."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith("hwsim ")]


def reram(path: Path) -> None:
    """`up,down` columns of conductances in microsiemens, as a lab writes them: one ramp up, one down."""
    rng = torch.Generator().manual_seed(0)

    def ramp(g: float, towards: float, share: float) -> list[float]:
        values = []
        for _ in range(120):
            g += share * (towards - g) * (1 + 0.3 * torch.randn((), generator=rng).item())
            values.append(g + 0.05 * torch.randn((), generator=rng).item())
        return values

    up = ramp(4.0, 24.0, 0.02)
    down = ramp(up[-1], 3.0, 0.03)
    rows = [f"{a:.4f},{b:.4f}" for a, b in zip(up, down, strict=True)]
    path.write_text("\n".join(["up_uS,down_uS", *rows, ""]))


def test_a_measured_device_gets_an_accuracy_and_what_limits_it(
    hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reram(tmp_path / "measured.csv")
    seen, fit, run, ablate = commands("device")
    assert [seen[:2], fit[:2], run[:1], ablate[:1]] == [["device", "traces"], ["device", "fit"], ["run"], ["ablate"]]
    for command in (seen, fit):
        code, out, err = hwsim_here(*command)
        assert code == 0, out + err
    code, out, err = hwsim_here(*run, "--repeats", "1", *small())
    assert code == 0, err
    assert "report" in out
    code, out, err = hwsim_here(*ablate, "--seeds", "1", "--property", "granularity", *small())
    assert code == 0, err
    assert re.search(r"limits|limiting|chance", out)


def test_a_rule_and_a_solver_of_ones_own_train(tmp_path: Path) -> None:
    (script,) = blocks("rule", "python")
    (tmp_path / "mine.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (accuracy,) = re.findall(r"(\d+\.\d) %", done.stdout)[:1]
    assert float(accuracy) > 80


def test_a_claim_is_checked(hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net, _ = blocks("claim", "python")
    (tmp_path / "net.py").write_text(net)
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(net, scope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(scope["MyNet"]().state_dict(), tmp_path / "w.safetensors")
    (command,) = commands("claim")
    quick = ["--examples", "20", "--attack", "fgsm", "--out", str(tmp_path / "out")]
    kept = [word for word in command if word not in ("--examples", "100")]
    code, out, err = hwsim_here(*kept, *quick)
    assert code == 0, err
    assert "linf:0.1" in out
    assert (tmp_path / "out" / "report.html").is_file()
