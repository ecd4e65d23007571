"""``hwsim sweep``: the cells of a study, side by side, in a folder that can go on."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hwsim.cli.app import DataDir, app, console, with_progress


@app.command()
def sweep(
    study: Annotated[Path, typer.Argument(help="Study file, such as benchmarks/tolerance.yaml.")],
    jobs: Annotated[int | None, typer.Option(help="Cells computed at once. [default: one a core]")] = None,
    threads: Annotated[int, typer.Option(help="Threads of each; small networks are fastest on one.")] = 1,
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, in place of processes.")] = None,
    quick: Annotated[bool, typer.Option(help="The study's coarse form.")] = False,
    scale: Annotated[str | None, typer.Option(help="Another form of the study, by its name under `scales`.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell cells, time and what lacks; compute nothing.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 to N-1 in place of the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder. [default: runs/sweep-NAME, with -FORM]")] = None,
    parquet: Annotated[bool, typer.Option(help="Write results.parquet beside results.csv.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Compute a study cell by cell and write its table of results and its page.

    The same command goes on with an interrupted sweep: finished cells are kept, failed ones are run again. Any number
    of sweeps may work on one folder. Exit code 1 if a cell failed.
    """
    from hwsim.errors import InputError, WorkError
    from hwsim.experiments.sweep import work
    from hwsim.experiments.sweep.forecast import forecast, lacking
    from hwsim.experiments.sweep.study import read_study
    from hwsim.jobs.executors import Cluster, Processes
    from hwsim.jobs.job import command_line
    from hwsim.reports.sweep import write_study_page

    if cluster is not None and jobs is not None:
        raise InputError("--jobs: a cluster's workers are counted by its scheduler; give --jobs or --cluster, not both")
    planned = work.plan(read_study(study, quick=quick, scale=scale, seeds=seeds, data_dir=data_dir))
    pool = Cluster(cluster) if cluster else Processes(jobs, threads)
    name, form = planned.study.config.name, planned.form
    folder = work.Folder(out or Path("runs") / f"sweep-{name}{'' if form == 'full' else f'-{form}'}")
    folder.write_plan(planned, command_line(sys.argv[1:]))
    print(f"{name}, {form} form: {forecast(planned, folder, pool.workers)}", flush=True)
    for line in lacking(planned):
        print(line, flush=True)
    if dry_run:
        return
    print(f"folder: {folder.path}", flush=True)
    started = time.perf_counter()
    failures: list[work.Failure] = []
    with_progress(lambda progress: failures.extend(work.sweep(planned, folder, pool, progress)))
    table = work.write_results(planned, folder)
    if parquet:
        work.write_parquet(table, folder.path / work.PARQUET)
    done = len(planned.specs) - len(failures)
    print(f"{done} of {len(planned.specs)} cells are finished, after {time.perf_counter() - started:.0f} s")
    print(f"results: {folder.path / work.RESULTS}\npage: {write_study_page(folder.path)}", flush=True)
    if failures:
        shown = Table("block", "at", "seed", "reason", box=None, pad_edge=False)
        for row in work.grouped((f.point.block, f.point.axes, f.point.seed, f.reason) for f in failures):
            shown.add_row(*row)
        console.print(shown)
        raise WorkError(f"{len(failures)} of {len(planned.specs)} cells failed; the same command runs them again")
