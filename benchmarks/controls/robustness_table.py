"""Tables and figure of what `robustness.py` measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from robustness import BLOCK, CHAINS, QUERIED, SHELF, Radii, Verdicts, log_of
from train import CONTROLS, accuracies, folder, spread

from hwsim.jobs.records import read_records
from hwsim.jobs.store import write_text
from hwsim.stats.interval import Interval, accuracy, difference, signed_points
from hwsim.stats.paired import mcnemar

HERE = Path(__file__).parent
PAGE, FIGURE = HERE / "README.md", HERE / "left.png"
BASE = "ep-cnn-small"
THREATS = ("clean", *(threat for chain in CHAINS for threat in chain))
PAIRED = ("clean", QUERIED, "l2:0.25")

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Left:
    """What is left of one model's trainings.

    Attributes:
        seeds: of the trainings that were attacked.
        right: by threat, (trainings, images): 1 where the image stands.
        radius: (trainings, images) in linf and pixel units, 0 where wrong already.
        fit: accuracies in % of each training, on training images, validation and test.
        queried: (images, left before, left after) FAB and Square at ``QUERIED``, over trainings.
    """

    model: str
    seeds: tuple[int, ...]
    right: dict[str, Shares]
    radius: Shares
    fit: list[tuple[float, float, float]]
    queried: tuple[int, int, int]

    @cached_property
    def median_radius(self) -> list[float]:
        """Of the images that are right when clean, a number a training."""
        clean = self.right["clean"] > 0
        return [float(np.median(radius[right])) for radius, right in zip(self.radius, clean, strict=True)]


def read(out: Path, model: str, seeds: Sequence[int]) -> Left | None:
    """Of the trainings that were attacked, the images that all of them met."""
    logs = {seed: log_of(out, model, seed) for seed in (seeds if model in CONTROLS else [0])}
    records = {seed: read_records(log, Verdicts, Radii) for seed, log in logs.items() if log.exists()}
    if not records:
        return None
    blocks = set.intersection(*({r.start for r in own if isinstance(r, Radii)} for own in records.values()))
    whole = sorted(start for start in blocks if all(_finished(own, start) for own in records.values()))
    if not whole:
        return None

    def joined(own: Sequence[Any], threat: str) -> list[int]:
        of = {r.start: r.right for r in own if isinstance(r, Verdicts) and r.threat == threat}
        return [each for start in whole for each in of[start]]

    right = {threat: np.array([joined(own, threat) for own in records.values()], dtype=float) for threat in THREATS}
    radii = []
    for own in records.values():
        of = {r.start: r.linf for r in own if isinstance(r, Radii)}
        radii.append([each for start in whole for each in of[start]])
    fit = [each for seed in records if (each := accuracies(folder(out, model, seed))) is not None]
    return Left(model, tuple(records), right, np.array(radii), fit, _queried(records.values()))


def _finished(own: Sequence[Any], start: int) -> bool:
    return set(THREATS) <= {r.threat for r in own if isinstance(r, Verdicts) and r.start == start}


def _queried(logs: Any) -> tuple[int, int, int]:
    images = before = after = 0
    for own in logs:
        of = {r.key: sum(r.right) for r in own if isinstance(r, Verdicts)}
        for r in own:
            if isinstance(r, Verdicts) and r.threat == f"{QUERIED}, queries":
                images, before, after = images + len(r.right), before + of[QUERIED, r.start], after + sum(r.right)
    return images, before, after


def report(out: Path, models: Sequence[str], seeds: Sequence[int], write: bool) -> None:
    """Print what there is; ``write`` puts it into README.md and draws the figure."""
    found = [left for model in models if (left := read(out, model, seeds)) is not None]
    if not found:
        print("nothing attacked yet")
        return
    text = "\n\n".join(each for each in (_main(found), _paired(found), _said(found)) if each)
    print(text)
    if write:
        draw(found, FIGURE)
        page = PAGE.read_text(encoding="utf-8")
        block = f"<!-- robustness:begin -->\n{text}\n<!-- robustness:end -->"
        replaced = re.sub(r"<!-- robustness:begin -->.*<!-- robustness:end -->", lambda _: block, page, flags=re.DOTALL)
        write_text(PAGE, replaced)


def _main(found: Sequence[Left]) -> str:
    lines = [
        f"| model | trainings | training % | {' | '.join(_head(t) for t in THREATS)} | radius /255 |",
        "|---" * (len(THREATS) + 4) + "|",
    ]
    for left in found:
        cells = [_cell(accuracy(left.right[threat])) for threat in THREATS]
        fit = spread([each[0] for each in left.fit]) if left.fit else "–"
        radius = [255 * each for each in left.median_radius]
        of_radius = f"{np.mean(radius):.2f}" + (f" ± {np.std(radius, ddof=1):.2f}" if len(radius) > 1 else "")
        lines.append(f"| {left.model} | {len(left.seeds)} | {fit} | {' | '.join(cells)} | {of_radius} |")
    return "\n".join(lines)


def _head(threat: str) -> str:
    return "clean" if threat == "clean" else threat.replace(":", " ")


def _cell(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _paired(found: Sequence[Left]) -> str:
    """Every control against EP on the same images, training by training of the same seed."""
    base = next((left for left in found if left.model == BASE), None)
    others = [left for left in found if left.model in CONTROLS and left.model != BASE]
    if base is None or not others:
        return ""
    lines = [
        f"| against {BASE} | {' | '.join(f'{_head(t)}, points' for t in PAIRED)} | McNemar p at {_head(QUERIED)} "
        "| both right when clean | left of these: EP, control |",
        "|---" * (len(PAIRED) + 4) + "|",
    ]
    for other in others:
        pairs = [(base.seeds.index(s), other.seeds.index(s)) for s in other.seeds if s in base.seeds]
        images = min(base.radius.shape[1], other.radius.shape[1])
        if not pairs:
            continue
        first, second = (np.array(each) for each in zip(*pairs, strict=True))
        a = {t: base.right[t][first, :images] for t in THREATS}
        b = {t: other.right[t][second, :images] for t in THREATS}
        cells = [_difference(difference(b[t], a[t])) for t in PAIRED]
        p = [
            min(1.0, len(others) * mcnemar(torch.tensor(x > 0), torch.tensor(y > 0)))
            for x, y in zip(b[QUERIED], a[QUERIED], strict=True)
        ]
        both = (a["clean"] > 0) & (b["clean"] > 0)
        of_both = " , ".join(f"{100 * each[QUERIED][both].mean():.1f} %" for each in (a, b)).replace(" ,", ",")
        lines.append(
            f"| {other.model} | {' | '.join(cells)} | {' '.join(_p(each) for each in p)} "
            f"| {both.sum() / len(pairs):.0f} of {images} | {of_both} |"
        )
    return "\n".join(lines)


def _difference(interval: Interval) -> str:
    return f"{signed_points(interval.mean)} ({signed_points(interval.low)} to {signed_points(interval.high)})"


def _p(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"


def _said(found: Sequence[Left]) -> str:
    counts = sorted({left.radius.shape[1] for left in found})
    controls = sum(left.model in CONTROLS and left.model != BASE for left in found)
    images, before, after = (sum(left.queried[i] for left in found) for i in range(3))
    lines = [
        f"The first {' or '.join(f'{count:,}' for count in counts)} test images in blocks of {BLOCK}, in % with 95 % "
        "intervals over trainings and images (over images alone where there is one training). Paired differences are "
        f"control less EP of the same seed. McNemar's p is of each training by itself, times the {controls} controls "
        "compared (Bonferroni); intervals are not widened for that."
    ]
    if images:
        lines.append(
            f"FAB (untargeted, 100 steps) and Square (1,000 queries) tried {before} images that stood at "
            f"{_head(QUERIED)}, of {images}; {before - after} fell."
        )
    return "\n".join(lines)


def draw(found: Sequence[Left], path: Path) -> None:
    """What is left against the budget, a line a model, with its interval."""
    canvas, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharey=True)
    for ax, chain, unit in zip(axes, CHAINS, (255, 1), strict=True):
        budgets = [0.0, *(unit * _epsilon(threat) for threat in chain)]
        for i, left in enumerate(found):
            of = [accuracy(left.right[threat]) for threat in ("clean", *chain)]
            style = {
                "color": f"C{i}",
                "linestyle": "-" if left.model == BASE else ("--", ":", "-.")[i % 3],
                "linewidth": 1.5 if left.model in CONTROLS else 0.9,
            }
            ax.plot(budgets, [100 * each.mean for each in of], label={**CONTROLS, **SHELF}[left.model], **style)
            ax.fill_between(
                budgets, [100 * e.low for e in of], [100 * e.high for e in of], color=f"C{i}", alpha=0.12, linewidth=0
            )
        ax.set_xlabel("linf budget in 1/255" if unit == 255 else "l2 budget")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy in %")
    axes[0].set_ylim(0)
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    canvas.savefig(path, dpi=110)
    plt.close(canvas)


def _epsilon(threat: str) -> float:
    number, _, over = threat.partition(":")[2].partition("/")
    return float(number) / float(over or 1)
