"""How a training step's time and memory grow with batch, depth, width and steps.

    python benchmarks/speed/growth.py [--repeats 3]

Synchronous steps, 20 free and 2 x 10 nudged unless said otherwise; one thread; every row in a process of its own, so
that its peak memory above what it started with is its own. Times of rows are taken one after another: on a busy machine
only large ratios mean something. *States*: that memory in states of the batch, all free layers once.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.settle import Phase
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

ROWS = [
    *(("dense", [512], batch, 20) for batch in (1, 8, 64, 512)),
    *(("dense", [512] * depth, 64, 20) for depth in (2, 4, 8)),
    *(("dense", [width], 64, 20) for width in (128, 2048)),
    *(("dense", [512], 64, steps) for steps in (40, 80)),
    *(("conv", [32] * 3, batch, 20) for batch in (1, 8, 64)),
    *(("conv", [32] * depth, 8, 20) for depth in (2, 5)),
    *(("conv", [width] * 3, 8, 20) for width in (16, 64)),
    *(("conv", [32] * 3, 8, steps) for steps in (40, 80)),
]
"""(kind, hidden layers or channels, batch, free steps); nudged phases take half as many."""


def measured(kind: str, hidden: list[int], batch: int, steps: int, repeats: int) -> dict[str, float]:
    """CPU ms of a step, MiB at most above the start, and MiB of the free layers."""
    torch.set_num_threads(1)
    shape = (784,) if kind == "dense" else (3, 32, 32)
    # Kernels without pooling keep the size of the image: deeper is the same again.
    layers = [784, *hidden, 10] if kind == "dense" else [shape, Conv(hidden[0], stride=2), *map(Conv, hidden[1:]), 10]
    device = FloatDevice(momentum=0.9)
    net = layered_hopfield(layers, device, Streams(0), bias_device=device)
    net.program(net.initial_weights(1.0, Streams(0)))
    rule = EquilibriumProp(0.5, free=Phase(steps), nudged=Phase(steps // 2))
    x, labels = torch.rand(batch, *shape), torch.arange(batch) % 10
    rates, rng, seconds = [1e-6] * len(net.links), torch.Generator(), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(repeats + 1):
        started = time.process_time()
        rule.step(net, SquaredError(), x, labels, rates, rng)
        seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    units = sum(layer[0].numel() for layer in net.initial(x))
    return {"ms": 1e3 * statistics.median(seconds[1:]), "MiB": peak / 1024, "states": 4 * batch * units / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measured(*json.loads(options.row), options.repeats)))
        return
    print("| hidden | batch | free steps | CPU ms | MiB above the start | states |\n|---|---|---|---|---|---|")
    for row in ROWS:
        words = [sys.executable, __file__, "--row", json.dumps(row), "--repeats", str(options.repeats)]
        found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        kind, hidden, batch, steps = row
        name = f"{kind} {len(hidden)} x {hidden[0]}"
        states = found["MiB"] / found["states"]
        told = f"{states:.0f}" if found["states"] > 1 else "-"
        print(f"| {name} | {batch} | {steps} | {found['ms']:.1f} | {found['MiB']:.0f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
