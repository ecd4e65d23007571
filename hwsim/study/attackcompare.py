"""Two attacked models on the same images: who keeps more, by how much, and may it be chance?"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.robust.scores import mcnemar
from hwsim.study.ageing import told_age
from hwsim.study.attackresults import COLUMNS
from hwsim.study.interval import difference

Shares = dict[tuple[str, str], dict[int, float]]
"""(threat, attack) -> image -> share of draws, over all chips, that found the label."""


def compare(first: Path, second: Path) -> list[dict[str, Any]]:
    """A row a threat and attack that both folders have, the images of both paired.

    ``difference`` is first minus second with its 95 % interval over images; ``p`` is McNemar's exact two-sided
    p-value of the votes (label found in more than half of the draws). InputError where nothing can be paired.
    """
    a, b = read_shares(first), read_shares(second)
    rows = []
    for key in (key for key in a if key in b):
        images = sorted(set(a[key]) & set(b[key]))
        if not images:
            continue
        own, other = (np.array([shares[key][image] for image in images]) for shares in (a, b))
        gap = difference(own[None], other[None])
        row: dict[str, Any] = {"threat": key[0], "attack": key[1], "images": len(images)}
        row |= {"first": float(own.mean()), "second": float(other.mean())}
        row |= {"difference": gap.mean, "low": gap.low, "high": gap.high, "p": mcnemar(_votes(own), _votes(other))}
        rows.append(row)
    if not rows:
        raise InputError(f"{first} and {second}: no threat and attack on the same images in both")
    return rows


def read_shares(folder: Path) -> Shares:
    """The shares of a folder of ``hwsim attack``, "clean" among the attacks. InputError where there are none."""
    path = folder / "examples.csv"
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise InputError(
                    f"{path}: has no column {', '.join(sorted(missing))}; expected what hwsim attack wrote"
                )
            rows = list(reader)
            ages = {row["age_s"] for row in rows}
            joint = {row["threat"] for row in rows if row["seed"] == "all"}
            for row in rows:
                # Chips of one age are compared by threat alone, so that a folder can be compared with an older chip's.
                threat = row["threat"] + (f", {told_age(float(row['age_s']))}" if len(ages) > 1 else "")
                if row["attack"] == "worst" and row["threat"] in joint and row["seed"] != "all":
                    continue  # the worst over attack seeds stands for them
                of = found.setdefault((threat, row["attack"]), {})
                of.setdefault(int(row["image"]), []).append(float(row["attacked"]))
                if row["attack"] == "worst":
                    clean = found.setdefault((threat, "clean"), {})
                    clean.setdefault(int(row["image"]), []).append(float(row["clean"]))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a folder of hwsim attack") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return {key: {image: sum(s) / len(s) for image, s in of.items()} for key, of in found.items()}


def _votes(shares: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(shares > 0.5)
