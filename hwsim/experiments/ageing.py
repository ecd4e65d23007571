"""How old programmed devices are: ages as people write them, and what devices do against their drift."""

from __future__ import annotations

import math
import re

from hwsim.cards.device import DeviceCard
from hwsim.crossbar.synapse import Compensated, Device
from hwsim.crossbar.wrapped import innermost_device
from hwsim.errors import InputError

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_SPELLINGS = {"": "s", "d": "day", "days": "day", "months": "month", "years": "year"}


def parse_ages(text: str, option: str = "--age") -> tuple[float, ...]:
    """Ages in seconds from ``1h``, ``0, 3600, 1 month``. Raises InputError that says what is wrong."""
    ages = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", part.lower())
        unit = _SPELLINGS.get(match.group(2), match.group(2)) if match else ""
        try:
            seconds = float(match.group(1)) * UNITS_S[unit] if match else math.nan
        except (ValueError, KeyError):
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise InputError(
                f"{option}: expected times after programming such as 3600, 1h or 1day,1month "
                f"(units {', '.join(UNITS_S)}), got {text!r}"
            )
        ages.append(seconds)
    if len(set(ages)) < len(ages):
        raise InputError(f"{option}: expected different times, got {text!r}")
    return tuple(ages)


def told_age(seconds: float) -> str:
    """``1 h``, ``90 s``: in the largest unit that it is a whole number of."""
    name, unit = next((n, u) for n, u in reversed(UNITS_S.items()) if (seconds >= u and seconds % u == 0) or n == "s")
    return f"{seconds / unit:g} {name}"


def compensation(device: Device) -> str:
    """What a device does against its drift, in words."""
    inner = innermost_device(device)
    how = inner.compensation if isinstance(inner, Compensated) else ""
    return f"compensated {how}" if how else "not compensated"


def ages_of(text: str | None, card: DeviceCard | None) -> tuple[float, ...]:
    """Ages to measure at; none where nothing is said. InputError where nothing drifts."""
    if text is None:
        return ()
    if card is None:
        raise InputError(f"--age {text}: weights in float do not age; give --device")
    if not card.device.drifts:
        raise InputError(f"--age {text}: device {card.name} does not drift")
    return parse_ages(text)
