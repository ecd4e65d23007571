"""Resistive networks on digits: three trainings each in float and in situ on devices.

    python benchmarks/resistive/digits.py [--out runs/resistive] [--seeds 3] [--devices float ecram] [--table]

Every training is `hwsim train --model drn-digits [--device D] --seed S`; stopped anywhere, the same command goes on.
The best epoch is chosen on validation images. `--table` prints what there is and trains nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwsim.jobs.folder import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/resistive"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=["float", "ecram"])
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    for device in [] if given.table else given.devices:
        for seed in range(given.seeds):
            where = [] if device == "float" else ["--device", device]
            command = ["train", "--model", "drn-digits", *where, "--seed", str(seed)]
            command += ["--out", str(folder(given.out, device, seed))]
            if subprocess.run([sys.executable, "-m", "hwsim", *command], check=False).returncode:
                sys.exit(f"{device}, seed {seed}: hwsim train did not end well")
    print(table(given.out, given.devices, given.seeds))


def folder(out: Path, device: str, seed: int) -> Path:
    return out / f"drn-digits-{device.replace('/', '-')}-{seed}"


def table(out: Path, devices: Sequence[str], seeds: int) -> str:
    lines = ["| trained | seeds | validation % | test % |", "|---|---|---|---|"]
    for device in devices:
        cards = [card for seed in range(seeds) if (card := read_json(folder(out, device, seed) / "card.json"))]
        shares = [[100 * card[f"accuracy_{part}"]["mean"] for card in cards] for part in ("validation", "test")]
        how = "in float" if device == "float" else f"in situ on {device}"
        lines.append(f"| {how} | {len(cards)} | {' | '.join(spread(each) for each in shares)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and all of them."""
    if len(values) < 2:
        return ", ".join(f"{value:.1f}" for value in values) or "not trained"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} ({', '.join(f'{value:.1f}' for value in values)})"


if __name__ == "__main__":
    main()
