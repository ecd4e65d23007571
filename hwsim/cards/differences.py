"""Which keys of two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Key paths at which two configurations differ, lists of mappings by place.

    >>> differences({"a": {"b": 1}, "c": [{"d": 1}]}, {"a": {"b": 2}, "c": [{"d": 1}, {"d": 3}]})
    {'a.b': (1, 2), 'c[1].d': (None, 3)}
    """
    differing: dict[str, tuple[Any, Any]] = {}
    a, b = _branches(first), _branches(second)
    for key in dict.fromkeys((*a, *b)):
        x, y = a.get(key), b.get(key)
        if _branches(x) or _branches(y):
            inner = differences(x or {}, y or {})
            differing |= {f"{key}{path if path.startswith('[') else f'.{path}'}": pair for path, pair in inner.items()}
        elif (x != y and (x == x or y == y)) or isinstance(x, bool) != isinstance(y, bool):
            differing[key] = (x, y)
    return differing


def _branches(value: Any) -> dict[str, Any]:
    """A mapping's keys, or the places of a list of mappings; {} for a plain value."""
    if isinstance(value, dict):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        return {f"[{place}]": inner for place, inner in enumerate(value)}
    return {}


def diff(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key paths at which two resolved devices differ, with both values; None where one lacks the key.

    >>> diff({"cell": "a", "parameters": {"dw_min": 1}}, {"cell": "a", "parameters": {"dw_min": 2}})
    {'parameters.dw_min': (1, 2)}
    """
    differing: dict[str, tuple[Any, Any]] = {}
    for key in [*first, *(key for key in second if key not in first)]:
        a, b = first.get(key), second.get(key)
        nested = [value for value in (a, b) if value is not None]
        if nested and all(isinstance(value, Mapping) for value in nested):
            differing |= {f"{key}.{path}": values for path, values in diff(a or {}, b or {}).items()}
        elif not _same(a, b):
            differing[str(key)] = (a, b)
    return differing


def _same(a: Any, b: Any) -> bool:
    """Equal, NaN to NaN, and true not to 1."""
    return (a == b or (a != a and b != b)) and isinstance(a, bool) == isinstance(b, bool)
