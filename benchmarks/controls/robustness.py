"""What attacks leave of ep-cnn-small and of its controls, every training on the same images.

    python benchmarks/controls/robustness.py --out runs/controls --data-dir DIR [--models NAME ...] [--seeds 3]
    python benchmarks/controls/robustness.py --out runs/controls --table [--write]

attacks what `train.py` left in OUT, by blocks of 100 test images, and goes on where it was stopped. Budgets of a norm
are nested: an image that fell within a smaller one is not attacked again. The others meet APGD on the cross-entropy
(50 steps) and on the gaps to three classes (3 x 50); the equilibrium is differentiated implicitly, from warm starts,
and verdicts start cold. `--queries N` has FAB and Square (1,000 queries) try what is left of the first N images at
linf 2/255 as well.
`--table` prints what there is; `--write` puts it and the figure into this folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from train import CONTROLS, folder

from hwsim.cards import shelf
from hwsim.experiments.subject import WEIGHTS, Subject, read_subject
from hwsim.jobs.records import Record, read_records
from hwsim.jobs.store import append_line
from hwsim.rng import Streams
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import input_gradient, margin
from hwsim.robustness.evaluate import evaluate
from hwsim.robustness.library import Fab, Square
from hwsim.robustness.suite import stopping
from hwsim.robustness.warm import warmed

CHAINS = (("linf:1/255", "linf:2/255", "linf:4/255", "linf:8/255"), ("l2:0.25", "l2:0.5"))
"""Budgets of a norm, the smaller ones first."""
QUERIED = "linf:2/255"
SHELF = {
    "bp-cnn-small": "feed-forward with BatchNorm and ReLU",
    "vit": "vision transformer",
    "adv-cnn-l2": "adversarially trained, l2 0.5",
    "adv-cnn-linf": "adversarially trained, linf 8/255",
}
"""Other networks for CIFAR-10, of other sizes and recipes: their shipped weights meet the same attacks."""
CLIMBS = tuple(stopping(attack) for attack in (Apgd("ce", 50), Apgd("targeted", 50, targets=3)))
QUERIES = (Fab(targeted=False), Square(1000))
BLOCK = 100


@dataclass(frozen=True, kw_only=True)
class Verdicts(Record):
    """Which of a block's images are still right under a threat, or ``clean``; 1 is right."""

    kind: str = "verdicts"
    threat: str
    start: int
    right: tuple[int, ...]

    @property
    def key(self) -> tuple[str, int]:
        return self.threat, self.start


@dataclass(frozen=True, kw_only=True)
class Radii(Record):
    """How far the boundary is by the slope of the largest wrong gap, in linf and pixel units; 0 where wrong already."""

    kind: str = "radii"
    start: int
    linf: tuple[float, ...]

    @property
    def key(self) -> tuple[str, int]:
        return "radii", self.start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/controls"))
    parser.add_argument("--models", nargs="+", choices=(*CONTROLS, *SHELF), default=[*CONTROLS, *SHELF])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=1000, help="test images, the first ones")
    parser.add_argument("--queries", type=int, default=0, help="images that FAB and Square try as well")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--table", action="store_true", help="attack nothing")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in [] if given.table else given.seeds:
        for model in given.models:
            weights, log = weights_of(given.out, model, seed), log_of(given.out, model, seed)
            if weights is not None:
                attack_all(model, weights, log, given.examples, given.queries, given.data_dir)
    from robustness_table import report  # matplotlib is slow to load, and no worker needs it

    report(given.out, given.models, given.seeds, write=given.write)


def weights_of(out: Path, model: str, seed: int) -> Path | None:
    """A training's, where it is finished; the shipped ones of a model of the shelf, as seed 0."""
    if model in SHELF:
        return shelf.find("models", model).folder / WEIGHTS if seed == 0 else None
    path = folder(out, model, seed) / WEIGHTS
    return path if path.exists() else None


def log_of(out: Path, model: str, seed: int) -> Path:
    return out / f"{model}-shipped" / "attacks.jsonl" if model in SHELF else folder(out, model, seed) / "attacks.jsonl"


def attack_all(model: str, weights: Path, log: Path, examples: int, queries: int, data_dir: Path | None) -> None:
    """Everything that the log lacks."""
    subject, data = read_subject(model, weights, None, data_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    done = {record.key for record in read_records(log, Verdicts, Radii)} if log.exists() else set()
    for start in range(0, examples, BLOCK):
        x, y = data.test[start : min(start + BLOCK, examples)]
        if set(_keys(start, queries)) <= done:
            continue
        began = time.process_time()
        for record in attacked(subject, x, y, start, start < queries):
            append_line(log, record.plain())
        print(f"{log.parent.name}, images from {start}: {time.process_time() - began:.0f} CPU s", flush=True)


def _keys(start: int, queries: int) -> Iterator[tuple[str, int]]:
    yield from ((threat, start) for chain in CHAINS for threat in ("clean", *chain))
    yield "radii", start
    if start < queries:
        yield f"{QUERIED}, queries", start


def attacked(subject: Subject, x: Tensor, y: Tensor, start: int, queries: bool) -> Iterator[Verdicts | Radii]:
    """What is left of a block, budget by budget."""
    judge, surrogate = subject.classifier(), warmed(subject.surrogate("implicit"), x)
    clean = judge.logits(x).argmax(1) == y
    yield Verdicts(threat="clean", start=start, right=_numbers(clean))
    gradient, logits = input_gradient(surrogate, x, y, "margin")
    radius = (-margin(logits, y) / gradient.flatten(1).norm(p=1, dim=1).clamp_min(1e-12)).clamp_min(0.0)
    yield Radii(start=start, linf=tuple(round(float(r), 6) for r in torch.where(clean, radius, 0.0)))

    def left(standing: Tensor, threat: str, attacks: Sequence[Any], name: str) -> Tensor:
        rows = torch.nonzero(standing)[:, 0]
        if not len(rows):
            return standing.clone()
        rng = Streams(0).child("controls", name, str(start)).generator("attack")
        result = evaluate(surrogate, judge, x[rows], y[rows], threat, attacks, rng, cascade=True)
        now = standing.clone()
        now[rows] = result.worst > 0
        return now

    for chain in CHAINS:
        standing = clean
        for threat in chain:
            standing = left(standing, threat, CLIMBS, threat)
            yield Verdicts(threat=threat, start=start, right=_numbers(standing))
            if queries and threat == QUERIED:
                name = f"{QUERIED}, queries"
                yield Verdicts(threat=name, start=start, right=_numbers(left(standing, threat, QUERIES, name)))


def _numbers(right: Tensor) -> tuple[int, ...]:
    return tuple(int(each) for each in right)


if __name__ == "__main__":
    main()
