"""What attacks and corruptions leave of an energy-based model, of its twins in float, and of it on three devices.

    python benchmarks/attacks/table.py            # print the table
    python benchmarks/attacks/table.py --write    # and put it into benchmarks/attacks/README.md

All networks are 64-128-10 on scikit-learn's digits. Every number comes from the folder of a `hwsim attack` or
`hwsim corrupt`, below runs/attacks-table, which an interrupted run goes on with.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from feedforward import trained  # noqa: E402 - the file beside this one

from hwsim.data import dataset as data  # noqa: E402
from hwsim.experiments.attack import results as attackresults  # noqa: E402
from hwsim.experiments.attack.plan import plan_attack  # noqa: E402
from hwsim.experiments.attack.work import run_attack  # noqa: E402
from hwsim.experiments.corruption import results as corruptresults  # noqa: E402
from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt  # noqa: E402
from hwsim.experiments.requests import AttackRequest, CorruptRequest, TrainRequest  # noqa: E402
from hwsim.experiments.training.job import plan_training  # noqa: E402
from hwsim.experiments.training.work import run_training  # noqa: E402
from hwsim.jobs.records import plain  # noqa: E402
from hwsim.jobs.store import write_text  # noqa: E402

RUNS = ROOT / "runs" / "attacks-table"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
THREAT = "linf:0.1"
DEVICES = (("ecram", "programmed"), ("ecram", "in situ"), ("capacitor", "in situ"), ("pcm-inference", "programmed"))
"""Devices that learn in situ take programmed weights exactly here, so their chips would differ in read noise only."""
FEEDFORWARD = f"{Path(__file__).parent / 'feedforward.py'}:FeedForward"


class Lines:
    """How far a job is, on standard error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def total(self, units: int) -> None:
        self.left = units
        print(f"{self.name}: {units} parts", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    def done(self, what: str, units: int = 1) -> None:
        self.left -= units
        if units and not self.name.endswith("corrupt"):
            print(f"  {what}, {self.left} left", file=sys.stderr, flush=True)


def feedforward(seed: int) -> Path:
    path = RUNS / f"feedforward-seed{seed}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = data.load("digits")
        save_file(trained(*digits.train, seed).state_dict(), path)
    return path


def weights(name: str, seed: int, device: str | None = None, *settings: str) -> Path:
    """Trained in float, or in situ on a device."""
    folder = RUNS / f"{name}-seed{seed}"
    request = TrainRequest(model="digits-mlp", device=device, seed=seed, settings=list(settings), out=folder)
    run_training(plan_training(request), lambda record: None)
    return folder / "weights.safetensors"


def attacked(name: str, **options: Any) -> dict[str, Any]:
    job = plan_attack(AttackRequest(threats=[THREAT], out=RUNS / name, **options))
    return plain(attackresults.write_results(job, run_attack(job, Lines(name))).threats[0])


def corrupted(name: str, **options: Any) -> float:
    job = plan_corrupt(CorruptRequest(out=RUNS / name, **options))
    return corruptresults.write_results(job, run_corrupt(job, Lines(name))).means[0].accuracy


def told(found: dict[str, Any]) -> str:
    return f"{100 * found['mean']:.1f} ({100 * found['low']:.0f} to {100 * found['high']:.0f})"


def least(*found: dict[str, Any]) -> dict[str, Any]:
    return min(found, key=lambda one: one["mean"])


def flags(*found: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(flag for one in found for flag in one.get("flags", []))) or "none"


def rows(examples: int, chips: int, seed: int) -> list[Sequence[str]]:
    common: dict[str, Any] = {"examples": examples, "seed": seed}
    table: list[Sequence[str]] = []
    plain = {"model": FEEDFORWARD, "weights": feedforward(seed), "data_name": "digits"}
    twin = {"model": "digits-mlp", "weights": weights("exact-gradient", seed, None, "learning.rule=exact-gradient")}
    energy = [("exact gradient", twin), ("EP", {"model": "digits-mlp"}), ("AdvEP", {"model": "adv-ep-digits"})]
    for name, who in [("feed-forward", plain), *energy]:
        stem = name.replace(" ", "-")
        pgd = attacked(f"{stem}-pgd", attack="pgd", checks=False, **who, **common)
        standard = attacked(f"{stem}-standard", attack="standard", **who, **common)
        mean = corrupted(f"{stem}-corrupt", **who, **common)
        parts = (standard["clean"], pgd["worst"], standard["worst"], standard["attacks"]["square"])
        lowest = least(pgd["reported"], standard["reported"])
        table.append((name, "float", *map(told, parts), told(lowest), f"{100 * mean:.1f}", flags(standard)))
    for device, how in DEVICES:
        chip: dict[str, Any] = {"model": "digits-mlp", "device": device, "instances": chips}
        stem = device
        if how == "in situ":
            stem = f"{device}-in-situ"
            chip |= {"weights": weights(stem, seed, device), "instances": 1}
        quick = attacked(f"{stem}-quick", attack="quick", draws=20, **chip, **common)
        eot = attacked(f"{stem}-eot", attack="pgd", knows="device", eot=2, draws=20, **chip, **common)
        mean = corrupted(f"{stem}-corrupt", draws=2, **chip, **common)
        parts = (quick["clean"], eot["worst"], quick["worst"], quick["attacks"]["square"])
        lowest = least(quick["reported"], eot["reported"])
        table.append(
            ("EP", f"{device}, {how}", *map(told, parts), told(lowest), f"{100 * mean:.1f}", flags(quick, eot))
        )
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    head = ("model", "on", "clean", "PGD", "AutoAttack", "Square", "to report", "15 corruptions", "flags")
    lines = [head, ["---"] * len(head), *table]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="test images")
    parser.add_argument("--chips", type=int, default=5, help="programmed chips of each device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="replace the table in README.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = markdown(rows(given.examples, given.chips, given.seed))
    print(text)
    if given.write:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        write_text(README, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
