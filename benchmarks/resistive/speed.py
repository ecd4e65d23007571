"""Resistive networks against ngspice, their cost against size, their memory, and what wires do to them.

    python benchmarks/resistive/speed.py [--out runs/resistive] [--only spice size memory wires]

Times are processor seconds (user and system) of one core, so that other work on the machine counts little; the least of
several repeats. An operating point is all node voltages of one image. Errors are the largest over all nodes against
sweeps in float64 to 1e-13 V, relative to the layer's largest voltage.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import hwsim as hw
from hwsim.cards.build import network
from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatSynapse
from hwsim.crossbar.wires import through_wires
from hwsim.data.dataset import load_data
from hwsim.ebm.netlist import to_spice
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.experiments.training.learners import classifier_of
from hwsim.rng import Streams

SIZES = ((64, 100, 10), (784, 128, 10), (784, 512, 10), (784, 1024, 10), (784, 1024, 1024, 10))
FURTHER = 4
EXACT = hw.Phase(100_000, tolerance=1e-13, stop_early=True)
SPICE_OPTIONS = ".options reltol=1e-7 abstol=1e-15 vntol=1e-9 gmin=1e-18 temp=26.85 tnom=26.85 itl1=1000"
Diode = Mapping[str, float]
DIODES: dict[str, Diode] = {"ideal": {}, "Shockley": {"saturation_A": 1e-9, "ideality": 1.3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/resistive"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sweeps", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.sweeps:
        print(peak_MiB(given.sweeps))
        return
    for part in given.only:
        print(PARTS[part](given.out), flush=True)


def against_spice(out: Path) -> str:
    """One trained network of 64-100-10, digits."""
    lines = ["| diodes | solved by | ms an operating point | times as long | error |", "|---|---|---|---|---|"]
    for name, diode in DIODES.items():
        net = trained(out, diode)
        x = load_data("digits").test.x[:100].double()
        exact, tolerance = settled(net, x, EXACT), 1e-6
        phase = hw.Phase(10_000, tolerance=tolerance / 20, stop_early=True)
        seconds, state = least(lambda net=net, x=x, phase=phase: settled(net, x, phase), 5)
        ours = seconds / len(x)
        one, _ = least(lambda net=net, x=x, phase=phase: settled(net, x[:1], phase), 5)
        rows = [("hwsim, 100 images at once", ours, error(state, exact))]
        rows += [("hwsim, one image", one, error([layer[:1] for layer in state], exact))]
        whole, op, spice = in_spice(net, x, out)
        off = error(spice, [layer[:1] for layer in exact])
        rows += [("ngspice, `op` alone", op, off), ("ngspice, netlist and all", whole, off)]
        lines += [f"| {name} | {what} | {1e3 * s:.3g} | {s / ours:.3g} | {e:.1g} |" for what, s, e in rows]
    return "\n".join(lines) + "\n"


def trained(out: Path, diode: Diode) -> ResistiveNetwork:
    """drn-digits with 100 hidden nodes, seed 0, in float64; trained with ideal diodes."""
    folder = out / "64-100-10"
    command = ["train", "--model", "drn-digits", "--set", "network.layers=[64,100,10]", "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "hwsim", *command], check=True, stdout=subprocess.DEVNULL)
    config = read_model("drn-digits", [("network.layers", [64, 100, 10])])[1]
    weights = classifier_of(config, folder / "weights.safetensors").net.weights()  # pyright: ignore
    return built((64, 100, 10), weights, diode)


def built(
    layers: Sequence[int], weights: Sequence[Tensor] | None = None, diode: Diode | None = None
) -> ResistiveNetwork:
    """The card's network of these sizes in float64, with its initial weights where none are given."""
    settings: list[tuple[str, object]] = [("network.layers", list(layers)), ("network.diode", dict(diode or {}))]
    settings += [("learning.rates", [0.1] * (len(layers) - 1))]
    config = read_model("drn-digits", settings)[1]
    net = network(config.energy, hw.FloatDevice(dtype=torch.float64), Streams(0))
    assert isinstance(net, ResistiveNetwork)
    weights = weights or net.initial_weights(config.energy.init_gain, Streams(0))
    lowest = config.energy.conductances.lowest  # pyright: ignore
    net.program([weight.double().clamp_min(lowest) for weight in weights])
    return net


def settled(net: ResistiveNetwork, x: Tensor, phase: hw.Phase) -> Sequence[Tensor]:
    given = net.given(x)
    end = hw.settle(given, given.start(), solver=hw.OddEven(), phase=phase)
    assert phase.tolerance > 1 or not end.unsettled_share, "not settled"
    return end.state


def in_spice(net: ResistiveNetwork, x: Tensor, out: Path) -> tuple[float, float, Sequence[Tensor]]:
    """(seconds of a process with one operating point, of a further one in it, the node voltages of the first image)."""
    lines = to_spice(net, x[0]).splitlines()
    netlist = "\n".join(SPICE_OPTIONS if line.startswith(".options") else line for line in lines)
    more: list[str] = []
    for image in range(1, 1 + FURTHER):
        volts = net.given(x[image : image + 1]).sources[0].tolist()
        more += [*(f"alter v{i} = {v:.17g}" for i, v in enumerate(volts)), "op"]

    def seconds(more: Sequence[str]) -> float:
        before = _children()
        operating_point(net, netlist, more, out)
        return _children() - before

    whole = min(seconds([]) for _ in range(3))
    several = min(seconds(more) for _ in range(3))
    return whole, (several - whole) / FURTHER, operating_point(net, netlist, [], out)


