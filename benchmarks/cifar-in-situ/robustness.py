"""What attacks and corruptions leave of ep-cnn-tiny in float, programmed onto devices, and trained in situ on them.

    python benchmarks/cifar-in-situ/robustness.py --data-dir DIR [--examples 200] [--instances 3] [--write]

The shipped weights, on the same test images. Those learned in situ are written onto other instances of their device
than the one that learned them; so are float's. An attacker knows what a chip's arrays hold and climbs their noise-free
twin (PGD of 20 steps on three losses), and climbs the chip itself, its gradient through ten unrolled steps averaged
over five reads (EOT, PGD of 10 steps on three losses); the lower of both is kept. Verdicts are 20 fresh reads, of
corrupted images 5. Every number comes from the folder of a `hwsim attack` or `hwsim corrupt` in RUNS, which an
interrupted run goes on with. `--write` puts the table into README.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.attack.records import SliceRecord
from hwsim.experiments.attack.work import run_attack
from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt
from hwsim.experiments.requests import AttackRequest, CorruptRequest
from hwsim.jobs.store import write_text
from hwsim.stats.interval import Interval, accuracy, difference, signed_points

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).parent / "README.md"
MODEL = "ep-cnn-tiny"
BUDGETS = ("linf:1/255", "linf:2/255")


@dataclass(frozen=True)
class Row:
    """A line of the table. Shares are (instances, images) of 20 reads, or (1, images) in float."""

    name: str
    clean: np.ndarray[Any, Any]
    left: dict[str, np.ndarray[Any, Any]]
    corrupted: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line."""

    examples: int
    instances: int
    data_dir: Path | None
    runs: Path

    def common(self, device: str | None, weights: str | None) -> dict[str, Any]:
        path = ROOT / "models" / MODEL / weights if weights else None
        on = {"device": device, "instances": self.instances, "draws": 20} if device else {}
        return {"model": MODEL, "weights": path, "data_dir": self.data_dir, "examples": self.examples, **on}


class Said:
    """The parts of a job, as they are done."""

    def __init__(self, name: str) -> None:
        self.name = name

    def total(self, units: int) -> None:
        del units

    def done(self, what: str, units: int = 1) -> None:
        del units
        print(f"{self.name}: {what}", flush=True)

    def note(self, text: str) -> None:
        print(f"{self.name}: {text}", flush=True)


def attacked(name: str, request: AttackRequest) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """(clean, what is left by budget), (instances, images)."""
    records = run_attack(plan_attack(request), Said(name))
    slices = [record for record in records if isinstance(record, SliceRecord)]
    chips = sorted({record.chip if record.chip is not None else -1 for record in slices})

    def joined(threat: str, of: Callable[[SliceRecord], Sequence[float]]) -> np.ndarray[Any, Any]:
        rows = []
        for chip in chips:
            own = sorted(
                (r for r in slices if r.threat == threat and (r.chip if r.chip is not None else -1) == chip),
                key=lambda r: r.slice,
            )
            rows.append([share for record in own for share in of(record)])
        return np.array(rows)

    left = {threat: joined(threat, lambda r: [hit / r.draws for hit in r.hits[0]]) for threat in BUDGETS}
    return joined(BUDGETS[0], lambda r: r.clean), left


def measured(given: Settings, name: str, device: str | None, weights: str | None) -> Row:
    """Attacked through what the arrays hold and, on a device, through its own reads; the lower of both is kept."""
    stem, common = name.replace(" ", "-").replace(",", ""), given.common(device, weights)
    known = AttackRequest(
        threats=list(BUDGETS), attack="pgd-20", checks=False, out=given.runs / f"{stem}-known", budget="none", **common
    )
    clean, left = attacked(name, known)
    if device is not None:
        own = {"knows": "device", "gradient": "unrolled-10", "eot": 5}
        through = AttackRequest(
            threats=list(BUDGETS), attack="pgd-10", checks=False, out=given.runs / f"{stem}-eot", budget="none",
            **own, **common,
        )  # fmt: skip
        _, other = attacked(f"{name}, EOT", through)
        left = {threat: min(left[threat], other[threat], key=np.mean) for threat in BUDGETS}
    request = CorruptRequest(out=given.runs / f"{stem}-corrupt", severities="1,3,5", **{**common, "draws": 5})
    records = run_corrupt(plan_corrupt(request), Said(f"{name}, corruptions"))
    shares = np.mean(
        [[[hit / r.draws for hit in row] for row in r.hits] for r in records if r.kind == "corruption"], axis=0
    )
    return Row(name, clean, left, shares)


ROWS = (
    ("float", None, None),
    ("ecram, programmed", "ecram", None),
    ("ecram, in situ", "ecram", "in-situ/ecram/weights.safetensors"),
    ("idealized, in situ", "idealized", "in-situ/idealized/weights.safetensors"),
)
"""Name, device, weights beside the model's card."""


def table(rows: Sequence[Row]) -> str:
    base = rows[0]
    lines = [
        f"| on | clean % | {' | '.join(budget.replace(':', ' ') for budget in BUDGETS)} | 15 corruptions "
        f"| against float: clean | {' | '.join(budget.replace(':', ' ') for budget in BUDGETS)} | corruptions "
        "| both right when clean | left of these at 2/255: float, here |",
        "|---" * (2 * len(BUDGETS) + 7) + "|",
    ]
    for row in rows:
        parts = (row.clean, *(row.left[budget] for budget in BUDGETS), row.corrupted)
        against = (base.clean, *(base.left[budget] for budget in BUDGETS), base.corrupted)
        cells = [_share(accuracy(part)) for part in parts]
        if row is base:
            gaps, both = [""] * (len(parts) + 2), None
        else:
            gaps = [_gap(difference(a, np.repeat(b, len(a), 0))) for a, b in zip(parts, against, strict=True)]
            both = (row.clean.mean(0) >= 0.5) & (base.clean[0] > 0)
            left = [float(of.left[BUDGETS[-1]].mean(0)[both].mean()) for of in (base, row)]
            gaps += [f"{both.sum()}", f"{100 * left[0]:.1f} %, {100 * left[1]:.1f} %"]
        lines.append(f"| {row.name} | {' | '.join((*cells, *gaps))} |")
    return "\n".join(lines)


def _share(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _gap(interval: Interval) -> str:
    return f"{signed_points(interval.mean)} ({signed_points(interval.low)} to {signed_points(interval.high)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder that holds CIFAR-10")
    parser.add_argument("--examples", type=int, default=200, help="test images, the first ones")
    parser.add_argument("--instances", type=int, default=3)
    names = [name for name, *_ in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="the first one is the reference")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "in-situ-robustness")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = Settings(asked.examples, asked.instances, asked.data_dir, asked.runs)
    text = table([measured(given, *row) for row in ROWS if row[0] in asked.rows])
    text += (
        f"\n\nThe first {given.examples} test images, all counted; {given.instances} instances of each device. "
        "Accuracy in % and paired differences in points, with 95 % intervals over images and instances."
    )
    print(text)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        block = f"<!-- robustness:begin -->\n{text}\n<!-- robustness:end -->"
        pattern = r"<!-- robustness:begin -->.*<!-- robustness:end -->"
        write_text(PAGE, re.sub(pattern, lambda _: block, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
