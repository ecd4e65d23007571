"""What a training gradient costs and how good it is: contrasts of EP, linear responses, the exact rule, backprop.

    python benchmarks/speed/gradients.py [--model ep-cnn-small] [--twin MODEL] [--data-dir DIR] [--batches 3]

Whole training steps (statistics, momentum and weight decay included) on batches of training images, at the initial
weights and at the shipped ones. The cosine of each layer's gradient, the least over the batches, to the contrast of
phases that are relaxed to 1e-6, at the card's beta, and to the exact gradient there; CPU time by that of plain
up-down sweeps, 15 free and 6 nudged at most, and by a backpropagation step of the feed-forward twin, medians of
repeats in turn; and the share of examples that were still on their way, or at no minimum.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hwsim.cards import shelf
from hwsim.cards.build import COSTS
from hwsim.cards.read import read_model
from hwsim.cards.recipe import LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.data.dataset import load
from hwsim.ebm.settle import OddEven, Phase, UpDown
from hwsim.ebm.spectrum import measured_factor
from hwsim.experiments.training.learners import EquilibriumModel, model_of
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.exact import ExactGradient
from hwsim.learning.rule import LearningRule, StepStats
from hwsim.rng import Streams

DEEP = Phase(400, tolerance=1e-6, stop_early=True)


def until(steps: int, tolerance: float) -> Phase:
    return Phase(steps, tolerance=tolerance, stop_early=True)


def rules(beta: float, factor: float) -> dict[str, LearningRule]:
    """Ways to a gradient; ``factor`` is the network's own."""
    plain = EquilibriumProp(beta, free=until(15, 3e-3), nudged=until(6, 3e-3), solver=UpDown())
    own = OddEven(factor)
    response = EquilibriumProp(beta, "linear-response", until(15, 3e-3), Phase(4), own)
    return {
        "up-down, 3e-3, 15 / 6": plain,
        "centred, own factor, 3e-3, 15 / 6": replace(plain, solver=own),
        "centred, own factor, 1e-3, 20 / 8": replace(plain, solver=own, free=until(20, 1e-3), nudged=until(8, 1e-3)),
        "centred, own factor, 8 / 4 sweeps": replace(plain, solver=own, free=Phase(8), nudged=Phase(4)),
        "response, 3e-3, 4 products": response,
        "response, 1e-3, 6 products": replace(response, free=until(20, 1e-3), nudged=Phase(6)),
        "response, 8 sweeps, 4 products": replace(response, free=Phase(8)),
        "exact rule, up-down": ExactGradient(Implicit(until(15, 3e-3), until(200, 3e-4), UpDown())),
    }


def gradient(model: EquilibriumModel, rule: LearningRule, x: Tensor, labels: Tensor) -> tuple[list[Tensor], StepStats]:
    """What one step at rate 1 adds to each weight array; the network is put back."""
    before = model.net.weights()
    links = model.net.links
    stats = rule.step(model.net, COSTS["squared-error"], x, labels, [1.0] * len(links), torch.Generator())
    moved = [after - old for after, old in zip(model.net.weights(), before, strict=True)]
    model.net.program(before)
    firsts, at = [], 0
    for link in links:
        firsts.append(moved[at])
        at += len(link.synapses)
    return firsts, stats


def cosines(a: list[Tensor], b: list[Tensor]) -> Tensor:
    pairs = zip(a, b, strict=True)
    return torch.stack([torch.cosine_similarity(u.flatten().double(), v.flatten().double(), 0) for u, v in pairs])


def timed(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU seconds, medians over repeats taken in turn after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ep-cnn-small")
    parser.add_argument("--twin", default="ff-cnn-small-cross-entropy")
    parser.add_argument("--data-dir")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _, card = read_model(options.model)
    recipe = card.learning
    assert isinstance(recipe, LearningConfig)
    data, size = load(card.data, options.data_dir).train, recipe.batch_size
    batches = [data[slice(i * size, (i + 1) * size)] for i in range(options.batches)]
    plain = model_of(card, recipe.model_copy(update={"momentum": 0.0}), FloatDevice(), Streams(0))
    whole = model_of(card, recipe, FloatDevice(recipe.momentum, recipe.weight_decay), Streams(0))
    _, other = read_model(options.twin)
    twin = model_of(other, other.learning, FloatDevice(), Streams(0))
    assert isinstance(plain, EquilibriumModel)
    assert isinstance(whole, EquilibriumModel)
    for stage in ("initial weights", "shipped weights"):
        for model in (plain, whole):
            model.begin(Streams(0))
            if stage == "shipped weights":
                model.load_weights(shelf.find("models", options.model).folder / "weights.safetensors")
        factor = measured_factor(plain.net, data.x[-8:])
        ways = rules(recipe.beta, factor)
        exact = ExactGradient(Implicit(DEEP, until(100, 1e-5), OddEven(factor)))
        settled = EquilibriumProp(recipe.beta, free=DEEP, nudged=DEEP, solver=OddEven(factor))
        best = [[gradient(plain, rule, *batch)[0] for batch in batches] for rule in (settled, exact)]
        x, labels = batches[0]

        def step(rule: LearningRule, x: Tensor = x, labels: Tensor = labels) -> object:
            net, cost = whole.net, COSTS["squared-error"]
            return rule.step(net, cost, x, labels, [1e-9] * len(net.links), torch.Generator())

        work: dict[str, Callable[[], object]] = {name: lambda r=rule, s=step: s(r) for name, rule in ways.items()}
        work["backpropagation"] = lambda x=x, labels=labels: twin.step(x, labels, 1e-9, torch.Generator())
        seconds = timed(work, options.repeats)
        print(f"\n**{options.model}, {stage}**: own factor {factor:.2f}\n")
        print(
            "| step | cosine to the settled contrast | to the exact gradient | CPU / up-down | CPU / backprop "
            "| on their way | at no minimum |\n|---|---|---|---|---|---|---|"
        )
        for name, rule in ways.items():
            ends = [gradient(plain, rule, *batch) for batch in batches]
            least = [
                " ".join(
                    f"{c:.3f}" for c in torch.stack([cosines(g, b) for (g, _), b in zip(ends, to, strict=True)]).amin(0)
                )
                for to in best
            ]
            ratios = [seconds[name] / seconds[base] for base in (next(iter(ways)), "backpropagation")]
            shares = [max(getattr(stats, share) for _, stats in ends) for share in ("unsettled_share", "open_share")]
            cells = [*least, *(f"{ratio:.2f}" for ratio in ratios), *(f"{share:.0%}" for share in shares)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
