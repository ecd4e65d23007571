"""How fast a training step of an energy-based model is, against the straightforward one and the machine's own peak.

    python benchmarks/speed/ebm.py [--repeats 7] [--threads 1 2] [--batch 64] [--peers DIR]

prints the tables of README.md; with ``--peers`` those beside published code instead (``peers.py``). Everything is
measured in one process, in turn, and medians are told. The figure is CPU time divided by the number of threads, which
other programs on the machine disturb least; wall time stands beside it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peers
import torch
from reference import Reference
from torch import Tensor

from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.convolution import Convolution
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.energy import Nudged
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.network import Network
from hwsim.ebm.settle import SOLVERS, OddEven, Outcome, Phase, Settled, Solver, Synchronous, UpDown, settle
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

BETA = 0.5
MOMENTUM = 0.9
RATE = 1e-6  # weights hardly move: every repeat does the same work
HOPFIELD = ("synchronous", "odd-even", "up-down", "anderson", "newton")


@dataclass(frozen=True)
class Case:
    """A network, its input and the lengths of its phases."""

    name: str
    build: Callable[..., LayeredHopfield]
    shape: tuple[int, ...]
    free: int
    nudged: int


def dense(dtype: torch.dtype, hidden: Sequence[int] = (512,), c: float = 1.0) -> LayeredHopfield:
    device = FloatDevice(MOMENTUM, dtype=dtype)
    return layered_hopfield([784, *hidden, 10], device, Streams(0), bias_device=device, c=c)


def convolutional(dtype: torch.dtype, hidden: Sequence[int] = (32, 64, 128), c: float = 1.0) -> LayeredHopfield:
    device = FloatDevice(MOMENTUM, dtype=dtype)
    layers = [Conv(channels, pool="max") for channels in hidden]
    return layered_hopfield([(3, 32, 32), *layers, 10], device, Streams(0), bias_device=device, c=c)


CASES = [
    Case("dense 784-512-10, 20 free and 2 x 10 nudged steps", dense, (784,), 20, 10),
    Case("conv 32-64-128 + linear, 30 free and 2 x 10 nudged steps", convolutional, (3, 32, 32), 30, 10),
]


def programmed(case: Case, dtype: torch.dtype, **how: Any) -> LayeredHopfield:
    net = case.build(dtype, **how)
    net.program([w.to(dtype) for w in net.initial_weights(1.0, Streams(0))])
    return net


def reference_of(net: Network) -> Reference:
    """The same weights as plain layers."""
    layers = []
    for link in net.links:
        weight, bias = (synapse.weight() for synapse in link.synapses)
        if isinstance(link, Convolution):
            weight = weight.unflatten(1, (link.window.channels, link.window.kernel, link.window.kernel))
        layers.append((weight, bias[:, 0]))
    return Reference(layers)


def batch_of(case: Case, size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(size, *case.shape, generator=rng).to(dtype), torch.arange(size) % 10


def training_step(case: Case, size: int, solver: Solver, share: float, **how: Any) -> Callable[[], object]:
    """One step of hwsim with phases of ``share`` times their lengths, on a network built as ``how`` says."""
    net, (x, labels) = programmed(case, torch.float32, **how), batch_of(case, size)
    free, nudged = Phase(round(case.free * share)), Phase(round(case.nudged * share))
    rule = EquilibriumProp(BETA, free=free, nudged=nudged, solver=solver)
    rates, rng, cost = [RATE] * len(net.links), torch.Generator(), SquaredError()
    return lambda: rule.step(net, cost, x, labels, rates, rng)


def reference_step(case: Case, size: int) -> Callable[[], object]:
    reference, (x, labels) = reference_of(programmed(case, torch.float32)), batch_of(case, size)
    return lambda: reference.gradient(x, labels, BETA, case.free, case.nudged)


def multiply_adds(case: Case, size: int) -> int:
    """What the synchronous dynamics needs, by the arrays' own counts: every vector read or updated, times its array.

    A difference-form update needs two products a link above the first.
    """
    net, (x, labels) = programmed(case, torch.float32), batch_of(case, size)
    for synapse in net.synapses:
        synapse.meter.reset()
    rule = EquilibriumProp(BETA, free=Phase(case.free), nudged=Phase(case.nudged))
    rule.step(net, SquaredError(), x, labels, [RATE] * len(net.links), torch.Generator())
    total = 0
    for link in net.links:
        meter = link.synapse.meter
        vectors = meter.vectors_read + meter.vectors_read_transpose + meter.vectors_updated
        total += vectors * link.synapse.weight().numel()
    return total


def timed(work: dict[str, Callable[[], object]], repeats: int, threads: int) -> dict[str, tuple[float, float]]:
    """(CPU seconds / threads, wall seconds) of each, medians over repeats taken in turn."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for repeat in range(repeats + 1):  # the first one warms up
        for name, run in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            if repeat:
                seconds[name].append(((time.process_time() - cpu) / threads, time.perf_counter() - wall))
    return {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for name, rows in seconds.items()
    }


