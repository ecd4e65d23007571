"""What fewer bits in the products of reads cost: cosines of a training gradient, layer by layer.

    python benchmarks/gpu/precision.py --data-dir DIR [--model ep-cnn-small] [--batches 3]

prints a table for the shipped weights and batches of 32 training images, against the same gradient in float32, the
least of the batches. bfloat16 is computed as such; TF32 is emulated: factors are rounded to ten bits of mantissa and
products summed in float32, as NVIDIA's tensor cores do. The phases take 40 and 2 x 12 sweeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from hwsim.cards import shelf
from hwsim.cards.build import COSTS, network
from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.reduced import ReducedSynapse, reduced
from hwsim.crossbar.synapse import Synapse
from hwsim.data.dataset import load
from hwsim.ebm.energy import Cost
from hwsim.ebm.network import Network
from hwsim.ebm.settle import OddEven, Phase
from hwsim.jobs.weights import WEIGHTS, load_weights
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

FREE, NUDGED, PRODUCTS = Phase(40), Phase(12), Phase(6)
DROPPED = 13
"""Bits of float32's mantissa that TF32 does not have."""


class EmulatedTf32(ReducedSynapse):
    """Reads in TF32, as far as a CPU can tell."""

    @staticmethod
    def factor(values: Tensor) -> Tensor:
        bits = values.detach().contiguous().view(torch.int32)
        return (bits + (1 << (DROPPED - 1)) & ~((1 << DROPPED) - 1)).view(torch.float32)  # to nearest


def in_tf32(synapse: Synapse) -> Synapse:
    return EmulatedTf32(synapse) if isinstance(synapse, FloatSynapse) and synapse.shape[1] > 1 else synapse


PRECISIONS: dict[str, Callable[[Synapse], Synapse]] = {"tf32": in_tf32, "bf16": reduced}


def gradient(net: Network, cost: Cost, rule: EquilibriumProp, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    """What a step writes to every array, at rate 1; the weights are put back."""
    before = net.weights()
    rule.step(net, cost, *batch, [1.0] * len(net.links), torch.Generator())
    moved = [new - old for new, old in zip(net.weights(), before, strict=True)]
    net.program(before)
    return moved


def least(a: list[list[Tensor]], b: list[list[Tensor]], array: int) -> float:
    """The least cosine over batches of what is written to one array."""
    pairs = zip(a, b, strict=True)
    return min(cosine_similarity(x[array].flatten(), y[array].flatten(), 0).item() for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ep-cnn-small")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--factor", type=float, default=1.4, help="of the odd-even sweeps")
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_model(options.model)[1]
    net = network(config.energy, FloatDevice(), Streams(0))
    folder = shelf.find("models", options.model).folder
    assert folder is not None
    load_weights(net, folder / WEIGHTS)
    x, labels = load(config.data, options.data_dir).train[: 32 * options.batches]
    batches = list(zip(x.split(32), labels.split(32), strict=True))
    solver, cost = OddEven(options.factor), COSTS[config.energy.cost]
    rules = {
        f"centred, beta {beta:g}": EquilibriumProp(beta, free=FREE, nudged=NUDGED, solver=solver)
        for beta in (0.3, 0.05)
    }
    rules["linear response, 6 products"] = EquilibriumProp(0.3, "linear-response", FREE, PRODUCTS, solver)
    print(f"**{options.model}**, shipped weights, {options.batches} batches of 32\n")
    print("| gradient | products | cosine to float32's, layer by layer |\n|---|---|---|")
    for name, rule in rules.items():
        full = [gradient(net, cost, rule, batch) for batch in batches]
        for precision, change in PRECISIONS.items():
            read = net.mapped(change)
            rounded = [gradient(read, cost, rule, batch) for batch in batches]
            cosines = [least(full, rounded, array) for array in range(0, len(net.synapses), 2)]
            print(f"| {name} | {precision} | {' '.join(f'{c:.4f}' for c in cosines)} |", flush=True)


if __name__ == "__main__":
    main()
