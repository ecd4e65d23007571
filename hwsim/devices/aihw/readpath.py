"""From aihwkit's ``IOParameters`` to our ``ReadPath``, or the reason why there is none."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from aihwkit.simulator.parameters.enums import AnalogMVType
from aihwkit.simulator.parameters.io import IOParameters

from hwsim.crossbar.reads.periphery import BOUND_MANAGEMENT, NOISE_MANAGEMENT, WEIGHT_NOISE, ReadPath
from hwsim.errors import NotCovered

_ENUMS = {"noise_management": NOISE_MANAGEMENT, "bound_management": BOUND_MANAGEMENT, "w_noise_type": WEIGHT_NOISE}

# Settings that have to be off for the torch read path, with the value that is off.
_OFF: dict[str, Any] = {
    "out_noise_std": 0.0,
    "out_asymmetry": 0.0,
    "out_nonlinearity": 0.0,
    "slope_calibration": 0.0,
    "v_offset_std": 0.0,
    "r_series": 0.0,
    "w_read_asymmetry_dtod": 0.0,
    "bm_test_negative_bound": True,
}


def read_path(io: IOParameters, *, transpose: bool = False) -> ReadPath:
    """The torch read path equal in moments to the compiled read under ``io``; ``transpose``: to its backward read.

    As in aihwkit, the transpose read has no bound management, and an all-zero vector under noise
    management is silent there. Raises NotCovered, with the reason, for other settings.
    """
    reason = not_covered(io, transpose=transpose)
    if reason:
        raise NotCovered(reason)
    if io.is_perfect or io.mv_type == AnalogMVType.IDEAL:
        return ReadPath(is_perfect=True, out_scale=io.out_scale)
    ours = {field.name for field in fields(ReadPath)}
    values = {field.name: getattr(io, field.name) for field in fields(io) if field.name in ours}
    values |= {name: values[name].name for name in _ENUMS}
    values |= {"silent_zero": transpose}
    if transpose:
        values["bound_management"] = "NONE"
    if values["noise_management"] == "NONE":
        values["nm_thres"] = 0.0  # what the compiled part does, too
    return ReadPath(**values)


def not_covered(io: IOParameters, *, transpose: bool = False) -> str | None:
    """Why the torch read path does not cover ``io``, naming the setting; None if it does."""
    if io.is_perfect or io.mv_type == AnalogMVType.IDEAL:
        return None
    added = {field.name for field in fields(io)} - {field.name for field in fields(IOParameters)}
    if added:
        return f"parameters of class {type(io).__name__}"
    if io.mv_type != AnalogMVType.ONE_PASS:
        return f"mv_type {io.mv_type.name}"
    for name, off in _OFF.items():
        if getattr(io, name, off) != off:
            return f"{name} = {getattr(io, name)}"
    for name, known in _ENUMS.items():
        value = getattr(io, name).name
        if value not in known and not (transpose and name == "bound_management"):
            return f"{name} {value}"
    return None
