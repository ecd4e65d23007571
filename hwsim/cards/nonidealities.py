"""What is not ideal about a device, one property at a time, and the settings that switch each off.

A property is found in the resolved card, wherever in it the fields stand that make it up: cells, aihwkit's devices
and what is nested in them, converters of either direction, the ``array:`` section. Switching off is nothing but
settings laid over the card, so it goes through the same checks as those of a user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.cards.device import DeviceCard
from hwsim.cards.yamlfile import Keys, dotted
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.wrapped import innermost_device
from hwsim.devices.cell import BaseCell

Fields = Mapping[str, Any]

WIDER = 1000.0
"""By so much a converter's range is widened, its steps as wide as before, to count as without limit."""

FINER = 10
"""By so much aihwkit's pulses are made smaller and their trains longer; they cannot be without a step."""


@dataclass(frozen=True)
class Property:
    """One thing that is not ideal. ``off`` are the (key path below the card, value) that make it so."""

    name: str
    off: tuple[tuple[str, Any], ...]


def properties(card: DeviceCard) -> list[Property]:
    """What of a device can be switched off and is not off already, in the order in which a signal meets it.

    Beyond what is known by name, the class of a python cell may say what is not ideal about it:
    ``nonidealities: ClassVar = {"retention": {"tau": math.inf}}``.
    """
    switches: dict[str, dict[str, Any]] = {}
    for keys, fields in _maps(card.resolved):
        for name, rule in _RULES.items():
            for key, value in rule(keys, fields).items():
                if fields.get(key) != value:
                    switches.setdefault(name, {})[dotted((*keys, key))] = value
    device = innermost_device(card.device)
    own = device.cell.nonidealities if isinstance(device, CellDevice) and isinstance(device.cell, BaseCell) else {}
    for name, values in own.items():
        ours = {f"parameters.{key}": value for key, value in values.items()}
        if any(card.resolved["parameters"].get(key) != value for key, value in values.items()):
            switches[name] = {**switches.get(name, {}), **ours}
    if not any(path.endswith("dw_min") for path in switches.get(_GRANULARITY, {})) and not _pulsed(card.resolved):
        switches.pop(_GRANULARITY, None)  # trains of pulses that no device takes
    if _BOUNDS in switches and "array" in card.resolved:
        # The range of the devices, not what stands for the largest conductance in their array.
        switches[_BOUNDS]["array.weight_range"] = card.resolved["array"]["weight_range"]
    for name, changes in _of_the_whole(card).items():
        switches.setdefault(name, {}).update(changes)
    order = [*_RULES, *(name for name in switches if name not in _RULES)]
    return [Property(name, tuple(switches[name].items())) for name in order if name in switches]


def switched_off(off: list[Property]) -> list[tuple[str, Any]]:
    """The settings without all of these; where two say something of one field, the later property has it."""
    merged: dict[str, Any] = {}
    for item in off:
        merged.update(item.off)
    return list(merged.items())


def _of_the_whole(card: DeviceCard) -> dict[str, dict[str, Any]]:
    """What no single map of the card tells: directions of different gain, drift that nothing compensates."""
    switches: dict[str, dict[str, Any]] = {}
    gains = [(card.resolved.get(side) or {}).get("out_scale") for side in ("forward", "backward")]
    if None not in gains and gains[0] != gains[1]:
        switches[_MISMATCH] = {"backward.out_scale": gains[0]}
    if card.device.drifts:
        if (card.resolved.get("mapping") or {}).get("drift_compensation") == "none":
            switches[_UNCOMPENSATED] = {"mapping.drift_compensation": "global"}
        elif "noise_model" in card.resolved and card.resolved.get("drift_compensation") is None:
            switches[_UNCOMPENSATED] = {"drift_compensation": {"class": "GlobalDriftCompensation"}}
    return switches


def _pulsed(resolved: Fields) -> bool:
    """Does a python cell take pulses?"""
    return bool(resolved.get("parameters", {}).get("dw_min"))


def _maps(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Fields]]:
    """Every map in a nest of maps and lists, with its key path."""
    if isinstance(value, Mapping):
        yield keys, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _maps(inner, (*keys, key))


Rule = Callable[[Keys, Fields], dict[str, Any]]


def _zero(*names: str) -> Rule:
    return lambda keys, fields: {name: 0.0 for name in names if fields.get(name) and not fields.get("is_perfect")}


def _steps(side: str) -> Rule:
    """Steps of a converter; aihwkit takes 0 and every negative number for none."""
    return lambda keys, fields: _zero(f"{side}_res")(keys, fields) if fields.get(f"{side}_res", 0.0) > 0 else {}


def _range(side: str) -> Rule:
    """A wider range with steps of the same width; not where inputs are scaled to fill it."""

    def rule(keys: Keys, fields: Fields) -> dict[str, Any]:
        bound, res = fields.get(f"{side}_bound"), fields.get(f"{side}_res", 0.0)
        fills = side == "inp" and fields.get("noise_management", "NONE") != "NONE"
        if bound is None or math.isinf(bound) or fields.get("is_perfect") or fills:
            return {}
        changes = {f"{side}_bound": bound * WIDER}
        return changes if res <= 0 else {**changes, f"{side}_res": res * WIDER if res > 1 else res / WIDER}

    return rule


