"""What a small convolutional network learns of CIFAR-10 in float and in situ on a simulated device.

    python benchmarks/cifar-in-situ/table.py [float ecram ...] [--images 3000] [--judged 1000] [--write]

trains models/ep-cnn-tiny by equilibrium propagation on a subset of the training images, keeps the epoch that is best on
validation images and prints its accuracy on test images, all three subsets stratified and fixed. ``--write`` puts the
table into README.md.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from hwsim.data.dataset import Dataset, stratified
from hwsim.data.split import Split
from hwsim.experiments.requests import TrainRequest
from hwsim.experiments.training.epochs import EpochRecord
from hwsim.experiments.training.job import plan_training
from hwsim.experiments.training.work import run_training
from hwsim.rng import Streams

MODEL, FLOAT = "ep-cnn-tiny", "float"
PAGE = Path(__file__).with_name("README.md")
HEAD = "| device | validation % | test % | 95 % of test images | epochs, best | CPU s |\n|---|---|---|---|---|---|"


def part(split: Split, count: int, name: str) -> Split:
    """``count`` images with every class in its share, the same for every device and seed."""
    if count >= len(split):
        return split
    return split[stratified(split.y, count, Streams(0).child("subset", name).generator("data"))[1]]


def smaller(data: Dataset, images: int, judged: int) -> Dataset:
    names = {"train": images, "validation": judged, "test": judged}
    return replace(data, **{name: part(data.splits[name], count, name) for name, count in names.items()})


def row(device: str, options: argparse.Namespace) -> str:
    """Train on one device and judge the best epoch."""
    with tempfile.TemporaryDirectory() as folder:
        request = TrainRequest(
            model=MODEL,
            data_dir=options.data_dir,
            device=None if device == FLOAT else device,
            seed=options.seed,
            out=Path(folder) / "training",
            settings=options.set,
            command="benchmarks/cifar-in-situ/table.py",
        )
        job = plan_training(request)
        job = replace(job, data=smaller(job.data, options.images, options.judged))
        start = time.process_time()

        def tell(epoch: EpochRecord) -> None:
            found = f"{device}, epoch {epoch.epoch}: validation {100 * (epoch.accuracy_validation or 0):.1f} %"
            print(f"{found}, {epoch.unsettled_share:.0%} not settled, {time.process_time() - start:.0f} s", flush=True)

        card = run_training(job, tell)
    validation, test = card["accuracy_validation"], card["accuracy_test"]
    interval = f"{100 * test['low']:.1f} to {100 * test['high']:.1f}"
    epochs = f"{card['epochs']}, {card['best_epoch']}"
    found = f"{100 * validation['mean']:.1f} | {100 * test['mean']:.1f} | {interval}"
    return f"| {device} | {found} | {epochs} | {time.process_time() - start:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", help="of the shelf, or 'float'; by default float and ecram")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--judged", type=int, default=1000, help="validation images, and as many test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the model card")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [HEAD]
    for device in options.devices or [FLOAT, "ecram"]:
        lines.append(row(device, options))
        print(f"{HEAD}\n{lines[-1]}", flush=True)
    note = f"{options.images} training images, {options.judged} for validation and for test, seed {options.seed}."
    text = "\n".join([*lines, "", note])
    print(text)
    if options.write:
        marks = re.compile(r"(<!-- results:begin -->\n).*?(<!-- results:end -->)", re.DOTALL)
        old = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(marks.sub(lambda m: f"{m[1]}{text}\n{m[2]}", old), encoding="utf-8")


if __name__ == "__main__":
    main()
