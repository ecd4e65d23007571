"""``hwsim compare``: what differs between two jobs, and by how much."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hwsim.cli.app import app, console
from hwsim.cli.options import command_line

SHOWN = 60
"""Characters of a value in a table; --json has it whole."""


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, sweep, ablation, attack, corruption or training.")],
    second: Annotated[Path, typer.Argument(help="Another of the same kind.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a page, one HTML file, in place of the tables.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every figure. [default: the first 40]")] = False,
) -> None:
    """What differs in configuration, and in every figure that both have: difference with its 95 % interval.

    Paired, image by image, where both were measured on the same test images, with McNemar's exact test; else unpaired.
    """
    from hwsim.experiments.compare import compare as compared
    from hwsim.reports.compare import write_compare_page
    from hwsim.stats.interval import percent

    comparison = compared(first, second)
    if out is not None:
        page = write_compare_page(comparison, out, command_line())
        print(f"page: {page}", file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(comparison.as_record(), indent=2, default=str))
        return
    if out is not None:
        return
    names = comparison.names
    for title, pairs in (("configuration", comparison.configuration), ("software", comparison.software)):
        table = Table(title, *names, box=None, pad_edge=False)
        for path, values in pairs.items():
            table.add_row(path, *map(_short, values))
        console.print(table if pairs else f"{title}: no difference")
        print()
    shown = comparison.rows if all_ else comparison.rows[:40]
    table = Table("result", *names, "difference", "95 % interval", "McNemar p", "rests on", box=None, pad_edge=False)
    for row in shown:
        gap, p = row.interval, "" if row.p is None else f"{row.p:.2g}"
        differs = gap.points + (" *" if row.apart else "")
        table.add_row(row.name, percent(row.first), percent(row.second), differs, gap.points_range, p, row.how)
    console.print(table if comparison.rows else "result: no figure that both have")
    if len(shown) < len(comparison.rows):
        print(f"and {len(comparison.rows) - len(shown)} more (--all, --json)")
    if comparison.rows:
        apart = sum(row.apart for row in comparison.rows)
        chance = 0.05 * len(comparison.rows)
        print(
            f"\n{apart} of {len(comparison.rows)} intervals exclude zero (*); where nothing differs, about "
            f"{chance:.1f} would by chance. Points, {names[0]} minus {names[1]}."
        )
    for name, only in zip(names, comparison.only, strict=True):
        if only:
            print(f"only in {name}: {'; '.join(only[:6])}{f' and {len(only) - 6} more' if len(only) > 6 else ''}")


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
