"""What EP reaches on scikit-learn's digits: in float and in situ on every device of the shelf.

    python benchmarks/digits/accuracy.py                       every device, test images, three seeds
    python benchmarks/digits/accuracy.py --validation ecram    one device, judged on validation images

Prints a Markdown table. With --write it also replaces the tables in README.md, benchmarks/digits/README.md
and the devices' cards, between their <!-- results:begin --> and <!-- results:end --> marks. Settings come from
the model card and the device cards; they were chosen with --validation, never on test images.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hwsim.cards import shelf
from hwsim.cards.device import read_device
from hwsim.cards.read import Settings, in_situ_recipe, parted, read_model
from hwsim.data import dataset as data
from hwsim.experiments.evaluation import measure
from hwsim.experiments.trained import deployed, float_device, trained
from hwsim.rng import Streams
from hwsim.stats.interval import Interval, accuracy

ROOT = Path(__file__).resolve().parents[2]
MODEL = "digits-mlp"
FLOAT = "float"

# What was asked for before any of it was measured (accuracy on test images, three seeds).
TARGETS = {
    FLOAT: 0.97,
    "idealized": 0.95,
    "capacitor": 0.94,
    "ecram": 0.93,
    "mixed-precision-pcm": 0.95,
    "tiki-taka-reram-sb": 0.80,
    "reram-sb": 0.60,
}


@dataclass(frozen=True)
class Row:
    """One line of the table: accuracy over seeds and images, the seeds' own accuracies, seconds a training."""

    name: str
    interval: Interval
    seeds: list[float]
    seconds: float
    epochs: int

    def markdown(self) -> str:
        target = f"{TARGETS[self.name]:.0%}" if self.name in TARGETS else ""
        each = " ".join(f"{100 * accuracy:.1f}" for accuracy in self.seeds)
        mean, low, high = (f"{100 * x:.1f}" for x in (self.interval.mean, self.interval.low, self.interval.high))
        return f"| {self.name} | {mean} | {low} to {high} | {each} | {target} | {self.epochs} | {self.seconds:.1f} |"


HEAD = (
    "| device | accuracy % | 95 % interval | each seed | asked for | epochs | seconds a training |\n"
    "|---|---|---|---|---|---|---|"
)


def measured(name: str, seeds: int, digits: data.Dataset, settings: tuple[Settings, Settings]) -> Row:
    """Train by EP on one device ("float": in float, by the model's own recipe) and judge at equilibrium.

    ``settings``: over the device card, and over the model card.
    """
    for_device, for_model = settings
    document, model = read_model(MODEL, for_model)
    if name == FLOAT:
        recipe, device = model.settled_learning, float_device(model)
    else:
        card = read_device(name, for_device)
        recipe, device = in_situ_recipe(document, model, card), card.device
    hits, seconds = [], []
    for seed in range(seeds):
        streams = Streams(seed)
        started = time.process_time()
        net = trained(model, device, recipe, digits, streams)
        seconds.append(time.process_time() - started)
        net = deployed(model.energy, device, net, streams.child("deployed"))
        draws = model.evaluation.draws
        result = measure(net, *digits.test, model.inference, draws, streams.child("judge"))
        hits.append(np.array(result.hits) / result.draws)
    shares = np.stack(hits)
    return Row(name, accuracy(shares), shares.mean(1).tolist(), float(np.mean(seconds)), recipe.epochs)


def write_table(path: Path, text: str, mark: str = "results") -> None:
    """Replace what stands between a file's marks; files without them are left alone."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    marks = re.compile(rf"(<!-- {mark}:begin -->\n).*?(<!-- {mark}:end -->)", re.DOTALL)
    if marks.search(old):
        path.write_text(marks.sub(lambda m: f"{m[1]}{text}\n{m[2]}", old), encoding="utf-8")


def merged(path: Path, rows: list[Row]) -> list[str]:
    """The lines of a page's table, those of ``rows`` in place of or beside its own: float, then the shelf's order."""
    text = path.read_text(encoding="utf-8").partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]
    names = [FLOAT, *shelf.items("devices")]
    lines = {name: line for line in text.splitlines() for name in names if line.startswith(f"| {name} |")}
    lines |= {row.name: row.markdown() for row in rows}
    return [lines[name] for name in names if name in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="devices of the shelf, or 'float'; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true", help="judge on validation images, for choosing settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="over the cards, as `hwsim run`"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into the pages")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    settings = parted(arguments.set)
    digits = data.load("digits")
    digits = replace(digits, test=digits.validation) if arguments.validation else digits.merged()
    names = arguments.names or [FLOAT, *shelf.items("devices")]
    command = "python benchmarks/digits/accuracy.py --write"
    print(HEAD, flush=True)
    rows = []
    for name in names:
        rows.append(measured(name, arguments.seeds, digits, settings))
        print(rows[-1].markdown(), flush=True)
        if arguments.write and name != FLOAT:
            card = ROOT / "devices" / name / "README.md"
            write_table(card, f"{HEAD}\n{rows[-1].markdown()}\n\nPrinted by `{command}` (test images).")
    if arguments.write:
        for page in (ROOT / "README.md", Path(__file__).parent / "README.md"):
            table = "\n".join([HEAD, *merged(page, rows)])
            write_table(page, f"{table}\n\nPrinted by `{command}` (360 test images, {arguments.seeds} seeds).")


if __name__ == "__main__":
    main()
