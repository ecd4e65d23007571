"""Sweeps to equilibrium: each solver on each network whose weights are shipped.

    python benchmarks/speed/solvers.py [--models digits-mlp ep-cnn-small] [--data-dir DIR] [--images 64]

prints a table a model, of the free phase of the first training images: sweeps of an example until no unit moves by
1e-2, 1e-3, 1e-4 and 1e-6, mean and 90 %, one more than the last sweep that moved one; the share that has not settled
after 200 sweeps; and the CPU time of the whole batch to 1e-3, median of --repeats in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from hwsim.cards import shelf
from hwsim.cards.build import network
from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.data.dataset import load
from hwsim.ebm.network import Network
from hwsim.ebm.settle import Phase, Settled, settle
from hwsim.ebm.solvers import Anderson, Newton, OddEven, Solver, Synchronous, UpDown
from hwsim.ebm.spectrum import measured_factor
from hwsim.jobs.weights import load_weights
from hwsim.rng import Streams

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-6)
MOST = 200
MODELS = ["digits-mlp", "adv-ep-digits", "ep-cnn-small", "exact-cnn-small"]


def shipped(name: str) -> tuple[Network, str]:
    """A model's network with its shipped weights, and the name of its data."""
    _, card = read_model(name)
    net = network(card.energy, FloatDevice(), Streams(0))
    folder = shelf.find("models", name).folder
    load_weights(net, folder / "weights.safetensors")
    return net, card.data


def solvers(factor: float) -> dict[str, Solver]:
    return {
        "synchronous": Synchronous(),
        "up-down": UpDown(),
        "odd-even": OddEven(),
        f"odd-even, its own factor {factor:.2f}": OddEven(factor),
        **{f"odd-even, {w:g}": OddEven(w) for w in (1.1, 1.2, 1.3, 1.4, 1.5)},
        "anderson, depth 2": Anderson(2),
        "newton": Newton(),
    }


def relaxed(net: Network, x: Tensor, solver: Solver, tolerance: float) -> Settled:
    given = net.given(x)
    return settle(given, given.start(), solver=solver, phase=Phase(MOST, tolerance=tolerance, stop_early=True))


def table(name: str, data_dir: str | None, images: int, repeats: int) -> None:
    net, data = shipped(name)
    x = load(data, data_dir).train.x[:images]
    ways = solvers(measured_factor(net, x[:8]))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, solver in ways.items():
            start = time.process_time()
            relaxed(net, x, solver, 1e-3)
            seconds[way].append(time.process_time() - start)
    print(f"\n**{name}**, {images} training images\n")
    print(f"| solver | {' | '.join(f'{t:g}' for t in TOLERANCES)} | not settled | CPU ms to 1e-3 |")
    print("|---" * (len(TOLERANCES) + 3) + "|")
    for way, solver in ways.items():
        cells, left = [], 0.0
        for tolerance in TOLERANCES:
            end = relaxed(net, x, solver, tolerance)
            sweeps = end.steps.double() + 1
            cells.append(f"{sweeps.mean():.1f} / {sweeps.quantile(0.9):.0f}")
            left = max(left, end.unsettled_share)
        print(f"| {way} | {' | '.join(cells)} | {left:.0%} | {statistics.median(seconds[way]) * 1e3:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        table(name, options.data_dir, options.images, options.repeats)


if __name__ == "__main__":
    main()
