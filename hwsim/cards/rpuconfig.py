"""aihwkit configurations as YAML: read by introspection, checked to the last key, and written back.

preset: EcRamPreset                 # or class: UnitCellRPUConfig
forward: {out_noise: 0.05, inp_res: 8bit, noise_management: NONE}
device: {dw_min: 1e-3}              # changes the preset's device
# device: {class: SoftBoundsDevice} # replaces it
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from hwsim.cards.fields import Filler
from hwsim.cards.yamlfile import Document, Keys, shown
from hwsim.errors import InputError, WorkError


def load(given: Document | Mapping[str, Any], besides: frozenset[str] = frozenset(), probe: bool = True) -> Any:
    """An aihwkit configuration from a map with `preset:` or `class:` and what differs from it.

    Args:
        given: the document, or a plain map.
        besides: top-level keys that are not aihwkit's and are left alone.
        probe: build a 2x3 array, read and update it, so that aihwkit's compiled part judges every field too.

    Raises InputError with file, line and key path for an unknown name, a wrong type, a value out of range, and for
    what aihwkit itself refuses.
    """
    catalog = _catalog()
    document = given if isinstance(given, Document) else Document(dict(given), "rpu-config")
    chosen = [key for key in ("preset", "class") if key in document.data]
    if len(chosen) != 1:
        raise document.error((), "expected exactly one of the keys preset: and class: at the top")
    mapping = {key: value for key, value in document.data.items() if key not in besides and key not in chosen}
    preset = _chosen(document, chosen[0], catalog)
    config = _filled(preset, mapping, document, besides)
    refusal = _refusal(config) if probe else None
    if refusal:
        for keys in _leaves(mapping):
            if _accepted(preset, _without(mapping, keys), document):
                raise document.error(keys, f"aihwkit refuses this value: {refusal}; without it the file is accepted")
        raise document.error((), f"aihwkit refuses this combination of values: {refusal}")
    return config


def dump(config: Any) -> dict[str, Any]:
    """The whole of an aihwkit configuration as plain values, every default written out; ``load`` reads it back.

    Raises ValueError where the configuration holds what a file cannot say (a tile class of one's own).
    """
    catalog = _catalog()
    cls = type(config)
    key = "preset" if cls.__name__ in catalog.presets_by_name() else "class"
    if catalog.classes().get(cls.__name__) is not cls:
        raise ValueError(f"{cls.__name__} is not one of aihwkit's own configurations; it cannot be written as YAML")
    fresh = cls()
    for name in sorted(catalog.fixed_fields(cls)):
        if getattr(config, name) != getattr(fresh, name):
            raise ValueError(f"{cls.__name__}.{name} was changed; a file cannot say that")
    return {key: cls.__name__, **_parameters(config, catalog)}


def _catalog() -> Any:
    """aihwkit is loaded only where a device needs it. Raises WorkError where it cannot be, or does not fit torch."""
    from hwsim.devices.aihw import check_pair
    from hwsim.devices.aihw.pair import absent

    try:
        from hwsim.devices.aihw import catalog
    except ModuleNotFoundError as error:
        raise WorkError(absent()) from error
    except ImportError as error:
        raise WorkError(f"aihwkit cannot be loaded ({error}); `hwsim doctor` prints the cure") from error
    check_pair()
    return catalog


def _chosen(document: Document, key: str, catalog: Any) -> type:
    name = document.data[key]
    known = catalog.presets_by_name() if key == "preset" else catalog.configs_by_name()
    if not isinstance(name, str):
        raise document.error((key,), f"expected a name, got {shown(name)}")
    if name in known:
        return known[name]
    if name in catalog.classes() and key == "preset":
        hint = f"class: {name}" if name in catalog.configs_by_name() else f"device: {{class: {name}}}"
        if "Device" in name:
            hint = f"class: SingleRPUConfig and device: {{class: {name}}}"
        raise document.error((key,), f"{name!r} is not a whole configuration; write {hint} instead")
    if name in catalog.presets_by_name():
        raise document.error((key,), f"{name!r} is a preset; write preset: {name} instead")
    raise document.unknown((key,), known, f"unknown {key} {name!r}", name)


def _filled(preset: type, mapping: dict[str, Any], document: Document, besides: frozenset[str] = frozenset()) -> Any:
    catalog = _catalog()
    config = Filler(document, catalog, besides).fill(preset(), mapping)
    if type(config.device).__name__ not in catalog.classes():
        kinds = catalog.choices(catalog.bases_of("device", catalog.parameter_types(type(config))["device"]))
        raise document.error(
            ("device",), f"{type(config).__name__} needs a device; give it class:, one of {', '.join(kinds)}"
        )
    return config


def _refusal(config: Any) -> str | None:
    """What aihwkit's compiled part has against a configuration, None if nothing."""
    try:
        _catalog().probe(config)
    except Exception as error:  # whatever a compiled part throws at a bad setting is the setting's fault
        if isinstance(error, IndexError) and hasattr(config.device, "unit_cell_devices"):
            return f"{type(config.device).__name__} needs more unit_cell_devices than are given"
        lines = str(error).strip().splitlines()
        return lines[0] if lines else f"{type(error).__name__}, without a reason"
    return None


def _leaves(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif keys[-1] != "class":
        yield keys


def _without(mapping: dict[Any, Any], keys: Keys) -> dict[Any, Any]:
    rest = {key: value for key, value in mapping.items() if key != keys[0]}
    return {**rest, keys[0]: _without(mapping[keys[0]], keys[1:])} if len(keys) > 1 else rest


def _accepted(preset: type, mapping: dict[str, Any], document: Document) -> bool:
    try:
        return _refusal(_filled(preset, mapping, document)) is None
    except InputError:
        return False


def _parameters(value: Any, catalog: Any) -> dict[str, Any]:
    names = catalog.parameter_types(type(value))
    return {name: _plain(getattr(value, name), catalog) for name in names if hasattr(value, name)}


def _plain(value: Any, catalog: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, catalog) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, catalog) for key, item in value.items()}
    if catalog.classes().get(type(value).__name__) is type(value):
        return {"class": type(value).__name__, **_parameters(value, catalog)}
    raise ValueError(f"a {type(value).__name__} inside an aihwkit configuration cannot be written as YAML")
