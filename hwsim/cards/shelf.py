"""The shelves `models/`, `devices/` and `benchmarks/`: one folder an item, found by name, path, or in a package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import hwsim
from hwsim.cards.yamlfile import Document, did_you_mean, read_yaml
from hwsim.errors import InputError

CARDS = {"devices": "rpu-config.yaml", "models": "model.yaml", "studies": "study.yaml"}
"""Kind of item -> the card that makes a folder one."""

FOLDERS = {"devices": "devices", "models": "models", "studies": "benchmarks"}
ONE = {"devices": "device", "models": "model", "studies": "study"}


@dataclass(frozen=True)
class Item:
    """Something on a shelf or off one: a YAML card, or the entry point of an installed package.

    Args:
        kind: `devices`, `models` or `studies`.
        name: the folder's, the entry point's, or for a lone file its stem.
        path: the YAML card; None for an entry point that brings Python instead.
        entry_point: set for what an installed package brings, unless it brings a card.
    """

    kind: str
    name: str
    path: Path | None = None
    entry_point: EntryPoint | None = None

    @property
    def folder(self) -> Path | None:
        """Where the card's own Python and weights lie."""
        return self.path.parent if self.path else None

    def document(self) -> Document:
        """The card, parsed. An entry point has an empty one."""
        if self.path is None:
            return Document({}, f"entry point hwsim.{self.kind}: {self.name}")
        return read_yaml(self.path, shown_path(self.path))


def shelf(kind: str) -> Path:
    """The folder that holds all items of a kind: inside the installed package, else beside it in a checkout."""
    package = Path(hwsim.__file__).resolve().parent
    packed = package / "_content" / FOLDERS[kind]
    return packed if packed.is_dir() else package.parent / FOLDERS[kind]


def items(kind: str) -> list[str]:
    """The names on a shelf and of entry points, sorted."""
    return sorted(_items(kind))


def find(kind: str, given: str | Path) -> Item:
    """The item that a name or a path stands for.

    ``given``: the path of a folder that holds a card or of a YAML file (anything with a separator or ending in .yaml),
    else a name on the shelf, else an entry point's, else a folder here. InputError, with the nearest name, otherwise.
    """
    text, path, card = str(given), Path(given), CARDS[kind]
    singular = ONE[kind]
    if not text.strip():
        raise InputError(f"{singular}: expected a name or a path, got nothing")
    if isinstance(given, Path) or "/" in text or "\\" in text or path.suffix in (".yaml", ".yml"):
        return _at(kind, path)
    known = _items(kind)
    if text in known:
        return _opened(known[text])
    if path.is_dir():
        return _at(kind, path)
    near, names = did_you_mean(text, known), ", ".join(sorted(known)) or "none"
    raise InputError(
        f"{singular} {text!r}: unknown name{near} Known {kind}: {names}. "
        f"A path to a folder with {card}, or to a YAML file, is accepted too"
    )


def resolve(kind: str, given: str | Path) -> Path:
    """The YAML card that a name or path stands for, as ``find`` does; InputError for an entry point without one."""
    item = find(kind, given)
    if item.path is None:
        raise InputError(f"{ONE[kind]} {item.name}: its entry point brings no {CARDS[kind]}")
    return item.path


def load_entry_point(point: EntryPoint) -> Any:
    """What an entry point refers to; InputError, naming it, where its package fails to load."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's package
        raise InputError(
            f"entry point {point.group}: {point.name} = {point.value}: cannot be loaded ({summary_of(error)})"
        ) from error


def _at(kind: str, path: Path) -> Item:
    card = CARDS[kind]
    singular = ONE[kind]
    if path.is_dir():
        if not (path / card).is_file():
            raise InputError(f"{singular} {path}: the folder holds no {card}")
        return Item(kind, path.resolve().name, path / card)
    if not path.exists():
        near = did_you_mean(path.parent.name if path.name == card else path.stem, items(kind))
        raise InputError(
            f"{singular} {path}: no such file or folder{near} Known {kind}: {', '.join(items(kind)) or 'none'}"
        )
    return Item(kind, path.resolve().parent.name if path.name == card else path.stem, path)


def _items(kind: str) -> dict[str, Item]:
    """By name; an item of the shelf wins over an entry point of the same name."""
    points = {point.name: Item(kind, point.name, entry_point=point) for point in entry_points(group=f"hwsim.{kind}")}
    cards = sorted(shelf(kind).glob(f"*/{CARDS[kind]}"))
    return points | {path.parent.name: Item(kind, path.parent.name, path) for path in cards}


def _opened(item: Item) -> Item:
    """An entry point may refer to a package or folder that holds a card; the item then is that card."""
    if item.entry_point is None:
        return item
    loaded = load_entry_point(item.entry_point)
    if isinstance(loaded, ModuleType) and loaded.__file__:
        loaded = Path(loaded.__file__).parent
    if not isinstance(loaded, str | Path):
        return item
    path = Path(loaded)
    return Item(item.kind, item.name, path / CARDS[item.kind] if path.is_dir() else path)


def shown_path(path: Path) -> str:
    """A path as messages show it: relative to here where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def summary_of(error: BaseException) -> str:
    """An error's kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
