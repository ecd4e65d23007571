"""EP-CNN at the paper's size on a GPU: checked against the CPU, timed, trained within a budget of minutes, attacked.

    python benchmarks/gpu/run.py --data-dir DIR --minutes 30 [--place cuda] [--out runs/gpu]
    python benchmarks/gpu/run.py --tiny --place cpu --out runs/tiny        a dry run of a minute, without data

DIR holds cifar-10-batches-bin; nothing is downloaded. Each part can be run alone (--parts check speed train attack):

check   states, gradients and an epoch, there and on the CPU; exit code 1 where they differ by more than rounding does
speed   images a second of a training step, by recipe, precision, and with and without a CUDA graph
train   as many epochs as the budget allows at the measured rate, with a checkpoint after each: the same command goes on
        with what is in the folder, and leaves weights.safetensors and card.json
attack  the first --examples test images; AutoAttack's standard ensemble where pyautoattack is installed, else PGD

Tables and numbers are printed and kept in the folder (check.json, speed.json, fit.json, train/, attack/).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from hwsim.cards import shelf
from hwsim.cards.build import COSTS, network
from hwsim.cards.model import ModelConfig
from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reduced import reduced
from hwsim.data import dataset as data
from hwsim.data.split import Split
from hwsim.ebm.network import Network
from hwsim.ebm.settle import OddEven, Phase, settle
from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.attack.results import write_results
from hwsim.experiments.attack.work import run_attack
from hwsim.experiments.requests import AttackRequest, TrainRequest
from hwsim.experiments.training.job import plan_training
from hwsim.experiments.training.learners import EquilibriumModel, model_of
from hwsim.experiments.training.work import run_training
from hwsim.jobs.folder import read_json
from hwsim.jobs.job import Quiet
from hwsim.jobs.place import check_place, products_in
from hwsim.jobs.store import write_json, write_text
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.graph import Graphed
from hwsim.learning.rule import LearningRule
from hwsim.learning.train import train as learn
from hwsim.rng import Streams

PARTS = ("check", "speed", "train", "attack")
QUICK = {"solver": "odd-even", "damping": "auto", "free_steps": 30, "nudged_steps": 10}
"""A recipe of a sixth of the card's sweeps, of one length so that its time can be foretold."""

SMALL: dict[str, Any] = {
    "image": [1, 8, 8],
    "convolutions": [{"channels": c, "kernel": 3, "padding": 1, "pool": "max"} for c in (4, 8)],
    "normalise": None,
}
MARGIN = 0.85
"""Share of the budget that epochs are planned for; the rest is the card's measurement and what a rate may be off by."""

STATES, GRADIENTS = 1e-3, 1e-2
"""Largest difference of a unit, and relative error of a layer's gradient, that rounding in float32 explains."""


def card(options: argparse.Namespace) -> Path:
    """The card of this benchmark, written to the folder: ep-cnn with the quick recipe; ``--tiny``: far smaller."""
    found = shelf.find("models", "ep-cnn")
    assert found.folder is not None
    raw = yaml.safe_load((found.folder / "model.yaml").read_text())
    raw |= {"name": "ep-cnn-gpu", "inference": {"solver": "odd-even", "steps": 100, "stop_early": True}}
    raw["learning"] |= QUICK | {"precision": options.precision, "validation_examples": 1000, "graph": options.graph}
    if options.tiny:
        raw |= {"data": "digits"}
        raw["network"] |= SMALL
        raw["learning"] |= {"batch_size": 32, "free_steps": 6, "nudged_steps": 3, "validation_examples": 60}
        raw["learning"] |= {"rates": raw["learning"]["rates"][: len(SMALL["convolutions"]) + 1], "augment": {}}
    path = options.out / "model.yaml"
    write_text(path, yaml.safe_dump(raw, sort_keys=False))
    return path


def built(config: ModelConfig, place: str, dtype: torch.dtype = torch.float32) -> Network:
    net = network(config.energy, FloatDevice(0.9, dtype=dtype, place=place), Streams(0), momentum=0.9, place=place)
    net.program(net.initial_weights(config.energy.init_gain, Streams(0)))
    return net


def batch(config: ModelConfig, count: int, place: str) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    shape = getattr(config.network, "image", None)
    x, labels = torch.rand(count, *shape, generator=rng), torch.arange(count) % 10
    return x.to(place), labels.to(place)


