"""How every page is made: one base template and its parts; pages need no network, no scripts and no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

from hwsim.reports.plotting import Figure

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("hwsim.reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


Record = dict[str, Any]
Cell = tuple[str, str]
"""What stands in a table's cell, and what stands below it in small."""


def in_sentence(row: Record) -> str:
    """The share of a row of results with its interval, as part of a sentence."""
    return f"{100 * row['mean']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def in_cell(row: Record) -> Cell:
    """The share of a row of results, its interval below."""
    return f"{100 * row['mean']:.1f} %", f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"


def render(template: str, **content: Any) -> str:
    """The page of a template that extends ``base.html.j2``."""
    return _ENVIRONMENT.get_template(template).render(content)


def inline(figure: Figure) -> str:
    """The smaller of the two files as a data address."""
    kinds = {"image/svg+xml": figure.svg.read_bytes(), "image/png": figure.png.read_bytes()}
    kind = min(kinds, key=lambda name: len(kinds[name]))
    return f"data:{kind};base64,{base64.b64encode(kinds[kind]).decode('ascii')}"


def percent(share: float | None) -> str:
    """A share in per cent, to a digit; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def span(interval: Mapping[str, Any]) -> str:
    """The ends of an interval of shares."""
    return f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} %"


def points(difference: Mapping[str, Any]) -> str:
    """A difference of shares in points, with its interval."""
    mean, low, high = (f"{100 * difference[key]:+.1f}".replace("-", "−") for key in ("mean", "low", "high"))
    return f"{mean} points, {low} to {high}"


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


_ENVIRONMENT.filters |= {"percent": percent, "range": span, "points": points, "number": number}
