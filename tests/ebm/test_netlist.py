"""Netlists: SPICE finds what the solvers find, for a resistive network and for a crossbar's read with its wires."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from resistive_nets import IDEAL, SHOCKLEY, images, network, rest
from spice import NEEDS_SPICE, operating_point
from theory_reference import DOUBLE, Bug, must_reject
from torch.testing import assert_close

import hwsim.crossbar.netlist
import hwsim.ebm.netlist
from hwsim.crossbar.netlist import read_netlist
from hwsim.crossbar.wires import by_lines, by_nodes
from hwsim.ebm.diode import Diode
from hwsim.ebm.netlist import to_spice


def check_voltages(diode: Diode, folder: Path) -> None:
    """SPICE puts every node where the sweeps do, to a millionth of the layer's largest voltage."""
    net, x = network(diode), images(1)
    volts = operating_point(to_spice(net, x[0]), folder)
    for number, layer in enumerate(rest(net.given(x))):
        spice = torch.tensor([volts[f"v(n{number}_{k})"] for k in range(layer.shape[1])], dtype=DOUBLE)
        assert (spice - layer[0]).abs().max() < 1e-6 * layer[0].abs().max()


@NEEDS_SPICE
@pytest.mark.parametrize("diode", [IDEAL, Diode(1e-12, 1.5), Diode(1e-8)], ids=["ideal", "1 pA", "10 nA"])
def test_spice_finds_the_same_voltages(diode: Diode, tmp_path: Path) -> None:
    check_voltages(diode, tmp_path)


def _edited(change: Callable[[str], str | None]) -> Callable[..., Iterator[str]]:
    def lines(*given: Any) -> Iterator[str]:
        yield from (line for each in RIGHT_LINES(*given) if (line := change(each)) is not None)

    return lines


def _diode_reversed(line: str) -> str:
    parts = line.split()
    return " ".join([parts[0], parts[2], parts[1], *parts[3:]]) if line.startswith("d0_0 ") else line


RIGHT_LINES = hwsim.ebm.netlist._lines
NETLIST_BUGS = [
    Bug("a diode reversed", hwsim.ebm.netlist, "_lines", _edited(_diode_reversed)),
    Bug("a source of twice the voltage", hwsim.ebm.netlist, "number", lambda value: f"{2 * value:.17g}"),
    Bug(
        "an amplifier that draws nothing",
        hwsim.ebm.netlist,
        "_lines",
        _edited(lambda line: None if line.startswith("f0_1 ") else line),
    ),
    Bug(
        "a conductance forgotten",
        hwsim.ebm.netlist,
        "_lines",
        _edited(lambda line: None if line.startswith("r1_2_3 ") else line),
    ),
]


@NEEDS_SPICE
@pytest.mark.parametrize("bug", NETLIST_BUGS, ids=str)
def test_a_wrong_netlist_is_rejected(bug: Bug, tmp_path: Path) -> None:
    must_reject(bug, check_voltages, SHOCKLEY, tmp_path)


def check_currents(segment_ohm: float, folder: Path) -> None:
    rng = torch.Generator().manual_seed(3)
    g_uS, volts = 25 * torch.rand(5, 4, generator=rng, dtype=DOUBLE), torch.randn(4, generator=rng, dtype=DOUBLE)
    point = operating_point(read_netlist(g_uS, volts, segment_ohm), folder)
    seen = by_nodes(g_uS, segment_ohm * 1e-6) if segment_ohm else g_uS
    currents = torch.tensor([point[f"i(vout{j})"] for j in range(5)], dtype=DOUBLE)
    assert_close(currents, seen @ volts * 1e-6, rtol=1e-9, atol=0)


@NEEDS_SPICE
@pytest.mark.parametrize("segment_ohm", [0.0, 20.0, 500.0])
def test_spice_reads_the_same_currents(segment_ohm: float, tmp_path: Path) -> None:
    check_currents(segment_ohm, tmp_path)


def _crossbar_with(volts: float = 1.0, ohm: float = 1.0) -> Callable[..., Iterator[str]]:
    right = hwsim.crossbar.netlist._crossbar
    return lambda name, g, v, segment: right(name, g, volts * v, ohm * segment)


@NEEDS_SPICE
@pytest.mark.parametrize(
    "bug",
    [
        Bug("wires forgotten", hwsim.crossbar.netlist, "_crossbar", _crossbar_with(ohm=0.0)),
        Bug("wires of twice the resistance", hwsim.crossbar.netlist, "_crossbar", _crossbar_with(ohm=2.0)),
        Bug("twice the voltages", hwsim.crossbar.netlist, "_crossbar", _crossbar_with(volts=2.0)),
    ],
    ids=str,
)
def test_a_wrong_read_is_rejected(bug: Bug, tmp_path: Path) -> None:
    must_reject(bug, check_currents, 20.0, tmp_path)


@NEEDS_SPICE
@pytest.mark.parametrize("segment_ohm", [5.0, 40.0])
def test_line_by_line_wires_keep_their_stated_distance_from_spice(segment_ohm: float, tmp_path: Path) -> None:
    """Never too much current, and at most .3 p^2 of the largest conductance too little, p the largest share lost."""
    rng = torch.Generator().manual_seed(4)
    g_uS = 25 * torch.rand(12, 16, generator=rng, dtype=DOUBLE)
    fast = by_lines(g_uS, segment_ohm * 1e-6)
    for column in (0, 15):
        volts = torch.eye(16, dtype=DOUBLE)[column]
        point = operating_point(read_netlist(g_uS, volts, segment_ohm), tmp_path)
        spice = torch.tensor([point[f"i(vout{j})"] for j in range(12)], dtype=DOUBLE) * 1e6
        lost = (1 - by_nodes(g_uS, segment_ohm * 1e-6) / g_uS).max()
        missing = (spice - fast[:, column]) / g_uS.max()
        assert missing.min() > -1e-9
        assert missing.max() < 0.3 * lost**2
