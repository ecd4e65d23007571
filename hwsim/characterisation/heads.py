"""What a column is, by its head, and its unit: the words that laboratories use for pulses and what they read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from hwsim.cards.yamlfile import did_you_mean
from hwsim.errors import InputError


def _inverse(value: float) -> float:
    return 1e6 / value if value else math.nan


# To uS; of currents to uA, which over volts is uS.
CONDUCTANCES: dict[str, Callable[[float], float]] = {
    "uS": lambda g: g,
    "nS": lambda g: g * 1e-3,
    "pS": lambda g: g * 1e-6,
    "mS": lambda g: g * 1e3,
    "S": lambda g: g * 1e6,
    "arbitrary": lambda g: g,
}
RESISTANCES: dict[str, Callable[[float], float]] = {
    "ohm": _inverse,
    "kohm": lambda r: _inverse(r * 1e3),
    "Mohm": lambda r: _inverse(r * 1e6),
    "Gohm": lambda r: _inverse(r * 1e9),
}
CURRENTS: dict[str, Callable[[float], float]] = {
    "A": lambda i: i * 1e6,
    "mA": lambda i: i * 1e3,
    "uA": lambda i: i,
    "nA": lambda i: i * 1e-3,
    "pA": lambda i: i * 1e-6,
}
VOLTAGES: dict[str, Callable[[float], float]] = {"V": lambda v: v, "mV": lambda v: v * 1e-3}
UNITS = CONDUCTANCES | RESISTANCES | CURRENTS
_OHMS = ("ohm", "Ohm", "ohms", "Ohms", "\u03a9", "\u2126")  # Greek omega and the sign of ohm look alike
_ALIASES = {name: name for name in UNITS | VOLTAGES}
_ALIASES |= {
    f"{prefix}{name}": f"{prefix.lower() if prefix == 'K' else prefix}ohm" for prefix in ("", *"kKMG") for name in _OHMS
}
_ALIASES |= {f"{micro}{name}": f"u{name}" for micro in ("\u00b5", "\u03bc") for name in "SA"}
_ALIASES |= {name: "arbitrary" for name in ("a.u.", "a.u", "au", "norm.", "normalized", "normalised")} | {
    "siemens": "S"
}

_ROLES = {
    "device": "device|dev|cell|sample|dut|device name|device id|device no|device number|cell id|crosspoint|cross point",
    "cycle": "cycle|cycles|cycle no|cycle number|loop|repetition|repeat|iteration|run|sweep|round|epoch",
    "pulse": "pulse|pulses|pulse no|pulse nr|pulse number|pulse index|pulse count|number of pulses|pulse num"
    "|pulsenumber|n|no|nr|index|step|p|num|count|n pulse|n pulses|idx|point",
    "read": "read|read no|read number|read index|reading|readout",
    "polarity": "polarity|direction|type|operation|op|mode|pulse type|sign|phase|set reset|ltp ltd|pulse polarity|state"
    "|up down|process",
    "g": "g|conductance|cond|g mean|g read|gread|conductance read|weight|w|gch|gds|g ch|channel conductance",
    "r": "r|resistance|res|r read|rread|rds|r mean",
    "i": "i|current|id|ids|i read|iread|read current|current read|drain current|i d|i ds|i mean",
    "read voltage": "v|voltage|vread|v read|read voltage|vd|vds|v ds|bias|drain voltage|meas v|v meas|measured voltage"
    "|measurement voltage|sense voltage|v sense",
    "pulse voltage": "vpulse|v pulse|pulse voltage|amplitude|pulse amplitude|vp|vg|vgs|gate voltage|write voltage"
    "|v write|vwrite|v gate|v prog|vprog|programming voltage|v p|pulse v|pulse amp|write v|set v",
    "up": "up|set|ltp|potentiation|pot|potentiate|increase|increasing|set ramp|up ramp",
    "down": "down|reset|ltd|depression|dep|depress|decrease|decreasing|reset ramp|down ramp",
    "time": "time|t|time stamp|timestamp|pulse time",
    "width": "width|pulse width|duration|pulse duration|pw|t pulse|pulse length",
    "applied": "num applied|applied|pulses applied|n applied|number applied",
    "ramp": "ramp|rmp|train|trace|curve|g ramp",
}
ROLE_OF = {name: role for role, names in _ROLES.items() for name in names.split("|")}
_BRACKET_INSIDE = re.compile(r"^(.*?)\s*[(\[{]\s*([^()\[\]{}]*)\s*[)\]}][\s_]+([A-Za-z].*)$")
_BRACKET = re.compile(r"^(.*?)\s*[(\[{]\s*([^()\[\]{}]*)\s*[)\]}]\s*(\d*)$")


@dataclass(frozen=True)
class Head:
    """A column: its head as written, its role ("" if unknown), unit (None if not given) and number ("up 3" has 3).

    A column of one direction (``R_LTP``, ``up current``) has the role ``up`` or ``down``; ``quantity`` is what was read
    there, "" if the head does not say.
    """

    text: str
    role: str
    unit: str | None = None
    number: str = ""
    quantity: str = ""


def is_unit(text: str) -> bool:
    """Is it the name of a unit and nothing else?"""
    return text.strip("()[] ") in _ALIASES


def unit_named(name: str) -> str:
    """The unit of this name, as given to ``--unit``; InputError with the nearest one if there is none."""
    if name in _ALIASES:
        return _ALIASES[name]
    lower = {unit.lower(): unit for unit in UNITS if unit.lower() not in ("ms", "ma")}
    if name.lower() in lower and name == name.lower():
        return lower[name.lower()]
    if name.lower() in ("ms", "ma"):
        raise InputError(
            f"unit {name!r}: expected {'m' + name[1].upper()} for milli{'siemens' if 's' in name else 'amperes'}"
        )
    raise InputError(f"unit {name!r}: unknown{did_you_mean(name, UNITS)} Known units: {', '.join(UNITS)}")


def head_of(text: str) -> Head:
    """What a head says: ``g_uS``, ``Conductance (µS)``, ``R/kOhm``, ``LTP 3``, ``Pulse #``, ``I_read [A]``."""
    name, unit, number = text.strip(), None, ""
    inside = _BRACKET_INSIDE.match(name)  # Time[ns]_LTP: the unit belongs to what stands before it
    if inside:
        name = f"{inside[1]} {inside[3]} ({inside[2]})"
    bracket = _BRACKET.match(name)
    if bracket:
        name, inner, number = bracket[1], bracket[2], bracket[3]
        unit = _ALIASES.get(inner, f"?{inner}" if inner and not inner.isdigit() else None)
        number = number or (inner if inner.isdigit() else "")
    else:
        tokens = re.split(r"([\s_/,.]+)", name)
        if len(tokens) > 1 and tokens[-1] in _ALIASES:
            name, unit = "".join(tokens[:-2]), _ALIASES[tokens[-1]]
    words = re.sub(r"[^a-z0-9]+", " ", re.sub(r"#|№", " no ", name.lower())).strip()
    if words not in ROLE_OF and (bare := re.sub(r"\bnorm(ali[sz]ed)?\b ?", "", words).strip()) != words:
        words, unit = bare, unit or "arbitrary"
    counted = re.fullmatch(r"(.*?) ?(\d+)", words)
    if counted and words not in ROLE_OF:
        words, number = counted[1].strip(), counted[2]
    role = ROLE_OF.get(words, ROLE_OF.get(words.removesuffix(" no"), ""))
    if not role and (way := _way(words)):
        return Head(text, way[0], unit, number, way[1])
    if not role and "_" in text and not bracket:  # g_furlong
        stem, _, last = name.rpartition("_")
        if ROLE_OF.get(stem.lower()) in ("g", "r", "i", "up", "down"):
            role, unit = ROLE_OF[stem.lower()], f"?{last}"
    return Head(text, role, unit, number)


def _way(words: str) -> tuple[str, str] | None:
    """Role and quantity of a head that names both: (up, g) of "conductance ltp", (pulse, "") of "pulse no ltd"."""
    parts = words.split()
    for i in (len(parts) - 1, 0):
        way, rest = ROLE_OF.get(parts[i] if parts else ""), " ".join(parts[:i] + parts[i + 1 :])
        what = ROLE_OF.get(rest, ROLE_OF.get(rest.removesuffix(" no"), ""))
        if way in ("up", "down") and what in ("g", "r", "i"):
            return way, what
        if way in ("up", "down") and what in ("pulse", "time"):
            return "pulse", ""
    return None
