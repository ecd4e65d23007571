"""A run folder as `hwsim run` leaves it, made up: known accuracies, one mistake planted where a test asks for it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

CASES = ("float", "programmed", "in-situ")
DRIFT = tuple(f"programmed, {age}" for age in ("1 s", "1 h", "1 day", "1 month"))
SIZES = (64, 128, 10)
LOSS = {"float": 0.02, "in-situ": 0.07}
EVALUATION = {
    "draws": 5,
    "input_noise": {"sigma": [0.1, 0.2, 0.3]},
    "corruptions": {"types": ["gaussian-blur", "contrast"], "severities": [1, 2, 3, 4, 5]},
    "pgd": {"norm": "linf", "epsilon": [0.02, 0.05, 0.1, 0.2, 0.5]},
}


def conditions() -> Iterable[tuple[str, float, str]]:
    """Condition, level and unit, clean first."""
    yield "clean", 0.0, ""
    yield from (("input-noise", sigma, "sigma") for sigma in EVALUATION["input_noise"]["sigma"])
    for name in EVALUATION["corruptions"]["types"]:
        yield from ((name, severity, "severity") for severity in EVALUATION["corruptions"]["severities"])
    yield from (("pgd-linf", epsilon, "epsilon") for epsilon in EVALUATION["pgd"]["epsilon"])


def accuracy(case: str, condition: str, level: float) -> float:
    """The true accuracy of a cell."""
    loss = LOSS.get(case, 0.04 + 0.03 * (CASES + DRIFT).index(case))
    steep = {"input-noise": 1.5, "gaussian-blur": 0.06, "contrast": 0.03, "pgd-linf": 6.0}.get(condition, 0.0)
    return float(np.clip((1 - loss) * (1 - steep * level), 0.0, 1.0))


def records(cases: Sequence[str], repeats: int, images: int) -> Iterable[dict[str, Any]]:
    rng = np.random.default_rng(0)
    hardness = rng.random(images)
    for repeat in range(repeats):
        for case in cases:
            head = {"case": case, "repeat": repeat}
            if not case.startswith("programmed"):
                for epoch in range(1, 11):
                    learnt = (1 - LOSS[case]) * (1 - np.exp(-epoch / 2)) + 0.1 * np.exp(-epoch / 2)
                    record = {"kind": "training", **head, "epoch": epoch, "cost": 1.2 - learnt + 0.01 * repeat}
                    record |= {"accuracy_train": learnt, "accuracy_validation": None, "unsettled_share": 0.01}
                    pulses = [5.0 / epoch, 0.0, 2.0 / epoch, 0.0] if case == "in-situ" else [0.0] * 4
                    record |= {
                        "residual": 1e-3,
                        "seconds": 0.5,
                        "rates": [0.1, 0.1],
                        "k_mean": pulses,
                        "k_max": [10 * k for k in pulses],
                    }
                    yield {**record, "k_limit": [31.0, None, 31.0, None]}
            for condition, level, unit in conditions():
                p = accuracy(case, condition, level) + 0.004 * rng.normal()
                draws = 1 if case == "float" else 5
                logit = 40 * (p - hardness) if draws > 1 else 1e6 * (p - hardness)
                hits = rng.binomial(draws, 1 / (1 + np.exp(-np.clip(logit, -30, 30))))
                record = {"kind": "evaluation", **head, "condition": condition, "level": level, "level_unit": unit}
                record |= {"draws": draws, "hits": hits.tolist(), "unsettled_share": 0.0}
                yield {**record, "noise_floor_share": 0.0 if case == "float" else 0.9, "seconds": 0.2}
            layers = []
            for i, (pre, post) in enumerate(itertools.pairwise(SIZES)):
                for part, shape in (("weight", [post, pre]), ("bias", [post, 1])):
                    layer = {
                        "layer": f"layer{i}.{part}",
                        "shape": shape,
                        "k_mean": None,
                        "k_max": None,
                        "k_limit": None,
                    }
                    if case == "in-situ" and part == "weight":
                        layer |= {"k_mean": 0.0, "k_max": 0.0, "k_limit": 31.0}
                    layers.append({**layer, "clipped_share": 0.02, "saturated_share": 0.0})
            yield {"kind": "diagnostics", **head, "layers": layers}
            steps, floor = (
                np.arange(1, 41),
                0.0 if case == "float" else 0.01 * (1 + CASES.index(case.partition(",")[0])),
            )
            residual = np.exp(-steps / 4) + floor + 1e-6
            yield {
                "kind": "relaxation",
                **head,
                "energy": (-3 * (1 - residual)).tolist(),
                "residual": residual.tolist(),
            }
    yield {"kind": "something of a later version", "case": "float", "repeat": 0, "value": [1, 2]}


def write_run(
    folder: Path,
    *,
    cases: Sequence[str] = CASES,
    repeats: int = 3,
    images: int = 120,
    change: Any = lambda record: record,
    receipt: bool = True,
) -> Path:
    """Write the folder; ``change`` maps every record to another one, or to None to leave it out."""
    (folder / "weights").mkdir(parents=True)
    config = {
        "config_hash": "0123456789abcdef",
        "device": {
            "name": "ecram",
            "summary": "Electro-chemical RAM, <1 % asymmetric",
            "kind": "aihwkit",
            "resolved": {"a": 1},
        },
        "model": {
            "name": "digits-mlp",
            "network": {"type": "layered-hopfield", "layers": list(SIZES)},
            "inference": {"steps": 60, "tolerance": 1e-3},
            "evaluation": EVALUATION,
        },
        "data": {"name": "digits", "train": 1437, "test": 360},
        "seed": 0,
        "repeats": repeats,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    changed = [change(record) for record in records(cases, repeats, images)]
    lines = [json.dumps(record) for record in changed if record is not None]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "evaluation", "case": "fl']))
    rng = np.random.default_rng(1)
    for case in cases:
        tensors = {}
        for i, (pre, post) in enumerate(itertools.pairwise(SIZES)):
            raw = np.clip(rng.normal(0, 0.3, (post, pre)), -0.6, 0.6).astype(np.float32)
            tensors |= {
                f"layer{i}.weight": raw * 1.7,
                f"layer{i}.bias": rng.normal(0, 0.1, (post, 1)).astype(np.float32),
            }
            tensors[f"layer{i}.conductance.weight"] = raw * 1.7 if case == "float" else raw
            if case != "float":
                tensors[f"layer{i}.conductance.g_plus_uS"] = np.maximum(raw, 0) * 40
        save_file(tensors, folder / "weights" / f"{case.replace(', ', '-').replace(' ', '')}-0.safetensors")
    if receipt:
        text = {
            "command": "hwsim run --device devices/ecram/rpu-config.yaml",
            "config_hash": "0123456789abcdef",
            "versions": {"hwsim": "0.1.0", "torch": "2.10.0"},
            "git": None,
            "machine": {"system": "Linux", "cores": 2},
            "seeds": {"root": 0, "repeats": list(range(repeats))},
            "streams": {"exact": ["data order", "reads"], "statistical": ["pulses of the compiled tile"]},
            "started": "2026-01-01T00:00:00Z",
            "seconds": 118.2,
        }
        (folder / "receipt.json").write_text(json.dumps(text))
    return folder
