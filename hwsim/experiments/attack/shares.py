"""What attacks left of every image, read back for comparison."""

from __future__ import annotations

import csv
from pathlib import Path

from hwsim.errors import InputError
from hwsim.experiments.ageing import told_age
from hwsim.experiments.attack.results import COLUMNS

Shares = dict[tuple[str, str], dict[int, float]]
"""(threat, attack) -> image -> share of draws that were right, over all device instances."""


def read_shares(folder: Path) -> Shares:
    """The shares of a folder of ``hwsim attack``, "clean" among the attacks. InputError where there are none."""
    path = folder / "examples.csv"
    shares: dict[tuple[str, str], dict[int, list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise InputError(
                    f"{path}: has no column {', '.join(sorted(missing))}; expected what hwsim attack wrote"
                )
            rows = list(reader)
            for line, row in enumerate(rows, 2):
                if None in row.values() or not all(0 <= float(row[name]) <= 1 for name in ("attacked", "clean")):
                    raise InputError(f"{path}:{line}: expected {len(COLUMNS)} cells, with shares from 0 to 1")
            ages = {row["age_s"] for row in rows}
            joint = {row["threat"] for row in rows if row["seed"] == "all"}
            for row in rows:
                # One age is compared by threat alone, so that a folder can be compared with that of another age.
                threat = row["threat"] + (f", {told_age(float(row['age_s']))}" if len(ages) > 1 else "")
                if row["attack"] == "worst" and row["threat"] in joint and row["seed"] != "all":
                    continue  # the worst over attack seeds stands for them
                of = shares.setdefault((threat, row["attack"]), {})
                of.setdefault(int(row["image"]), []).append(float(row["attacked"]))
                if row["attack"] == "worst":
                    clean = shares.setdefault((threat, "clean"), {})
                    clean.setdefault(int(row["image"]), []).append(float(row["clean"]))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a folder of hwsim attack") from error
    except (ValueError, OverflowError, csv.Error) as error:
        raise InputError(f"{path}: {error}") from error
    return {key: {image: sum(s) / len(s) for image, s in of.items()} for key, of in shares.items()}
