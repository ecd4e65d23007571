"""The ``array:`` section of a device card: the physical array that a device of any kind is built into."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hwsim.cards.fields import PLAIN, Filler
from hwsim.cards.yamlfile import Document
from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.columns import ColumnwiseDevice
from hwsim.crossbar.conductance import Conductances, Programming
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.faults import Faults
from hwsim.crossbar.levels import Levels
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.tiling import TiledDevice
from hwsim.errors import InputError
from hwsim.rng import Streams

KEY = "array"
COLUMN = "column"
SCALES = ("tile", "layer", COLUMN)
_TILING = ("max_rows", "max_cols", "mapping_scale")
MOST_LEVELS = 65536  # of a 16-bit converter
_RENAMED = {"scheme": "programming", "error_uS": "programming_error_uS", "budget": "pulse_budget"}


@dataclass(frozen=True)
class ArraySettings:
    """What may stand under ``array:``; meanings are those of ``Array`` and its parts, and of ``TiledDevice``.

    ``weight_range`` by default is the device's own largest nominal weight.
    """

    max_rows: int | None = None
    max_cols: int | None = None
    mapping_scale: str = "tile"
    encoding: str = "differential"
    g_min_uS: float = 1.0
    g_max_uS: float = 25.0
    read_voltage_V: float = 0.2
    weight_range: float | None = None
    programming: str = "ideal"
    programming_error_uS: float = 0.0
    tolerance_uS: float = 0.5
    pulse_budget: int = 1000
    stuck_low: float = 0.0
    stuck_high: float = 0.0
    stuck_last: float = 0.0
    levels: int | None = None
    levels_uS: tuple[float, ...] | None = None
    level_rounding: str = "stochastic"
    wire_resistance_ohm: float = 0.0
    wire_solver: str = "fast"
    transpose_mismatch: float = 0.0
    offset_std: float = 0.0

    def __post_init__(self) -> None:
        if self.mapping_scale not in SCALES:
            raise InputError(
                f"ArraySettings.mapping_scale: expected one of {', '.join(SCALES)}, got {self.mapping_scale!r}"
            )
        try:
            self.array(1.0)
            TiledDevice(FloatDevice(), self.max_rows, self.max_cols, self.tile_scale)
        except InputError as error:
            _, name, message = re.split(r"[.:] ?", str(error), maxsplit=2)
            raise InputError(f"ArraySettings.{_RENAMED.get(name, name)}: {message}") from error

    @property
    def tile_scale(self) -> str:
        """Of ``TiledDevice``: scales of columns are an array's own."""
        return "tile" if self.mapping_scale == COLUMN else self.mapping_scale

    def array(self, weight_range: float) -> Array:
        """The array of a device whose full range is ``weight_range``, unless the settings say another."""
        units = Conductances(
            self.encoding, self.g_min_uS, self.g_max_uS, self.read_voltage_V, self.weight_range or weight_range
        )
        return Array(
            units,
            Programming(self.programming, self.programming_error_uS, self.tolerance_uS, self.pulse_budget),
            Faults(self.stuck_low, self.stuck_high, self.stuck_last),
            self._levels(),
            self.wire_resistance_ohm,
            self.wire_solver,
            self.transpose_mismatch,
            self.offset_std,
        )

    def _levels(self) -> Levels | None:
        if self.levels is None and self.levels_uS is None:
            if self.level_rounding != Levels.level_rounding:
                raise InputError(
                    "ArraySettings.level_rounding: acts on finite levels only; give `levels` or `levels_uS`"
                )
            return None
        if self.levels is None:
            return Levels(self.levels_uS or (), self.level_rounding)
        if self.levels_uS is not None:
            raise InputError(
                "ArraySettings.levels: a number of levels and a list of them are given; keep one of the two"
            )
        if not 2 <= self.levels <= MOST_LEVELS:
            raise InputError(f"ArraySettings.levels: expected 2 to {MOST_LEVELS} levels, got {self.levels}")
        uniform = torch.linspace(self.g_min_uS, self.g_max_uS, self.levels, dtype=torch.float64)
        return Levels(tuple(uniform.tolist()), self.level_rounding)


def placed(device: Device, resolved: dict[str, Any], document: Document) -> tuple[Device, dict[str, Any]]:
    """``device`` in the array that its card describes, and the card's resolved form with every default of it.

    Without an ``array:`` section both come back as they are. One that only limits the size leaves the arrays bare.
    """
    given = document.data.get(KEY)
    if given is None:
        return device, resolved
    settings: ArraySettings = Filler(document, PLAIN).fill(ArraySettings(), given, (KEY,))
    array = settings.array(_full_range(resolved))
    if set(given) - set(_TILING):
        device = ArrayDevice(device, array)
        try:
            device.synapse(1, 1, Streams(0))
        except InputError as error:
            raise document.error((KEY,), str(error).removeprefix("array: ")) from error
    if settings.mapping_scale == COLUMN:
        device = _by_column(device, resolved, document)
    if settings.max_rows is not None or settings.max_cols is not None:
        device = TiledDevice(device, settings.max_rows, settings.max_cols, settings.tile_scale)
        try:
            device.synapse(1, 1, Streams(0)).program(torch.ones(1, 1))
        except InputError as error:
            raise document.error((KEY,), str(error).removeprefix("array.")) from error
    return device, {**resolved, KEY: {**_plain(settings), "weight_range": array.units.weight_range}}


def _by_column(device: Device, resolved: dict[str, Any], document: Document) -> Device:
    mapping = resolved.get("mapping") or {}
    if mapping.get("weight_scaling_columnwise"):
        raise document.error(
            (KEY, "mapping_scale"), "'column' is mapping.weight_scaling_columnwise for any device; keep one of the two"
        )
    if device.ideal:
        return device  # exact arithmetic has no range
    return ColumnwiseDevice(device)


def _plain(settings: ArraySettings) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()}


def _full_range(resolved: dict[str, Any]) -> float:
    """The largest nominal weight of a device, 1 where it has no bound."""
    for part in ("parameters", "device"):
        bounds = resolved.get(part) or {}
        reference = bounds.get("reference", 0.0)
        sizes = [abs(bounds[name] - reference) for name in ("w_min", "w_max") if name in bounds]
        if sizes and 0 < max(sizes) < math.inf:
            return max(sizes)
    return 1.0
