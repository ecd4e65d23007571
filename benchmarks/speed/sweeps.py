"""How many sweeps a training step takes, by solver and tolerance, and how good a gradient they give.

    python benchmarks/speed/sweeps.py WEIGHTS [--model ep-cnn-small] [--data-dir DIR] [--batches 4]

WEIGHTS is a safetensors file of the model: shipped beside its card, or `best.safetensors` of a training. The gradient
of the first training images by centred equilibrium propagation is compared with the one from phases that are relaxed
until no unit moves by 1e-6. Sweeps are the mean over examples, counted by the second array's meter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from hwsim.cards.read import read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.data.dataset import load
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.settle import OddEven, Phase, Solver, UpDown
from hwsim.experiments.training.learners import EquilibriumModel, model_of
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

SETTLED = Phase(400, tolerance=1e-6, stop_early=True)
WAYS: list[tuple[str, Solver, float]] = [
    ("up-down", UpDown(), 3e-3),
    ("up-down, damping 1.25", UpDown(1.25), 3e-3),
    ("odd-even", OddEven(), 3e-3),
    ("odd-even, damping 1.3", OddEven(1.3), 3e-3),
    ("odd-even, damping 1.3", OddEven(1.3), 1e-2),
]


def gradient(
    model: EquilibriumModel, weights: Path, rule: EquilibriumProp, x: Tensor, labels: Tensor
) -> tuple[list[Tensor], float]:
    """What one step at rate 1 adds to each weight array, and the sweeps that an example took."""
    model.load_weights(weights)
    net = model.net
    before, meter = [link.synapse.weight() for link in net.links], net.links[1].synapse.meter
    meter.reset()
    rule.step(net, SquaredError(), x, labels, [1.0] * len(net.links), torch.Generator())
    positions = torch.Size(net.links[1].post_shape[1:]).numel()
    return [link.synapse.weight() - old for link, old in zip(net.links, before, strict=True)], (
        meter.vectors_read_transpose / (len(x) * positions)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="ep-cnn-small")
    parser.add_argument("--data-dir")
    parser.add_argument("--batches", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _, card = read_model(options.model)
    recipe = card.learning
    assert isinstance(recipe, LearningConfig)
    model = model_of(card, recipe, FloatDevice(), Streams(0))
    assert isinstance(model, EquilibriumModel)
    data, size = load(card.data, options.data_dir), recipe.batch_size
    batches = [slice(i * size, (i + 1) * size) for i in range(options.batches)]
    exact = EquilibriumProp(recipe.beta, free=SETTLED, nudged=SETTLED, solver=OddEven(1.3))
    settled = [gradient(model, options.weights, exact, *data.train[b])[0] for b in batches]
    print("| solver | tolerance | sweeps of an example | cosine of the gradient, layer by layer |\n|---|---|---|---|")
    for name, solver, tolerance in WAYS:
        free, nudged = (
            Phase(steps, tolerance=tolerance, stop_early=True) for steps in (recipe.free_steps, recipe.nudged_steps)
        )
        rule = EquilibriumProp(recipe.beta, free=free, nudged=nudged, solver=solver)
        found = [gradient(model, options.weights, rule, *data.train[b]) for b in batches]
        cosines = [
            torch.stack([torch.cosine_similarity(a.flatten(), b.flatten(), 0) for a, b in zip(got, best, strict=True)])
            for (got, _), best in zip(found, settled, strict=True)
        ]
        sweeps = sum(count for _, count in found) / len(found)
        told = " ".join(f"{value:.4f}" for value in torch.stack(cosines).mean(0).tolist())
        print(f"| {name} | {tolerance:g} | {sweeps:.1f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
