"""What a small convolutional network learns of CIFAR-10 in float and in situ on simulated devices.

    python benchmarks/cifar-in-situ/table.py ["ecram accumulate" ...] [--seeds 3] [--out FOLDER] [--write]

trains models/ep-cnn-tiny by equilibrium propagation on a subset of the training images, once for each row of rows.yaml
and seed, and prints the accuracy after the last epoch on validation and on test images; all three subsets are
stratified and fixed. ``--validation`` leaves the test images alone, for choosing settings. In a folder trainings go on
where they were stopped. ``--write`` puts table and figure into this folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml

from hwsim.cards.device import read_device
from hwsim.cards.read import in_situ_recipe, read_model
from hwsim.cards.yamlfile import parse_setting
from hwsim.data.dataset import Dataset, load, stratified
from hwsim.data.split import Split
from hwsim.experiments.evaluation import measure
from hwsim.experiments.trained import deployed, float_device, trained
from hwsim.learning.train import Epoch
from hwsim.rng import Streams
from hwsim.stats.interval import Interval, accuracy

MODEL, FLOAT = "ep-cnn-tiny", "float"
HERE = Path(__file__).parent
PAGE = HERE / "README.md"
HEAD = "| row | validation % | test % | 95 % interval | of float's best % | each seed |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """A line of the table: shares of seeds and images on validation images and, where looked at, on test images."""

    name: str
    validation: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any] | None

    @property
    def interval(self) -> Interval:
        return accuracy(self.validation if self.test is None else self.test)

    def markdown(self, reference: Row | None) -> str:
        validation, seeds = accuracy(self.validation), self.validation if self.test is None else self.test
        each = " ".join(f"{100 * share:.1f}" for share in seeds.mean(1))
        test, of_float = "–", "–"
        if self.test is not None:
            test = f"{100 * self.interval.mean:.1f}"
            of_float = f"{100 * self.interval.mean / reference.interval.mean:.0f}" if reference else "–"
        between = f"{100 * self.interval.low:.1f} to {100 * self.interval.high:.1f}"
        columns = [self.name, f"{100 * validation.mean:.1f}", test, between, of_float, each]
        return f"| {' | '.join(columns)} |"


def part(split: Split, count: int, name: str) -> Split:
    """``count`` images with every class in its share, the same for every row and seed."""
    if count >= len(split):
        return split
    return split[stratified(split.y, count, Streams(0).child("subset", name).generator("data"))[1]]


def smaller(data: Dataset, images: int, evaluated: int) -> Dataset:
    names = {"train": images, "validation": evaluated, "test": evaluated}
    return replace(data, **{name: part(data.splits[name], count, name) for name, count in names.items()})


def row(entry: dict[str, Any], data: Dataset, options: argparse.Namespace, folder: Path) -> Row:
    """Train one row with every seed, and measure each network after its last epoch."""
    settings = [*entry.get("set", {}).items(), *map(parse_setting, options.set)]
    of_device = [(key.removeprefix("device."), value) for key, value in settings if key.startswith("device.")]
    document, model = read_model(MODEL, [pair for pair in settings if not pair[0].startswith("device.")])
    if entry["device"] == FLOAT:
        recipe, device = model.settled_learning, float_device(model)
    else:
        card = read_device(entry["device"], of_device)
        recipe, device = in_situ_recipe(document, model, card), card.device
    validation, test = [], []
    for seed in range(options.seeds):
        what = json.dumps([entry, options.set, seed, options.images], sort_keys=True, default=str)
        state = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.safetensors"
        streams, started = Streams(seed), time.process_time()

        def say(epoch: Epoch, _: float, seed: int = seed) -> None:
            print(f"{entry['name']}, seed {seed}, epoch {epoch.epoch}: training {epoch.accuracy_train:.3f}", flush=True)

        net = trained(model, device, recipe, data, streams, checkpoint=state, on_epoch=say)
        print(f"{entry['name']}, seed {seed}: {time.process_time() - started:.0f} CPU s", flush=True)
        net = deployed(model.energy, device, net, streams.child("deployed"))
        for kept, name in [(validation, "validation"), *([] if options.validation else [(test, "test")])]:
            result = measure(net, *data.splits[name], model.inference, 1, streams.child(name))
            kept.append(np.array(result.hits) / result.draws)
    return Row(entry["name"], np.stack(validation), np.stack(test) if test else None)


def best_float(rows: list[Row]) -> Row | None:
    """The float row with the best recipe, by validation images."""
    return max((row for row in rows if row.name.startswith(FLOAT)), key=lambda row: row.validation.mean(), default=None)


def figure(rows: list[Row], path: Path) -> None:
    """Accuracy of every row with its interval; points are seeds."""
    shown, axes = plt.subplots(figsize=(7, 0.6 + 0.38 * len(rows)), layout="constrained")
    for place, each in enumerate(reversed(rows)):
        interval, seeds = each.interval, (each.validation if each.test is None else each.test).mean(1)
        axes.plot([100 * interval.low, 100 * interval.high], [place, place], color="C0", linewidth=2)
        axes.plot(100 * seeds, [place] * len(seeds), "o", color="C0", markersize=4, markerfacecolor="white")
        axes.plot(100 * interval.mean, place, "|", color="C0", markersize=12, markeredgewidth=2)
    axes.set_yticks(range(len(rows)), [each.name for each in reversed(rows)])
    axes.axvline(10, color="0.6", linestyle=":", linewidth=1)
    axes.set_xlabel("test accuracy in % (dotted: chance)")
    axes.spines[["top", "right"]].set_visible(False)
    shown.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="of rows.yaml, by default all")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--evaluated", type=int, default=1000, help="validation images, and as many test images")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true", help="leave the test images alone")
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over every row's settings")
    parser.add_argument("--out", type=Path, default=None, help="keep trainings here; what is there goes on")
    parser.add_argument("--write", action="store_true", help="put the table and the figure into this folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    entries = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    unknown = set(options.rows) - {entry["name"] for entry in entries}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; rows.yaml has {[e['name'] for e in entries]}")
    data = smaller(load("cifar10", options.data_dir), options.images, options.evaluated)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            if not options.rows or entry["name"] in options.rows:
                rows.append(row(entry, data, options, folder))
                print(f"{HEAD}\n{rows[-1].markdown(best_float(rows))}", flush=True)
    reference = best_float(rows)
    note = f"{options.images} training images, {options.evaluated} for validation and for test, {options.seeds} seeds."
    text = "\n".join([HEAD, *(each.markdown(reference) for each in rows), "", note])
    print(text)
    if options.write:
        marks = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
        old = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(marks.sub(lambda m: f"{m[1]}{text}\n{m[2]}", old), encoding="utf-8")
        figure(rows, HERE / "table.png")


if __name__ == "__main__":
    main()
