"""What any job's folder says of itself: its kind, its configuration, its main figures. Folders are only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hwsim.errors import InputError
from hwsim.jobs.folder import Record, read_json
from hwsim.jobs.store import read_lines

KINDS = {
    "run": "hwsim run",
    "attack": "hwsim attack",
    "corrupt": "hwsim corrupt",
    "train": "hwsim train",
    "ablate": "hwsim ablate",
    "sweep": "hwsim sweep",
}
"""Kind of a job -> the command that leaves such a folder."""


@dataclass(frozen=True)
class JobFolder:
    """A folder read.

    Attributes:
        config: the resolved configuration as plain values; of a sweep, its study.
        receipt: what ran it and when; {} while a job is under way, and for sweeps what ``sweep.json`` tells.
    """

    path: Path
    kind: str
    config: Record
    receipt: Record

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def model(self) -> str:
        model = _map(self.config, "model")
        return str(model.get("name") or _map(model, "card").get("name") or model.get("module") or "")

    @property
    def device(self) -> str:
        return str(_map(self.config, "device").get("name") or "")

    @property
    def data(self) -> str:
        found = self.config.get("data")
        return str(found.get("name") or "") if isinstance(found, dict) else str(found or "")


def read_folder(path: Path) -> JobFolder:
    """Read a job's folder. InputError where it is none, or its configuration cannot be read."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one that {', '.join(KINDS.values())} left")
    study = path / "study.yaml"
    config = _yaml(study if study.is_file() else path / "config.yaml")
    if study.is_file():
        return JobFolder(path, "sweep", config, read_json(path / "sweep.json"))
    receipt = read_json(path / "receipt.json") or read_json(path / "card.json")
    return JobFolder(path, _kind(path, config), config, receipt)


def _kind(path: Path, config: Record) -> str:
    marks = {"ablation": "ablate", "threats": "attack", "corrupted": "corrupt", "repeats": "run", "learning": "train"}
    for key, kind in marks.items():
        if key in config:
            return kind
    raise InputError(f"{path / 'config.yaml'}: of no known job; expected one of {', '.join(KINDS.values())}")


def results_of(folder: JobFolder) -> dict[str, float]:
    """The main figures of a folder by name, shares in [0, 1]; {} where nothing is measured yet."""
    read = {"run": _run, "attack": _attack, "corrupt": _corrupt, "train": _train, "sweep": _sweep}.get(folder.kind)
    return read(folder) if read else {}


def curves_of(folder: JobFolder) -> Iterator[tuple[str, int, float]]:
    """(name, epoch, value) of everything that was recorded epoch by epoch."""
    for record in read_lines(folder.path / "metrics.jsonl"):
        if record.get("kind") != "training" or not isinstance(record.get("epoch"), int):
            continue
        where = "" if folder.kind == "train" else f"{record.get('case')}, repeat {record.get('repeat')}/"
        for name, value in record.items():
            if name not in ("epoch", "repeat") and isinstance(value, int | float):
                yield f"{where}{name}", record["epoch"], float(value)


def flat(config: Record, above: str = "") -> Iterator[tuple[str, Any]]:
    """Key paths with their values; lists are values."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _yaml(path: Path) -> Record:
    try:
        # Line numbers, which read_yaml keeps, are not needed, and many folders are read at once.
        value = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(
            f"{path.parent}: holds no {path.name}; expected a folder of {', '.join(KINDS.values())}"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a mapping of keys")
    return value


def _run(folder: JobFolder) -> dict[str, float]:
    rows = read_json(folder.path / "summary.json").get("accuracy") or []
    named = ((f"{r['case']}, {r['condition']}", r) for r in rows)
    return {f"{name} {r['level']:g}" if r["level_unit"] else name: r["mean"] for name, r in named}


def _attack(folder: JobFolder) -> dict[str, float]:
    found = {}
    for threat in read_json(folder.path / "results.json").get("threats") or []:
        head = threat["threat"] + (f", {threat['age']}" if threat.get("age") else "")
        found |= {f"{head}, clean": threat["clean"]["mean"], f"{head}, to report": threat["reported"]["mean"]}
        found |= {f"{head}, {name}": row["mean"] for name, row in threat["attacks"].items()}
    return found


def _corrupt(folder: JobFolder) -> dict[str, float]:
    rows = read_json(folder.path / "results.json").get("rows") or []
    return {f"{row['case']}, {row['name']} {row['level']:g}": row["mean"] for row in rows}


def _train(folder: JobFolder) -> dict[str, float]:
    card = read_json(folder.path / "card.json")
    return {part: card[f"accuracy_{part}"]["mean"] for part in ("test", "validation") if f"accuracy_{part}" in card}


def _sweep(folder: JobFolder) -> dict[str, float]:
    keys = {point["key"] for point in folder.receipt.get("points") or []}
    if not (folder.path / "points").is_dir():
        return {}
    done = sum((folder.path / "points" / f"{key}.json").exists() for key in keys)
    return {"points finished": done / len(keys)} if keys else {}


def _map(mapping: Record, key: str) -> Record:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}
