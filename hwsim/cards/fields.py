"""Maps laid onto dataclasses, field by field, by introspection: types, ranges, names, and the key path of mistakes.

The same walk serves aihwkit's configurations, python cells and read paths. What may be set and what a class name
may stand for is a ``Vocabulary``: ``hwsim.devices.aihw.catalog`` is the one for aihwkit, ``PLAIN`` the one for our
dataclasses.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import re
import types
import typing
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn, Protocol, get_args, get_origin

from hwsim.cards.yamlfile import Document, Keys, shown

MOST_ELEMENTS = 16
"""Devices of one unit cell. Each takes its part of every update: thousands of them would never end."""


class Vocabulary(Protocol):
    """What the fields of a family of classes are and what may stand in them."""

    def parameter_types(self, cls: type) -> Mapping[str, Any]:
        """Settable field -> its type."""
        ...

    def fixed_fields(self, cls: type) -> Collection[str]:
        """Fields that exist and cannot be set."""
        ...

    def bases_of(self, name: str, hint: Any) -> tuple[type, ...]:
        """Classes that a field may hold, () for plain values."""
        ...

    def choices(self, bases: tuple[type, ...]) -> Mapping[str, type]:
        """Classes that may be named where ``bases`` are held."""
        ...

    def outside(self, name: str, number: float) -> str | None:
        """What is expected of a field, where ``number`` is not that."""
        ...


class Plain:
    """The vocabulary of our own frozen dataclasses, which check their ranges themselves and hold plain values."""

    def parameter_types(self, cls: type) -> Mapping[str, Any]:
        hints = typing.get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls) if field.init]
        return {name: hints[name] for name in names if _is_plain(hints[name])}

    def fixed_fields(self, cls: type) -> Collection[str]:
        return frozenset()

    def bases_of(self, name: str, hint: Any) -> tuple[type, ...]:
        return ()

    def choices(self, bases: tuple[type, ...]) -> Mapping[str, type]:
        return {}

    def outside(self, name: str, number: float) -> str | None:
        return "a number" if math.isnan(number) else None


PLAIN = Plain()


@dataclasses.dataclass(frozen=True)
class Filler:
    """Lays maps of a document onto objects. Mistakes are told as InputError at the line where they stand.

    ``besides`` are keys at the document's top that others read; they are named among the known ones.
    """

    document: Document
    vocabulary: Vocabulary
    besides: Collection[str] = ()

    def fill(self, target: Any, given: Any, keys: Keys = ()) -> Any:
        """A copy of ``target`` with the map ``given`` (at ``keys`` of the document) laid over it.

        ``target`` may be a class, which then is built of the map and its own defaults alone.
        """
        if inspect.isclass(target) and not _required(target):
            with suppress(ValueError):  # defaults that need the map's values to be valid
                target = target()
        cls = target if inspect.isclass(target) else type(target)
        hints = self.vocabulary.parameter_types(cls)
        values: dict[str, Any] = {}
        for key, value in self.map_at(given, keys).items():
            if key == "class" and key not in hints:
                continue
            if key not in hints:
                self._unknown(key, target, hints, keys)
            current = None if inspect.isclass(target) else getattr(target, key, None)
            values[key] = self._value(key, hints[key], current, value, (*keys, key))
        built = self._built(target, values, keys)
        for name, hint in hints.items():
            # aihwkit's compiled part crashes on an empty cell
            if _is_list(hint) and not getattr(built, name, None) and self.vocabulary.bases_of(name, hint):
                raise self.document.error((*keys, name), f"{cls.__name__} needs a list with at least one entry")
        self._check_bounds(built, given, keys)
        return built

    def map_at(self, given: Any, keys: Keys) -> dict[str, Any]:
        """``given`` if it is a map, {} for nothing; InputError otherwise."""
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise self.document.error(keys, f"expected a map of keys and values, got {shown(given)}")
        return given

    def _unknown(self, key: str, target: Any, hints: Mapping[str, Any], keys: Keys) -> NoReturn:
        cls = target if inspect.isclass(target) else type(target)
        if key in self.vocabulary.fixed_fields(cls):
            raise self.document.error((*keys, key), f"cannot be set; {cls.__name__} fixes it")
        for name in hints:
            child = None if inspect.isclass(target) else getattr(target, name, None)
            if dataclasses.is_dataclass(child) and key in self.vocabulary.parameter_types(type(child)):
                path = f"{name}.{key}"
                raise self.document.error((*keys, key), f"unknown key; did you mean {path!r}, one level down?")
        raise self.document.unknown((*keys, key), [*hints, *(self.besides if not keys else ())])

    def _built(self, target: Any, values: dict[str, Any], keys: Keys) -> Any:
        cls = target if inspect.isclass(target) else type(target)
        by_constructor = not dataclasses.is_dataclass(cls)
        if inspect.isclass(target):
            required = _required(cls) - set(values)
            if required:
                raise self.document.error(keys, f"{cls.__name__} needs {', '.join(map(repr, sorted(required)))}")
        elif by_constructor:
            values = {**changed_arguments(target), **values}
        try:
            built = cls(**values) if inspect.isclass(target) or by_constructor else replace(target, **values)
        except (Exception, SystemExit) as error:  # a cell of somebody's own fails in any way it likes
            # "Class.field: message" of a dataclass that checks itself
            match = re.fullmatch(rf"{cls.__name__}\.(\w+): (.*)", str(error), re.DOTALL)
            if match:
                raise self.document.error((*keys, match[1]), match[2]) from error
            raise self.document.error(keys, f"{cls.__name__} cannot be built: {_first_line(error)}") from error
        if by_constructor:
            self._keep_arguments(built, values, keys)
        return built

    def _keep_arguments(self, built: Any, values: dict[str, Any], keys: Keys) -> None:
        for name, value in values.items():
            if not hasattr(built, name):
                setattr(built, name, value)  # some aihwkit noise models forget arguments that they use later
            elif isinstance(value, int | float) and getattr(built, name) != value:
                raise self.document.error(
                    (*keys, name),
                    f"has no effect: {type(built).__name__} takes {getattr(built, name)!r} from another of its "
                    "arguments; remove one of the two",
                )

    def _value(self, name: str, hint: Any, current: Any, given: Any, keys: Keys) -> Any:
        optional = _optional(hint)
        if given is None:
            if optional:
                return None
            raise self.document.error(keys, "expected a value, got nothing (null)")
        bases = self.vocabulary.bases_of(name, hint)
        if bases and _is_list(hint):
            return self._elements(bases, current, given, keys)
        if bases:
            return self._nested(bases, current, given, keys)
        plain = _without_none(hint)
        if inspect.isclass(plain) and issubclass(plain, enum.Enum):
            return self._enum(plain, given, keys)
        if _is_list(plain):
            if not isinstance(given, list):
                raise self.document.error(keys, f"expected a list, got {shown(given)}")
            element = (get_args(plain) or (Any,))[0]
            items = [self._value(name, element, None, item, (*keys, i)) for i, item in enumerate(given)]
            return tuple(items) if get_origin(plain) is tuple or plain is tuple else items
        if plain is dict or get_origin(plain) is dict:
            return dict(self.map_at(given, keys))
        if plain is Any:
            return given
        return self._scalar(name, plain, given, keys)

    def _scalar(self, name: str, hint: Any, given: Any, keys: Keys) -> Any:
        accepted = get_args(hint) or (hint,)
        if bool in accepted and isinstance(given, bool):
            return given
        if str in accepted and isinstance(given, str):
            return given
        if (int in accepted or float in accepted) and not isinstance(given, bool):
            number = _number(name, given)
            if number is not None and (float in accepted or number.is_integer()):
                expectation = self.vocabulary.outside(name, number)
                if expectation:
                    raise self.document.error(keys, f"expected {expectation}, got {given!r}")
                return number if float in accepted else int(number)
        names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
        expected = " or ".join(names.get(kind, getattr(kind, "__name__", str(kind))) for kind in accepted)
        raise self.document.error(keys, f"expected {expected}, got {shown(given)}")

    def _enum(self, kind: type[enum.Enum], given: Any, keys: Keys) -> enum.Enum:
        """A member by its name, alone or as Python says it: ``ABS_MAX`` or ``NoiseManagementType.ABS_MAX``."""
        members = kind.__members__
        if isinstance(given, str) and (name := given.removeprefix(f"{kind.__name__}.")) in members:
            return members[name]
        if not isinstance(given, str):
            raise self.document.error(keys, f"expected one of {', '.join(members)}, got {shown(given)}")
        raise self.document.unknown(keys, members, f"unknown name {given!r}", given)

    def _nested(self, bases: tuple[type, ...], current: Any, given: Any, keys: Keys) -> Any:
        choices = self.vocabulary.choices(bases)
        if isinstance(given, str) and given in choices:
            given = {"class": given}
        mapping = self.map_at(given, keys)
        target = current
        if "class" in mapping:
            name = mapping["class"]
            if not isinstance(name, str):
                raise self.document.error((*keys, "class"), f"expected the name of a class, got {shown(name)}")
            if name not in choices:
                raise self.document.unknown((*keys, "class"), choices, f"unknown class {name!r}", name)
            target = choices[name]
        elif target is None or type(target).__name__ not in choices:
            raise self.document.error(keys, f"needs class:, one of {', '.join(choices)}")
        return self.fill(target, mapping, keys)

    def _elements(self, bases: tuple[type, ...], current: Any, given: Any, keys: Keys) -> list[Any]:
        """A list of objects: given as a list, or as a map {position: changes} of the list that is there."""
        held = list(current or [])
        if isinstance(given, dict) and given and all(isinstance(key, int) for key in given):
            for index, value in given.items():
                if not 0 <= index < len(held):
                    raise self.document.error((*keys, index), f"no such entry; there are {len(held)}")
                held[index] = self._nested(bases, held[index], value, (*keys, index))
            return held
        if not isinstance(given, list):
            raise self.document.error(keys, f"expected a list, each entry a map, got {shown(given)}")
        if len(given) > max(MOST_ELEMENTS, len(held)):
            raise self.document.error(keys, f"expected at most {MOST_ELEMENTS} entries, got {len(given):,}")
        replaces = [isinstance(item, str) or (isinstance(item, dict) and "class" in item) for item in given]
        if not all(replaces) and len(given) != len(held):
            raise self.document.error(
                keys,
                f"a list of {len(given)}, and {len(held)} are there; name a class: in every entry to replace them, "
                f"or give {len(held)} entries ({{}} leaves one as it is)",
            )
        return [
            self._nested(bases, held[index] if index < len(held) else None, item, (*keys, index))
            for index, item in enumerate(given)
        ]

    def _check_bounds(self, built: Any, given: Any, keys: Keys) -> None:
        low, high = getattr(built, "w_min", None), getattr(built, "w_max", None)
        if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
            key = next((key for key in ("w_min", "w_max") if key in (given or {})), "w_min")
            raise self.document.error((*keys, key), f"expected w_min < w_max, got w_min {low} and w_max {high}")


def _required(cls: type) -> set[str]:
    parameters = inspect.signature(cls).parameters
    return {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}


def changed_arguments(built: Any) -> dict[str, Any]:
    """The constructor arguments in which an object differs from one that was built without any."""
    try:
        default = type(built)()
    except TypeError:
        default = None
    held = {name: getattr(built, name) for name in inspect.signature(type(built)).parameters if hasattr(built, name)}
    return {name: value for name, value in held.items() if default is None or getattr(default, name, None) != value}


def _number(name: str, given: Any) -> float | None:
    """A number, also as `1/126`, and for resolutions as `7bit`; None for anything else."""
    if isinstance(given, int | float):
        return float(given)
    if not isinstance(given, str):
        return None
    fraction = re.fullmatch(r"\s*([-+.\deE]+)\s*/\s*([-+.\deE]+)\s*", given)
    bits = re.fullmatch(r"\s*(\d{1,2})\s*-?bits?\s*", given)
    try:
        if fraction:
            return float(fraction[1]) / float(fraction[2])
        if bits and re.fullmatch(r"(.*_)?res(_implicit)?", name) and int(bits[1]) > 1:
            return 1 / (2 ** int(bits[1]) - 2)  # aihwkit's presets count the sign and leave out the most negative code
    except (ValueError, ZeroDivisionError):
        return None
    return None


def _is_plain(hint: Any) -> bool:
    """Made of text, numbers and truth values, alone or in lists?"""
    parts = [part for part in get_args(hint) if part not in (type(None), Ellipsis)]
    return hint in (bool, int, float, str) or bool(parts and all(map(_is_plain, parts)))


def _is_list(hint: Any) -> bool:
    hint = _without_none(hint)
    return hint in (list, tuple, typing.List) or get_origin(hint) in (list, tuple)  # noqa: UP006


def _optional(hint: Any) -> bool:
    return hint is Any or (get_origin(hint) in (typing.Union, types.UnionType) and type(None) in get_args(hint))


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    rest = tuple(part for part in get_args(hint) if part is not type(None))
    return rest[0] if len(rest) == 1 else typing.Union[rest]  # noqa: UP007


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
