"""Times as people write and read them."""

from __future__ import annotations

import math
import re

from hwsim.errors import InputError

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_SPELLINGS = {"sec": "s", "m": "min", "d": "day", "hour": "h"}
_PART = r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*"


def parse_duration(text: str, option: str, *, else_: str = "") -> float:
    """Seconds, from ``90s``, ``20min``, ``1h30m`` or a plain number of seconds.

    InputError that says what is wrong, and what else the option takes.
    """
    parts = re.findall(_PART, text.lower()) if re.fullmatch(f"\\s*(?:{_PART})+", text.lower()) else []
    names = [str(_SPELLINGS.get(unit, unit)) for _, unit in parts]
    names = [name if name in UNITS_S else name.removesuffix("s") for name in names]
    sizes = [1.0 if name == "" and len(parts) == 1 else UNITS_S.get(name, math.nan) for name in names]
    try:
        seconds = sum(float(number) * size for (number, _), size in zip(parts, sizes, strict=True))
    except ValueError:
        seconds = math.nan
    if not parts or not 0 <= seconds < math.inf or sizes != sorted(set(sizes), reverse=True):
        raise InputError(
            f"{option}: expected a time such as 3600, 90s, 20min or 1h30m (units {', '.join(UNITS_S)}){else_}, "
            f"got {text!r}"
        )
    return seconds


def told_duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3.5 h, 6.0 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
