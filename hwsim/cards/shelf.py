"""The shelves `models/` and `devices/`: one folder an item, found by name, by path, or in an installed package."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import hwsim
from hwsim.cards.yamlfile import Document, Keys, did_you_mean, read_yaml
from hwsim.errors import InputError

_LOADING = threading.RLock()

CARDS = {"devices": "rpu-config.yaml", "models": "model.yaml"}


@dataclass(frozen=True)
class Item:
    """Something on a shelf or off one: a YAML card, or the entry point of an installed package.

    Args:
        kind: `devices` or `models`.
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
        return read_yaml(self.path, _shown_path(self.path))


def shelf(kind: str) -> Path:
    """The folder that holds `models` or `devices`: inside the installed package, else beside it in a checkout."""
    package = Path(hwsim.__file__).resolve().parent
    packed = package / "_content" / kind
    return packed if packed.is_dir() else package.parent / kind


def items(kind: str) -> list[str]:
    """The names on a shelf and of entry points, sorted."""
    return sorted(_items(kind))


def find(kind: str, given: str | Path) -> Item:
    """The item that a name or a path stands for.

    ``given``: the path of a folder that holds a card or of a YAML file (anything with a separator or ending in .yaml),
    else a name on the shelf, else an entry point's, else a folder here. InputError, with the nearest name, otherwise.
    """
    text, path, card = str(given), Path(given), CARDS[kind]
    one = kind.removesuffix("s")
    if not text.strip():
        raise InputError(f"{one}: expected a name or a path, got nothing")
    if isinstance(given, Path) or "/" in text or "\\" in text or path.suffix in (".yaml", ".yml"):
        return _at(kind, path)
    known = _items(kind)
    if text in known:
        return _opened(known[text])
    if path.is_dir():
        return _at(kind, path)
    raise InputError(
        f"{one} {text!r}: unknown name{did_you_mean(text, known)} Known {kind}: {', '.join(sorted(known)) or 'none'}. "
        f"A path to a folder with {card}, or to a YAML file, is accepted too"
    )


def resolve(kind: str, given: str | Path) -> Path:
    """The YAML card that a name or path stands for, as ``find`` does; InputError for an entry point without one."""
    item = find(kind, given)
    if item.path is None:
        raise InputError(f"{kind.removesuffix('s')} {item.name}: its entry point brings no {CARDS[kind]}")
    return item.path


def plugin(reference: str, folder: Path | None, group: str, document: Document, keys: Keys) -> Any:
    """What a card names as its Python: `./file.py:Name` beside the card, or an entry point's name.

    `../other/file.py:Name` is the file beside the card of a neighbour on the same shelf.

    Args:
        reference: the text in the card.
        folder: the card's folder.
        group: entry-point group, such as `hwsim.devices`.
        document, keys: where the reference stands, for messages.

    The file is run, as any plug-in is; naming it in the card is what asks for that. Raises InputError where it is
    missing, outside the folder, or fails, with the line in the file.
    """
    file, colon, name = reference.partition(":")
    if not colon:
        points = {point.name: point for point in entry_points(group=group)}
        if reference not in points:
            raise document.unknown(keys, points, f"{reference!r} is no entry point of {group}", reference)
        return load_entry_point(points[reference])
    if folder is None or not file.endswith(".py") or not name.isidentifier():
        raise document.error(keys, f"expected ./file.py:Name or an installed entry point's name, got {reference!r}")
    path = (folder / file).resolve()
    beside_a_card = any((path.parent / card).is_file() for card in CARDS.values())
    neighbour = beside_a_card and path.parent.parent == folder.resolve().parent
    if not path.is_relative_to(folder.resolve()) and not neighbour:
        raise document.error(keys, f"{file!r} lies outside the card's folder; put the file beside the card")
    if not path.is_file():
        raise document.error(keys, f"no such file: {_shown_path(path)}")
    module = _module(path, document, keys)
    if not hasattr(module, name):
        defined = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise document.unknown(keys, defined, f"{path.name} defines no {name!r}", name)
    return getattr(module, name)


def load_entry_point(point: EntryPoint) -> Any:
    """What an entry point refers to; InputError, naming it, where its package fails to load."""
    try:
        return point.load()
    except Exception as error:  # anything may go wrong in somebody else's package
        raise InputError(
            f"entry point {point.group}: {point.name} = {point.value}: cannot be loaded ({_told(error)})"
        ) from error


def _module(path: Path, document: Document, keys: Keys) -> Any:
    """A plug-in file as a module, under a private name of its own so that two files never collide."""
    with _LOADING:  # a module stands in sys.modules before it has run; another thread must not take it from there
        return _loaded(path, document, keys)


def _loaded(path: Path, document: Document, keys: Keys) -> Any:
    source = path.read_bytes()
    name = "_hwsim_plugin_" + hashlib.sha256(str(path).encode() + b"\0" + source).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise document.error(keys, f"{_shown_path(path)} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up while they are made
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything may go wrong in somebody else's file
        del sys.modules[name]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        raise document.error(keys, f"{_shown_path(path)}:{line or 1}: cannot be loaded ({_told(error)})") from error
    return module


def _at(kind: str, path: Path) -> Item:
    card = CARDS[kind]
    one = kind.removesuffix("s")
    if path.is_dir():
        if not (path / card).is_file():
            raise InputError(f"{one} {path}: the folder holds no {card}")
        return Item(kind, path.resolve().name, path / card)
    if not path.exists():
        near = did_you_mean(path.parent.name if path.name == card else path.name, items(kind))
        raise InputError(f"{one} {path}: no such file or folder{near} Known {kind}: {', '.join(items(kind)) or 'none'}")
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


def _shown_path(path: Path) -> str:
    """A path as messages show it: relative to here where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
