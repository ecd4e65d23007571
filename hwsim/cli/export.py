"""``hwsim export``: what other programs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.app import Group, app
from hwsim.cli.options import DataDir, Seed
from hwsim.errors import InputError

export_app = Group(help="What other programs take: netlists for SPICE.", no_args_is_help=True)
app.add_typer(export_app, name="export")


@export_app.callback()
def _group() -> None:
    """What other programs take: netlists for SPICE."""


@export_app.command()
def spice(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run or a training, or a model.")],
    out: Annotated[Path, typer.Option(help="The netlist; an older one is replaced as a whole.")],
    array: Annotated[
        str | None,
        typer.Option(help="Read of one array, such as layer0.weight. (default: a resistive network as a whole)"),
    ] = None,
    image: Annotated[int, typer.Option(help="Which test image, from 0.", min=0)] = 0,
    position: Annotated[int, typer.Option(help="Of a convolution's window, from 0, line by line.", min=0)] = 0,
    tile: Annotated[str | None, typer.Option(help="ROW,COLUMN, where the array is split into tiles.")] = None,
    case: Annotated[
        str | None, typer.Option(help="Of a run: float, programmed, in-situ or what else it has. (default: in-situ)")
    ] = None,
    instance: Annotated[int, typer.Option(help="Which device instance (a run's repeat), from 0.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="Program a model's weights onto this device.")] = None,
    wire_ohm: Annotated[float | None, typer.Option(help="Of a wire segment. (default: the device's)")] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Write the SPICE netlist of a resistive network or of one read of a crossbar: its conductances and its wires."""
    from hwsim.experiments.export.spice import Choice, netlist, read_source
    from hwsim.jobs.store import write_text

    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; expected the name of a netlist, such as {out / 'read.cir'}")
    read = read_source(source, case=case, instance=instance, device=device, seed=seed, data_dir=data_dir)
    text = netlist(read, Choice(array, image, position, _tile(tile), wire_ohm))
    write_text(out, text)
    print(f"{out}: {text.count(chr(10) + 'r')} resistors; run it with ngspice -b {out}")


def _tile(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--tile {text}: expected ROW,COLUMN, such as 0,1")
    return int(parts[0]), int(parts[1])
