"""Our attack against one written apart from ``hwsim.robustness``, from the energy's equations, on the same images.

    python benchmarks/attacks/independent.py --data-dir DIR [--examples 100] [--epsilon 0.00784] [--steps 50]

The independent side reads the card and the weights and knows this much: with synapses W_l, biases b_l, pooling P and
the input x = s_0 held,

    E(x, s) = sum_l c |s_l|^2 - Phi(x, s),    Phi = sum_l <s_{l+1}, P(W_l s_l) + b_l>,    0 <= s_l <= 1 but the output,

each layer's minimiser is clamp(dPhi/ds_l / 2c). dPhi/ds and all products come from autograd of Phi, in float64. It
relaxes layer by layer, solves (2c - d2Phi/ds2) u = dL/ds on the units inside their bounds by damped sweeps of the same
kind, follows d<dPhi/ds, u>/dx, and climbs the gap between the label and each of the largest wrong classes by the sign
of a momentum (Dong et al. 2018) with a step that is halved four times. Budgets are linf, in pixel units.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

State = list[Tensor]


class Equations:
    """The energy of a card's network, written out."""

    def __init__(self, folder: Path) -> None:
        card = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))["network"]
        held = {name: value.double() for name, value in load_file(folder / "weights.safetensors").items()}
        self.c = float(card["c"])
        assert card.get("output", "linear") == "linear", "this script knows linear outputs"
        self.layers: list[tuple[Tensor, Tensor, dict[str, Any] | None]] = []
        convolutions = card.get("convolutions", [])
        channels = card["image"][0] if convolutions else 0
        for i in range(len(convolutions) + len(card.get("dense", card.get("layers", [None])[1:]))):
            weight, bias = held[f"layer{i}.weight"], held[f"layer{i}.bias"].flatten()
            how = convolutions[i] if i < len(convolutions) else None
            if how is not None:
                size = how["kernel"]
                weight, channels = weight.reshape(len(weight), channels, size, size), len(weight)
            self.layers.append((weight, bias, how))
        self.mean, self.std = (
            torch.tensor(card["normalise"][name]).double().reshape(1, -1, 1, 1) if "normalise" in card else None
            for name in ("mean", "std")
        )

    def normalised(self, x: Tensor) -> Tensor:
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std

    def drive(self, layer: int, below: Tensor) -> Tensor:
        """P(W_l s_l) + b_l."""
        weight, bias, how = self.layers[layer]
        if how is None:
            return functional.linear(below.flatten(1), weight, bias)
        drive = functional.conv2d(below, weight, None, how.get("stride", 1), how.get("padding", 0))
        if how.get("pool", "none") == "max":
            drive = functional.max_pool2d(drive, 2)
        elif how.get("pool", "none") == "average":
            drive = functional.avg_pool2d(drive, 2)
        return drive + bias.reshape(1, -1, 1, 1)

    def phi(self, first: Tensor, s: State) -> Tensor:
        """Phi with the first layer's drive given."""
        drives = [first, *(self.drive(i, below) for i, below in enumerate(s[:-1], start=1))]
        return torch.stack([(layer * drive).sum() for layer, drive in zip(s, drives, strict=True)]).sum()

    def relax(self, x: Tensor, sweeps: int = 200, tolerance: float = 1e-6) -> tuple[Tensor, State]:
        """(the first layer's drive, the state at rest), from one feed-forward pass."""
        with torch.no_grad():
            first = drive = self.drive(0, self.normalised(x))
            s: State = []
            for i in range(len(self.layers)):
                drive = drive if i == 0 else self.drive(i, s[-1])
                s.append(self._bounded(i, drive / (2 * self.c)))
        for _ in range(sweeps):
            moved = 0.0
            for i in reversed(range(len(s))):
                at = [layer.detach() for layer in s]
                at[i].requires_grad_(True)
                with torch.enable_grad():
                    (force,) = torch.autograd.grad(self.phi(first, at), at[i])
                new = self._bounded(i, force / (2 * self.c))
                moved = max(moved, (new - s[i]).abs().max().item())
                s[i] = new.detach()
            if moved < tolerance:
                break
        return first, s

    def _bounded(self, layer: int, value: Tensor) -> Tensor:
        return value if layer == len(self.layers) - 1 else value.clamp(0, 1)

    def scores(self, x: Tensor) -> Tensor:
        _, s = self.relax(x)
        return self.drive(len(s) - 1, s[-2])

    def climb(self, x: Tensor, label: Tensor, rival: Tensor, sweeps: int = 60) -> tuple[Tensor, Tensor]:
        """(scores, d(rival's score - label's score)/dx) at rest."""
        _, s = self.relax(x)
        with torch.enable_grad():
            pixels = x.clone().requires_grad_(True)
            at = [layer.detach().requires_grad_(True) for layer in s]
            scores = self.drive(len(s) - 1, at[-2])
            gap = scores.gather(1, rival[:, None]) - scores.gather(1, label[:, None])
            (pull,) = torch.autograd.grad(gap.sum(), at[-2], retain_graph=True)
            phi = self.phi(self.drive(0, self.normalised(pixels)), at)
            forces = torch.autograd.grad(phi, at, create_graph=True)
        free = [torch.ones_like(layer) for layer in s]
        for i in range(len(s) - 1):
            free[i] = ((s[i] > 0) & (s[i] < 1)).double()
        g = [torch.zeros_like(layer) for layer in s]
        g[-2] = pull
        u = [mask * layer / (2 * self.c) for mask, layer in zip(free, g, strict=True)]
        for _ in range(sweeps):
            moved = 0.0
            for i in reversed(range(len(s))):
                (heard,) = torch.autograd.grad(forces, at[i], u, retain_graph=True)
                new = free[i] * (g[i] + heard) / (2 * self.c)
                moved = max(moved, ((new - u[i]).abs().max() / pull.abs().max()).item())
                u[i] = new
            if moved < 1e-3:
                break
        (slope,) = torch.autograd.grad(forces[0], pixels, u[0])
        return scores.detach(), slope


