"""The allow-list: which aihwkit classes a device file may name, found by looking at the installed aihwkit.

Nothing here is a hand-kept table of presets or parameters, so that a new aihwkit brings its own. What cannot
be read off the dataclasses, because their annotations are narrower or wider than what works, is in the few
constants at the top.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import re
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from aihwkit import inference
from aihwkit.inference.compensation import drift as compensations
from aihwkit.inference.converter import conductance as converters
from aihwkit.inference.noise import custom, hermes, pcm, reram
from aihwkit.simulator import configs, parameters, presets
from aihwkit.simulator.configs import compounds, devices
from aihwkit.simulator.configs import configs as config_classes
from aihwkit.simulator.parameters import pre_post, runtime
from aihwkit.simulator.parameters.base import RPUConfigBase

from hwsim.devices.aihw.noise import measured_ages, own_noise_model

_MODULES = (
    configs, devices, compounds, config_classes, parameters, pre_post, runtime, presets,
    inference, compensations, converters, custom, hermes, pcm, reram,
)  # fmt: skip

# Bases of which aihwkit can build no array; their subclasses are what is meant.
_ABSTRACT = {
    "BaseConductanceConverter", "BaseDriftCompensation", "BaseNoiseModel", "BaseQuantConfig", "DigitalRankUpdateCell",
    "IOManagedRPUConfig", "MappableRPU", "PrePostProcessingRPU", "PulsedDevice", "RPUConfigBase", "UnitCell",
}  # fmt: skip

# A single-device array also takes the ideal device: exact updates behind imperfect reads.
_WIDER: dict[type, tuple[type, ...]] = {devices.PulsedDevice: (devices.PulsedDevice, devices.IdealDevice)}

# Lists that aihwkit leaves untyped.
_ELEMENTS: dict[str, tuple[type, ...]] = {"unit_cell_devices": (devices.PulsedDevice, compounds.UnitCell)}

# aihwkit states ranges in prose only and mostly accepts nonsense in silence. By name, the first that matches holds.
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (r"pdrop|.*_prob", lambda x: 0 <= x <= 1, "a probability in [0, 1]"),
    (
        r"(inp|out)_bound|dw_min|desired_bl|um_grad_scale|ir_drop_(g_ratio|rs|segments|v_read)|max_bm_factor"
        r"|g_max|t_0|t_read|adc_frequency|num_devices",
        lambda x: x > 0,
        "a number > 0",
    ),
    (
        r".*_(std|dtod|noise|seed|every|size|range)|(read_|prog_)?noise_scale|drift_scale|std_dev|ir_drop|r_series|g_min"
        r"|diffusion|lifetime|weight_scaling_omega|out_nonlinearity|fast_lr|transfer_lr|n_reads_per_transfer",
        lambda x: x >= 0,
        "a number >= 0",
    ),
)


@cache
def classes() -> Mapping[str, type]:
    """Every class that a device file may name, by name: configs, presets, devices, parameters, noise models."""
    by_name: dict[str, type] = {}
    for module in _MODULES:
        for name, value in vars(module).items():
            if not inspect.isclass(value) or not value.__module__.startswith("aihwkit.") or name in _ABSTRACT:
                continue
            if dataclasses.is_dataclass(value) or issubclass(value, _by_constructor()):
                by_name[name] = value
    return types.MappingProxyType(dict(sorted(by_name.items())))


@cache
def presets_by_name() -> Mapping[str, type]:
    """The ready configurations that `preset:` chooses from, by name."""
    return types.MappingProxyType(
        {name: value for name, value in classes().items() if issubclass(value, RPUConfigBase) and _is_preset(value)}
    )


@cache
def configs_by_name() -> Mapping[str, type]:
    """The general configurations that `class:` at the top chooses from, by name."""
    return types.MappingProxyType(
        {name: value for name, value in classes().items() if issubclass(value, RPUConfigBase) and not _is_preset(value)}
    )


def choices(bases: tuple[type, ...]) -> Mapping[str, type]:
    """The allowed classes that are one of ``bases`` or derive from one, by name."""
    wide = tuple(base for given in bases for base in _WIDER.get(given, (given,)))
    return {name: value for name, value in classes().items() if issubclass(value, wide)}


@cache
def parameter_types(cls: type) -> Mapping[str, Any]:
    """Field or constructor argument -> its type, for those that a file may set.

    Left out are fields that choose code (tile classes), private ones and those that aihwkit fixes.
    """
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls, localns={**classes(), "PulsedDevice": devices.PulsedDevice})
        names = [field.name for field in dataclasses.fields(cls) if field.init]
    else:
        hints = typing.get_type_hints(cls.__init__)
        names = [name for name in inspect.signature(cls).parameters if name in hints]
    return {name: hints[name] for name in names if not name.startswith("_") and not _chooses_code(hints[name])}


def fixed_fields(cls: type) -> frozenset[str]:
    """Fields of a class that exist but cannot be set, because aihwkit fixes them or they choose code."""
    if not dataclasses.is_dataclass(cls):
        return frozenset()
    return frozenset(field.name for field in dataclasses.fields(cls)) - frozenset(parameter_types(cls))


def bases_of(name: str, hint: Any) -> tuple[type, ...]:
    """The aihwkit classes that a field of this name and type may hold; () where it holds plain values."""
    if name in _ELEMENTS:
        return _ELEMENTS[name]
    return tuple(
        member for member in _members(hint)
        if dataclasses.is_dataclass(member) or issubclass(member, _by_constructor())
    )  # fmt: skip


def outside(name: str, number: float) -> str | None:
    """What is expected of a field of this name, where ``number`` is not that; None where it is."""
    if not math.isfinite(number):
        return "a finite number"
    for pattern, holds, expectation in _RANGES:
        if re.fullmatch(pattern, name):
            return None if holds(number) else expectation
    return None


def probe(config: Any) -> None:
    """Build a 2x3 array, read it once and update it once, so that aihwkit's compiled part checks every field.

    Whatever it raises is passed on.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # noise models draw from the global generator
        warnings.simplefilter("ignore")  # aihwkit's own deprecated calls are not the user's concern
        tile = config.tile_class(2, 3, copy.deepcopy(config))
        pre, post = torch.full((1, 3), 0.5), torch.full((1, 2), 0.1)
        tile.joint_forward(pre)
        if isinstance(config, config_classes.InferenceRPUConfig):
            # These arrays are programmed and read; only the noise model acts on their weights.
            youngest = min(measured_ages(config.noise_model), default=1.0)
            noise_model = own_noise_model(config.noise_model)
            programmed, drift = noise_model.apply_programming_noise(torch.eye(2, 3))
            noise_model.apply_drift_noise(programmed, [*drift], youngest)
            return
        tile.set_learning_rate(0.1)
        tile.backward(post)
        tile.update(pre, post)
        tile.post_update_step()


def _by_constructor() -> tuple[type, ...]:
    return inference.BaseNoiseModel, inference.BaseDriftCompensation, inference.BaseConductanceConverter


def _is_preset(cls: type) -> bool:
    return cls.__module__.startswith(presets.__name__)


def _chooses_code(hint: Any) -> bool:
    """Is it `Type` or `Optional[Type]`, so that the field holds a class?"""
    return typing.get_origin(hint) is type or any(_chooses_code(part) for part in typing.get_args(hint))


def _members(hint: Any) -> tuple[type, ...]:
    """The classes inside `X`, `Optional[X]`, `Union[X, Y]`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(hint) for member in _members(part))
    return (hint,) if inspect.isclass(hint) and typing.get_origin(hint) is None else ()
