"""How the form of EP's update decides what a device can learn: the same two products, written in three ways.

    python benchmarks/digits/update_forms.py --write

"difference" writes a b^T - c d^T as (a - c)(b + d)^T / 2 + (a + c)(b - d)^T / 2; "interleaved" writes the two products'
rows alternating in one call; "two-phase" writes one product after the other. In exact arithmetic all three are equal.
With --write the table replaces the one between the <!-- forms:begin --> and <!-- forms:end --> marks of README.md here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accuracy import measured, write_table

from hwsim.data import dataset as data
from hwsim.learning.ep import UPDATE_FORMS

DEVICES = ("ideal", "idealized", "capacitor", "ecram", "reram-es", "reram-sb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    digits = data.load("digits").merged()
    lines = [f"| device | {' | '.join(UPDATE_FORMS)} |", "|---" * (1 + len(UPDATE_FORMS)) + "|"]
    print("\n".join(lines), flush=True)
    for name in DEVICES:
        cells = []
        for form in UPDATE_FORMS:
            found = measured(name, arguments.seeds, digits, [("in_situ.update_form", form)]).interval
            cells.append(f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if arguments.write:
        note = f"Test accuracy in %, 95 % interval, {arguments.seeds} seeds; printed by `update_forms.py --write`."
        write_table(Path(__file__).parent / "README.md", "\n".join([*lines, "", note]), "forms")


if __name__ == "__main__":
    main()