def attacked(net: Equations, x: Tensor, y: Tensor, budget: float, steps: int, rivals: int, seed: int) -> Tensor:
    """Images within ``budget`` of ``x``, those that fool where any was met."""
    rng = torch.Generator().manual_seed(seed)
    best, left = x.clone(), (net.scores(x).argmax(1) == y).nonzero()[:, 0]
    ranked = net.scores(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    for turn in range(rivals):
        rows = left.clone()
        now = x[rows] + budget * (2 * torch.rand(x[rows].shape, generator=rng, dtype=torch.float64) - 1)
        now, speed = now.clamp(0, 1), torch.zeros_like(now)
        for step in range(steps):
            if not len(rows):
                break
            scores, slope = net.climb(now, y[rows], ranked[rows, turn])
            fooled = scores.argmax(1) != y[rows]
            best[rows[fooled]] = now[fooled]
            rows, now, slope, speed = rows[~fooled], now[~fooled], slope[~fooled], speed[~fooled]
            speed = 0.8 * speed + slope / slope.abs().flatten(1).mean(1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
            length = budget * 0.5 ** (5 * step // steps)
            now = (now + length * speed.sign()).clamp(x[rows] - budget, x[rows] + budget).clamp(0, 1)
        if len(rows):
            fooled = net.scores(now).argmax(1) != y[rows]
            best[rows[fooled]] = now[fooled]
            rows = rows[~fooled]
        left = rows
        print(f"  independent, class {turn + 1} of {rivals}: {len(left)} left", flush=True)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ep-cnn-small")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first test image")
    parser.add_argument("--epsilon", type=float, default=2 / 255, help="linf budget in pixel units")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--targets", type=int, default=3, help="wrong classes that are tried, on both sides")
    given = parser.parse_args()
    torch.set_num_threads(1)

    from hwsim.experiments.subject import read_subject
    from hwsim.robustness.apgd import Apgd
    from hwsim.robustness.evaluate import evaluate
    from hwsim.robustness.suite import stopping
    from hwsim.robustness.threat import Threat
    from hwsim.robustness.warm import warmed

    subject, data = read_subject(given.model, None, None, given.data_dir)
    x, y = data.test[given.first : given.first + given.examples]
    threat, judge = Threat("linf", given.epsilon), subject.classifier()
    began = time.process_time()
    attacks = (stopping(Apgd("ce", given.steps)), stopping(Apgd("targeted", given.steps, targets=given.targets)))
    found = evaluate(
        warmed(subject.surrogate("implicit"), x), [judge], x, y, threat, attacks, torch.Generator().manual_seed(0),
        cascade=True,
    )  # fmt: skip
    ours = found.worst > 0
    print(f"hwsim: {int(ours.sum())} left, {time.process_time() - began:.0f} CPU s", flush=True)
    began = time.process_time()
    net = Equations(Path(__file__).parents[2] / "models" / given.model)
    moved = attacked(net, x.double(), y, given.epsilon, given.steps, given.targets, seed=1)
    theirs = net.scores(moved).argmax(1) == y
    print(f"independent: {int(theirs.sum())} left, {time.process_time() - began:.0f} CPU s")
    assert bool(threat.allowed(moved, x.double()).all())
    print(
        f"{given.model}, {threat}, test images {given.first} to {given.first + len(x) - 1}, {given.steps} steps on "
        f"cross-entropy and on {given.targets} classes: hwsim leaves {100 * ours.double().mean():.1f} %, "
        f"the independent attack {100 * theirs.double().mean():.1f} %; "
        f"{int((theirs & ~ours).sum())} images fell to hwsim only, {int((ours & ~theirs).sum())} to the other only"
    )
    by_us = judge.logits(moved.float()).argmax(1) == y
    agree = by_us == theirs
    again = (net.scores(found.worst_images.double()).argmax(1) == y) == ours
    print(
        f"predictions on the other's images: {int(agree.sum())} and {int(again.sum())} of {len(x)} agree; by hwsim's "
        f"own relaxation the independent attack leaves {100 * by_us.double().mean():.1f} %"
    )


if __name__ == "__main__":
    main()