def check(config: ModelConfig, options: argparse.Namespace) -> bool:
    """Is what comes out there what comes out here? Prints by how much it differs."""
    found: dict[str, Any] = {"states": {}, "gradients": {}}
    few, phase = 4, Phase(6 if options.tiny else 20)
    states, gradients = {}, {}
    for side, place in (("here", "cpu"), ("there", options.place)):
        net, (x, labels) = built(config, place), batch(config, few, place)
        given = net.given(x)
        states[side] = [layer.cpu() for layer in settle(given, given.start(), solver=OddEven(), phase=phase).state]
        for nudge in ("centred", "linear-response"):
            rule = EquilibriumProp(0.5, nudge, phase, Phase(6), OddEven())
            net, rates = built(config, place), [1.0] * len(net.links)
            before = [weight.cpu() for weight in net.weights()]
            rule.step(net, COSTS[config.energy.cost], x, labels, rates, torch.Generator())
            moved = [weight.cpu() - old for weight, old in zip(net.weights(), before, strict=True)]
            gradients[side, nudge] = moved
    for i, (a, b) in enumerate(zip(states["here"], states["there"], strict=True)):
        found["states"][f"layer {i + 1}"] = (a - b).abs().max().item()
    for nudge in ("centred", "linear-response"):
        pairs = zip(gradients["here", nudge], gradients["there", nudge], strict=True)
        errors = [((a - b).norm() / a.norm().clamp_min(1e-30)).item() for a, b in pairs]
        found["gradients"][nudge] = max(errors[::2])  # of weights; biases of near zero say little
    found["epoch"] = _epochs(config, options)
    largest = max(found["states"].values())
    passed = largest <= STATES and max(found["gradients"].values()) <= GRADIENTS and found["epoch"]["apart"] <= 0.02
    write_json(options.out / "check.json", {**found, "passed": passed})
    print(f"states differ by at most {largest:.1e}; gradients by {found['gradients']} (relative)")
    print(f"an epoch: {found['epoch']}\n{'ok' if passed else 'WRONG: not the CPU numbers'}", flush=True)
    return passed


def _epochs(config: ModelConfig, options: argparse.Namespace) -> dict[str, float]:
    """One epoch of random images here and on the CPU: accuracy on the way, and how far the weights are apart."""
    count = 64 if options.tiny else 256
    accuracies, weights = [], []
    for place in ("cpu", options.place):
        net, (x, labels) = built(config, place), batch(config, count, place)
        rule = EquilibriumProp(0.5, free=Phase(8), nudged=Phase(3), solver=OddEven())
        records = learn(net, rule, Split(x, labels), rates=0.05, epochs=1, cost=COSTS[config.energy.cost])
        accuracies.append(records[0].accuracy_train)
        weights.append(torch.cat([weight.cpu().flatten() for weight in net.weights()]))
    start = torch.cat([weight.flatten() for weight in built(config, "cpu").weights()])
    apart = ((weights[0] - weights[1]).norm() / (weights[0] - start).norm()).item()
    return {"accuracy_cpu": accuracies[0], "accuracy_there": accuracies[1], "apart": apart}


def speed(config: ModelConfig, options: argparse.Namespace) -> None:
    """Images a second of a training step at the initial weights, by recipe, precision and graph."""
    size, rows = (16 if options.tiny else 128), []
    free, nudged = (8, 4) if options.tiny else (250, 30)
    quick, few = (4, 2) if options.tiny else (30, 10)
    recipes: dict[str, EquilibriumProp] = {
        f"card, synchronous {free}/{nudged}": EquilibriumProp(0.5, free=Phase(free), nudged=Phase(nudged)),
        f"odd-even {quick}/{few}": EquilibriumProp(0.5, free=Phase(quick), nudged=Phase(few), solver=OddEven(1.2)),
        f"response, odd-even {quick}, 6 products": EquilibriumProp(
            0.5, "linear-response", Phase(quick), Phase(6), solver=OddEven(1.2)
        ),
    }
    print("\n| recipe | products | graph | images a second | ms a step | GiB at most |\n|---|---|---|---|---|---|")
    on_gpu = options.place != "cpu"
    for name, rule in recipes.items():
        for precision in ("float32", "tf32", "bf16") if on_gpu else ("float32", "bf16"):
            for graph in (False, True) if on_gpu else (False,):
                row = {"recipe": name, "precision": precision, "graph": graph}
                row |= _timed(config, rule, precision, graph, size, options)
                rows.append(row)
                told = row.get("failed") or f"{row['images_per_s']:.0f} | {row['ms']:.1f} | {row['GiB']:.2f}"
                print(f"| {name} | {precision} | {'yes' if graph else 'no'} | {told} |", flush=True)
    write_json(options.out / "speed.json", {"batch": size, "device": _device(options.place), "rows": rows})


def _timed(
    config: ModelConfig, rule: EquilibriumProp, precision: str, graph: bool, size: int, options: argparse.Namespace
) -> dict[str, Any]:
    net, (x, labels) = built(config, options.place), batch(config, size, options.place)
    read = net.mapped(reduced) if precision == "bf16" else net
    way: LearningRule = Graphed(rule) if graph else rule
    cost, rates, rng = COSTS[config.energy.cost], [1e-6] * len(net.links), torch.Generator()
    on_gpu = options.place != "cpu"
    try:
        with products_in(precision):
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            seconds = _seconds(lambda: way.step(read, cost, x, labels, rates, rng), on_gpu, options.repeats)
    except RuntimeError as error:  # what a first run on a GPU finds is a result, and the others go on
        return {"failed": str(error).splitlines()[0]}
    gib = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    return {"images_per_s": size / seconds, "ms": 1e3 * seconds, "GiB": gib}