def product(size: int) -> Callable[[], object]:
    a, b = torch.rand(size, size), torch.rand(size, size)
    return lambda: a @ b


def compare(case: Case, size: int, repeats: int, threads: int) -> None:
    torch.set_num_threads(threads)
    work = {
        "reference: autograd of the energy": reference_step(case, size),
        "hwsim, same dynamics": training_step(case, size, Synchronous(), 1.0),
        "hwsim, odd-even sweeps, half as many": training_step(case, size, OddEven(), 0.5),
        "hwsim, up-down sweeps, a third as many": training_step(case, size, UpDown(), 1 / 3),
        "hwsim, odd-even, factor 1.3, a third as many": training_step(case, size, OddEven(1.3), 1 / 3),
    }
    gemm = {f"sgemm {n}": product(n) for n in (512, 1024, 2048)}
    times = timed({**work, **gemm}, repeats, threads)
    base = times["reference: autograd of the energy"]
    print(f"\n**{case.name}**, batch {size}, {threads} thread{'s' * (threads > 1)}\n")
    print(
        "| one training step | CPU ms / threads | wall ms | speed-up (CPU) | speed-up (wall) |\n|---|---|---|---|---|"
    )
    for name in work:
        cpu, wall = times[name]
        print(f"| {name} | {cpu * 1e3:.1f} | {wall * 1e3:.1f} | {base[0] / cpu:.2f} | {base[1] / wall:.2f} |")
    peak = max(2 * n**3 / times[f"sgemm {n}"][0] for n in (512, 1024, 2048)) / 1e9
    needed = 2 * multiply_adds(case, size) / 1e9
    reached = needed / times["hwsim, same dynamics"][0]
    print(
        f"\n{needed / 2:.2f} G multiply-adds needed: {reached:.0f} GFLOPS a thread, "
        f"{reached / peak:.0%} of sgemm's {peak:.0f} beside it."
    )


