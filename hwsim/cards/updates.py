"""``update`` of a recipe: how updates are written, once for all links of a network or once a link."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from hwsim.crossbar.synapse import Device
from hwsim.crossbar.updates.modes import ACCUMULATE, LOW_RANK, MOMENTUM, POOLED, UpdateMode
from hwsim.errors import InputError
from hwsim.rng import Streams

Place = Callable[[tuple[int | str, ...], str], InputError]
"""(keys in the recipe, message) -> an error at that place of its card."""


def parse_mode(given: Any) -> UpdateMode:
    """``accumulate``, ``low-rank: 4``, ``{accumulate: 4, momentum: 0.9}`` -> the mode. Raises InputError otherwise."""
    if isinstance(given, str):
        match = re.fullmatch(rf"\s*([a-z-]+)\s*(?::\s*([0-9]+)\s*)?(?:,\s*{MOMENTUM}:\s*([0-9.e-]+)\s*)?", given)
        if match:
            number = int(match[2]) if match[2] else None
            return UpdateMode(match[1], number, _momentum(match[1], _number(match[3]) if match[3] else 0.0))
    elif isinstance(given, dict) and (names := [name for name in given if name != MOMENTUM]) and len(names) == 1:
        number, momentum = given[names[0]], given.get(MOMENTUM, 0.0)
        if isinstance(number, int) and not isinstance(number, bool):
            return UpdateMode(str(names[0]), number, _momentum(names[0], momentum))
        raise InputError(f"update: {names[0]}: expected a whole number, got {number!r}")
    raise InputError(f"update: expected a mode such as accumulate or {LOW_RANK}: 4, got {given!r}")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _momentum(name: str, given: Any) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    raise InputError(f"update: {name}: expected a momentum in [0, 1), got {given!r}")


def plain_modes(given: Any) -> str | list[str]:
    """What a card says under ``update``, each mode as its text.

    Raises ValueError for the first mistake, as "place below update: message".
    """
    texts = []
    for index, mode in enumerate(given if isinstance(given, list) else [given]):
        try:
            texts.append(str(parse_mode(mode)))
        except InputError as error:
            where = str(index) if isinstance(given, list) else ""
            raise ValueError(f"{where}: {str(error).removeprefix('update: ')}") from error
    return texts if isinstance(given, list) else texts[0]


def check_modes(
    update: str | list[str],
    device: Device,
    shapes: Sequence[tuple[int, int]],
    bias: str,
    place: Place,
) -> None:
    """InputError, at its place, unless every link's array can be written to in its mode.

    Args:
        shapes: (post, pre) of the links' arrays.
        bias: where biases are, see ``layered_hopfield``.
    """
    if isinstance(update, list) and len(update) != len(shapes):
        raise place(("update",), f"expected one mode or {len(shapes)}, one a link of the network, got {len(update)}")
    modes = update if isinstance(update, list) else [update] * len(shapes)
    needed = 0
    for index, (text, (post, pre)) in enumerate(zip(modes, shapes, strict=True)):
        mode, keys = parse_mode(text), ("update", index) if isinstance(update, list) else ("update",)
        if mode.name == LOW_RANK and (mode.number or 0) > min(post, pre):
            what = f"link {index} has an array of {post} x {pre}, whose sums have {min(post, pre)} factors at most"
            raise place(keys, f"{what}; got {mode.number}. A list gives each link a mode of its own")
        if mode.name == POOLED and bias == "column":
            raise place(keys, "pooled: needs digital biases (network.bias), got a bias column, which no image has")
        needed += 4 * post * pre * (mode.name == ACCUMULATE) * (2 if mode.momentum else 1)
        try:
            size = mode.number or 2 if mode.name == LOW_RANK else 2
            mode.device(device).synapse(size, size, Streams(0))
        except InputError as error:
            raise place(keys, str(error).removeprefix("update: ")) from error
    memory = _memory_bytes()
    if needed > memory:
        raise place(
            ("update",), f"digital sums of {needed / 1e9:.3g} GB do not fit into {memory / 1e9:.3g} GB of memory"
        )


def _memory_bytes() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")
