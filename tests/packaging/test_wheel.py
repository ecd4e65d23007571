"""The wheel by itself: built through the source distribution, installed where no checkout can be seen, and run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import hwsim

ROOT = Path(__file__).resolve().parents[2]
SHELVES = {"models": "model.yaml", "devices": "rpu-config.yaml", "benchmarks": "study.yaml"}


def command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout, without what the test run itself put on Python's path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    return subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)


def succeeded(*words: str | Path, cwd: Path) -> str:
    done = command(*words, cwd=cwd)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(source distribution, wheel made of it)."""
    out = tmp_path_factory.mktemp("dist")
    # From the folder of the results: in the checkout, a folder named build would hide the module build.
    succeeded(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment with the wheel in it; what the wheel needs is lent by this environment."""
    home = tmp_path_factory.mktemp("installed")
    succeeded(sys.executable, "-m", "venv", "--without-pip", home / "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    succeeded(*pip, "install", "--quiet", "--no-deps", "--no-index", built[1], cwd=home)
    purelib = Path(succeeded(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    # A plain path is searched last and its own .pth files are not followed, so an editable install stays unseen.
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (purelib / "lent.pth").write_text("\n".join(lent) + "\n")
    return home / "venv" / "bin"


def shelf_files() -> list[str]:
    """Every file of the shelves in the checkout, as ``models/<name>/<file>``; of benchmarks/, the studies'."""
    return sorted(
        str(path.relative_to(ROOT))
        for kind, card in SHELVES.items()
        for folder in (ROOT / kind).iterdir()
        if kind != "benchmarks" or (folder / card).is_file()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def test_both_distributions_hold_the_package_and_the_shelves(built: tuple[Path, Path]) -> None:
    source, wheel = built
    with tarfile.open(source) as tar:
        in_source = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(path.relative_to(ROOT)) for path in (ROOT / "hwsim").rglob("*.py") if "__pycache__" not in path.parts
    }
    assert shelf_files()
    assert modules | {"hwsim/py.typed"} <= in_wheel
    assert {f"hwsim/_content/{file}" for file in shelf_files()} <= in_wheel
    assert modules | set(shelf_files()) <= in_source
    assert {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "CITATION.cff", "README.md"} <= in_source
    assert "tests/packaging/test_wheel.py" in in_source
    assert {name.split("/")[0] for name in in_wheel} == {"hwsim", f"hwsim-{hwsim.__version__}.dist-info"}
    assert not [name for name in in_wheel | in_source if "__pycache__" in name or ".venv" in name.split("/")]


def test_the_wheel_asks_for_a_pair_of_aihwkit_and_torch(built: tuple[Path, Path]) -> None:
    archive = zipfile.ZipFile(built[1])
    metadata = archive.read(f"hwsim-{hwsim.__version__}.dist-info/METADATA").decode()
    for line in (
        "Requires-Python: >=3.11",
        "Requires-Dist: aihwkit==1.1.0; python_version < '3.12'",
        "Requires-Dist: aihwkit==1.2.0; python_version >= '3.12'",
        "Requires-Dist: torch==2.10.*; python_version < '3.12'",
        "Requires-Dist: torch==2.14.*; python_version >= '3.12'",
        "License-Expression: MIT",
    ):
        assert line in metadata.splitlines()


def test_the_installed_package_is_the_wheel_and_not_the_checkout(installed: Path) -> None:
    code = "import hwsim; from hwsim.cards.shelf import shelf; print(hwsim.__file__, shelf('devices'), shelf('models'))"
    places = succeeded(installed / "python", "-c", code, cwd=installed.parent).split()
    assert len(places) == 3
    assert all(Path(place).is_relative_to(installed.parent) for place in places)


def test_the_installed_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert hwsim.__version__ in succeeded(installed / "hwsim", "--version", cwd=tmp_path)
    assert hwsim.__version__ in succeeded(installed / "python", "-m", "hwsim", "--version", cwd=tmp_path)


@pytest.mark.parametrize(
    ("verb", "kind"), [("device list", "devices"), ("model list", "models"), ("sweep --list", "benchmarks")]
)
def test_the_installed_shelves_are_those_of_the_wheel(installed: Path, tmp_path: Path, verb: str, kind: str) -> None:
    shown = succeeded(installed / "hwsim", *verb.split(), cwd=tmp_path)
    names = sorted(card.parent.name for card in (ROOT / kind).glob(f"*/{SHELVES[kind]}"))
    assert names
    assert [name for name in names if name not in shown] == []


def test_a_study_of_the_wheel_is_found_by_name(installed: Path, tmp_path: Path) -> None:
    """Its device and its page, Python beside its YAML, come with it."""
    told = succeeded(installed / "hwsim", "sweep", "tolerance", "--quick", "--dry-run", cwd=tmp_path)
    assert told.startswith("tolerance, quick form: ")


def test_a_mistake_is_told_by_exit_code_2(installed: Path, tmp_path: Path) -> None:
    done = command(installed / "hwsim", "run", "--device", "no-such-device", cwd=tmp_path)
    assert done.returncode == 2
    assert "no-such-device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_constraint_stands_for_every_direct_dependency() -> None:
    """What `make` installs is exact: each name in pyproject.toml has a version in constraints.txt for any Python."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *map(Requirement, project["dependencies"]),
        *(Requirement(line) for extra in project["optional-dependencies"].values() for line in extra),
    ]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    for python in ("3.11", "3.12", "3.13"):
        environment = {"python_version": python}
        exact = {pin.name: pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)}
        for need in wanted:
            if need.marker is None or need.marker.evaluate(environment):
                assert need.name in exact, f"{need.name} has no pin for Python {python}"
                (pin,) = exact[need.name].specifier
                assert pin.operator == "=="
                assert need.specifier.contains(pin.version), f"{need} excludes the pin {pin} for Python {python}"