def beside(case: Case, folder: Path, size: int, repeats: int, threads: int) -> None:
    """Published code and hwsim in turn, once their free phases have been compared."""
    torch.set_num_threads(threads)
    found, lengths = peers.checkouts(folder), peers.Lengths(case.free, case.nudged, BETA)
    half = peers.Lengths(case.free // 2, case.nudged // 2, BETA)
    x, labels = batch_of(case, size)

    def net() -> LayeredHopfield:
        return programmed(case, torch.float32, c=0.5)

    others: dict[str, peers.Peer] = {}
    if peers.LABORIEUX in found:
        where = found[peers.LABORIEUX]
        others["Laborieux et al."] = peers.laborieux(where, net(), x, labels, lengths)
        last = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else None
        if last is not None:
            others["Laborieux et al., channels last"] = peers.laborieux(where, net(), last, labels, lengths)
    if peers.RAIN in found:
        where = found[peers.RAIN]
        others["rain, synchronous"] = peers.rain(where, net(), x, labels, lengths, "synchronous")
        others["rain, asynchronous, half as many"] = peers.rain(where, net(), x, labels, half, "asynchronous")
    given = net().given(x)
    own = settle(given, given.start(), solver=Synchronous(), phase=Phase(case.free)).state
    print(f"\n**{case.name}, beside published code**, batch {size}, {threads} thread{'s' * (threads > 1)}\n")
    for name, peer in others.items():
        if "half" not in name:
            pairs = zip(own, peer.free(), strict=True)
            apart = torch.cat([(a - b.detach()).abs().flatten() for a, b in pairs])
            beyond = int((apart > 1e-5).sum())
            print(
                f"- {name}: units differ by at most {apart.max().item():.1e} after the free phase, "
                f"{beyond} of {apart.numel()} by more than 1e-5"
            )
    work = {name: peer.step for name, peer in others.items()}
    work["hwsim, same dynamics"] = training_step(case, size, Synchronous(), 1.0, c=0.5)
    work["hwsim, odd-even sweeps, half as many"] = training_step(case, size, OddEven(), 0.5, c=0.5)
    times = timed(work, repeats, threads)
    bases = [name for name in ("Laborieux et al.", "rain, synchronous") if name in times]
    print("\n| one training step | CPU ms / threads |" + "".join(f" x {name} |" for name in bases))
    print("|---|---|" + "---|" * len(bases))
    for name, (cpu, _) in times.items():
        print(f"| {name} | {cpu * 1e3:.1f} |" + "".join(f" {times[base][0] / cpu:.2f} |" for base in bases))


def settling(size: int, repeats: int) -> None:
    """Steps and time to equilibrium of a convolutional network, by start, weights and solver, on one thread."""
    torch.set_num_threads(1)
    phase = Phase(300, tolerance=1e-4, stop_early=True)
    work, ends = {}, {}
    for start, gain, name in itertools.product(("zero", "feed-forward"), (1.0, 2.0), HOPFIELD):
        net = strided(start, gain)
        x = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        case = f"{start} | U(±{gain:g}/√fan-in) | {name}"
        work[case] = partial(relaxed, net, x, SOLVERS[name](1.0), phase)
        ends[case] = work[case]()
    times = timed(work, repeats, 1)
    print(f"\n**To equilibrium** (no unit moves by 1e-4), conv 32-64-128 strided + linear, batch {size}, 1 thread\n")
    print("| start | initial weights | solver | steps, slowest example | settled | CPU ms |\n|---|---|---|---|---|---|")
    for case, end in ends.items():
        steps, settled = int(end.steps.max()), end.share(Outcome.SETTLED)
        print(f"| {case} | {steps} | {settled:.0%} | {times[case][0] * 1e3:.0f} |")


def relaxed(net: Network, x: Tensor, solver: Solver, phase: Phase) -> Settled:
    given = net.given(x)
    return settle(given, given.start(), solver=solver, phase=phase)


def strided(start: str, gain: float) -> Network:
    layers = [Conv(32, 5, 1, 2, "max"), Conv(64, stride=2), Conv(128, stride=2)]
    net = layered_hopfield([(3, 32, 32), *layers, 10], FloatDevice(), Streams(0), start=start)
    net.program(net.initial_weights(gain, Streams(0)))
    return net


def equality(case: Case, size: int) -> None:
    """Largest difference of states (float32 and float64), and of first-layer gradients against float64 reference."""
    worst = {}
    gradients = {}
    for dtype in (torch.float32, torch.float64):
        net, (x, labels) = programmed(case, dtype), batch_of(case, size, dtype)
        gradients[dtype], states = reference_of(net).gradient(x, labels, BETA, case.free, case.nudged)
        cost, given = SquaredError(), net.given(x)
        target = cost.encode(labels, states[0][-1])
        free = settle(given, given.start(), solver=Synchronous(), phase=Phase(case.free)).state
        ours = [free]
        for beta in (BETA, -BETA):
            nudged = Nudged(given, cost, target, beta)
            ours.append(settle(nudged, free, solver=Synchronous(), phase=Phase(case.nudged)).state)
        pairs = [(a, b) for mine, theirs in zip(ours, states, strict=True) for a, b in zip(mine, theirs, strict=True)]
        worst[dtype] = max((a - b).abs().max().item() for a, b in pairs)
    net, (x, labels) = programmed(case, torch.float32), batch_of(case, size)
    before = net.weights()
    rule = EquilibriumProp(BETA, free=Phase(case.free), nudged=Phase(case.nudged))
    rule.step(net, SquaredError(), x, labels, [1.0] * len(net.links), torch.Generator())
    exact = gradients[torch.float64][0].flatten(1)
    mine = (before[0] - net.weights()[0]).double()
    theirs = gradients[torch.float32][0].flatten(1).double()
    errors = [((g - exact).norm() / exact.norm()).item() for g in (mine, theirs)]
    print(
        f"\n{case.name}: states differ by at most {worst[torch.float32]:.1e} in float32 and {worst[torch.float64]:.1e} "
        f"in float64; error of the first layer's float32 gradient: {errors[0]:.1e}, the reference's {errors[1]:.1e}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--peers", type=Path, help="folder with checkouts of published code, see peers.py")
    options = parser.parse_args()
    if options.peers is not None:
        for case, threads in itertools.product(CASES, options.threads):
            beside(case, options.peers, options.batch, options.repeats, threads)
        return
    for case in CASES:
        equality(case, options.batch)
        for threads in options.threads:
            compare(case, options.batch, options.repeats, threads)
    settling(options.batch, options.repeats)


if __name__ == "__main__":
    main()
