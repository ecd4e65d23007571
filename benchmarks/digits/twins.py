"""Both phases of equilibrium propagation on one set of arrays or on twins, with a share of the devices stuck.

    python benchmarks/digits/twins.py                                  # about 5 minutes on an idle core
    python benchmarks/digits/twins.py --kinds last --shares 0.1

Devices are bounded and take exact updates, so that what is lost is the defects' doing: 64-128-10 on digits, weights
within +-0.5, four epochs in situ, 360 test images, seeds as given. Everything repeats bit for bit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from hwsim.errors import WorkError
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.evaluation import measure
from hwsim.experiments.requests import RunRequest
from hwsim.experiments.trained import trained
from hwsim.rng import Streams

DEVICE = """\
cell: linear-step
parameters: {dw_min: 1e-4, gamma_up: 0.0, gamma_down: 0.0, w_max: 0.5, w_min: -0.5}
update: {pulses: mean}
"""
KINDS = {"last": ("stuck_last",), "low": ("stuck_low",), "low+high": ("stuck_low", "stuck_high")}
"""Defects: at their first conductance, at the lowest, or half of them at the lowest and half at the highest."""


def accuracy(folder: Path, kind: str, share: float, hardware_of_phases: str, seed: int) -> float | None:
    """Share of test images recognised; None where training diverged."""
    settings = ["in_situ.epochs=4", f"in_situ.phase_hardware={hardware_of_phases}"]
    settings += [f"device.array.{key}={share / len(KINDS[kind])}" for key in KINDS[kind]]
    job = plan_run(RunRequest(device=str(folder), seed=seed, repeats=1, settings=settings))
    streams = Streams(seed).child("repeat", 0)
    try:
        net = trained(job.model, job.device.device, job.in_situ, job.data, streams)
    except WorkError:
        return None
    return measure(net, *job.data.test, job.model.inference, 1, streams.child("read")).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--shares", nargs="*", type=float, default=[0.005, 0.02, 0.1])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| stuck | share | shared | twin |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "rpu-config.yaml").write_text(DEVICE)
        for kind in arguments.kinds:
            for share in arguments.shares:
                cells = []
                for phases in ("shared", "twin"):
                    found = [accuracy(folder, kind, share, phases, seed) for seed in arguments.seeds]
                    cells.append(" ".join("diverged" if x is None else f"{100 * x:.1f}" for x in found))
                print(f"| {kind} | {share:.1%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
