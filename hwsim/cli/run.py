"""``hwsim run`` and ``hwsim doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.app import DataDir, app, console, with_progress


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
        list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE over the model card; device.KEY... the device's.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")] = 1,
) -> None:
    """Train an EBM by EP in float and in situ on a device, and measure both side by side.

    The same command goes on with an interrupted run where it was, and shows a finished one.
    """
    from hwsim.experiments.device_run import work
    from hwsim.experiments.device_run.job import plan_run
    from hwsim.jobs.job import command_line
    from hwsim.jobs.job import threads as use_threads
    from hwsim.reports import device_run as report

    job = plan_run(
        device=device,
        model=model,
        data_name=data,
        data_dir=data_dir,
        seed=seed,
        repeats=repeats,
        out=out,
        settings=set_ or [],
        command=command_line(sys.argv[1:]),
    )
    use_threads(threads)
    print(f"{job.model.name} on {job.device.name}: {job.device.summary}\nrun folder: {job.folder}", flush=True)
    with_progress(lambda progress: work.run(job, progress))
    page = report.write_report(job.folder)
    console.print(report.terminal_table(job.folder))
    print(f"report: {page}")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, sweeps, attacks and corruptions.")],
) -> None:
    """Write pages anew, from what the folders hold."""
    from hwsim.errors import InputError
    from hwsim.reports.attack import write_attack_page
    from hwsim.reports.device_run import write_report
    from hwsim.reports.sweep import write_study_page

    for folder in folders:
        if (folder / "study.yaml").is_file():
            page = write_study_page(folder)
        elif (folder / "results.json").is_file():
            page = write_attack_page(folder)
        elif (folder / "metrics.jsonl").is_file() and (folder / "config.yaml").is_file():
            page = write_report(folder)
        elif (folder / "ablation.jsonl").is_file():
            raise InputError(
                f"{folder}: of hwsim ablate, whose own command writes its page anew and measures nothing twice"
            )
        else:
            raise InputError(
                f"{folder}: holds neither a run (config.yaml, metrics.jsonl) nor a sweep (study.yaml), nor the results "
                "of an attack (results.json)"
            )
        print(f"report: {page}")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check the installation: package pairs, threads, disk, data; print the cure of what is wrong."""
    from hwsim.experiments.doctor import diagnose, told

    findings = diagnose(data_dir)
    print(told(findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
