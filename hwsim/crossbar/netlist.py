"""A crossbar's read as a SPICE netlist, wires included: the independent judge of ``wires``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from hwsim.errors import InputError

OPTIONS = ".options gmin=1e-20 abstol=1e-18 vntol=1e-15 reltol=1e-10 temp=26.85 tnom=26.85 itl1=1000"
"""Tolerances far below what is compared; 300 K, at which k T / q is ``diode.THERMAL_V``."""


def number(value: float) -> str:
    """A number to the last bit."""
    return f"{value:.17g}"


def read_netlist(
    g_uS: Tensor | Mapping[str, Tensor],
    volts: Tensor,
    segment_ohm: float = 0.0,
    comments: Sequence[str] = (),
) -> str:
    """A netlist of one read: rows at virtual ground, columns driven by ``volts``.

    Args:
        g_uS: (post, pre) conductances in microsiemens, >= 0; or several crossbars by name that get the same inputs,
            such as the plus and the minus devices of a differential pair, each with wires of its own.
        volts: (pre,) of the input lines.
        segment_ohm: of one wire segment, between neighbours and between a terminal and the first device; 0: no wires.
        comments: lines for whoever reads the file.

    The current of output line j, in amperes, is that through the source ``vout<j>``, or ``vout<name>_<j>``. Raises
    InputError for a conductance or a resistance below 0 or not finite, and for another number of voltages.
    """
    crossbars = {"": g_uS} if isinstance(g_uS, Tensor) else {f"{name}_": g for name, g in g_uS.items()}
    for g in crossbars.values():
        if not (g >= 0).all() or not g.isfinite().all():
            raise InputError(f"netlist: expected finite conductances >= 0, got {g.min().item():g} uS")
        if volts.shape != (g.shape[1],):
            raise InputError(f"netlist: expected {g.shape[1]} voltages, one an input line, got {tuple(volts.shape)}")
    if not 0 <= segment_ohm < float("inf"):
        raise InputError(f"netlist: expected a wire resistance in ohms >= 0, got {segment_ohm}")
    lines = [
        f"* read of a crossbar of {' and '.join(f'{g.shape[0]} x {g.shape[1]}' for g in crossbars.values())} devices"
    ]
    lines += [f"* {comment}" for comment in comments]
    for name, g in crossbars.items():
        lines += _crossbar(name, g, volts, segment_ohm)
    return "\n".join([*lines, OPTIONS, ".op", ".end"]) + "\n"


def _crossbar(name: str, g_uS: Tensor, volts: Tensor, segment_ohm: float) -> Iterator[str]:
    post, pre = g_uS.shape
    for i, drive in enumerate(volts.tolist()):
        yield f"vin{name}{i} in{name}{i} 0 {number(drive)}"
    for j in range(post):
        yield f"vout{name}{j} out{name}{j} 0 0"
    inputs, outputs = [f"in{name}{i}" for i in range(pre)], [f"out{name}{j}" for j in range(post)]
    yield from ladder(name, g_uS, inputs, outputs, segment_ohm)


def ladder(name: str, g_uS: Tensor, inputs: Sequence[str], outputs: Sequence[str], segment_ohm: float) -> Iterator[str]:
    """The resistors of one array between the nodes of its terminals; its own begin with ``name``.

    Wire segments lie as in ``wires``: input lines are driven at the end of output 0, output lines end behind the last
    input. Conductances of zero are left out.
    """
    post, pre = g_uS.shape
    for i in range(pre):
        for j in range(post):
            ends = (inputs[i], outputs[j])
            if segment_ohm > 0:
                ends = (f"a{name}{j}_{i}", f"b{name}{j}_{i}")
                before = inputs[i] if j == 0 else f"a{name}{j - 1}_{i}"
                after = outputs[j] if i == pre - 1 else f"b{name}{j}_{i + 1}"
                yield f"rin{name}{j}_{i} {before} {ends[0]} {number(segment_ohm)}"
                yield f"rout{name}{j}_{i} {ends[1]} {after} {number(segment_ohm)}"
            conductance = g_uS[j, i].item() * 1e-6
            if conductance > 0:
                yield f"r{name}{j}_{i} {ends[0]} {ends[1]} {number(1 / conductance)}"
