"""Every number that a job left in its folder, for comparison bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

TIMES = {"seconds", "seconds_per_repeat", "started", "finished", "command", "git"}


def without_times(value: Any) -> Any:
    """The same without what a clock says and where the folder lies."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def bits(folder: Path) -> dict[str, Any]:
    """Every number that a job left: its records, each as often as it stands, its results, the bytes of its tensors."""
    left: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            left[name] = {key: tensor.numpy().tobytes() for key, tensor in load_file(path).items()}
        elif path.suffix == ".jsonl":
            left[name] = sorted(json.dumps(without_times(json.loads(line))) for line in path.read_text().splitlines())
        elif path.suffix == ".json" and path.name != "receipt.json":
            left[name] = without_times(json.loads(path.read_text()))
        elif path.suffix in (".yaml", ".csv"):
            left[name] = path.read_text()
    return left
