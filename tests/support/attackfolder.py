"""The folder of an attack as `hwsim attack` leaves it, made up: two budgets, 40 images, one check that failed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from hwsim.experiments.attack.results import COLUMNS
from hwsim.experiments.gallery import FILE

IMAGES = 40
BUDGETS = (0.05, 0.1)


def write_attack(folder: Path, left: tuple[float, float] = (0.8, 0.4), data: str = "digits") -> Path:
    """Accuracy ``left`` at the two budgets, .95 when clean; the first images are those that are got right."""
    folder.mkdir(parents=True)
    config = {"config_hash": "0123", "model": {"card": {"name": "digits-mlp"}}, "device": {"name": "float"}}
    config |= {"data": {"name": data, "test": 360}, "threats": [f"linf:{b}" for b in BUDGETS], "examples": IMAGES}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed": int(100 * left[1])}))
    rng = np.random.default_rng(0)
    x = rng.random((IMAGES, 1, 8, 8), dtype=np.float32)
    labels = np.arange(IMAGES) % 10
    tensors = {"labels": labels, "clean": x, "clean.predicted": _read(labels, 0.95)}
    threats, rows = [], []
    for i, (budget, share) in enumerate(zip(BUDGETS, left, strict=True)):
        moved = np.clip(x + budget * np.sign(rng.normal(size=x.shape)), 0, 1).astype(np.float32)
        tensors |= {f"{i}": moved, f"{i}.predicted": _read(labels, share)}
        threats.append(_threat(f"linf:{budget}", share))
        for image in range(IMAGES):
            for attack in ("apgd-ce", "worst"):
                row = {"image": image, "label": labels[image], "threat": f"linf:{budget}", "age_s": "", "chip": "all"}
                row |= {"attack": attack, "seed": 0, "clean": float(image < 0.95 * IMAGES), "draws": 1, "distance": ""}
                rows.append({**row, "attacked": float(image < share * IMAGES)})
    results = {"model": "digits-mlp", "device": "float", "data": data, "images": IMAGES, "chips": 0, "knows": "device"}
    results |= {
        "threats": threats,
        "caveats": ["On the first 40 of 360 test images."],
        "seeds": [0],
        "gradient": "implicit",
        "config_hash": "0123",
    }
    (folder / "results.json").write_text(json.dumps(results))
    with (folder / "examples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    told = {"threats": json.dumps([f"linf:{b}" for b in BUDGETS]), "classes": json.dumps([str(i) for i in range(10)])}
    save_file(tensors, folder / FILE, told)
    receipt = {"command": "hwsim attack --threat linf:0.05", "versions": {"hwsim": "0.1.0"}, "git": None}
    receipt |= {"started": "2026-01-02T00:00:00Z", "seconds": 3.0}
    (folder / "receipt.json").write_text(json.dumps(receipt))
    return folder


def _read(labels: np.ndarray, share: float) -> np.ndarray:
    right = np.arange(IMAGES) < share * IMAGES
    return np.where(right, labels, (labels + 1) % 10)


def _threat(threat: str, share: float) -> dict:
    def row(mean: float) -> dict:
        return {"mean": mean, "low": mean - 0.1, "high": min(mean + 0.1, 1.0), "over": "images only"}

    words = "Accuracy after 10 and 20 steps: 80% and 60%."
    check = {"name": "more steps", "passed": False, "found": words, "meaning": "", "told": f"more steps: {words}"}
    found = {"threat": threat, "age_s": None, "age": None, "draws": 1, "clean": row(0.95)}
    found |= {"worst": {**row(share), "spread": 0.0, "majority": share}, "strayed": {}, "unsettled_share": 0.0}
    found |= {"attacks": {"apgd-ce": row(share)}, "reported": {**row(share), "of": "worst for each image"}}
    return {
        **found,
        "checks": {"images": IMAGES, "checks": [check], "accuracies": {}, "lowest": share},
        "flags": ["more steps"],
    }