def error(state: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    pairs = zip(state, exact, strict=True)
    return max(float((s - e[: len(s)]).abs().max() / e.abs().max()) for s, e in pairs)


def by_size(out: Path) -> str:
    """Initial conductances, uniform images; sweeps until no node moves by more than 1 nV."""
    lines = ["| network | conductances | sweeps | ms an operating point | ns a conductance and sweep |"]
    lines += ["|---|---|---|---|---|"]
    for layers in SIZES:
        net = built(layers)
        x = torch.rand(32, layers[0], generator=torch.Generator().manual_seed(0)).double()
        given, phase = net.given(x), hw.Phase(10_000, tolerance=1e-9, stop_early=True)
        sweeps = int(hw.settle(given, given.start(), solver=hw.OddEven(), phase=phase).steps.max()) + 1
        seconds, _ = least(lambda net=net, x=x, phase=phase: settled(net, x, phase), 3)
        count = sum(weight.numel() for weight in net.weights())
        own = seconds / len(x)
        name = "-".join(map(str, layers))
        lines += [f"| {name} | {count:,} | {sweeps} | {1e3 * own:.3g} | {1e9 * own / count / sweeps:.2g} |"]
    return "\n".join(lines) + "\n"


def memory(out: Path) -> str:
    """Peak memory of a process that settles 32 images of 784-1024-10, by the number of sweeps."""
    lines = ["| sweeps | peak memory, MiB |", "|---|---|"]
    for sweeps in (2, 10, 100, 1000):
        command = [sys.executable, __file__, "--sweeps", str(sweeps)]
        lines.append(
            f"| {sweeps:,} | {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()} |"
        )
    return "\n".join(lines) + "\n"


def peak_MiB(sweeps: int) -> str:
    net, x = built((784, 1024, 10)), torch.rand(32, 784).double()
    settled(net, x, hw.Phase(sweeps, tolerance=10.0))
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"


def wires(out: Path) -> str:
    """A network of 64-24-10 under one image: voltages of the simulation against ngspice with the wires as ladders."""
    lines = ["| conductances, mean uS | ohm a segment | wires left out | wires as effective conductances |"]
    lines += ["|---|---|---|---|"]
    x = load_data("digits").test.x[:1].double()
    for gain in (1.0, 30.0):
        net = built((64, 24, 10))
        net.program([gain * weight for weight in net.weights()])
        mean = net.unit_uS * float(torch.cat([weight.flatten() for weight in net.weights()]).mean())
        for ohm in (1.0, 10.0, 100.0):
            judged = operating_point(net, to_spice(net, x[0], segment_ohm=ohm), [], out)
            wired = net.mapped(partial(with_wires, unit_uS=net.unit_uS, segment=ohm * 1e-6))
            off = [100 * error(settled(each, x, EXACT), judged) for each in (net, wired)]
            lines.append(f"| {mean:.2g} | {ohm:g} | {off[0]:.3g} % | {off[1]:.3g} % |")
    return "\n".join(lines) + "\n"


def with_wires(synapse: hw.Synapse, unit_uS: float, segment: float) -> FloatSynapse:
    """What `wire_solver: exact` makes of an array."""
    return FloatSynapse(through_wires(unit_uS * synapse.weight(), segment, "exact") / unit_uS)


def operating_point(net: ResistiveNetwork, netlist: str, more: Sequence[str], out: Path) -> Sequence[Tensor]:
    """(1, nodes) of every layer as ngspice finds them; ``more`` commands are given to it after that."""
    out.mkdir(parents=True, exist_ok=True)
    head = [line for line in netlist.splitlines() if line not in (".op", ".end")]
    nodes = [f"v(n{layer}_{k})" for layer, link in enumerate(net.links) for k in range(link.post)]
    control = ["op", "set filetype=ascii", f"write {out / 'spice.raw'} {' '.join(nodes)}", *more, "quit"]
    (out / "spice.cir").write_text("\n".join([*head, ".control", *control, ".endc", ".end"]) + "\n")
    subprocess.run(["ngspice", "-b", str(out / "spice.cir")], check=True, capture_output=True)
    head_text, values = (out / "spice.raw").read_text().split("Values:\n")
    names = [line.split()[1] for line in head_text.split("Variables:\n")[1].splitlines()]
    read = dict(zip(names, map(float, values.split()[1:]), strict=True))
    volts = torch.tensor([read[node] for node in nodes], dtype=torch.float64)
    return [layer[None] for layer in volts.split([link.post for link in net.links])]


def least(work: Callable[[], Sequence[Tensor]], repeats: int) -> tuple[float, Sequence[Tensor]]:
    """The least processor seconds of several repeats, and what was worked out."""
    times, result = [], work()
    for _ in range(repeats):
        before = time.process_time()
        result = work()
        times.append(time.process_time() - before)
    return min(times), result


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PARTS: dict[str, Callable[[Path], str]] = {
    "spice": against_spice,
    "size": by_size,
    "memory": memory,
    "wires": wires,
}

if __name__ == "__main__":
    main()
