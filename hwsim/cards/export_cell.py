"""An aihwkit device as a python cell: the same response and reads, with everything seeded and a mean-field update.

In a cell ``update.pulses: mean`` gives every cross-point the expected number of pulses, fractions too, which aihwkit
cannot. So ``hwsim ablate`` on the exported card tells the size of a pulse from the asymmetry of its steps.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from hwsim.cards.array import KEY as ARRAY
from hwsim.cards.device import RESIDUAL, DeviceCard
from hwsim.cards.yamlfile import to_yaml
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.devices.responses import CELLS
from hwsim.errors import InputError

KINDS = {"ConstantStepDevice": "linear-step", "LinearStepDevice": "linear-step", "SoftBoundsDevice": "soft-bounds"}
KINDS |= {"ExpStepDevice": "exp-step"}
"""aihwkit's class -> the cell with its equations."""

_NEVER = {"construction_seed", "class", "enforce_consistency", "perfect_bias", "count_pulses", "drift"}
_OFF = {"corrupt_devices_range", "reset", "reset_dtod", "reset_std", "apply_write_noise_on_set", "mean_bound_reference"}
_OFF |= {"reverse_up", "reverse_down", "reverse_offset", "dw_min_dtod_log_normal", "allow_increasing", "mult_noise"}
"""Fields that have no part in a response, or only in a form that is off or close to what a cell does."""


def cell_of(card: DeviceCard) -> str:
    """The YAML of a card whose cell does what the card's aihwkit device does.

    What a cell has no counterpart for is named in a comment at the top. Raises InputError for compounds, devices that
    are programmed once, and reads that only aihwkit's compiled part knows.
    """
    known = ", ".join(sorted(KINDS))
    device = getattr(getattr(card.device, "config", None), "device", None)
    chain = [cls.__name__ for cls in type(device).__mro__]
    kind = next((KINDS[name] for name in chain[:2] if name in KINDS), None)
    if kind is None:
        raise InputError(
            f"device {card.name}: no cell has the equations of {chain[0] if device is not None else card.kind}; "
            f"expected one of {known}, without an array: section"
        )
    parameters, left_out = _parameters(device, kind)
    settings: dict[str, Any] = {
        "name": f"{card.name}-cell",
        "summary": f"{card.name} as a python cell: {card.summary}",
        "source": card.source,
        "cell": kind,
        "parameters": parameters,
    }
    for side in ("forward", "backward"):
        path = getattr(card.device, "path", lambda side: None)(side)
        if path is None:
            raise InputError(f"device {card.name}: {side} is read by aihwkit's compiled part, which no cell has")
        settings[side] = _different(path, ReadPath())
    config = card.resolved
    settings["update"] = {"desired_bl": config["update"]["desired_bl"], "pulses": "stochastic"}
    settings["mapping"] = {"omega": config["mapping"]["weight_scaling_omega"]}
    settings |= {key: card.document.data[key] for key in ("learning", ARRAY, RESIDUAL) if key in card.document.data}
    note = f"# {card.name} of aihwkit, written by `hwsim device export {card.name} --to cell`.\n"
    if left_out:
        note += f"# A cell has no counterpart of: {', '.join(left_out)}.\n"
    return note + to_yaml(settings)


def _parameters(device: Any, kind: str) -> tuple[dict[str, Any], list[str]]:
    """The cell's parameters, and in words what is left out."""
    cell = CELLS[kind]
    names = {field.name for field in fields(cell)} - {"read_noise", "reference", "drift_nu", "drift_nu_dtod"}
    values = {name: float(getattr(device, name)) for name in names if hasattr(device, name)}
    values["lifetime"] = values.get("lifetime") or math.inf
    # aihwkit takes the smaller of the two steps down and leaves the larger; a cell's up_down is about their mean.
    half = abs(values.get("up_down", 0.0)) / 2
    values["dw_min"] *= 1 - half
    values["up_down"] = math.copysign(half / (1 - half), values.get("up_down", 0.0)) if half else 0.0
    if kind == "linear-step":
        for side in ("up", "down"):
            slope = values.setdefault(f"gamma_{side}", 0.0)
            spread = float(getattr(device, f"gamma_{side}_dtod", 0.0))  # absolute there, relative here
            values[f"gamma_{side}_dtod"] = spread / slope if slope else 0.0
    default = cell()
    kept = {name: value for name, value in sorted(values.items()) if value != getattr(default, name)}
    own = vars(device).items()
    dropped = [f"{k} {v:g}" for k, v in own if k not in names | _NEVER | _OFF and isinstance(v, int | float) and v]
    if half and values.get("dw_min_dtod"):
        dropped.append("as much spread in the smaller of the two steps as in the larger (dw_min_dtod under up_down)")
    if getattr(device, "mult_noise", True) is False:
        dropped.append("noise from pulse to pulse that does not depend on the step (mult_noise false)")
    return kept, dropped


def _different(path: ReadPath, default: ReadPath) -> dict[str, Any]:
    """The fields in which two paths differ; without steps no bound of converters is needed for them."""
    values = {field.name: getattr(path, field.name) for field in fields(ReadPath)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}
