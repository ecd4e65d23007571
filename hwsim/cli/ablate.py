"""``hwsim ablate``: which property of a device limits it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.app import DataDir, app, console, with_progress


@app.command()
def ablate(
    device: Annotated[str, typer.Option(help="Shelf name, folder or rpu-config.yaml.")],
    model: Annotated[str | None, typer.Option(help="Shelf name, folder or model.yaml. [default: digits-mlp]")] = None,
    data: Annotated[str | None, typer.Option(help="Data set, in place of the model card's.")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="Root of all random streams.")] = 0,
    seeds: Annotated[int, typer.Option(help="Trainings and device instances of every variant.")] = 3,
    case: Annotated[str, typer.Option(help="in-situ, or programmed: weights trained in float.")] = "in-situ",
    age: Annotated[float, typer.Option(help="Measure so many seconds after programming, where devices drift.")] = 0.0,
    property_: Annotated[
        list[str] | None, typer.Option("--property", help="Only this one, again for more. [default: all that it has]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder. [default: runs/ablate-MODEL-DEVICE-CASE-...]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE over the model card; device.KEY... the device's.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")] = 1,
) -> None:
    """Switch off every non-ideality but one, and all but one; train and measure each; name the one that limits.

    The same command goes on with an interrupted ablation where it was, and shows a finished one.
    """
    from hwsim.experiments.ablation.job import plan_ablation, run_ablation
    from hwsim.experiments.ablation.results import results, verdict, write_table
    from hwsim.jobs.job import command_line
    from hwsim.jobs.job import threads as use_threads
    from hwsim.reports.ablation import table, write_ablation_page

    ablation = plan_ablation(
        device=device,
        model=model,
        data_name=data,
        data_dir=data_dir,
        seed=seed,
        seeds=seeds,
        case=case,
        age_s=age,
        names=property_ or [],
        out=out,
        settings=set_ or [],
        command=command_line(sys.argv[1:]),
    )
    use_threads(threads)
    names = ", ".join(item.name for item in ablation.properties)
    print(f"{ablation.job.model.name} on {ablation.job.device.name}, {case}: {names}", flush=True)
    print(f"folder: {ablation.folder}", flush=True)
    with_progress(lambda progress: run_ablation(ablation, progress))
    found = results(ablation)
    console.print(table(found))
    print(verdict(found))
    print(f"results: {write_table(ablation.folder, found)}\npage: {write_ablation_page(ablation, found)}")
