"""A crossbar's read as a SPICE netlist, wires included: the independent judge of ``wires``."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

OPTIONS = ".options gmin=1e-20 abstol=1e-18 vntol=1e-15 reltol=1e-10 temp=26.85 tnom=26.85 itl1=1000"
"""Tolerances far below what is compared; 300 K, at which k T / q is ``diode.THERMAL_V``."""


def number(value: float) -> str:
    """A number to the last bit."""
    return f"{value:.17g}"


def read_netlist(g_uS: Tensor, volts: Tensor, segment_ohm: float = 0.0) -> str:
    """A netlist of one read: rows at virtual ground, columns driven by ``volts``.

    Args:
        g_uS: (post, pre) conductances in microsiemens, >= 0.
        volts: (pre,) of the input lines.
        segment_ohm: of one wire segment, between neighbours and between a terminal and the first device; 0: no wires.

    The current of output line j, in amperes, is that through the source ``vout<j>``.
    """
    return "\n".join(_lines(g_uS, volts, segment_ohm)) + "\n"


def _lines(g_uS: Tensor, volts: Tensor, segment_ohm: float) -> Iterator[str]:
    post, pre = g_uS.shape
    yield f"* read of a crossbar of {post} x {pre} devices"
    for i in range(pre):
        yield f"vin{i} in{i} 0 {number(volts[i].item())}"
    for j in range(post):
        yield f"vout{j} out{j} 0 0"
    wired = segment_ohm > 0
    for i in range(pre):
        for j in range(post):
            if wired:
                before = f"in{i}" if j == 0 else f"a{j - 1}_{i}"
                after = f"out{j}" if i == pre - 1 else f"b{j}_{i + 1}"
                yield f"rin{j}_{i} {before} a{j}_{i} {number(segment_ohm)}"
                yield f"rout{j}_{i} b{j}_{i} {after} {number(segment_ohm)}"
            conductance = g_uS[j, i].item() * 1e-6
            if conductance > 0:
                ends = (f"a{j}_{i}", f"b{j}_{i}") if wired else (f"in{i}", f"out{j}")
                yield f"r{j}_{i} {ends[0]} {ends[1]} {number(1 / conductance)}"
    yield OPTIONS
    yield ".op"
    yield ".end"
