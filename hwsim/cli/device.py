"""``hwsim device``: the shelf of devices, devices of one's own, and what can be told of any of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hwsim.cli.app import console, device_app
from hwsim.cli.options import DataDir, DeviceArgument, Seed, options_of
from hwsim.experiments.requests import RunRequest

Gap = Annotated[float | None, typer.Option(help="Relative difference allowed between the two read directions.")]


if TYPE_CHECKING:
    from hwsim.characterisation.reading import Reading


@device_app.command("list")
def list_() -> None:
    """The devices on the shelf and those that installed packages bring."""
    from hwsim.cards.listing import list_devices

    table = Table("device", "kind", "what it is", box=None, pad_edge=False)
    for item in list_devices():
        table.add_row(item.name, item.kind, item.summary)
    console.print(table)


@device_app.command()
def show(device: DeviceArgument) -> None:
    """Everything a device's YAML stands for, defaults included."""
    from hwsim.cards.device import describe, read_device
    from hwsim.cards.yamlfile import to_yaml

    print(to_yaml(describe(read_device(device))), end="")


@device_app.command()
def export(
    device: DeviceArgument,
    to: Annotated[
        str,
        typer.Option(help="python, the code that builds aihwkit's configuration, or cell, a card of a python cell."),
    ] = "python",
) -> None:
    """A device in another form: the Python of its aihwkit configuration, or a python cell that does the same."""
    from hwsim.cards.device import read_device
    from hwsim.cards.export_cell import cell_of
    from hwsim.cards.export_python import python_of
    from hwsim.errors import InputError

    forms = {"python": python_of, "cell": cell_of}
    if to not in forms:
        raise InputError(f"--to: expected one of {', '.join(forms)}, got {to}")
    print(forms[to](read_device(device)), end="")


@device_app.command()
def validate(
    device: DeviceArgument,
    seed: Seed = 0,
    gap: Gap = None,
    model: Annotated[str | None, typer.Option(help="Also say how its updates would arrive in training this.")] = None,
    data_dir: DataDir = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the model card.")] = None,
) -> None:
    """Read a device's YAML to the last key, then put its arrays through the conformance suite.

    Exit code 1 if the device fails a check, 2 if its YAML is wrong.
    """
    from hwsim.errors import InputError
    from hwsim.experiments.device_run.job import plan_run
    from hwsim.experiments.update_quality import as_records, lines

    if settings and model is None:
        raise InputError("--set: goes over a model card; give --model as well")
    request = RunRequest(device=str(device), model=model, data_dir=data_dir, seed=seed, settings=settings or [])
    job = plan_run(request) if model is not None else None
    from hwsim.cards.device import read_device
    from hwsim.errors import WorkError
    from hwsim.rng import Streams
    from hwsim.testing import conformance

    allowed = _gap(gap)
    checks = conformance(read_device(device).device, Streams(seed), allowed)
    table = Table("check", "", "found", "expected", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, "ok" if check.passed else "FAILED", check.found, check.expected)
    console.print(table)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise WorkError(f"{device}: fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}")
    print(f"{device}: valid")
    if job is not None:
        of_updates = as_records(job.model, job.device.device, job.in_situ, job.data.train, seed)
        print("\n".join(lines(of_updates) or [f"{device}: no pulses move the weights that are read"]))


@device_app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the new device and of its folder.")],
    out: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("devices"),
) -> None:
    """Write the folder of a device of your own: a commented YAML file and its Python cell, which run at once."""
    from hwsim.characterisation.skeleton import write_skeleton

    folder = write_skeleton(name, out)
    print(f"wrote {folder}/rpu-config.yaml, cell.py, README.md")
    print(f"edit cell.py, then: hwsim device validate {folder}")


Files = Annotated[
    list[Path],
    typer.Argument(help="CSV, text or .xlsx: device,cycle,pulse,polarity,g_uS; or up,down; or a column a train."),
]
Unit = Annotated[str | None, typer.Option(help="Of what was read (uS, kohm, nA, ...); else as the heads say.")]
ReadVoltage = Annotated[float | None, typer.Option(help="Volts over which currents were read.")]
Trains = Annotated[
    str | None, typer.Option(help="Trains that follow each other, where the file does not say: up:50,down:50.")
]
Sheet = Annotated[str | None, typer.Option(help="Of a workbook. [default: the first with numbers]")]


@device_app.command("traces")
def traces_(
    files: Files,
    out: Annotated[Path | None, typer.Option(help="Folder for traces.svg and traces.png. [default: here]")] = None,
    unit: Unit = None,
    read_voltage: ReadVoltage = None,
    trains: Trains = None,
    sheet: Sheet = None,
) -> None:
    """Show how a file of measured pulses is understood, as a table and a picture, before any fit."""
    from hwsim.characterisation.traces import read_traces
    from hwsim.characterisation.traces_page import MOST_ROWS, lines_of, rows_of, write_traces_figure

    measured = read_traces(files, _reading(unit, read_voltage, trains, sheet))
    for line in lines_of(measured):
        print(line)
    unit_shown = "uS" if measured.unit == "uS" else "data's unit"
    heads = (
        "device",
        "cycle",
        "pulses",
        "reads",
        "further reads",
        f"first to last ({unit_shown})",
        "lowest to highest",
    )
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows_of(measured):
        table.add_row(*row)
    console.print(table)
    if len(measured.cycles) > MOST_ROWS:
        print(f"... {len(measured.cycles) - MOST_ROWS} more traces")
    svg, png = write_traces_figure(measured, out or Path())
    print(f"wrote {svg}, {png}")


