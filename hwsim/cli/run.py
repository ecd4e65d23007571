"""``hwsim run`` and ``hwsim doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.app import app, console, with_progress
from hwsim.cli.options import DataDir, Jobs, Threads, options_of, use_processes
from hwsim.experiments.requests import RunRequest


@app.command()
@options_of(RunRequest)
def run(request: RunRequest, jobs: Jobs = None, threads: Threads = 1) -> None:
    """Train an EBM by EP in float and in situ on a device, and measure both side by side.

    The same command goes on with an interrupted run where it was, and shows a finished one.
    """
    from hwsim.experiments.device_run import work
    from hwsim.experiments.device_run.job import plan_run
    from hwsim.reports.device_run import terminal_table
    from hwsim.reports.folder import current_page

    job = plan_run(request)
    pool = use_processes(jobs, threads)
    print(f"{job.model.name} on {job.device.name}: {job.device.summary}\nrun folder: {job.folder}", flush=True)
    with_progress(lambda progress: work.run(job, progress, pool))
    page = current_page(job.folder)
    console.print(terminal_table(job.folder))
    print(f"report: {page}")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, sweeps, attacks and corruptions.")],
) -> None:
    """Draw pages anew, from what the folders hold."""
    from hwsim.reports.folder import write_folder_page

    for folder in folders:
        print(f"report: {write_folder_page(folder)}")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check the installation: package pairs, threads, disk, data; print the cure of what is wrong."""
    from hwsim.experiments.doctor import diagnose, report

    findings = diagnose(data_dir)
    print(report(findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
