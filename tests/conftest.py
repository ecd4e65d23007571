"""Settings of the whole suite, and the command line, in this process and in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

import hwsim.cli

torch.set_num_threads(1)

settings.register_profile(
    "hwsim", derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("hwsim"), derandomize=False, max_examples=3000)
settings.load_profile("hwsim")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="Many more examples of spoilt input, a kill at every write.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        settings.load_profile("long")


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data sets that lie on the machine by chance must not decide a test."""
    monkeypatch.delenv("HWSIM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "no-cache"))


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in this process starts no workers that a test does not ask for: tests run side by side."""
    monkeypatch.setattr("hwsim.jobs.executors.cores", lambda: 1)


@pytest.fixture
def hwsim_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hwsim", *arguments])
        try:
            hwsim.cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def _heeds_ctrl_c() -> None:
    """What a background job of a shell inherits, an ignored SIGINT, is not what a user at a terminal has."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def hwsim_process() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line as a process of its own."""

    def start(*arguments: str, cwd: Path | None = None, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "hwsim", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            preexec_fn=_heeds_ctrl_c,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        )

    return start
