"""``hwsim runs``: what was done so far, in a folder of runs."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hwsim.cli.app import Group, app, console

runs_app = Group(help="What was run so far: list, show, export, remove.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Name = Annotated[str, typer.Argument(help="Name of a run, as `hwsim runs list` shows it.")]
DEFAULT = Path("runs")
WIDE = 110
"""Columns of a terminal from which on runs are a table; on a narrower one, two lines each."""


@runs_app.command("list")
def list_(
    runs: Runs = DEFAULT,
    kind: Annotated[str | None, typer.Option(help="run, attack, corrupt, train, ablate or sweep.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model; * and ? stand for anything.")] = None,
    device: Annotated[str | None, typer.Option(help="On this device; * and ? stand for anything.")] = None,
    since: Annotated[str | None, typer.Option(help="Started on this day (UTC) or later: 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Started on this day (UTC) or before.")] = None,
) -> None:
    """Every run of a folder, oldest first, with its main figure."""
    from hwsim.experiments.index import chosen, refresh, state

    entries, notes = refresh(runs)
    entries_shown = chosen(entries, kind=kind, model=model, device=device, since=since, until=until)
    _tell(notes)
    if not entries_shown:
        print(f"{runs}: no run{'' if not entries else f' of {len(entries)} fits'}")
        return
    rows = [
        (e.name, e.kind, e.model, e.device, e.started[:16].replace("T", " "), state(runs, e), e.result)
        for e in entries_shown
    ]
    if console.width < WIDE:
        for name, kind, model, device, moment, where, result in rows:
            what = " on ".join(part for part in (model, device) if part)
            line = ", ".join(part for part in (kind, what, moment, where, result) if part)
            print(name, textwrap.fill(line, console.width, initial_indent="  ", subsequent_indent="  "), sep="\n")
        return
    table = Table(box=None, pad_edge=False)
    # The name is what other commands take, so it is never cut; the rest gives way.
    table.add_column("run", overflow="fold", min_width=20)
    table.add_column("kind", no_wrap=True)
    for column in ("model", "device"):
        table.add_column(column, overflow="fold")
    table.add_column("started (UTC)", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("result", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@runs_app.command()
def show(run: Name, runs: Runs = DEFAULT) -> None:
    """A run's configuration, figures and files."""
    from hwsim.cards.yamlfile import to_yaml
    from hwsim.experiments.index import find, state
    from hwsim.experiments.kinds import read_folder, results_of

    entry = find(runs, run)
    job = read_folder(runs / entry.name)
    took = "" if entry.seconds is None else f", {entry.seconds:g} s"
    print(f"{entry.name}: hwsim {entry.kind}, {state(runs, entry)}\nstarted: {entry.started}{took}")
    if command := job.receipt.get("command"):
        print(f"command: {command}")
    print()
    table = Table("figure", "", box=None, pad_edge=False)
    for name, value in results_of(job).items():
        table.add_row(name, f"{100 * value:.1f} %")
    console.print(table if table.row_count else "nothing is measured yet")
    print("\nconfiguration:")
    print(to_yaml(job.config), end="")
    print("\nfiles:")
    for path in sorted(path for path in job.path.iterdir() if not path.name.startswith(".")):
        print(f"  {path}{'/' if path.is_dir() else ''}")


@runs_app.command()
def rm(
    names: Annotated[list[str], typer.Argument(help="Runs to remove, with all that is in their folders.")],
    runs: Runs = DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove runs for good. One that a process is writing to is refused."""
    from hwsim.errors import InputError
    from hwsim.experiments.index import find, refresh, remove

    runs_named = [find(runs, name).name for name in names]
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("hwsim runs rm: nobody can be asked here; give --yes")
        typer.confirm(f"Remove {', '.join(runs_named)} from {runs}?", abort=True)
    remove(runs, runs_named)
    refresh(runs)
    print(f"removed: {', '.join(runs_named)}")


@runs_app.command()
def index(runs: Runs = DEFAULT) -> None:
    """Read every folder again; other commands bring the index up to date by themselves."""
    from hwsim.experiments.index import INDEX, refresh

    entries, notes = refresh(runs, anew=True)
    _tell(notes)
    print(f"{runs / INDEX}: {len(entries)} runs")


@runs_app.command()
def export(
    run: Annotated[str, typer.Argument(help="Name of a run, or its folder anywhere.")],
    mlflow: Annotated[str | None, typer.Option(help="MLflow: a server's address, or a folder, offline.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder of TensorBoard's logs.")] = None,
    experiment: Annotated[str, typer.Option(help="MLflow's experiment; made where it does not exist.")] = "hwsim",
    runs: Runs = DEFAULT,
) -> None:
    """Tell a run's parameters, figures, curves and files to MLflow or TensorBoard."""
    from hwsim.errors import InputError
    from hwsim.experiments.index import find
    from hwsim.experiments.kinds import read_folder

    if mlflow is None and tensorboard is None:
        raise InputError("hwsim runs export: where to? expected --mlflow URI or --tensorboard FOLDER")
    path = Path(run)
    job = read_folder(path if path.is_dir() else runs / find(runs, run).name)
    if mlflow is not None:
        from hwsim.experiments.export.mlflow import export as to_mlflow

        print(f"MLflow: {mlflow}, experiment {experiment}, run {to_mlflow(job, mlflow, experiment)}")
    if tensorboard is not None:
        from hwsim.experiments.export.tensorboard import export as to_tensorboard

        print(f"TensorBoard: {to_tensorboard(job, tensorboard)}")


def _tell(sentences: list[str]) -> None:
    for sentence in sentences:
        print(f"note: {sentence}", file=sys.stderr)
