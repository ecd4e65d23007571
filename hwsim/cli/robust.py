"""``hwsim attack`` and ``hwsim corrupt``: is the model as robust as it looks?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hwsim.cli.app import DataDir, app, console, with_progress

Model = Annotated[str, typer.Option(help="Shelf name, folder or model.yaml; or your torch module, ./net.py:MyNet.")]
Weights = Annotated[Path | None, typer.Option(help="A safetensors file. [default: the one beside the card]")]
DeviceName = Annotated[str | None, typer.Option(help="Program the weights onto this device. [default: float]")]
Data = Annotated[str | None, typer.Option(help="Data set, in place of the model card's.")]
Examples = Annotated[int | None, typer.Option(help="The first N test images. [default: 1000, or all]")]
Instances = Annotated[int | None, typer.Option(help="Programmed chips. [default: 5; 1 where devices do not differ]")]
Draws = Annotated[int, typer.Option(help="Verdicts an image and chip, each on fresh read noise.")]
Seed = Annotated[int, typer.Option(help="Root of all random streams.")]
Out = Annotated[Path | None, typer.Option(help="Folder; the same command goes on with what is in it.")]
Threads = Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")]


@app.command()
def attack(
    model: Model = "digits-mlp",
    weights: Weights = None,
    device: DeviceName = None,
    threat: Annotated[list[str] | None, typer.Option(help="NORM:BUDGET; repeat it. [default: linf:8/255]")] = None,
    attack: Annotated[str | None, typer.Option(help="A preset or one attack. [default: standard]")] = None,
    gradient: Annotated[
        str | None, typer.Option(help="Through the equilibrium: implicit, unrolled-T, nudged-B... [default: implicit]")
    ] = None,
    knows: Annotated[
        str | None, typer.Option(help="device, conductances, float-weights or nothing. [default: conductances]")
    ] = None,
    eot: Annotated[int, typer.Option(help="Noise draws behind each gradient or query of a noisy copy.")] = 10,
    instances: Instances = None,
    draws: Draws = 20,
    transfer_from: Annotated[
        list[str] | None, typer.Option(help="MODEL or MODEL:WEIGHTS.safetensors, whose images are tried; repeat it.")
    ] = None,
    examples: Examples = None,
    seed: Seed = 0,
    checks: Annotated[bool, typer.Option(help="The checks that unmask, after white-box attacks.")] = True,
    data: Data = None,
    data_dir: DataDir = None,
    out: Out = None,
    threads: Threads = 1,
) -> None:
    """Attack a model and check that the attack works; worst case over attacks, image by image.

    AutoAttack's standard ensemble, unless you ask for less (pgd, smoke, quick, or one attack). Adversarial images are
    frozen and judged again on fresh read noise and on several programmed chips. Where a check fails, the lowest
    accuracy that was found stands in the result with the flag.
    """
    from hwsim.study.attackjob import run_attack
    from hwsim.study.attackplan import plan_attack
    from hwsim.study.attackresults import write_results
    from hwsim.study.run import command_line
    from hwsim.study.run import threads as use_threads

    job = plan_attack(
        model=model,
        weights=weights,
        device=device,
        threats=threat or ["linf:8/255"],
        attack=attack,
        gradient=gradient,
        knows=knows,
        eot=eot,
        instances=instances,
        draws=draws,
        transfer_from=transfer_from or [],
        examples=examples,
        seed=seed,
        checks=checks,
        data_name=data,
        data_dir=data_dir,
        out=out,
        command=command_line(sys.argv[1:]),
    )
    use_threads(threads)
    where = f"{job.device.name}, {job.instances} chips" if job.device else "float"
    print(f"{job.subject.name} on {job.data.name}, {where}: {job.examples} images\nfolder: {job.folder}", flush=True)
    records: list[dict[str, Any]] = []
    with_progress(lambda progress: records.extend(run_attack(job, progress)))
    _tell_attack(write_results(job, records))
    print(f"results: {job.folder / 'results.json'}, by image: {job.folder / 'examples.csv'}")


def _tell_attack(results: dict[str, Any]) -> None:
    for found in results["threats"]:
        table = Table("", "accuracy", "95 % interval", "spread", "majority", box=None, pad_edge=False)
        rows = [("clean", found["clean"]), *found["attacks"].items(), ("worst for each image", found["worst"])]
        for name, row in [*rows, (f"to report, by {found['reported']['of']}", found["reported"])]:
            bounds = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
            noisy = [
                f"{100 * row[key]:.1f}" if key in row and found["draws"] > 1 else "" for key in ("spread", "majority")
            ]
            table.add_row(name, f"{100 * row['mean']:.1f} %", bounds, *noisy)
        print(f"\n{found['threat']}")
        console.print(table)
        if "checks" in found:
            print(f"checks, on {found['checks']['images']} images:")
            for check in found["checks"]["checks"]:
                print(f"  {'ok  ' if check['passed'] else 'FLAG'} {check['told']}")
    print()
    for caveat in results["caveats"]:
        print(f"note: {caveat}")
