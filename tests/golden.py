"""The numbers of small seeded jobs, recorded before a change that must not move any of them and compared after it.

    python tests/golden.py record FILE.json                     at the revision before the change
    python tests/golden.py check FILE.json [--tolerance R]      after it; every difference is told, exit code 1

Last bits differ between processors and builds of torch, so no recording is kept in the repository: record and check
on one machine, in one environment. There the check is bit for bit. ``--tolerance R`` is for a recording of another
machine: numbers may differ by the share R, and lists and tensors are compared by their mean, spread and extremes.

Every job runs through the command line of this checkout, in a temporary folder and on one thread. Collected is what it
leaves: all numbers of .json, .jsonl and .csv files and all tensors of .safetensors, not texts (so no paths, hashes,
versions or dates) and not the resolved configuration. Where a change gives a file or a key of the results another name,
RENAMED says so; where it changes the command line, a card or a study file, JOBS and FILES do.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


def sets(*settings: str, of: str = "") -> list[str]:
    return [part for setting in settings for part in ("--set", of + setting)]


TRAINING = sets("network.layers=[64, 12, 10]", "learning.epochs=2", "in_situ.epochs=2", "inference.steps=80")
TRAINING += sets("examples=60", "draws=2", of="evaluation.")
JUDGED = sets("corruptions={types: [gaussian-blur], severities: [3]}", "input_noise.sigma=[0.1]", of="evaluation.")
JUDGED += sets("pgd.epsilon=[0.1]", "pgd.steps=2", of="evaluation.")
ATTACKED = sets("threat=linf:0.1", "attack=fgsm", "examples=20", "checks=false", of="evaluation.attack.")
CONVOLUTIONAL = (
    "network={type: conv-hopfield, image: [1, 8, 8], convolutions: [{channels: 4, stride: 2}], dense: [10], "
    "init_gain: 1.5, start: feed-forward, normalise: {mean: [0.3], std: [0.4]}}"
)
# Float and Python cells only: aihwkit's tiles draw from generators of their own, which no seed of a job makes repeat.
CELLS = ["--device", "soft-bounds-cell"]
FEW = [*CELLS, "--instances", "2", "--draws", "2"]
WORN = ["--device", "./rpu-config.yaml"]

FILES = {
    # Everything that can be wrong with an array at once.
    "rpu-config.yaml": """\
cell: linear-step
parameters: {dw_min: 0.01, dw_min_dtod: 0.1, dw_min_std: 0.3, up_down: 0.1, drift_nu: 0.05, read_noise: 0.01}
forward: {inp_bound: 1.0, inp_res: 7bit, inp_noise: 0.01, out_bound: 12.0, out_res: 9bit, out_noise: 0.1}
backward: {inp_bound: 1.0, inp_res: 7bit, out_bound: 12.0, out_res: 9bit, out_scale: 0.9}
array: {stuck_low: 0.01, stuck_high: 0.01, wire_resistance_ohm: 2, transpose_mismatch: 0.1, offset_std: 0.01}
""",
    "study.yaml": """\
name: golden
measurement: in-situ-accuracy
device: soft-bounds-cell
seeds: [0]
set: {network.layers: [64, 12, 10], in_situ.epochs: 2, inference.steps: 20, evaluation.draws: 2}
blocks:
  step:
    axes: {dw: {keys: [device.parameters.dw_min], values: [0.001, 0.1]}}
