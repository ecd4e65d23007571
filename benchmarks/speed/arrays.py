"""How fast arrays are read and updated: hwsim's read path and cells, aihwkit's compiled tile, a plain product.

    OMP_NUM_THREADS=1 python benchmarks/speed/arrays.py [--repeats 7] [--quick] [--write]

prints the tables of arrays.md; ``--write`` puts them there, between its markers. Everything is measured in one process
on one thread, in turn, and medians of CPU time are told, which other programs on the machine disturb least.
``--quick`` takes one repeat and a sixteenth of the patches.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from aihwkit.simulator.configs import SingleRPUConfig, SoftBoundsDevice
from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType
from torch import Tensor

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window, as_images, as_rows
from hwsim.devices.aihw.synapse import AihwDevice, AihwSynapse
from hwsim.devices.responses import SoftBoundsCell
from hwsim.rng import Streams

PAGE = Path(__file__).with_name("arrays.md")
BEGIN, END = "<!-- arrays:begin -->", "<!-- arrays:end -->"
BATCH = 64
SHAPES = [(64, 128), (512, 784), (128, 1152)]
WINDOW = Window(128, 3, padding=1)  # of 128 channels: an array of 1152 columns
OUT, SIDE = 128, 16  # 64 images of 16 x 16 positions are 16,384 patches
LEAST_SECONDS = 0.02  # short work is repeated within a measurement until it takes this long

# The periphery of aihwkit's presets (7-bit DAC, 9-bit ADC, output noise 0.1), as cheap hardware has it, and with the
# presets' own scaling of every vector by its largest value.
SETTINGS: dict[str, dict[str, object]] = {
    "fixed ranges": {
        "noise_management": NoiseManagementType.NONE,
        "bound_management": BoundManagementType.NONE,
        "out_bound": 12.0,
    },
    "ABS_MAX": {
        "noise_management": NoiseManagementType.ABS_MAX,
        "bound_management": BoundManagementType.NONE,
        "out_bound": 20.0,
    },
}
CELL = {"w_max": 0.6, "w_min": -0.6, "w_max_dtod": 0.3, "w_min_dtod": 0.3, "dw_min": 1e-3, "dw_min_dtod": 0.3}
CELL |= {"dw_min_std": 0.3}
LOADS = {"1 pulse": 1.0, "31 pulses": 31.0}  # what the mean sample's strongest cross-point is expected to get

Work = dict[str, Callable[[], object]]
Seconds = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is timed, on which shape, for how many vectors."""

    what: str
    shape: tuple[int, int]
    vectors: int
    work: Work


def config_of(setting: dict[str, object]) -> SingleRPUConfig:
    config = SingleRPUConfig(device=SoftBoundsDevice(**CELL))
    for io in (config.forward, config.backward):
        base: dict[str, object] = {"inp_bound": 1.0, "inp_res": 1 / 126, "out_res": 1 / 510, "out_noise": 0.1}
        for name, value in {**base, **setting}.items():
            setattr(io, name, value)
    return config


def array_of(setting: dict[str, object], post: int, pre: int) -> AihwSynapse:
    """An array of random weights that use a third of the devices' range."""
    synapse = AihwDevice(config_of(setting)).synapse(post, pre, Streams(0))
    synapse.program(0.2 * torch.randn(post, pre, generator=torch.Generator().manual_seed(0)).clamp(-1, 1))
    return synapse


def activities(*shape: int, seed: int = 1) -> Tensor:
    """States as networks have them: in [0, 1], half of them at 0."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1).clamp_min(0)


def differences(*shape: int, seed: int = 2) -> Tensor:
    """What post factors of updates look like: small, of either sign, half of them 0."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng) * (torch.rand(*shape, generator=rng) < 0.5)


def compiled_forward(synapse: AihwSynapse, x: Tensor) -> Tensor:
    return synapse.tile.tile.forward(x, False, False, False, True, False)


def compiled_transpose(synapse: AihwSynapse, d: Tensor) -> Tensor:
    return synapse.tile.tile.backward(d, False, False, False, False)


def dense_reads(setting: dict[str, object], post: int, pre: int) -> list[Row]:
    synapse = array_of(setting, post, pre)
    x, d, w = activities(BATCH, pre), activities(BATCH, post), synapse.weight().contiguous()
    forward: Work = {
        "product": lambda: x @ w.T,
        "compiled": lambda: compiled_forward(synapse, x),
        "ours": lambda: synapse.read(x),
    }
    transpose: Work = {
        "product": lambda: d @ w,
        "compiled": lambda: compiled_transpose(synapse, d),
        "ours": lambda: synapse.read_transpose(d),
    }
    return [Row("forward", (post, pre), BATCH, forward), Row("transpose", (post, pre), BATCH, transpose)]


