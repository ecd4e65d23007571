"""Python that a card names: a file of its folder, run as a module of a package of its own, or an entry point.

The folder is the package, so a file imports its neighbours: `from .protocol import Protocol`. What runs is a snapshot,
read before anything is run: the named file and all files that it imports in this way, inside functions too. No other
file of the folder can be loaded, so the digest of a snapshot covers all code of the folder that can run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from importlib.util import spec_from_file_location
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from hwsim.cards.shelf import CARDS, load_entry_point, shown_path, summary_of
from hwsim.cards.yamlfile import Document, Keys

PREFIX = "_hwsim_plugin_"

_LOADING = threading.RLock()


@dataclass(frozen=True)
class Code:
    """A file of a folder and those files of it that it imports, as they were when they were read.

    Attributes:
        root: the folder.
        entry: the file, relative to the folder.
        files: relative path -> source.
    """

    root: Path
    entry: str
    files: Mapping[str, bytes]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the file, or of several with their names; the same wherever the folder lies."""
        if len(self.files) == 1:
            return hashlib.sha256(self.files[self.entry]).hexdigest()
        whole = hashlib.sha256()
        for name, source in sorted(self.files.items()):
            whole.update(f"{name}\0{len(source)}\0".encode() + source)
        return whole.hexdigest()


def plugin(reference: str, folder: Path | None, group: str, document: Document, keys: Keys) -> Any:
    """What a card names as its Python: `./file.py:Name` beside the card, or an entry point's name.

    `../other/file.py:Name` is the file beside the card of a neighbour on the same shelf.

    Args:
        reference: the text in the card.
        folder: the card's folder.
        group: entry-point group, such as `hwsim.devices`.
        document, keys: where the reference stands, for messages.

    The file is run, as any plug-in is; naming it in the card is what asks for that. Raises InputError where it is
    missing, outside the folder, or fails, with the file and line.
    """
    if ":" not in reference:
        points: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=group)}
        if reference not in points:
            raise document.unknown(keys, points, f"{reference!r} is no entry point of {group}", reference)
        return load_entry_point(points[reference])
    code, name = read_code(reference, folder, document, keys), reference.partition(":")[2]
    module = load(code, document, keys)
    if not hasattr(module, name):
        defined = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise document.unknown(keys, defined, f"{Path(code.entry).name} defines no {name!r}", name)
    return getattr(module, name)


def read_code(reference: str, folder: Path | None, document: Document, keys: Keys) -> Code:
    """The code that `./file.py:Name` stands for, read and not run. Raises InputError as ``plugin`` does."""
    file, _, name = reference.partition(":")
    if folder is None or not file.endswith(".py") or not name.isidentifier():
        raise document.error(keys, f"expected ./file.py:Name or an installed entry point's name, got {reference!r}")
    root, path = folder.resolve(), (folder / file).resolve()
    if not path.is_relative_to(root):
        beside_a_card = any((path.parent / card).is_file() for card in CARDS.values())
        if not beside_a_card or path.parent.parent != root.parent:
            raise document.error(keys, f"{file!r} lies outside the card's folder; put the file beside the card")
        root = path.parent
    if not path.is_file():
        raise document.error(keys, f"no such file: {shown_path(path)}")
    entry = path.relative_to(root).as_posix()
    files: dict[str, bytes] = {}
    waiting = [entry]
    while waiting:
        relative = waiting.pop()
        if relative not in files:
            files[relative] = (root / relative).read_bytes()
            waiting += [other for other in _imported(files[relative], relative) if (root / other).is_file()]
    return Code(root, entry, files)


def place_of(error: BaseException, folder: Path) -> str:
    """`file:line: ` of the last line inside a folder that an error came through; "" where it came through none."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(folder):
        return f"{shown_path(Path(error.filename))}:{error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(folder)]
    return f"{shown_path(Path(frames[-1].filename))}:{frames[-1].lineno}: " if frames else ""


@functools.lru_cache(maxsize=512)
def _imported(source: bytes, relative: str) -> Sequence[str]:
    """The files that relative imports of a file may mean, relative to its folder; none where it is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()  # running it says where
    return tuple(dict.fromkeys(_candidates(tree, PurePosixPath(relative).parent.parts)))


def _candidates(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not 0 < node.level <= len(package) + 1:
            continue
        base = (*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ()))
        for parts in (base, *((*base, alias.name) for alias in node.names)):
            if parts:
                yield "/".join(parts) + ".py"
            yield from ("/".join((*parts[:i], "__init__.py")) for i in range(1, len(parts) + 1))


def _module_name(package: str, file: str) -> str:
    relative = PurePosixPath(file)
    stem = () if relative.stem == "__init__" else (relative.stem.replace(".", "_"),)
    return ".".join((package, *relative.parent.parts, *stem))


class _Snapshot(SourceLoader):
    """Loads the modules of one package from its snapshot. Nothing compiled is written beside the sources."""

    def __init__(self, package: str, code: Code) -> None:
        self.sources = {str(code.root / name): source for name, source in code.files.items()}
        self.paths: dict[str, str] = {}
        self.folders: set[str] = set()
        for name in code.files:
            self.paths[_module_name(package, name)] = str(code.root / name)
            self.folders |= {".".join((package, *part.parts)) for part in PurePosixPath(name).parents if part.parts}

    def get_filename(self, fullname: str) -> str:
        return self.paths[fullname]

    def get_data(self, path: str) -> bytes:
        if path not in self.sources:
            raise OSError(f"{path} is not in the snapshot")
        return self.sources[path]

    def spec(self, fullname: str) -> ModuleSpec | None:
        found = None
        if fullname in self.paths:
            found = spec_from_file_location(fullname, self.paths[fullname], loader=self)
        elif fullname in self.folders:
            found = ModuleSpec(fullname, None, is_package=True)
        if found is not None and found.submodule_search_locations is not None:
            found.submodule_search_locations = []  # nothing but the snapshot
        return found


class _Finder(MetaPathFinder):
    """Finds what plug-ins import of their own folders."""

    def __init__(self) -> None:
        self.snapshots: dict[str, _Snapshot] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        snapshot = self.snapshots.get(fullname.partition(".")[0])
        return snapshot.spec(fullname) if snapshot else None


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)


def load(code: Code, document: Document, keys: Keys) -> ModuleType:
    """The named file as a module, of a package that is named after the folder and its code: no two collide."""
    package = PREFIX + hashlib.sha256(f"{code.root}\0{code.digest}".encode()).hexdigest()[:16]
    with _LOADING:  # a module stands in sys.modules before it has run; another thread must not take it from there
        if package not in _FINDER.snapshots:
            _FINDER.snapshots[package] = _Snapshot(package, code)
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = []
        try:
            return importlib.import_module(_module_name(package, code.entry))
        except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's file
            del _FINDER.snapshots[package]
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[name]
            place = place_of(error, code.root) or f"{shown_path(code.root / code.entry)}:1: "
            problem = summary_of(error).replace(package, code.root.name) + _hint(error, code, package)
            raise document.error(keys, f"{place}cannot be loaded ({problem})") from error


def _hint(error: BaseException, code: Code, package: str) -> str:
    """What to write where an import of a neighbour does not find it."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.removeprefix(f"{package}.")
    if not (code.root / f"{name.replace('.', '/')}.py").is_file():
        return ""
    return f"; a file of the folder is imported by a plain `from .{name} import ...`"
