"""A resistive network as a SPICE netlist: its nodes, conductances, amplifiers and diodes, for one input."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from hwsim.crossbar.netlist import OPTIONS, number
from hwsim.ebm.resistive import ResistiveNetwork

IDEAL_S = 1e4
"""Conductance that stands for an ideal diode when it conducts: at microamperes it is off by less than a nanovolt."""


def to_spice(net: ResistiveNetwork, x: Tensor) -> str:
    """The netlist of ``net`` at rest under one input.

    Args:
        x: (inputs,) or the shape of one example, without the batch.

    Node ``n<l>_<k>`` is node k of layer l, counted from 0; ``n0_<i>`` would be behind the first array, the sources are
    ``s<i>``. Conductances of zero are left out. Raises InputError as ``ResistiveNetwork.given`` does.

    >>> import hwsim as hw, torch
    >>> net = hw.ResistiveNetwork([hw.FloatDevice().synapse(2, 4, hw.Streams(0))])
    >>> net.program([torch.ones(2, 4)])
    >>> hw.to_spice(net, torch.ones(1)).splitlines()[0]
    '* resistive network, layers of 2 nodes'
    """
    return "\n".join(_lines(net, x)) + "\n"


def _lines(net: ResistiveNetwork, x: Tensor) -> Iterator[str]:
    given = net.given(x.reshape(1, -1).double())
    yield f"* resistive network, layers of {', '.join(str(link.post) for link in net.links)} nodes"
    for i, volts in enumerate(given.sources[0].tolist()):
        yield f"v{i} s{i} 0 {number(volts)}"
    yield f"vplus plus 0 {number(net.bias_V)}"
    yield f"vminus minus 0 {number(-net.bias_V)}"
    for layer, part in enumerate(given.circuit.layers):
        far = [f"{'m' if layer else 's'}{f'{layer - 1}_' if layer else ''}{j}" for j in range(part.matrix.shape[1])]
        far += ["plus", "minus"]
        for k, row in enumerate(part.whole.tolist()):
            for j, weight in enumerate(row):
                if weight > 0:
                    yield f"r{layer}_{k}_{j} {far[j]} n{layer}_{k} {number(1 / (weight * net.unit_uS * 1e-6))}"
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
