"""``hwsim export spice``: the file that it writes, read by ngspice, gives the currents of the array it stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from spice import NEEDS_SPICE, operating_point
from torch.testing import assert_close

import hwsim.experiments.export.spice
from hwsim.cards.device import read_device
from hwsim.crossbar.wires import by_lines, by_nodes
from hwsim.data.dataset import load_data
from hwsim.ebm.inference import infer
from hwsim.experiments.evaluation import relaxation
from hwsim.experiments.export.spice import of_model
from hwsim.experiments.trained import programmed
from hwsim.rng import Streams

Call = Callable[..., tuple[int, str, str]]

CARD = """
name: wired
cell: ideal
array: {{wire_resistance_ohm: 40, wire_solver: {solver}, max_cols: 32, encoding: {encoding}, g_max_uS: 20}}
"""


def card(folder: Path, solver: str = "exact", encoding: str = "differential") -> str:
    path = folder / f"{solver}-{encoding}.yaml"
    path.write_text(CARD.format(solver=solver, encoding=encoding))
    return str(path)


def currents(point: dict[str, float], encoding: str, rows: int) -> torch.Tensor:
    """(rows,) of the layer's outputs, in amperes."""
    if encoding == "differential":
        pairs = [(f"i(voutplus_{j})", f"i(voutminus_{j})") for j in range(rows)]
    else:
        pairs = [(f"i(vout{j})", f"i(vout{rows})") for j in range(rows)]
    return torch.tensor([point[a] - point[b] for a, b in pairs], dtype=torch.float64)


