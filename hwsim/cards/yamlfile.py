"""YAML files read safely: plain values only, every key with its line, and mistakes told with file, line and key path.

Only the JSON-like core of YAML 1.2 is understood: maps, lists, text, numbers, true/false and null. Tags,
which could name Python objects, are refused; nothing in a file is ever executed.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.composer import Composer

from hwsim.errors import InputError
from hwsim.files import MAX_DEPTH, read_text

Keys = tuple[str | int | float, ...]

MAX_VALUES = 100_000  # aliases can make a small file a huge one


class _TooMuch(yaml.MarkedYAMLError):
    """Nested too deeply, or too many values."""


_COMPILED: Any = getattr(yaml, "CSafeLoader", object)


class _CompiledParser(Composer, _COMPILED):
    """The compiled parser, and nodes made of its events in Python: compiled code would run out of stack."""

    def __init__(self, stream: Any) -> None:
        _COMPILED.__init__(self, stream)
        Composer.__init__(self)


_Parser: Any = _CompiledParser if _COMPILED is not object else yaml.SafeLoader


class _CoreLoader(_Parser):
    """Scalars as in YAML 1.2's core schema: `1e-3` is a number, `off` and `2018-01-01` are text, `010` is ten."""

    depth = count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, while depth and number are within their limits."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > MAX_DEPTH + 1 or self.count > 2 * MAX_VALUES:
            what = f"nested deeper than {MAX_DEPTH} levels" if self.depth > MAX_DEPTH else f"over {MAX_VALUES} values"
            raise _TooMuch(problem=what, problem_mark=getattr(self.peek_event(), "start_mark", None))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


class _CoreDumper(yaml.SafeDumper):
    """Writes every value out, shared or not, and quotes what the core schema would read as something else."""

    yaml_implicit_resolvers = _CoreLoader.yaml_implicit_resolvers  # pyright: ignore[reportIncompatibleVariableOverride]

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


@dataclass(frozen=True)
class Document:
    """A map read from a file, with the line of every key and the settings that were laid over it.

    Args:
        data: the map; plain Python values.
        name: the file, as the user knows it.
        lines: key path -> line, counted from 1.
        settings: key paths set from outside the file -> what to call them in a message.
    """

    data: dict[str, Any]
    name: str
    lines: Mapping[Keys, int] = field(default_factory=dict)
    settings: Mapping[Keys, str] = field(default_factory=dict)

    def error(self, keys: Keys, message: str) -> InputError:
        """The error to raise for the value at ``keys``: `file:line: key.path: message`."""
        for known in _with_parents(keys):
            if known in self.settings:
                rest = "" if known == keys else f" (at {dotted(keys)})"
                return InputError(f"{self.settings[known]}{rest}: {message}")
            if known in self.lines:
                return InputError(f"{self.name}:{self.lines[known]}: {dotted(keys)}: {message}")
        return InputError(f"{self.name}: {dotted(keys)}: {message}" if keys else f"{self.name}: {message}")

    def unknown(
        self, keys: Keys, known: Iterable[str], subject: str = "unknown key", word: str | None = None
    ) -> InputError:
        """The error for a name that is none of ``known``, by default the last of ``keys``; suggests the nearest."""
        known = sorted(known)
        near = did_you_mean(str(keys[-1]) if word is None else word, known)
        label = "Known keys" if subject == "unknown key" else "Known"
        return self.error(keys, f"{subject}{near} {label}: {', '.join(known) or 'none'}")

    def override(self, path: str, value: Any, origin: str = "--set ") -> Document:
        """The document with one value replaced; mistakes in it will be told as `--set key.path`."""
        data = override(self.data, path, value, origin)
        return replace(self, data=data, settings={**self.settings, key_path(path, origin): f"{origin}{path}"})

    def section(self, key: str) -> dict[str, Any]:
        """The map under a top-level key, {} where there is none; InputError where it is not a map."""
        value = self.data.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error((key,), f"expected a map of keys and values, got {shown(value)}")
        return value


def read_yaml(path: Path, name: str | None = None) -> Document:
    """Read a YAML file whose top level is a map.

    Args:
        path: the file.
        name: what to call it in messages, by default the path as given.

    Raises InputError for a file that cannot be read, is not UTF-8 or not YAML, for a repeated key and for tags.
    """
    name = name or str(path)
    return parse_yaml(read_text(path, name), name)


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML text whose top level is a map; ``name`` stands for the file in messages."""
    lines: dict[Keys, int] = {}
    node = _compose(text, name)
    data = {} if node is None else _value(node, (), name, lines, iter(range(MAX_VALUES)))
    if not isinstance(data, dict):
        raise InputError(f"{name}:1: expected a map of keys and values at the top level, got {shown(data)}")
    return Document(data, name, lines)


def parse_value(text: str, name: str) -> Any:
    """One value by the same rules as in a file: `1e-3` a number, `[1, 2]` a list, `EcRamPreset` text."""
    node = _compose(text, name)
    return None if node is None else _value(node, (), name, {}, iter(range(MAX_VALUES)))


def parse_setting(text: str, origin: str = "--set ") -> tuple[str, Any]:
    """Split `key.path=value`, the value parsed by the rules of a file. Raises InputError."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise InputError(f"{origin}{text}: expected key.path=value, for example device.forward.out_bound=8")
    key_path(path.strip(), origin)
    return path.strip(), parse_value(value, f"{origin}{path.strip()}")


