"""Train the controls that tell apart why a network trained by EP is robust, three seeds each, and table them.

    python benchmarks/controls/train.py --out runs/controls [--models NAME ...] [--seeds 3] [--data-dir DIR]

Every training is `hwsim train --model NAME --seed S --out OUT/NAME-seed-S`: stopped anywhere, the same command goes on,
and what is finished is not trained again. `--table` prints what there is and trains nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwsim.experiments.training.epochs import EpochRecord
from hwsim.jobs.folder import read_json
from hwsim.jobs.records import read_records

CONTROLS = {
    "ep-cnn-small": "EP",
    "exact-cnn-small": "the exact gradient at equilibrium",
    "ff-cnn-small-squared-error": "feed-forward, squared error",
    "ff-cnn-small-stopped": "the same, stopped at EP's training accuracy",
    "ff-cnn-small-cross-entropy": "feed-forward, cross-entropy",
    "ep-cnn-small-cross-entropy": "EP, cross-entropy by readout",
    "pc-cnn-small": "predictive coding by EP, predicts without feedback",
    "adv-ep-cnn-small": "EP on PGD images (AdvEP)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/controls"))
    parser.add_argument("--models", nargs="+", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings for all")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    for model in [] if given.table else given.models:
        for seed in range(given.seeds):
            command = ["train", "--model", model, "--seed", str(seed), "--out", str(folder(given.out, model, seed))]
            command += ["--data-dir", given.data_dir] if given.data_dir else []
            command += [part for setting in given.set for part in ("--set", setting)]
            done = subprocess.run([sys.executable, "-m", "hwsim", *command], check=False)
            if done.returncode:
                sys.exit(f"{model}, seed {seed}: hwsim train ended with {done.returncode}")
    print(table(given.out, given.models, range(given.seeds)))


def folder(out: Path, model: str, seed: int) -> Path:
    return out / f"{model}-seed-{seed}"


def table(out: Path, models: Sequence[str], seeds: Sequence[int]) -> str:
    """Means over the finished trainings, with the standard deviation from training to training."""
    lines = ["| model | what it is | trainings | training % | validation % | test % |", "|---|---|---|---|---|---|"]
    for model in models:
        shares = [each for seed in seeds if (each := accuracies(folder(out, model, seed))) is not None]
        columns = [spread([each[part] for each in shares]) for part in range(3)]
        lines.append(f"| {model} | {CONTROLS[model]} | {len(shares)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def accuracies(training: Path) -> tuple[float, float, float] | None:
    """Of the epoch that was best by validation, in %: on training images, on the way; validation; test."""
    card = read_json(training / "card.json")
    if not card:
        return None
    epochs = {r.epoch: r.accuracy_train for r in read_records(training / "metrics.jsonl", EpochRecord)}
    on_test, on_validation = (100 * card[f"accuracy_{part}"]["mean"] for part in ("test", "validation"))
    return 100 * epochs[card["best_epoch"]], on_validation, on_test


def spread(values: Sequence[float]) -> str:
    if not values:
        return "not trained"
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
