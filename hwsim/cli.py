"""The command line. Exit codes: 0 done, 1 work failed, 2 the user's mistake, 130 interrupted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hwsim import __version__
from hwsim.errors import InputError, WorkError

app = typer.Typer(
    name="hwsim",
    help="Energy-based models on simulated resistive crossbars, trained by equilibrium propagation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
device_app = typer.Typer(help="The shelf of devices.", no_args_is_help=True)
model_app = typer.Typer(help="The shelf of models.", no_args_is_help=True)
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")
console = Console()

DataDir = Annotated[Path | None, typer.Option(help="Folder that holds the data sets; else $HWSIM_DATA or the cache.")]


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("preparing", total=None)

    def total(self, units: int) -> None:
        self._bar.update(self._task, total=units)

    def done(self, what: str, units: int = 1) -> None:
        self._bar.update(self._task, advance=units, description=what)


class Lines:
    """A plain line every few seconds, where nobody watches a bar."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self._total = self._done = 0
        self._last = 0.0

    def total(self, units: int) -> None:
        self._total = units

    def done(self, what: str, units: int = 1) -> None:
        self._done += units
        now = time.monotonic()
        if now - self._last >= self.EVERY_S or self._done == self._total:
            self._last = now
            print(f"{self._done}/{self._total} {what}", flush=True)


def with_progress(work: Callable[[Any], None]) -> None:
    """Run ``work(progress)`` under a bar or with plain lines."""
    if not console.is_terminal:
        work(Lines())
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        work(Bar(bar))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        print(f"hwsim {__version__}")
        raise typer.Exit


@app.command()
def run(
    device: Annotated[str | None, typer.Option(help="Shelf name, folder or rpu-config.yaml. [default: ideal]")] = None,
    model: Annotated[str | None, typer.Option(help="Shelf name, folder or model.yaml. [default: digits-mlp]")] = None,
    data: Annotated[str | None, typer.Option(help="Data set, in place of the model card's.")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="Root of all random streams.")] = 0,
    repeats: Annotated[int, typer.Option(help="Trainings and device instances, each with its own streams.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/MODEL-DEVICE-seedN-HASH]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE over the model card, device.KEY... over the device's.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")] = 1,
) -> None:
    """Train an EBM by EP in float and in situ on a device, and measure both side by side.

    The same command goes on with an interrupted run where it was, and shows a finished one.
    """
    from hwsim.study import report
    from hwsim.study import run as job_runner
    from hwsim.study.plan import plan_run

    job = plan_run(
        device=device,
        model=model,
        data_name=data,
        data_dir=data_dir,
        seed=seed,
        repeats=repeats,
        out=out,
        settings=set_ or [],
        command=job_runner.command_line(sys.argv[1:]),
    )
    job_runner.threads(threads)
    print(f"{job.model.name} on {job.device.name}: {job.device.summary}\nrun folder: {job.folder}", flush=True)
    with_progress(lambda progress: job_runner.run(job, progress))
    page = report.write_report(job.folder)
    console.print(report.terminal_table(job.folder))
    print(f"report: {page}")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check the installation: package pairs, threads, disk, data; print the cure of what is wrong."""
    from hwsim.study.doctor import diagnose

    findings = diagnose(data_dir)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.name}: {finding.found}")
        if not finding.ok:
            print(f"      cure: {finding.cure}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@device_app.command("list")
def device_list() -> None:
    """The devices on the shelf and those that installed packages bring."""
    from hwsim.study.devicecard import list_devices

    table = Table("device", "kind", "what it is", box=None, pad_edge=False)
    for item in list_devices():
        table.add_row(item.name, item.kind, item.summary)
    console.print(table)


@device_app.command("show")
def device_show(device: Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]) -> None:
    """Everything a device's YAML stands for, defaults included."""
    import yaml

    from hwsim.study.devicecard import describe, read_device

    print(yaml.safe_dump(describe(read_device(device)), sort_keys=False, allow_unicode=True), end="")


@device_app.command("validate")
def device_validate(device: Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]) -> None:
    """Read a device's YAML, build a small array of it, read it both ways and update it once."""
    from hwsim.study.devicecard import read_device, validate

    validate(read_device(device))
    print(f"{device}: valid")


@model_app.command("list")
def model_list() -> None:
    """The models on the shelf and those that installed packages bring."""
    from hwsim.study import shelf
    from hwsim.study.plan import read_model

    table = Table("model", "data", "what it is", box=None, pad_edge=False)
    for name in shelf.items("models"):
        _, config = read_model(name)
        table.add_row(name, config.data, config.summary)
    console.print(table)


def main() -> None:
    """Entry point: errors become a sentence and an exit code."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        _fail(str(error), 2)
    except WorkError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; what was finished is kept, the same command goes on from there", 130)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; what was finished is kept", 1)


def _fail(message: str, code: int) -> None:
    print(f"hwsim: {message}", file=sys.stderr)
    sys.exit(code)
