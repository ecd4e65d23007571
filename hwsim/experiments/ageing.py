"""How old programmed devices are: ages as people write them, and what devices do against their drift."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.cards.device import DeviceCard
from hwsim.crossbar.synapse import Compensated, Device, KnownAges
from hwsim.crossbar.wrapped import WrappedDevice, innermost_device
from hwsim.errors import InputError
from hwsim.jobs.durations import UNITS_S, parse_duration

DRIFT_TIMES_S = (1.0, UNITS_S["h"], UNITS_S["day"], UNITS_S["month"])
"""Ages at which a drifting device is measured by default."""


def parse_ages(text: str, option: str = "--age") -> tuple[float, ...]:
    """Ages in seconds from ``1h``, ``0, 3600, 1 month``. Raises InputError that says what is wrong."""
    ages = tuple(parse_duration(part, option) for part in text.split(","))
    if len(set(ages)) < len(ages):
        raise InputError(f"{option}: expected different times, got {text!r}")
    return ages


def told_age(seconds: float) -> str:
    """``1 h``, ``90 s``: in the largest unit that it is a whole number of."""
    name, unit = next((n, u) for n, u in reversed(UNITS_S.items()) if (seconds >= u and seconds % u == 0) or n == "s")
    return f"{seconds / unit:g} {name}"


def compensation(device: Device) -> str:
    """What a device does against its drift, in words."""
    while isinstance(device, WrappedDevice) and not isinstance(device, Compensated):
        device = device.device
    how = device.compensation if isinstance(device, Compensated) else ""
    return f"compensated {how}" if how else "not compensated"


def known_ages(device: Device) -> tuple[float, ...]:
    """The only ages, in seconds, at which a device's state is known; none where every age is."""
    inner = innermost_device(device)
    return inner.ages_s if isinstance(inner, KnownAges) else ()


def usual_ages(device: Device) -> dict[str, float]:
    """The ages at which a device is measured unless others are named, in words and in seconds; none without drift."""
    return {told_age(seconds): seconds for seconds in known_ages(device) or DRIFT_TIMES_S} if device.drifts else {}


def check_ages(ages: Sequence[float], card: DeviceCard, option: str = "--age") -> None:
    """InputError unless the device drifts and its state is known at these ages."""
    if not card.device.drifts:
        raise InputError(f"{option}: device {card.name} does not drift; leave it out")
    known = known_ages(card.device)
    for age in ages:
        if known and age and age not in known:
            raise InputError(
                f"{option}: the noise model of {card.name} was measured at {', '.join(map(told_age, known))} after "
                f"programming and knows no other age, got {told_age(age)}; 0 stands for right after programming"
            )


def ages_of(text: str | None, card: DeviceCard | None) -> tuple[float, ...]:
    """Ages to measure at; none where nothing is said. InputError where nothing drifts, or is not known so old."""
    if text is None:
        return ()
    if card is None:
        raise InputError(f"--age {text}: weights in float do not age; give --device")
    ages = parse_ages(text)
    check_ages(ages, card)
    return ages
