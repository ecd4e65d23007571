"""Do our attacks agree with independent implementations on a plain CNN?

    python benchmarks/attacks/cross_check.py [--examples 200] [--steps 100] [--queries 1000] [--epsilon 0.1]

A small CNN is trained on scikit-learn's digits (seeded, about a minute). Compared, each on the same images:
our PGD with foolbox's; our evaluation of AutoAttack's parts with pyautoattack's own driver, which is upstream
AutoAttack's. Needs the extra: pip install 'hwsim[attacks]'.
A pair passes where an exact McNemar test on the images gives p >= 0.01, or they differ on at most two images.
Exit code 1 if a pair fails.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import foolbox
import torch
from pyautoattack import AutoAttack
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from hwsim.robustness.apgd import Apgd
from hwsim.robustness.classifier import TorchClassifier, correct
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.library import Fab, Square
from hwsim.robustness.suite import Pgd
from hwsim.robustness.threat import Threat
from hwsim.stats.paired import mcnemar


def trained_cnn() -> tuple[TorchClassifier, Tensor, Tensor]:
    """(classifier, test images (N, 1, 16, 16), labels)."""
    torch.manual_seed(0)
    data = load_digits()
    x = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    x = functional.interpolate(x, size=16, mode="bilinear").clamp(0, 1)
    y = torch.tensor(data.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 10),
    )
    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    for _ in range(15):
        for batch in torch.randperm(1300).split(64):
            images = (x[batch] + 0.1 * torch.randn(x[batch].shape)).clamp(0, 1)
            optimiser.zero_grad()
            functional.cross_entropy(module(images), y[batch]).backward()
            optimiser.step()
    return TorchClassifier(module.eval().requires_grad_(False), 10), x[1300:], y[1300:]


def by_foolbox(model: TorchClassifier, x: Tensor, y: Tensor, epsilon: float, steps: int) -> Tensor:
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=steps, rel_stepsize=2.5 / steps)
    moved = attack(wrapped, x, foolbox.criteria.Misclassification(y), epsilons=epsilon)[1]
    return correct(model, moved, y)


def by_driver(model: TorchClassifier, x: Tensor, y: Tensor, epsilon: float, steps: int, queries: int) -> dict:
    """What AutoAttack's own driver leaves, part by part and altogether."""
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    rights = {}
    for name, parts in {
        "apgd-ce": ["apgd-ce"],
        "square": ["square"],
        "standard": ["apgd-ce", "apgd-t", "fab-t", "square"],
    }.items():
        driver = AutoAttack(model.module, eps=epsilon, seed=1, version="custom", attacks=parts)
        driver.apgd.n_restarts = driver.fab.n_restarts = driver.apgd_targeted.n_restarts = 1
        driver.apgd.n_iter = driver.apgd_targeted.n_iter = driver.fab.n_iter = steps
        driver.square.n_queries, driver.square.rescale_schedule = queries, queries < 5000
        rights[name] = correct(model, driver.run_standard_evaluation(x, y)[0], y)
    return rights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--epsilon", type=float, default=0.1)
    options = parser.parse_args()
    started = time.perf_counter()
    model, x, y = trained_cnn()
    x, y = x[: options.examples], y[: options.examples]
    attacks = [
        Pgd(40, loss="ce"),
        Apgd("ce", options.steps),
        Apgd("targeted", options.steps),
        Fab(options.steps),
        Square(options.queries),
    ]
    ours = evaluate(model, [model], x, y, Threat("linf", options.epsilon), attacks, torch.Generator().manual_seed(0))
    theirs = by_driver(model, x, y, options.epsilon, options.steps, options.queries)
    standard = torch.stack([ours.attacked[a.name] for a in attacks[1:]]).amin(0)
    pairs = {
        "PGD-40, foolbox": (ours.attacked["pgd-ce"], by_foolbox(model, x, y, options.epsilon, 40)),
        "APGD-CE, AutoAttack": (ours.attacked["apgd-ce"], theirs["apgd-ce"]),
        "Square, AutoAttack": (ours.attacked["square"], theirs["square"]),
        "standard ensemble, AutoAttack": (standard, theirs["standard"]),
    }
    print(f"linf {options.epsilon:g}, {len(x)} images, clean {ours.clean_accuracy:.3f}")
    failed = False
    for name, (own, other) in pairs.items():
        differ, p = int((own.bool() != other).sum()), mcnemar(own.bool(), other)
        agree = p >= 0.01 or differ <= 2
        failed |= not agree
        figures = f"ours {own.mean():.3f}  theirs {other.double().mean():.3f}  differ on {differ:3d}  p {p:.3f}"
        print(f"{name:30s} {figures}  {'agree' if agree else 'DISAGREE'}")
    print(f"{time.perf_counter() - started:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
