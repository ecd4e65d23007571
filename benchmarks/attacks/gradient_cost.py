"""What an input gradient of an equilibrium costs, against the relaxation it differentiates.

    python benchmarks/attacks/gradient_cost.py [--layers 784 512 10] [--batch 200] [--repeats 5]

Prints, for each way and number of steps T: CPU time of a gradient over that of an unrolled forward pass of T steps,
the bytes that autograd keeps for the backward pass, and the cosine to the settled implicit gradient. Random weights,
scaled so that the network settles; one thread. Says whether the implicit gradient keeps to three forward passes and
to memory that does not depend on T.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.settle import Phase
from hwsim.learning.equilibrium_gradients import Equilibrium, Implicit, Unrolled
from hwsim.learning.gradient_ways import NudgedInput, Truncated, settled
from hwsim.rng import Streams
from hwsim.robustness.attacks import input_gradient
from hwsim.robustness.classifier import EquilibriumClassifier


def seconds(work: Callable[[], object], repeats: int) -> float:
    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    once()
    return median(once() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[784, 512, 10])
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    streams = Streams(0)
    net = layered_hopfield(options.layers, FloatDevice(), streams)
    net.program(net.initial_weights(2.0, streams))
    x = torch.rand(options.batch, options.layers[0], generator=streams.generator("data"))
    y = torch.randint(options.layers[-1], (options.batch,), generator=streams.generator("data"))

    def gradient(through: Equilibrium) -> Tensor:
        return input_gradient(EquilibriumClassifier(net, through=through), x, y, "margin")[0]

    exact = gradient(Implicit(Phase(500, tolerance=1e-6), Phase(500, tolerance=1e-6))).flatten(1)
    print(f"layers {options.layers}, batch {options.batch}\n{'way':22s} {'T':>4s} {'cost':>6s} {'kept MB':>8s} cosine")
    kept_by, cost_of = dict[str, list[float]](), dict[str, list[float]]()
    for steps in (10, 30, 100):

        def forward(steps: int = steps) -> Tensor:
            model = EquilibriumClassifier(net, through=Unrolled(steps))
            return model.differentiable(x.clone().requires_grad_(True))

        plain = seconds(forward, options.repeats)
        exactly = Phase(steps, tolerance=1e-5)
        ways = {
            "unrolled": Unrolled(steps),
            "implicit": Implicit(exactly, exactly),
            "implicit, stop early": Implicit(settled(steps), settled(steps)),
            "nudged": NudgedInput(0.2, settled(steps), settled(steps)),
            "truncated 5": Truncated(5, settled(steps)),
        }
        for name, way in ways.items():
            kept = 0

            def count(tensor: Tensor) -> Tensor:
                nonlocal kept
                kept += tensor.numel() * tensor.element_size()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                EquilibriumClassifier(net, through=way).differentiable(x.clone().requires_grad_(True))
            cosine = torch.cosine_similarity(gradient(way).flatten(1), exact, dim=1).median().item()
            cost = seconds(lambda way=way: gradient(way), options.repeats) / plain
            kept_by.setdefault(name, []).append(kept / 1e6)
            cost_of.setdefault(name, []).append(cost)
            print(f"{name:22s} {steps:4d} {cost:6.2f} {kept / 1e6:8.1f} {cosine:.5f}")
    early = "implicit, stop early"
    worst, memory = max(cost_of[early]), kept_by[early]
    print(
        f"{early}: at most {worst:.2f} unrolled forward passes ({'within' if worst <= 3 else 'more than'} 3); "
        f"it keeps {min(memory):.1f} to {max(memory):.1f} MB at every T, "
        f"unrolling {kept_by['unrolled'][0]:.1f} to {kept_by['unrolled'][-1]:.1f}"
    )


if __name__ == "__main__":
    main()