def image_reads(setting: dict[str, object], batch: int) -> list[Row]:
    """Convolution: the compiled tile is given patches, which are cut and laid back as ``AnalogConv2d`` does it."""
    shape = (OUT, WINDOW.columns)
    synapse = array_of(setting, *shape)
    bank, w, size = kernels(synapse, WINDOW), synapse.weight().contiguous(), (SIDE, SIDE)
    x = activities(batch, WINDOW.channels, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    d = activities(batch, OUT, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    patches, rows = WINDOW.patches(x).contiguous(), as_rows(d).contiguous()
    forward: Work = {
        "product": lambda: WINDOW.correlate(x, w),
        "compiled": lambda: as_images(compiled_forward(synapse, WINDOW.patches(x).contiguous()), size),
        "compiled alone": lambda: compiled_forward(synapse, patches),
        "ours": lambda: bank.read(x),
    }
    transpose: Work = {
        "product": lambda: WINDOW.spread(d, w, size),
        "compiled": lambda: WINDOW.fold(compiled_transpose(synapse, as_rows(d).contiguous()), size),
        "compiled alone": lambda: compiled_transpose(synapse, rows),
        "ours": lambda: bank.read_transpose(d, size),
    }
    vectors = batch * SIDE**2
    return [Row("forward, images", shape, vectors, forward), Row("transpose, images", shape, vectors, transpose)]


def updates(load: float, post: int, pre: int, vectors: int) -> Row:
    """One update by pulses; the rate is such that ``load`` pulses are expected at the mean sample's strongest cell."""
    setting = SETTINGS["fixed ranges"]
    compiled = array_of(setting, post, pre)
    cell = CellDevice(SoftBoundsCell(**CELL), substeps=4).synapse(post, pre, Streams(0))
    cell.program(compiled.weight())
    pre_factor, post_factor = activities(vectors, pre), differences(vectors, post)
    strongest = (pre_factor.abs().amax(1) * post_factor.abs().amax(1)).mean().item()
    rate = load * CELL["dw_min"] / strongest
    weight, negated = torch.zeros(post, pre), -post_factor
    compiled.tile.set_learning_rate(rate)
    work: Work = {
        "product": lambda: weight.addmm_(post_factor.T, pre_factor, alpha=rate),
        "compiled": lambda: compiled.tile.update(pre_factor, negated),
        "ours on the tile": lambda: compiled.update(pre_factor, post_factor, rate),
        "cells": lambda: cell.update(pre_factor, post_factor, rate),
    }
    return Row("update", (post, pre), vectors, work)


def seconds_of(work: Work, repeats: int) -> Seconds:
    """CPU seconds of each, medians over repeats taken in turn after one to warm up."""
    found: dict[str, list[float]] = {name: [] for name in work}
    rounds = dict.fromkeys(work, 1)
    for repeat in range(repeats + 1):
        for name, run in work.items():
            start = time.process_time()
            for _ in range(rounds[name]):
                run()
            taken = (time.process_time() - start) / rounds[name]
            if repeat:
                found[name].append(taken)
            else:
                rounds[name] = 1 + int(LEAST_SECONDS / max(taken, 1e-6))
    return {name: statistics.median(times) for name, times in found.items()}


def per_second(vectors: int, seconds: float) -> str:
    return f"{vectors / seconds:,.0f}"


def table(rows: Sequence[tuple[str, Row, Seconds]], ours: str, others: Sequence[str]) -> str:
    head = ["array", "what", "vectors", *(f"{name} /s" for name in ("product", *others, ours))]
    head += [f"{ours} : {name}" for name in ("compiled", *(n for n in others if n == "compiled alone"))]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for setting, row, seconds in rows:
        post, pre = row.shape
        cells = [f"{post} x {pre}", f"{row.what}{setting and ', '}{setting}", f"{row.vectors:,}"]
        cells += [per_second(row.vectors, seconds[n]) if n in seconds else "" for n in ("product", *others, ours)]
        for name in ("compiled", *(n for n in others if n == "compiled alone")):
            cells.append(f"{seconds[name] / seconds[ours]:.2f}" if name in seconds else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(repeats: int, images: int) -> str:
    """The whole section between the markers."""
    reads = []
    for setting, values in SETTINGS.items():
        for post, pre in SHAPES:
            reads += [(setting, row, seconds_of(row.work, repeats)) for row in dense_reads(values, post, pre)]
        reads += [(setting, row, seconds_of(row.work, repeats)) for row in image_reads(values, images)]
    writes = []
    for name, load in LOADS.items():
        shapes = [(*shape, BATCH) for shape in SHAPES]
        if load == 1:  # 31 pulses for each of 16,384 patches is what no recipe asks for
            shapes.append((OUT, WINDOW.columns, images * SIDE**2))
        for shape in shapes:
            row = updates(load, *shape)
            writes.append((name, row, seconds_of(row.work, repeats)))
    return "\n".join(
        [
            "**Reads**: vectors a second, and how many times as many as the compiled tile",
            "",
            table(reads, "ours", ("compiled", "compiled alone")),
            "",
            "**Updates by pulses**: samples a second, and how many times as many as the compiled tile",
            "",
            table(writes, "cells", ("compiled", "ours on the tile")),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one repeat, 4 images in place of 64")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats, images = (1, 4) if options.quick else (options.repeats, BATCH)
    text = measured(repeats, images)
    print(text)
    if options.write:
        seen = PAGE.read_text(encoding="utf-8")
        found = re.compile(rf"({BEGIN}\n).*?({END})", re.DOTALL)
        cpu = platform.processor() or platform.machine()
        where = f"{cpu}, torch {torch.__version__.partition('+')[0]}, median of {repeats}, one thread, CPU time."
        PAGE.write_text(found.sub(lambda m: f"{m[1]}{text}\n\n{where}\n{m[2]}", seen), encoding="utf-8")


if __name__ == "__main__":
    main()
