"""Folders of the other kinds of jobs as their commands leave them, made up: what a comparison and a page read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from hwsim.experiments.corruption.records import CorruptionResults, Means, Row
from hwsim.jobs.records import write_file
from hwsim.stats.interval import Interval

IMAGES = 200
DATA = {"name": "digits", "test": 360}
RECEIPT = {"command": "hwsim", "versions": {"hwsim": "0.1.0"}, "git": None}


def hits(share: float, images: int = IMAGES) -> list[int]:
    """The first images are right."""
    return [int(i < round(share * images)) for i in range(images)]


def _folder(folder: Path, config: dict[str, Any], lines: Sequence[dict[str, Any]], name: str) -> Path:
    folder.mkdir(parents=True)
    head = {"config_hash": "0123", "model": {"name": "digits-mlp"}, "device": {"name": "float"}, "data": DATA}
    (folder / "config.yaml").write_text(yaml.safe_dump({**head, **config}))
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "receipt.json").write_text(json.dumps(RECEIPT))
    return folder


def write_corrupt(folder: Path, share: float) -> Path:
    """Clean .95, blur at severity 3 ``share``, both of two chips alike."""

    def line(kind: str, name: str, level: float, kept: float) -> dict[str, Any]:
        record = {"kind": kind, "case": "model", "name": name, "level": level, "draws": 1}
        return {**record, "hits": [hits(kept), hits(kept)]}

    lines = [line("clean", "clean", 0, 0.95), line("corruption", "gaussian-blur", 3, share)]
    _folder(folder, {"corrupted": ["gaussian-blur"], "seed": int(100 * share)}, lines, "metrics.jsonl")
    rows = [
        Row(kept, kept - 0.05, 1.0, "images only", **{key: each[key] for key in ("case", "kind", "name", "level")})
        for each, kept in zip(lines, (0.95, share), strict=True)
    ]
    mean = Interval(share, share - 0.05, 1.0, "images only")
    results = CorruptionResults(
        model="digits-mlp",
        baseline=None,
        device="float",
        data="digits",
        images=IMAGES,
        chips=0,
        severities=[3],
        rows=rows,
        means=[Means(over="common types", types=1, accuracy=share, interval=mean)],
        caveats=["On the first 200 of 360 test images."],
        config_hash="0123",
    )
    write_file(folder / "results.json", results)
    pictures = np.stack([np.full((1, 8, 8), grey, np.float32) for grey in (0.2, 0.6)])
    save_file({"gaussian-blur": pictures}, folder / "pictures.safetensors")
    return folder


def write_training(folder: Path, share: float) -> Path:
    """A card with the test accuracy ``share``."""
    folder = _folder(folder, {"learning": {"epochs": int(100 * share)}}, [], "metrics.jsonl")
    card = {"accuracy_test": {"mean": share, "low": share - 0.05, "high": share + 0.05}, **RECEIPT}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "receipt.json").unlink()
    return folder


def write_ablation(folder: Path, share: float, variants: Mapping[str, float] | None = None) -> Path:
    """Accuracy of every variant, by default ``share`` with everything on and .9 with everything off; three repeats."""
    kept = variants or {"all on": share, "all off": 0.9}
    lines = [
        {"variant": name, "repeat": repeat, "draws": 1, "hits": hits(left)}
        for repeat in range(3)
        for name, left in kept.items()
    ]
    config = {"ablation": {"case": "in-situ"}, "repeats": 3, "seed": int(100 * share)}
    return _folder(folder, config, lines, "ablation.jsonl")


def write_sweep(
    folder: Path, share: float, model: str = "digits-mlp", unfinished: bool = False, page: str = "curves"
) -> Path:
    """Steps of .001, where .9 is kept, and .1, where ``share`` is; two seeds. ``unfinished``: nothing at .1."""
    (folder / "points").mkdir(parents=True)
    block = {"title": "Size of a step", "axes": {"dw": {"keys": ["device.parameters.dw_min"], "values": [0.001, 0.1]}}}
    study = {
        "name": "small",
        "question": "Is it good?",
        "page": page,
        "measurement": "in-situ-accuracy",
        "model": model,
    }
    study |= {"seeds": [0, 1], "blocks": {"step": {**block, "figure": {"x": "dw", "scale": "log"}}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    points = []
    for dw, kept in ((0.001, 0.9), (0.1, share)):
        for seed in (0, 1):
            key = f"{dw}-{seed}"
            points.append({"block": "step", "axes": {"dw": dw}, "seed": seed, "key": key})
            found = {"columns": {"accuracy_share": kept}, "hits": {"accuracy_share": {"draws": 1, "hits": hits(kept)}}}
            found["seconds"] = 1.0
            if not (unfinished and dw == 0.1):
                (folder / "points" / f"{key}.json").write_text(json.dumps(found))
    plan = {"name": "s", "form": "full", "study": str(folder), "points": points, **RECEIPT}
    (folder / "sweep.json").write_text(json.dumps(plan))
    (folder / "results.csv").write_text("block,seed\n")
    return folder
