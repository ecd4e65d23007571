"""The kinds of jobs, and what any job's folder says of itself. Folders are only read, and nothing heavy is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim import __version__
from hwsim.cards.yamlfile import read_yaml
from hwsim.errors import InputError
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import read_lines

Config = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of job, named by the word of its command.

    Attributes:
        figures: a folder's main figures by name, shares in [0, 1]; {} where nothing is measured yet.
        headline: which of them stands for the job: the last whose name ends so.
        mark: a key of its configuration that no kind before it in ``KINDS`` has. By it folders are known that were
            written before ``config.yaml`` said its kind.
    """

    name: str
    figures: Callable[[JobFolder], dict[str, float]]
    headline: str = ""
    mark: str | None = None

    @property
    def command(self) -> str:
        return f"hwsim {self.name}"


@dataclass(frozen=True)
class JobFolder:
    """A folder read.

    Attributes:
        config: the resolved configuration as plain values; of a sweep, its study.
        receipt: what ran it and when; {} while a job is under way, and for sweeps what ``sweep.json`` tells.
        version: of the hwsim that wrote it; "" where it does not say.
    """

    path: Path
    kind: str
    config: Config
    receipt: Config
    version: str = ""

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
        named = self.config.get("data")
        return str(named.get("name") or "") if isinstance(named, dict) else str(named or "")


def read_folder(path: Path) -> JobFolder:
    """Read a job's folder. InputError where it is none, or its configuration cannot be read."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one that {_COMMANDS} left")
    study = path / "study.yaml"
    config = _yaml(study if study.is_file() else path / "config.yaml")
    if study.is_file():
        plan = read_json(path / "sweep.json")
        return JobFolder(path, "sweep", config, plan, str(_map(plan, "versions").get("hwsim") or ""))
    version, kind = str(config.pop("hwsim", "")), config.pop("kind", None)
    if kind is None:
        kind = next((kind.name for kind in KINDS.values() if kind.mark in config), None)
    if kind not in KINDS:
        by = f", written by hwsim {version}, this is {__version__}" if version else ""
        raise InputError(f"{path / 'config.yaml'}: of no known job{by}; expected one of {_COMMANDS}")
    receipt = read_json(path / "receipt.json") or read_json(path / "card.json")
    return JobFolder(path, kind, config, receipt, version or str(_map(receipt, "versions").get("hwsim") or ""))


def results_of(folder: JobFolder) -> dict[str, float]:
    """The main figures of a folder by name, shares in [0, 1]; {} where nothing is measured yet.

    InputError where they cannot be read, with the version that wrote them.
    """
    try:
        return KINDS[folder.kind].figures(folder)
    except (KeyError, TypeError, AttributeError) as error:
        by = f"written by hwsim {folder.version or 'of an unknown version'}, this is {__version__}"
        raise InputError(f"{folder.path}: results lack {error}; {by}; the command that made them goes on") from error


def headline(folder: JobFolder, results: dict[str, float]) -> str:
    """The figure that a reader looks for first, with its name; "" where there is none yet."""
    end = KINDS[folder.kind].headline
    names = [name for name in results if name.endswith(end)]
    return f"{100 * results[names[-1]]:.1f} % {names[-1].removesuffix(', to report')}" if names else ""


def curves_of(folder: JobFolder) -> Iterator[tuple[str, int, float]]:
    """(name, epoch, value) of everything that was recorded epoch by epoch."""
    for record in read_lines(folder.path / "metrics.jsonl"):
        if record.get("kind") != "training" or not isinstance(record.get("epoch"), int):
            continue
        where = "" if folder.kind == "train" else f"{record.get('case')}, repeat {record.get('repeat')}/"
        for name, value in record.items():
            if name not in ("epoch", "repeat") and isinstance(value, int | float):
                yield f"{where}{name}", record["epoch"], float(value)


def flat(config: Config, above: str = "") -> Iterator[tuple[str, Any]]:
    """Key paths with their values; lists are values."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _yaml(path: Path) -> Config:
    if not path.exists():
        raise InputError(f"{path.parent}: holds no {path.name}; expected a folder of {_COMMANDS}")
    return read_yaml(path).data


def _run(folder: JobFolder) -> dict[str, float]:
    rows = read_json(folder.path / "summary.json").get("accuracy") or []
    named = ((f"{r['case']}, {r['condition']}", r) for r in rows)
    return {f"{name} {r['level']:g}" if r["level_unit"] else name: r["mean"] for name, r in named}


def _attack(folder: JobFolder) -> dict[str, float]:
    figures = {}
    for threat in read_json(folder.path / "results.json").get("threats") or []:
        head = threat["threat"] + (f", {threat['age']}" if threat.get("age") else "")
        figures |= {f"{head}, clean": threat["clean"]["mean"], f"{head}, to report": threat["reported"]["mean"]}
        figures |= {f"{head}, {name}": row["mean"] for name, row in threat["attacks"].items()}
    return figures


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


def _ablate(folder: JobFolder) -> dict[str, float]:
    """Accuracy of every variant, over its trainings."""
    shares: dict[str, list[float]] = {}
    for line in read_lines(folder.path / "ablation.jsonl"):
        shares.setdefault(line["variant"], []).append(sum(line["hits"]) / (line["draws"] * len(line["hits"])))
    return {name: sum(own) / len(own) for name, own in shares.items()}


def _map(mapping: Config, key: str) -> Config:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ablate", _ablate, "all on", "ablation"),
        Kind("attack", _attack, ", to report", "threats"),
        Kind("corrupt", _corrupt, mark="corrupted"),
        Kind("run", _run, ", clean", "repeats"),
        Kind("train", _train, "test", "learning"),
        Kind("sweep", _sweep),
    )
}
_COMMANDS = ", ".join(kind.command for kind in KINDS.values())