@device_app.command()
def fit(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder of the new device.")],
    unit: Unit = None,
    read_voltage: ReadVoltage = None,
    trains: Trains = None,
    sheet: Sheet = None,
    response: Annotated[str | None, typer.Option(help="Fit only this response; else all, and choose.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a device that is there already.")] = False,
    accept: Annotated[bool, typer.Option(help="End with exit code 0 though the fit does not follow the data.")] = False,
) -> None:
    """Turn measured pulses into a device: fit its response, spreads and noise, and write its YAML, card and figure.

    The fitted cell then runs free along all pulses of the data. Exit code 1 if it does not follow them (its files are
    written and say so), 2 if the file cannot be read or fitted.
    """
    from hwsim.characterisation.fit import fit_device
    from hwsim.errors import WorkError

    result = fit_device(files, out, _reading(unit, read_voltage, trains, sheet), response, overwrite)
    for line in result.lines():
        print(line)
    if not (result.passed or accept):
        raise WorkError(f"{out}: the fit did not pass its check; look at {result.png}, or --accept it as it is")
    print(f"next: hwsim ablate --device {out}    (its accuracy, and the property that limits it)")
    print(f"      hwsim device card {out} --write    (its plot and conformance checks, into its README.md)")


@device_app.command()
def plot(
    device: DeviceArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for device.svg and device.png. [default: here]")] = None,
    seed: Seed = 0,
) -> None:
    """Draw what a device does: pulse response, steps and symmetry point, read noise, retention, a map of its array."""
    from hwsim.cards.device import read_device
    from hwsim.characterisation.portrait import portray, write_device_figure

    card = read_device(device)
    figures = write_device_figure(portray(card.device, seed), card.name, out or Path())
    print(f"wrote {', '.join(str(path) for path in figures)}")


@device_app.command()
def card(
    devices: Annotated[list[str] | None, typer.Argument(help="Shelf names, folders or files. [default: the shelf]")] = (
        None
    ),
    write: Annotated[bool, typer.Option(help="Put plot and checks into each device's folder and README.md.")] = False,
    seed: Seed = 0,
    gap: Gap = None,
) -> None:
    """A device's plot and conformance result, for its card; --write keeps them there.

    Exit code 1 if a device fails a check (its card says so), 2 if its YAML is wrong.
    """
    from hwsim.cards.device import read_device
    from hwsim.cards.shelf import items
    from hwsim.characterisation.device_page import device_page, write_page
    from hwsim.errors import WorkError

    allowed = _gap(gap)
    failed = []
    for given in devices or items("devices"):
        item = read_device(given)
        page = device_page(item, given, seed, allowed)
        if write:
            figure, readme = write_page(page, item, seed)
            passed = len(page.checks) - len(page.failed)
            print(f"{given}: {passed} of {len(page.checks)} checks passed; wrote {figure}, {readme.name}", flush=True)
        else:
            print(page.section)
        if page.failed:
            failed.append(f"{given} fails {', '.join(page.failed)}")
    if failed:
        raise WorkError("; ".join(failed))


@device_app.command("diff")
def diff_(
    first: DeviceArgument, second: Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]
) -> None:
    """The parameters in which two devices differ, defaults included."""
    from hwsim.cards.device import read_device
    from hwsim.cards.differences import diff

    first_card, second_card = read_device(first), read_device(second)
    table = Table("parameter", first_card.name, second_card.name, box=None, pad_edge=False)
    for path, values in diff(first_card.resolved, second_card.resolved).items():
        table.add_row(path, *("-" if value is None else str(value) for value in values))
    console.print(table if table.row_count else "no difference")


@device_app.command()
@options_of(RunRequest, "device", "data", "seed", "repeats", "out")
def cost(
    request: RunRequest,
    device: DeviceArgument,
    table: Annotated[Path | None, typer.Option(help="YAML file of prices, in place of ours.")] = None,
) -> None:
    """Count what a model asks of a device's arrays, per inference and per training step, and price it."""
    from hwsim.cards import shelf
    from hwsim.cards.read import DEFAULT_MODEL
    from hwsim.experiments.device_run.cost import cost_section, rows, shipped_weights
    from hwsim.experiments.device_run.job import plan_run
    from hwsim.experiments.device_run.prices import read_table

    prices = read_table(table)
    job = plan_run(replace(request, device=device))
    folder = shelf.find("models", request.model or DEFAULT_MODEL).folder
    section = cost_section(job, prices, shipped_weights(job, folder))
    shown = Table(f"{job.model.name} on {job.device.name}", box=None, pad_edge=False)
    for activity in section["activities"]:
        shown.add_column(activity["title"], justify="right")
    for title, values in rows(section):
        shown.add_row(title, *values)
    console.print(shown)
    print(f"\nFirst training step, batch of {section['batch']}. Prices: {section['table']}")
    for assumption in section["assumptions"]:
        print(f"- {assumption}")


def _reading(unit: str | None, read_voltage: float | None, trains: str | None, sheet: str | None) -> Reading:
    from hwsim.characterisation.reading import Reading, trains_of

    return Reading(unit, read_voltage, trains_of(trains) if trains else (), sheet)


def _gap(gap: float | None) -> float:
    """The relative difference allowed between the two read directions, checked."""
    from hwsim.errors import InputError
    from hwsim.testing import GAP

    if gap is not None and not 0 <= gap < float("inf"):
        raise InputError(f"--gap: expected a finite number >= 0, got {gap}")
    return GAP if gap is None else gap
