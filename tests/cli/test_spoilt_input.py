"""Every file that a command reads, spoilt, and every number that it takes, absurd: a sentence and no traceback.

A few hundred cases in the suite; `pytest --long tests/cli/test_spoilt_input.py` tries thousands.
"""

from __future__ import annotations

import contextlib
import io
import re
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attackfolder
import jobfolders
import openpyxl
import pytest
import runfolder
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import hwsim.cli
from hwsim.cards.shelf import resolve
from hwsim.cli.app import app

STUDY = """name: tiny
measurement: in-situ-accuracy
device: soft-bounds-cell
seeds: [0]
set: {in_situ.epochs: 1, measurement.reads: 2}
blocks:
  noise: {axes: {device.forward.out_noise: [0.0, 0.1], reads: {keys: [inference.steps], values: [8]}}}
  cases: {axes: {which: {cases: {a: {in_situ.beta: 0.5}, b: {in_situ.beta: 1.0}}}}, quick: {seeds: [0]}}
"""

TRACES = "device,cycle,pulse,polarity,g_uS\n" + "".join(
    f"1,1,{i},{'up' if i < 20 else 'down'},{3 + (i if i < 20 else 40 - i) * 0.5:.2f}\n" for i in range(40)
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file of each kind."""
    folder = tmp_path_factory.mktemp("originals")
    shutil.copyfile(resolve("devices", "soft-bounds-cell"), folder / "rpu-config.yaml")
    shutil.copyfile(resolve("models", "digits-mlp"), folder / "model.yaml")
    (folder / "study.yaml").write_text(STUDY)
    (folder / "traces.csv").write_text(TRACES)
    save_file({"layer0.weight": torch.full((3, 4), 0.25)}, folder / "weights.safetensors")
    runfolder.write_run(folder / "run", repeats=1, images=12)
    jobfolders.write_sweep(folder / "sweep", 0.5)
    jobfolders.write_corrupt(folder / "corrupt", 0.6)
    attackfolder.write_attack(folder / "attack")
    write_workbook(folder / "traces.xlsx")
    for label, grey in (("dark", 60), ("light", 190)):
        (folder / "data" / label).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (8, 8), grey + i).save(folder / "data" / label / f"{i}.png")
    return folder


def write_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for line in TRACES.splitlines():
        book.active.append(line.split(","))
    book.save(path)


COMMANDS = {
    "rpu-config.yaml": ["device", "show", "{}/rpu-config.yaml"],
    "model.yaml": ["model", "show", "{}/model.yaml"],
    "study.yaml": ["sweep", "{}/study.yaml", "--dry-run", "--out", "{}/out"],
    "traces.csv": ["device", "traces", "{}/traces.csv", "--out", "{}/shown"],
    "weights.safetensors": ["attack", "--weights", "{}/weights.safetensors", "--out", "{}/out"],
    "run/config.yaml": ["compare", "{}/run", "{}/run"],
    "run/metrics.jsonl": ["compare", "{}/run", "{}/run"],
    "run/receipt.json": ["runs", "show", "run", "--runs", "{}"],
    "sweep/sweep.json": ["compare", "{}/sweep", "{}/sweep"],
    "sweep/study.yaml": ["compare", "{}/sweep", "{}/sweep"],
    "sweep/points": ["compare", "{}/sweep", "{}/sweep"],
    "corrupt/metrics.jsonl": ["compare", "{}/corrupt", "{}/corrupt"],
    "corrupt/results.json": ["report", "{}/corrupt"],
    "attack/results.json": ["report", "{}/attack"],
    "attack/examples.csv": ["compare", "{}/attack", "{}/attack"],
    "traces.xlsx": ["device", "traces", "{}/traces.xlsx", "--out", "{}/shown"],
    "data/dark": ["run", "--data", "{}/data", "--set", "network.layers=[63, 4, 2]"],
}
"""A file, and a command that reads it and no more."""

ABSURD = ["0", "-1", "1e308", "-1e308", "1e-320", "1e999", "9" * 30, ".nan", ".inf", "null", "true", "[]", "{}", "''"]
HOSTILE = ["[" * 20_000, "{a: " * 500, "\0", "\ud800", "&a [*a]", "!!python/object:os.system x", "<script>", "\t", "*"]


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        yield err


MOST_SECONDS = 10.0
"""Of this process, not of the clock: a busy machine fails no test."""
MOST_BYTES = 2 * 2**30


def called(*arguments: str) -> tuple[int, str]:
    """(exit code, standard error). Anything but an exit ends the test: it would have been a traceback."""
    began, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return _called(*arguments)
    finally:
        assert time.process_time() - began < MOST_SECONDS, arguments
        assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) < MOST_BYTES, arguments


def _called(*arguments: str) -> tuple[int, str]:
    before, sys.argv = sys.argv, ["hwsim", *arguments]
    try:
        with quiet() as err, warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                hwsim.cli.main()
            except SystemExit as stop:
                return int(stop.code or 0), err.getvalue()
            return 0, err.getvalue()
    finally:
        sys.argv = before


def check(code: int, err: str, place: str) -> None:
    assert code in (0, 1, 2), err
    assert "Traceback" not in err
    if code:
        assert place in err, f"{place} is not named: {err}"


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some of it exchanged, cut off, doubled, or replaced by something absurd or hostile."""
    text, kind = bytearray(whole), draw(st.sampled_from(["bytes", "cut", "value", "insert", "line", "all"]))
    at = draw(st.integers(0, max(0, len(text) - 1)))
    if kind == "bytes":
        text[at : at + draw(st.integers(1, 8))] = draw(st.binary(max_size=12))
    elif kind == "cut":
        del text[at:]
    elif kind == "line":
        lines = bytes(text).split(b"\n")
        line = draw(st.integers(0, len(lines) - 1))
        lines[line : line + 1] = draw(st.sampled_from([[], [lines[line]] * 2, [b"  " + lines[line]]]))
        return b"\n".join(lines)
    elif kind == "all":
        return draw(
            st.binary(max_size=60) | st.sampled_from([each.encode("utf-8", "surrogatepass") for each in HOSTILE])
        )
    else:
        word = draw(st.sampled_from([*ABSURD, *HOSTILE])).encode("utf-8", "surrogatepass")
        if kind == "value":
            marks = [i + 1 for i, mark in enumerate(text) if mark in b":,["]
            at = draw(st.sampled_from(marks)) if marks else at
            end = next((i for i in range(at, len(text)) if text[i] in b",]}\n"), len(text))
            text[at:end] = b" " + word
        else:
            text[at:at] = word
    return bytes(text)


@pytest.mark.parametrize("name", COMMANDS)
@given(data=st.data())
def test_a_spoilt_file_is_answered_with_a_sentence(name: str, originals: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        top = name.partition("/")[0]
        (shutil.copytree if (originals / top).is_dir() else shutil.copyfile)(originals / top, folder / top)
        path = folder / name
        path = sorted(path.iterdir())[0] if path.is_dir() else path
        path.write_bytes(data.draw(spoilt(path.read_bytes())))
        code, err = called(*(part.format(folder) for part in COMMANDS[name]))
        check(code, err, top if name != "data/dark" or "network.layers" not in err else "")


def numeric_options() -> dict[str, list[str]]:
    """Every option of every command that takes a number, in a command that does no work however the number is."""
    found: dict[str, list[str]] = {}

    def walk(command: Any, path: list[str]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*path, name])
        given = ["nowhere" for p in command.params if p.param_type_name == "argument"]
        options = {p.opts[0]: p for p in command.params if p.param_type_name == "option"}
        needed = [name for name, option in options.items() if option.required or name in ("--model", "--device")]
        for name, option in options.items():
            if re.search(r"\b(int|float)\b", str(option.type_descriptor.annotation)):
                dry = ["--dry-run"] if "--dry-run" in options else []
                stops = [part for other in needed if other != name for part in (other, "nowhere")]
                found[" ".join([*path, name])] = [*path, *given, *stops, *dry, name]

    walk(typer.main.get_command(app), [])
    return found


NUMBERS = numeric_options() | {
    "seeds": ["attack", "--model", "nowhere", "--seeds"],
    "age": ["corrupt", "--model", "nowhere", "--age"],
    "threat": ["attack", "--model", "nowhere", "--threat"],
    "severities": ["corrupt", "--model", "nowhere", "--severities"],
    "noise": ["corrupt", "--model", "nowhere", "--noise"],
    "salt": ["corrupt", "--model", "nowhere", "--salt-and-pepper"],
    "trains": ["device", "traces", "nowhere", "--trains"],
    "since": ["runs", "list", "--runs", "nowhere", "--since"],
}
"""Beside them, text that stands for numbers."""


def test_the_numeric_options_are_those_of_the_commands() -> None:
    assert {"run --repeats", "attack --eot", "sweep --jobs", "device validate --gap", "ablate --seeds"} <= set(NUMBERS)


THREATS = ["linf:-1", "linf:1e308", "linf:nan", "l0:1e30", "l2:1/0"]


@pytest.mark.parametrize("option", NUMBERS)
@given(text=st.sampled_from([*ABSURD, "", "--", "1/0", "1,,2", *THREATS]) | st.text(max_size=6))
def test_an_absurd_number_is_answered_with_a_sentence(option: str, text: str) -> None:
    code, err = called(*NUMBERS[option], text.replace("\0", "0"))
    check(code, err, option.rpartition("-")[2] if "nowhere" not in err and "not a valid" not in err else "")


SETTINGS = [
    *(
        "network.layers",
        "network.c",
        "network.init_gain",
        "inference.steps",
        "inference.damping",
        "inference.tolerance",
    ),
    *("learning.rates", "learning.beta", "learning.batch_size", "learning.epochs", "learning.free_steps"),
    *("in_situ.rates", "in_situ.beta", "evaluation.draws", "evaluation.examples", "evaluation.pgd.epsilon"),
]
DEVICE_SETTINGS = [
    *("parameters.dw_min", "parameters.w_min", "parameters.w_max", "forward.out_noise", "forward.out_bound"),
    *("update.desired_bl", "mapping.omega", "array.g_max_uS", "array.max_rows", "array.wire_resistance_ohm"),
]


@given(
    setting=st.sampled_from(SETTINGS), value=st.sampled_from([*ABSURD, "[0.1, 1e308]", "[64, 1, 10]", "[64, -1, 10]"])
)
def test_an_absurd_setting_of_a_model_is_answered_with_a_sentence(setting: str, value: str) -> None:
    code, err = called("run", "--data", "nowhere", "--set", f"{setting}={value}")
    assert code == 2, err
    assert "nowhere" in err or setting.rpartition(".")[2] in err or setting.partition(".")[0] in err, err


@given(setting=st.sampled_from(DEVICE_SETTINGS), value=st.sampled_from([*ABSURD, "1e20", "1e-20", "1e38"]))
def test_an_absurd_setting_of_a_device_is_answered_with_a_sentence(setting: str, value: str) -> None:
    code, err = called("run", "--device", "soft-bounds-cell", "--data", "nowhere", "--set", f"device.{setting}={value}")
    assert code == 2, err
    assert "hwsim: " in err
