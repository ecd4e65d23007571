"""A card from its layers: the file, what a command sets over it, and errors that say where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from hwsim.cards.yamlfile import Document, Keys, shown
from hwsim.errors import InputError


@dataclass(frozen=True)
class Layer:
    """One place that settings come from: the map at ``prefix`` of a document."""

    document: Document
    prefix: Keys = ()

    @property
    def mapping(self) -> dict[str, Any]:
        value: Any = self.document.data
        for key in self.prefix:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.document.error(self.prefix, f"expected a map of keys and values, got {shown(value)}")
        return value

    def has(self, keys: Keys) -> bool:
        value: Any = self.mapping
        for key in keys:
            known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if key not in known:
                return False
            value = cast(Any, value)[key]
        return True


TAGS = {"network": "type", "learning": "rule"}
"""Sections of a model card that come in several kinds, and the key that says which."""


NETWORK_TYPES = "'layered-hopfield', 'conv-hopfield', 'resistive', 'predictive-coding', 'module'"


Config = TypeVar("Config", bound=BaseModel)


def build(kind: type[Config], layers: Sequence[Layer]) -> Config:
    """Validate settings laid over each other, later layers over earlier ones, top-level key by key.

    Raises InputError for the first mistake, at the place it was written.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer.mapping)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise _mistake(error, kind, layers) from error


def _mistake(error: ValidationError, kind: type[BaseModel], layers: Sequence[Layer]) -> InputError:
    first = error.errors()[0]
    keys, known = _place(kind, first["loc"])
    if first["type"] == "value_error":
        # "path: what" from one of the validators above
        path, _, message = str(first.get("ctx", {})["error"]).partition(": ")
        keys = (*keys, *(int(key) if key.isdecimal() else key for key in path.split(".") if key))
    elif first["type"] == "missing":
        message = "missing; expected a value"
    elif first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = TAGS[str(keys[-1])]
        keys = (*keys, tag)
        given = first["input"].get(tag) if isinstance(first["input"], dict) else first["input"]
        message = f"expected one of {first.get('ctx', {}).get('expected_tags', NETWORK_TYPES)}, got {shown(given)}"
    else:
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {shown(first['input'])}"
    home = next((layer for layer in reversed(layers) if layer.has(keys)), layers[-1])
    if first["type"] == "extra_forbidden":
        return home.document.unknown((*home.prefix, *keys), known)
    return home.document.error((*home.prefix, *keys), message)


def _place(kind: type[BaseModel], loc: Sequence[int | str]) -> tuple[Keys, list[str]]:
    """(key path in the file, fields that the map around its last key may have) for pydantic's place of an error.

    Pydantic puts the tag of a union's member into the path, which the file does not have.
    """
    keys: list[int | str] = []
    members: tuple[Any, ...] = (kind,)
    known: list[str] = []
    for part in loc:
        tagged = [m for m in members if len(members) > 1 and part in _tags(m)]
        if tagged:
            members = tuple(tagged)
            continue
        keys.append(part)
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        known = sorted({field for model in models for field in model.model_fields}) or known
        annotations = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        members = tuple(inner for annotation in annotations for inner in (get_args(annotation) or (annotation,)))
    return tuple(keys), known


def _tags(kind: Any) -> tuple[Any, ...]:
    """What a member of a union is told by: the values that its type, or its rule, may have."""
    fields = getattr(kind, "model_fields", {})
    return tuple(tag for name in TAGS.values() if name in fields for tag in get_args(fields[name].annotation))