def to_yaml(mapping: Mapping[str, Any]) -> str:
    """Plain values as YAML text that ``parse_yaml`` reads back to the same values; the order of keys stays."""
    return yaml.dump(dict(mapping), Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)


def override(mapping: Mapping[str, Any], path: str, value: Any, origin: str = "--set ") -> dict[str, Any]:
    """A copy of ``mapping`` with the value at `a.b.c` (`a.b[0].c` in lists) replaced; maps on the way are made.

    Raises InputError where the path is malformed, leads through a value that is no map, or past a list's end.
    """
    keys = key_path(path, origin)

    def placed(container: Any, depth: int) -> Any:
        if depth == len(keys):
            return value
        key = keys[depth]
        if isinstance(container, list):
            if not isinstance(key, int) or not 0 <= key < len(container):
                raise InputError(
                    f"{origin}{path}: {dotted(keys[:depth])} is a list of {len(container)}; "
                    f"expected a position from 0 to {len(container) - 1}, got {key!r}"
                )
            return [placed(item, depth + 1) if i == key else item for i, item in enumerate(container)]
        if container is None:
            container = {}
        if not isinstance(container, Mapping):
            raise InputError(
                f"{origin}{path}: {dotted(keys[:depth])} is {shown(container)}, not a map; nothing can be set below it"
            )
        return {**container, key: placed(container.get(key), depth + 1)}

    return placed(mapping, 0)


def key_path(path: str, origin: str = "--set ") -> Keys:
    """`a.b[0].c` or `a.b.0.c` as ("a", "b", 0, "c"). Raises InputError where a part is empty."""
    parts = re.sub(r"\[(\d+)\]", r".\1", path).split(".")
    if any(not re.fullmatch(r"[\w-]+", part) for part in parts):
        raise InputError(f"{origin}{path}: expected names joined by dots, for example forward.out_bound")
    return tuple(int(part) if part.isdigit() else part for part in parts)


def dotted(keys: Keys) -> str:
    """("a", "b", 0, "c") as `a.b[0].c`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, `.` where none is near."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).lower()

    plains: dict[str, str] = {}
    for name in known:
        plains.setdefault(plain(name), name)
    near = difflib.get_close_matches(plain(word), plains, n=1, cutoff=0.6)
    return f"; did you mean {plains[near[0]]!r}?" if near else "."


def shown(value: Any) -> str:
    """A value as a message names it: what it is, and the value where that is short."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r}"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
    return "a list" if isinstance(value, list) else "a map" if isinstance(value, Mapping) else type(value).__name__


def _with_parents(keys: Keys) -> Iterator[Keys]:
    for length in range(len(keys), 0, -1):
        yield keys[:length]


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = str(error.problem or error.context)
        hint = " (text that contains ': ' needs quotes)" if "mapping values" in problem else ""
        hint = " (a tab? indent with spaces)" if "start any token" in problem else hint
        what = problem if isinstance(error, _TooMuch) else f"not valid YAML: {problem}{hint}"
        raise InputError(f"{name}{line}: {what}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from error


_NOT_FINITE = (math.inf, -math.inf)


def _value(node: yaml.Node, keys: Keys, name: str, lines: dict[Keys, int], budget: Iterator[int]) -> Any:
    line = node.start_mark.line + 1
    if len(keys) > MAX_DEPTH or next(budget, None) is None:
        what = f"nested deeper than {MAX_DEPTH} levels" if len(keys) > MAX_DEPTH else f"over {MAX_VALUES} values"
        raise InputError(f"{name}:{line}: {what}; does an alias (*name) contain itself?")
    if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _value(key_node, (*keys, "?"), name, {}, budget)
            key_line = key_node.start_mark.line + 1
            if isinstance(key, bool) or not isinstance(key, str | int | float) or key in _NOT_FINITE or key != key:
                raise _located(name, key_line, keys, f"expected a name as key, got {shown(key)}")
            inner = (*keys, key)
            if key in result:
                raise _located(name, key_line, inner, f"given twice, first in line {lines[inner]}")
            lines[inner] = key_line
            result[key] = _value(value_node, inner, name, lines, budget)
        return result
    if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
        items = []
        for index, item in enumerate(node.value):
            lines[(*keys, index)] = item.start_mark.line + 1
            items.append(_value(item, (*keys, index), name, lines, budget))
        return items
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, keys, name, line)
    raise _located(name, line, keys, f"the tag {node.tag!r} is not allowed; give plain values")


def _located(name: str, line: int, keys: Keys, message: str) -> InputError:
    return InputError(f"{name}:{line}: {dotted(keys)}: {message}" if keys else f"{name}:{line}: {message}")


def _scalar(node: yaml.ScalarNode, keys: Keys, name: str, line: int) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    text: str = node.value
    try:
        match kind:
            case "str":
                text.encode()  # half a character ("\\ud800") cannot be written again
                return text
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                return int(text, 16) if text.startswith("0x") else int(text)
            case "float":
                return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
    except (ValueError, KeyError) as error:
        raise _located(name, line, keys, f"{shown(text)} cannot be read as {kind}") from error
    raise _located(name, line, keys, f"the tag {node.tag!r} is not allowed; give plain values")
