"""A device's configuration as the Python that builds it, for those who go on with aihwkit itself."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator
from enum import Enum
from typing import Any

from hwsim.cards.device import DeviceCard
from hwsim.errors import InputError


def python_of(card: DeviceCard) -> str:
    """A script whose ``rpu_config`` is the card's aihwkit configuration: classes and the fields that differ.

    Raises InputError for a device that aihwkit does not simulate: a python cell, float, or an array built around one.
    """
    config = getattr(card.device, "config", None)
    if config is None or not type(config).__module__.startswith("aihwkit."):
        raise InputError(
            f"device {card.name}: is a {card.kind} device, which aihwkit has no configuration for; "
            "only devices of a preset: or class: can be exported, without an array: section"
        )
    imports: dict[str, set[str]] = {}
    body = _source(config, imports, "")
    lines = [f'"""{card.name}: {card.summary}"""', ""]
    lines += [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    return "\n".join([*lines, "", f"rpu_config = {body}", ""])


def _source(value: Any, imports: dict[str, set[str]], indent: str) -> str:
    if isinstance(value, Enum):
        return f"{_named(type(value), imports)}.{value.name}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = indent + "    "
        fields = [f"{inner}{name}={_source(item, imports, inner)},\n" for name, item in _different(value)]
        return f"{_named(type(value), imports)}({chr(10) if fields else ''}{''.join(fields)}{indent if fields else ''})"
    if isinstance(value, list | tuple):
        items = ", ".join(_source(item, imports, indent) for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, type):
        return _named(value, imports)
    return _called(value, imports, indent)


def _called(value: Any, imports: dict[str, set[str]], indent: str) -> str:
    """A plain object of aihwkit's, such as a noise model, by the arguments that it kept under their own names."""
    given = []
    for name, parameter in inspect.signature(type(value)).parameters.items():
        if not hasattr(value, name):
            if parameter.default is inspect.Parameter.empty:
                raise InputError(f"device: a {type(value).__name__} in its configuration cannot be written as Python")
        elif not _equal(getattr(value, name), parameter.default):
            given.append(f"{name}={_source(getattr(value, name), imports, indent)}")
    return f"{_named(type(value), imports)}({', '.join(given)})"


def _different(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields that the class does not have by itself."""
    try:
        usual = type(value)()
    except TypeError:
        usual = None
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.init and (usual is None or not _equal(getattr(usual, field.name), item)):
            yield field.name, item


def _equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return all(_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if type(a).__module__.startswith("aihwkit.") and not isinstance(a, Enum):
        return _equal(sorted(vars(a).items(), key=str), sorted(vars(b).items(), key=str))
    return bool(a == b) or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def _named(kind: type, imports: dict[str, set[str]]) -> str:
    imports.setdefault(kind.__module__, set()).add(kind.__qualname__.partition(".")[0])
    return kind.__qualname__