def _granularity(keys: Keys, fields: Fields) -> dict[str, Any]:
    if fields.get("pulses") == "stochastic":
        return {"pulses": "mean"}
    if "pulse_type" in fields:
        return {"desired_bl": fields["desired_bl"] * FINER}
    if not keys or keys[0] != "device" or not fields.get("dw_min"):
        return {}
    # Given relative to one pulse; the noise of as large a change, and of the weights, stays.
    noise = {"dw_min_std": FINER**0.5, "write_noise_std": FINER}
    return {"dw_min": fields["dw_min"] / FINER} | {n: fields[n] * by for n, by in noise.items() if fields.get(n)}


def _bounds(keys: Keys, fields: Fields) -> dict[str, Any]:
    bounds = {name: fields[name] for name in ("w_max", "w_min") if isinstance(fields.get(name), int | float)}
    return {name: 10 * value for name, value in bounds.items() if value and math.isfinite(value)}


def _state_dependence(keys: Keys, fields: Fields) -> dict[str, Any]:
    if "A_up" in fields:
        return {"A_up": 0.0, "A_down": 0.0}  # the exponential step
    return {name: 0.0 for name in ("gamma_up", "gamma_down", "pow_gamma") if fields.get(name)}


def _variation(keys: Keys, fields: Fields) -> dict[str, Any]:
    return {name: 0.0 for name, value in fields.items() if str(name).endswith("_dtod") and value}


def _leak(keys: Keys, fields: Fields) -> dict[str, Any]:
    lifetime = fields.get("lifetime")
    none = math.inf if keys == ("parameters",) else 0.0
    return ({"lifetime": none} if lifetime else {}) | ({"diffusion": 0.0} if fields.get("diffusion") else {})


def _programming(keys: Keys, fields: Fields) -> dict[str, Any]:
    if keys in ((), ("array",)) and fields.get("programming", "ideal") != "ideal":
        return {"programming": "ideal"}
    return _zero("prog_noise_scale")(keys, fields)


def _levels(keys: Keys, fields: Fields) -> dict[str, Any]:
    names = ("levels", "levels_uS") if keys == ("array",) else ()
    return {name: None for name in names if fields.get(name) is not None}


def _read_noise(keys: Keys, fields: Fields) -> dict[str, Any]:
    names = ["read_noise", "read_noise_scale"]
    if fields.get("w_noise_type", "NONE") != "NONE":
        names.append("w_noise")
    return _zero(*names)(keys, fields)


_GRANULARITY, _BOUNDS, _MISMATCH, _UNCOMPENSATED = "granularity", "bounds", "transpose mismatch", "uncompensated drift"
_RULES: dict[str, Rule] = {
    "DAC range": _range("inp"),
    "DAC steps": _steps("inp"),
    "input noise": _zero("inp_noise"),
    "input asymmetry": _zero("inp_asymmetry"),
    "conductance read noise": _read_noise,
    "IR drop": _zero("ir_drop", "wire_resistance_ohm"),
    _MISMATCH: _zero("transpose_mismatch"),
    "offset": _zero("offset_std"),
    "output noise": _zero("out_noise"),
    "output asymmetry": _zero("out_asymmetry"),
    "output nonlinearity": _zero("out_nonlinearity", "out_nonlinearity_std"),
    "ADC range": _range("out"),
    "ADC steps": _steps("out"),
    "stuck low": _zero("stuck_low"),
    "stuck high": _zero("stuck_high"),
    "stuck last": _zero("stuck_last"),
    "corrupt devices": _zero("corrupt_devices_prob"),
    "conductance levels": _levels,
    "programming error": _programming,
    _GRANULARITY: _granularity,
    _BOUNDS: _bounds,
    "state-dependent steps": _state_dependence,
    "asymmetry": _zero("up_down", "pow_up_down", "asymmetry"),
    "memory of reversals": _zero("reversal_loss"),
    "device-to-device variation": _variation,
    "cycle-to-cycle variation": _zero("dw_min_std", "dw_min_std_add", "dw_min_std_slope"),
    "write noise": _zero("write_noise_std"),
    "leak": _leak,
    "drift": _zero("drift_nu", "drift_scale"),
    _UNCOMPENSATED: lambda keys, fields: {},  # a matter of the whole card
}

READS = (
    "DAC range",
    "DAC steps",
    "input noise",
    "input asymmetry",
    "conductance read noise",
    "IR drop",
    _MISMATCH,
    "offset",
    "output noise",
    "output asymmetry",
    "output nonlinearity",
    "ADC range",
    "ADC steps",
)
"""Properties that act on reads."""

TRAINING_ONLY = (
    _GRANULARITY,
    "state-dependent steps",
    "asymmetry",
    "memory of reversals",
    "cycle-to-cycle variation",
    "leak",
)
"""Properties that act on updates alone, and so on nothing that is only programmed."""

AGEING_ONLY = ("drift", _UNCOMPENSATED)
"""Properties that show some time after programming, and so in nothing that is measured at once."""