def check_exported(hwsim_here: Call, folder: Path, encoding: str) -> None:
    """SPICE gives each output the current that the programmed array's own read gives, wires included, to 1e-5."""
    device, out = card(folder, encoding=encoding), folder / "read.cir"
    source, physical = of_model("digits-mlp"), read_device(device)
    net = programmed(source.config.energy, physical.device, source.net, Streams(0).child("programmed").child("chip", 0))
    hidden = infer(net.float_twin(), load_data("digits").test.x[3:4], **relaxation(source.config.inference))[1].state[0]
    for tile in (0, 3):
        options = ("--array", "layer1.weight", "--tile", f"0,{tile}", "--image", "3", "--device", device)
        assert hwsim_here("export", "spice", "digits-mlp", "--out", str(out), *options)[0] == 0
        spice = currents(operating_point(out.read_text(), folder), encoding, 10)
        array = cast(Any, net.synapses[2]).tiles[0][tile]
        uS_per_weight = (20 - 1) * (1.0 if encoding == "differential" else 0.5)
        inputs = hidden[0, 32 * tile : 32 * tile + 32].double()
        expected = array.weight().double() / array.scale @ inputs * uS_per_weight * 0.2e-6
        assert_close(spice, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@NEEDS_SPICE
@pytest.mark.parametrize("encoding", ["differential", "reference-column"])
def test_spice_reads_what_the_programmed_array_reads(hwsim_here: Call, tmp_path: Path, encoding: str) -> None:
    check_exported(hwsim_here, tmp_path, encoding)


@NEEDS_SPICE
@pytest.mark.parametrize("wrong", ["wires forgotten", "twice the voltage"])
def test_a_wrong_export_is_rejected(
    hwsim_here: Call, tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = hwsim.experiments.export.spice.read_netlist
    bugs = {
        "wires forgotten": lambda g, volts, segment, comments: right(g, volts, 0.0, comments),
        "twice the voltage": lambda g, volts, segment, comments: right(g, 2 * volts, segment, comments),
    }
    monkeypatch.setattr(hwsim.experiments.export.spice, "read_netlist", bugs[wrong])
    with pytest.raises(AssertionError):
        check_exported(hwsim_here, tmp_path, "differential")


@NEEDS_SPICE
def test_a_run_s_conductances_are_written(hwsim_here: Call, tmp_path: Path) -> None:
    """Of every case, from the run's own folder; line by line solved wires stay as near to SPICE as they say."""
    settings = ("network.layers=[64,6,10]", "learning.epochs=0", "in_situ.epochs=0", "evaluation.examples=20")
    run = tmp_path / "run"
    options = [part for setting in settings for part in ("--set", setting)]
    options += ["--set", "evaluation.corruptions.types=[]", "--set", "evaluation.pgd.epsilon=[]"]
    device = card(tmp_path, "fast")
    done = hwsim_here("run", "--device", device, "--repeats", "1", "--out", str(run), *options)
    assert done[0] == 0, done
    out = tmp_path / "read.cir"
    for case in ("in-situ", "programmed"):
        pick = ("--array", "layer0.weight", "--tile", "0,1", "--image", "1", "--case", case)
        assert hwsim_here("export", "spice", str(run), "--out", str(out), *pick)[0] == 0
        assert f", {case}, instance 0, layer0.weight, tile 0,1" in out.read_text()
        point = operating_point(out.read_text(), tmp_path)
        volts = torch.tensor([point[f"v(inplus_{i})"] for i in range(32)], dtype=torch.float64)
        assert volts.abs().max() > 0.01
        kept = load_file(run / "weights" / f"{case}-0.safetensors")
        for name in ("plus", "minus"):
            g = kept[f"layer0.conductance.g_{name}_uS"][:, 32:].double()
            spice = torch.tensor([point[f"i(vout{name}_{j})"] for j in range(6)], dtype=torch.float64)
            assert_close(spice, by_nodes(g, 40e-6) @ volts * 1e-6, rtol=1e-7, atol=0)
            lost = (1 - by_nodes(g, 40e-6) / g).max()
            near = by_lines(g, 40e-6) @ volts * 1e-6
            assert (spice - near).abs().max() < 0.3 * lost**2 * g.max() * 1e-6 * volts.abs().sum()
    code, _, err = hwsim_here("export", "spice", str(run), "--out", str(out), "--array", "layer0.weight", "--case", "x")
    assert code == 2
    assert "in-situ-0" in err


def test_bad_choices_are_a_sentence_and_leave_no_file(hwsim_here: Call, tmp_path: Path) -> None:
    out = tmp_path / "net.cir"
    device = card(tmp_path)
    for options, words in (
        (("--array", "layer9.weight"), "expected one of layer0.weight, layer1.weight"),
        (("--array", "layer0.weight", "--image", "5000"), "expected 0 to 359"),
        (("--array", "layer0.weight", "--device", device), "expected --tile 0,0 to 0,1"),
        (("--array", "layer0.weight", "--device", device, "--tile", "1,0"), "expected 0,0 to 0,1"),
        (("--array", "layer0.weight", "--tile", "one"), "ROW,COLUMN"),
        (("--array", "layer0.weight", "--position", "1"), "expected 0 to 0"),
        (("--array", "layer0.weight", "--wire-ohm", "-1"), "--wire-ohm -1: expected a wire resistance"),
        (("--array", "layer0.weight", "--wire-ohm", "nan"), "--wire-ohm nan: expected a wire resistance"),
        (("--array", "layer0.weight", "--case", "progammed"), "--case progammed: digits-mlp is no run"),
        (("--array", "layer0.weight", "--instance", "9"), "--instance 9: digits-mlp is in float"),
        (("--tile", "0,0"), "--tile: is of one array"),
        (("--position", "2"), "--position: is of one array"),
    ):
        code, _, err = hwsim_here("export", "spice", "digits-mlp", "--out", str(out), *options)
        assert code == 2, options
        assert words in err
    assert not out.exists()
    code, _, err = hwsim_here("export", "spice", "digits-mlp", "--array", "layer0.weight", "--out", str(tmp_path))
    assert (code, "is a folder" in err) == (2, True), err
    code, _, err = hwsim_here("export", "spice", "bp-cnn-small", "--out", str(out), "--array", "layer0.weight")
    assert code == 2
    assert "CIFAR" in err or "arrays" in err or "cifar" in err