""",
}

JOBS: dict[str, list[str]] = {
    "run": ["run", *CELLS, "--repeats", "2", *TRAINING, *JUDGED, *ATTACKED],
    "run-worn": ["run", *WORN, "--repeats", "1", *TRAINING, *JUDGED, *sets("evaluation.pgd.epsilon=[]")],
    "train": ["train", *TRAINING],
    "train-cells": ["train", *CELLS, *TRAINING],
    "train-convolutional": ["train", *TRAINING, *sets(CONVOLUTIONAL)],
    "train-exact": ["train", *TRAINING, *sets("learning.rule=exact-gradient")],
    "attack": ["attack", "--threat", "linf:0.1", "--attack", "smoke", "--examples", "20"],
    "attack-cells": ["attack", "--threat", "l2:0.5", "--attack", "smoke", "--examples", "4", "--eot", "2", *FEW],
    "corrupt": ["corrupt", "--types", "all", "--severities", "1,4", "--noise", "0.1", "--examples", "60"],
    "corrupt-cells": ["corrupt", "--types", "contrast", "--severities", "3", "--examples", "60", *FEW],
    "ablate": ["ablate", *WORN, "--seeds", "1", "--property", "IR drop", "--property", "asymmetry", *TRAINING],
    "sweep": ["sweep", "study.yaml", "--jobs", "1"],
}

LEFT_OUT_KEYS = re.compile(r"seconds|(^|_)(started|machine|versions?|git)($|_)")  # clocks and receipts
RENAMED = {
    r"cells/(\d+)": r"points/\1",
    "cells": "evaluations",
}  # the whole name of a file or key in the recording: its name now


def run_jobs() -> dict[str, Any]:
    found = dict[str, Any]()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        for file, text in FILES.items():
            Path(name, file).write_text(text)
        for job, words in JOBS.items():
            start = time.monotonic()
            command = [sys.executable, "-m", "hwsim", *words, "--out", job]
            done = subprocess.run(command, cwd=name, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{job}: hwsim {' '.join(words)}\n{done.stdout}{done.stderr}")
            found[job] = collected(Path(name, job))
            print(f"{job}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    return found


def collected(folder: Path) -> dict[str, Any]:
    """File -> its numbers. Files named by a hash are numbered instead, in the order of what they hold."""
    found, hashed = dict[str, Any](), defaultdict[str, list[Any]](list)
    for path in sorted(folder.rglob("*")):
        if path.name == "receipt.json" or (numbers := numbers_of(path)) is None:
            continue
        if re.fullmatch(r"[0-9a-f]{12,}", path.stem):
            hashed[path.parent.relative_to(folder).as_posix()].append(numbers)
        else:
            found[path.relative_to(folder).as_posix()] = numbers
    for parent, contents in hashed.items():
        found |= {f"{parent}/{i}": numbers for i, numbers in enumerate(sorted(contents, key=json.dumps))}
    return found


def numbers_of(path: Path) -> Any:
    if path.suffix == ".json":
        return kept(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return kept([json.loads(line) for line in path.read_text().splitlines()])
    if path.suffix == ".csv":
        head, *rows = csv.reader(path.read_text().splitlines())
        return kept({name: [number(row[i]) for row in rows] for i, name in enumerate(head)})
    if path.suffix == ".safetensors":
        return {name: of_array(array) for name, array in sorted(load_file(path).items())}
    return None


def number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+\.?\d*(e[+-]?\d+)?", text) else None


def kept(value: Any) -> Any:
    """The numbers of a value as JSON gives it: texts become nothing, long lists of numbers what ``of_array`` says."""
    if isinstance(value, dict):
        pairs = ((key, kept(item)) for key, item in value.items() if not LEFT_OUT_KEYS.search(key))
        return {key: item for key, item in pairs if item not in (None, {}, [])}
    if isinstance(value, list):
        items = [kept(item) for item in value]
        if len(items) > 8 and all(isinstance(item, int | float) for item in items):
            return of_array(np.array(items, dtype=np.float64))
        return [] if all(item in (None, {}, []) for item in items) else items
    return None if isinstance(value, str) else value


def of_array(array: np.ndarray) -> dict[str, Any]:
    wide = array.astype(np.float64)
    found = {name: float(getattr(wide, name)()) for name in ("mean", "std", "min", "max") if wide.size}
    return {"shape": list(array.shape), "sha256": hashlib.sha256(array.tobytes()).hexdigest(), **found}


def renamed(name: str) -> str:
    for before, now in RENAMED.items():
        if found := re.fullmatch(before, name):
            return found.expand(now)
    return name


def differences(old: Any, new: Any, tolerance: float, path: str = "", scale: float = 0.0) -> Iterator[str]:
    """One line each; ``scale`` is the largest magnitude of the array that a number is of."""
    if isinstance(old, dict) and isinstance(new, dict):
        old = {renamed(key): item for key, item in old.items()}
        if "sha256" in old:
            scale = max(abs(old.get("min", 0.0)), abs(old.get("max", 0.0)))
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in new or key not in old:
                yield f"{path}/{key}: {'not there any more' if key in old else 'not in the recording'}"
            elif not (key == "sha256" and tolerance):
                yield from differences(old[key], new[key], tolerance, f"{path}/{key}", scale)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, tolerance, f"{path}[{i}]", scale)
    elif json.dumps(old) != json.dumps(new):
        pair = (item if isinstance(item, float) else math.nan for item in (old, new))
        if not math.isclose(*pair, rel_tol=tolerance, abs_tol=tolerance * scale):
            yield f"{path}: {json.dumps(old)[:80]} -> {json.dumps(new)[:80]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("verb", choices=["record", "check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="share by which numbers may differ")
    arguments = parser.parse_args()
    if arguments.verb == "record":
        arguments.file.write_text(json.dumps(run_jobs(), indent=1) + "\n")
        return
    found = list(differences(json.loads(arguments.file.read_text()), run_jobs(), arguments.tolerance))
    print("\n".join([*found, f"{len(found)} differences"]))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