def _seconds(work: Callable[[], object], on_gpu: bool, repeats: int) -> float:
    """Of one call, after two that are not counted."""
    for _ in range(2):
        work()
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    if on_gpu:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def _device(place: str) -> str:
    return torch.cuda.get_device_name(place) if place != "cpu" else "CPU"


def fitted(config: ModelConfig, options: argparse.Namespace) -> dict[str, Any]:
    """How many epochs fit the budget, by the rate of some steps and of a validation; kept, so that a resume agrees."""
    path = options.out / "fit.json"
    if kept := read_json(path):
        return kept
    recipe, images = config.learning, _data(config, options)
    device = FloatDevice(recipe.momentum, recipe.weight_decay, place=options.place)
    model = model_of(config, recipe, device, Streams(0), options.place)
    assert isinstance(model, EquilibriumModel)
    model.begin(Streams(0))
    x, labels = (t[: recipe.batch_size].to(options.place) for t in images.train)
    on_gpu, rng = options.place != "cpu", torch.Generator()
    with products_in(recipe.precision):
        step = _seconds(lambda: model.step(x, labels, 0.0, rng), on_gpu, options.repeats)
        watched = images.validation[: recipe.validation_examples].to(options.place)
        validation = _seconds(lambda: model.measure(*watched, 1, Streams(0)), on_gpu, 1)
    epoch = step * (len(images.train) // recipe.batch_size) + validation
    epochs = min(120, int(MARGIN * 60 * options.minutes / epoch))
    if epochs < 1:
        sys.exit(
            f"--minutes {options.minutes:g}: an epoch takes {epoch:.0f} s here; give {epoch / 60 / MARGIN:.1f} or more"
        )
    fit = {"seconds_a_step": step, "seconds_a_validation": validation, "seconds_an_epoch": epoch, "epochs": epochs}
    write_json(path, fit)
    return fit


def _data(config: ModelConfig, options: argparse.Namespace) -> data.Dataset:
    return data.load_data(config.data, options.data_dir, download=False)


def train(path: Path, config: ModelConfig, options: argparse.Namespace) -> None:
    """As many epochs as fit; weights and card are left in ``train/``."""
    fit = fitted(config, options)
    epochs = fit["epochs"]
    print(f"\n{fit['seconds_an_epoch']:.1f} s an epoch: {epochs} epochs in {options.minutes:g} minutes", flush=True)
    request = TrainRequest(
        model=str(path),
        settings=[f"learning.epochs={epochs}"],
        data_dir=options.data_dir,
        accelerator=options.place,
        out=options.out / "train",
        command=" ".join(sys.argv),
    )

    def tell(record: Any) -> None:
        print(
            f"epoch {record.epoch}/{epochs}: cost {record.cost:.3f}, training {record.accuracy_train:.3f}, "
            f"validation {record.accuracy_validation:.3f}, unsettled {record.unsettled_share:.0%}, "
            f"{record.seconds:.1f} s",
            flush=True,
        )

    result = run_training(plan_training(request), tell)
    print(
        f"test accuracy {result['accuracy_test']['mean']:.3f} of {result['accuracy_test']['images']} images", flush=True
    )


def attack(path: Path, options: argparse.Namespace) -> None:
    """What attacks leave of what was trained."""
    whole = importlib.util.find_spec("pyautoattack") is not None and not options.tiny
    request = AttackRequest(
        model=str(path),
        weights=options.out / "train" / "weights.safetensors",
        threats=["linf:2/255", "linf:8/255"],
        attack="standard" if whole else "pgd-3" if options.tiny else "pgd",
        checks=whole,
        examples=options.examples,
        data_dir=options.data_dir,
        accelerator=options.place,
        out=options.out / "attack",
        command=" ".join(sys.argv),
    )
    job = plan_attack(request)
    results = write_results(job, run_attack(job, Quiet()))
    for threat in results.threats:
        print(f"{threat.threat}: clean {threat.clean.percent}, left {threat.reported.percent} by {threat.reported.of}")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", default="cuda", help="cpu, cuda or cuda:N")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    parser.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32", help="of training")
    parser.add_argument("--graph", action="store_true", help="train with recorded steps")
    parser.add_argument("--examples", type=int, default=1000, help="images that are attacked")
    parser.add_argument("--repeats", type=int, default=5, help="of a timed step")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--tiny", action="store_true", help="a tiny network on scikit-learn's digits")
    options = parser.parse_args(words)
    if options.tiny:
        options = argparse.Namespace(**vars(options) | {"examples": min(options.examples, 10), "repeats": 1})
    return options


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    check_place(options.place)
    options.out.mkdir(parents=True, exist_ok=True)
    path = card(options)
    config = read_model(str(path))[1]
    passed = True
    with products_in():
        if "check" in options.parts:
            passed = check(config, options)
        if "speed" in options.parts:
            speed(config, options)
        if "train" in options.parts:
            train(path, config, options)
        if "attack" in options.parts:
            attack(path, options)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
