"""``hwsim sweep``: the points of a study, side by side, in a folder that can go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from hwsim.cli.app import app, console, with_progress
from hwsim.cli.options import Accelerator, DataDir, Jobs, Threads, command_line


@app.command()
def sweep(
    study: Annotated[str | None, typer.Argument(help="Shelf name, folder or study.yaml. [default: list them]")] = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, in place of processes.")] = None,
    quick: Annotated[bool, typer.Option(help="The study's coarse form.")] = False,
    scale: Annotated[str | None, typer.Option(help="Another form of the study, by its name under `scales`.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell points, time and what lacks; measure nothing.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 to N-1 in place of the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder. [default: runs/sweep-NAME, with -FORM]")] = None,
    parquet: Annotated[bool, typer.Option(help="Write results.parquet beside results.csv.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="The studies on the shelf.")] = False,
    data_dir: DataDir = None,
    accelerator: Accelerator = None,
) -> None:
    """Measure a study point by point and write its table of results and its page; without a study, list the shelf.

    The same command goes on with an interrupted sweep: finished points are kept, failed ones are run again. Any number
    of sweeps may work on one folder. Exit code 1 if a point failed.
    """
    if study is None or list_:
        _list()
        return
    from hwsim.cards.shelf import resolve
    from hwsim.errors import InputError, WorkError
    from hwsim.experiments.sweep import work
    from hwsim.experiments.sweep.forecast import forecast, lacking
    from hwsim.experiments.sweep.study import read_study
    from hwsim.jobs.executors import Cluster, Processes
    from hwsim.reports.sweep import page_named, write_study_page

    if cluster is not None and jobs is not None:
        raise InputError("--jobs: a cluster's workers are counted by its scheduler; give --jobs or --cluster, not both")
    how = {"quick": quick, "scale": scale, "seeds": seeds, "data_dir": data_dir, "accelerator": accelerator}
    requested = read_study(resolve("studies", study), **how)
    # A mistake in the page is told before anything is measured.
    page_named(requested.config.page, requested.folder, requested.document)
    planned = work.plan(requested)
    pool = Cluster(cluster) if cluster else Processes(jobs, threads)
    name, form = planned.study.config.name, planned.form
    folder = work.Folder(out or Path("runs") / f"sweep-{name}{'' if form == 'full' else f'-{form}'}", make=not dry_run)
    folder.check(planned)
    if not dry_run:
        folder.write_plan(planned, command_line())
    print(f"{name}, {form} form: {forecast(planned, folder, pool.workers)}", flush=True)
    for line in lacking(planned):
        print(line, flush=True)
    if dry_run:
        return
    print(f"folder: {folder.path}", flush=True)
    started = time.perf_counter()
    failures = with_progress(lambda progress: work.sweep(planned, folder, pool, progress))
    table = work.write_results(planned, folder)
    if parquet:
        work.write_parquet(table, folder.path / work.PARQUET)
    done = len(planned.specs) - len(failures)
    print(f"{done} of {len(planned.specs)} points are finished, after {time.perf_counter() - started:.0f} s")
    print(f"results: {folder.path / work.RESULTS}", flush=True)
    if failures:
        shown = Table("block", "at", "seed", "reason", box=None, pad_edge=False)
        for row in work.grouped((f.point.block, f.point.axes, f.point.seed, f.reason) for f in failures):
            shown.add_row(*row)
        console.print(shown)
    try:
        print(f"page: {write_study_page(folder.path)}", flush=True)
    except WorkError as error:  # a page of the study's own may not know what to do without the points that failed
        if not failures:
            raise
        print(f"page: none, {error}", flush=True)
    if failures:
        raise WorkError(f"{len(failures)} of {len(planned.specs)} points failed; the same command runs them again")


def _list() -> None:
    from hwsim.cards import shelf
    from hwsim.errors import InputError
    from hwsim.experiments.sweep.study import read_config

    table = Table(Column("study", no_wrap=True), "forms", "question", box=None, pad_edge=False)
    for name in shelf.items("studies"):
        try:
            config = read_config(shelf.resolve("studies", name))[1]
            table.add_row(name, ", ".join(("full", "quick", *config.scales)), config.question)
        except InputError as error:
            table.add_row(name, "", f"cannot be read: {error}")
    console.print(table)
    print("hwsim sweep NAME --quick --dry-run tells what a study takes; a folder of your own works the same way")
