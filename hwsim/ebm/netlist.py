"""A resistive network as a SPICE netlist: its nodes, conductances, amplifiers and diodes, for one input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from hwsim.crossbar.netlist import OPTIONS, ladder, number
from hwsim.ebm.resistive import ResistiveNetwork

IDEAL_S = 1e4
"""Conductance that stands for an ideal diode when it conducts: at microamperes it is off by less than a nanovolt."""


def to_spice(
    net: ResistiveNetwork,
    x: Tensor,
    *,
    g_uS: Sequence[Tensor] | None = None,
    segment_ohm: float = 0.0,
    comments: Sequence[str] = (),
) -> str:
    """The netlist of ``net`` at rest under one input.

    Args:
        x: (inputs,) or the shape of one example, without the batch.
        g_uS: conductances of the arrays in microsiemens; by default those that the network computes with, in which
            wires are an effective conductance.
        segment_ohm: of the wire segments between neighbouring devices, see ``crossbar.netlist``; 0: no wires.
        comments: lines for whoever reads the file.

    Node ``n<l>_<k>`` is node k of layer l, counted from 0; ``n0_<i>`` would be behind the first array, the sources are
    ``s<i>``. Conductances of zero are left out. Raises InputError as ``ResistiveNetwork.given`` does.

    >>> import hwsim as hw, torch
    >>> net = hw.ResistiveNetwork([hw.FloatDevice().synapse(2, 4, hw.Streams(0))])
    >>> net.program([torch.ones(2, 4)])
    >>> hw.to_spice(net, torch.ones(1)).splitlines()[0]
    '* resistive network, layers of 2 nodes'
    """
    if g_uS is None:
        g_uS = [net.unit_uS * weight.double() for weight in net.weights()]
    return "\n".join(_lines(net, x, g_uS, segment_ohm, comments)) + "\n"


def _lines(
    net: ResistiveNetwork, x: Tensor, g_uS: Sequence[Tensor], segment_ohm: float, comments: Sequence[str]
) -> Iterator[str]:
    given = net.given(x.reshape(1, -1).double())
    yield f"* resistive network, layers of {', '.join(str(link.post) for link in net.links)} nodes"
    yield from (f"* {comment}" for comment in comments)
    for i, volts in enumerate(given.sources[0].tolist()):
        yield f"v{i} s{i} 0 {number(volts)}"
    yield f"vplus plus 0 {number(net.bias_V)}"
    yield f"vminus minus 0 {number(-net.bias_V)}"
    for layer, part in enumerate(given.circuit.layers):
        far = [f"{'m' if layer else 's'}{f'{layer - 1}_' if layer else ''}{j}" for j in range(part.matrix.shape[1])]
        far += ["plus", "minus"]
        near = [f"n{layer}_{k}" for k in range(part.matrix.shape[0])]
        yield from ladder(f"{layer}_", g_uS[layer], far, near, segment_ohm)
        if layer < net.blocks - 1:
            yield from _node(net, layer, part.matrix.shape[0])
    if not net.diode.ideal:
        yield f".model shockley d(is={number(net.diode.saturation_A or 0)} n={number(net.diode.ideality)})"
    yield OPTIONS
    yield ".op"
    yield ".end"


def _node(net: ResistiveNetwork, layer: int, count: int) -> Iterator[str]:
    """The amplifiers behind a hidden layer and its diodes."""
    gain = number(net.amplifier_gain)
    for k in range(count):
        node, up = f"n{layer}_{k}", k < (count + 1) // 2
        yield f"e{layer}_{k} p{layer}_{k} 0 {node} 0 {gain}"
        yield f"vs{layer}_{k} p{layer}_{k} m{layer}_{k} 0"
        yield f"f{layer}_{k} {node} 0 vs{layer}_{k} {number(1 / net.amplifier_gain)}"
        if not net.diode.ideal:
            yield f"d{layer}_{k} {'0' if up else node} {node if up else '0'} shockley"
        else:
            side = "<" if up else ">"
            yield f"b{layer}_{k} 0 {node} i = v({node}) {side} 0 ? -v({node}) * {number(IDEAL_S)} : 0"
