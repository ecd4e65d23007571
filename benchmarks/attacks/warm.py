"""What warm starts save: one attack on one network, from cold starts and from the equilibrium of the image before.

    python benchmarks/attacks/warm.py --data-dir DIR [--examples 64] [--steps 30]

CPU time of one process and thread, runs taken in turn; what is left is always judged from a cold start.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from hwsim.experiments.subject import read_subject
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack
from hwsim.robustness.classifier import Classifier
from hwsim.robustness.library import Square
from hwsim.robustness.suite import Fmn, Pgd, stopping
from hwsim.robustness.threat import parse
from hwsim.robustness.warm import warmed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--model", default="ep-cnn-small")
    parser.add_argument("--threat", default="linf:2/255")
    parser.add_argument("--examples", type=int, default=64, help="test images")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", help="attacks whose names begin so")
    given = parser.parse_args()
    torch.set_num_threads(1)
    subject, data = read_subject(given.model, None, None, given.data_dir)
    x, y = data.test[: given.examples]
    threat, judge = parse(given.threat), subject.classifier()

    def run(attacked: Classifier, attack: Attack) -> tuple[float, int]:
        began = time.process_time()
        moved = attack(attacked, x, y, threat, torch.Generator().manual_seed(0))
        seconds = time.process_time() - began
        return seconds, int((judge.logits(moved).argmax(1) == y).sum())

    attacks: tuple[Attack, ...] = (
        Apgd("ce", given.steps),
        Apgd("targeted", given.steps, targets=3),
        Pgd(given.steps, loss="margin"),
        Fmn(given.steps),
        Square(given.queries),
    )
    clean = int((judge.logits(x).argmax(1) == y).sum())
    print(f"{given.model}, {threat}, {len(x)} images, {clean} right when clean; CPU s, images left, of cold\n")
    print("| attack | cold, all images stay | warm, all stay | warm, fooled ones leave |")
    print("|---|---|---|---|")
    for attack in attacks:
        if given.only and not attack.name.startswith(given.only):
            continue
        # A memory begins anew in each run, as it does for each slice of a job's images.
        runs: list[list[tuple[float, int]]] = [[], [], []]
        for _ in range(given.repeats):
            cold = subject.surrogate("implicit")
            for column, (attacked, how) in enumerate(((cold, attack), (None, attack), (None, stopping(attack)))):
                runs[column].append(run(attacked or warmed(cold, x), how))
        seconds = [median(s for s, _ in column) for column in runs]
        cells = [
            f"{s:.1f} s, {column[0][1]} left, {s / seconds[0]:.2f}" for s, column in zip(seconds, runs, strict=True)
        ]
        print(f"| {_named(attack)} | " + " | ".join(cells) + " |", flush=True)


def _named(attack: Attack) -> str:
    if isinstance(attack, Square):
        return f"{attack.name}, {attack.queries} queries"
    return f"{attack.name}, {getattr(attack, 'steps', 1)} steps"


if __name__ == "__main__":
    main()
