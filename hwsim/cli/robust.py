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
Age = Annotated[str | None, typer.Option(help="Times after programming, of devices that drift: 3600 or 1h,1month.")]
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
    seeds: Annotated[str, typer.Option(help="Attack seeds: how many, or which, 0,1,2; the worst over them.")] = "1",
    age: Age = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="Attack only what earlier attacks left: faster.")] = False,
    checks: Annotated[bool, typer.Option(help="The checks that unmask, after white-box attacks.")] = True,
    check_images: Annotated[int, typer.Option(help="Images behind the checks, at most.")] = 100,
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
    from hwsim.experiments.attack.gallery import keep_gallery
    from hwsim.experiments.attack.plan import plan_attack
    from hwsim.experiments.attack.results import write_results
    from hwsim.experiments.attack.work import run_attack
    from hwsim.jobs.job import command_line
    from hwsim.jobs.job import threads as use_threads
    from hwsim.reports.attack import write_attack_page

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
        seeds=seeds,
        age=age,
        checks=checks,
        checked=check_images,
        cascade=cascade,
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
    keep_gallery(job)
    print(f"report: {write_attack_page(job.folder)}")
    print(f"results: {job.folder / 'results.json'}, by image: {job.folder / 'examples.csv'}")


def _tell_attack(results: dict[str, Any]) -> None:
    several = len(results["seeds"]) > 1
    head = ("", "accuracy", "95 % interval", "spread", "majority", *(("by attack seed",) if several else ()))
    for found in results["threats"]:
        table = Table(*head, box=None, pad_edge=False)
        rows = [("clean", found["clean"]), *found["attacks"].items(), ("worst for each image", found["worst"])]
        for name, row in [*rows, ("to report", found["reported"])]:
            bounds = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
            noisy = [
                f"{100 * row[key]:.1f}" if key in row and found["draws"] > 1 else "" for key in ("spread", "majority")
            ]
            seeds = " ".join(f"{100 * share:.1f}" for share in row.get("by_seed", []))
            table.add_row(name, f"{100 * row['mean']:.1f} %", bounds, *noisy, *((seeds,) if several else ()))
        print(f"\n{found['threat']}" + ("" if found["age_s"] is None else f", {found['age']} after programming"))
        console.print(table)
        print(f"to report: the lowest found, by {found['reported']['of']}")
        if "checks" in found:
            print(f"checks, on {found['checks']['images']} images:")
            for check in found["checks"]["checks"]:
                print(f"  {'ok  ' if check['passed'] else 'FLAG'} {check['told']}")
    print()
    for caveat in results["caveats"]:
        print(f"note: {caveat}")


@app.command()
def corrupt(
    model: Model = "digits-mlp",
    weights: Weights = None,
    device: DeviceName = None,
    types: Annotated[str, typer.Option(help="common (15), all (19), or names with commas between them.")] = "common",
    severities: Annotated[str, typer.Option(help="From 1 to 5, with commas between them.")] = "1,2,3,4,5",
    noise: Annotated[str, typer.Option(help="Standard deviations of plain Gaussian noise, pixel units.")] = "",
    salt_and_pepper: Annotated[str, typer.Option(help="Shares of pixel values set to 0 or 1.")] = "",
    baseline: Annotated[str | None, typer.Option(help="MODEL or MODEL:WEIGHTS.safetensors, for mCE.")] = None,
    corrupted_dir: Annotated[Path | None, typer.Option(help="Published CIFAR-10-C or CIFAR-100-C files.")] = None,
    instances: Instances = None,
    draws: Draws = 20,
    examples: Examples = None,
    seed: Seed = 0,
    age: Annotated[str | None, typer.Option(help="Time after programming, of devices that drift: 3600 or 1h.")] = None,
    data: Data = None,
    data_dir: DataDir = None,
    out: Out = None,
    threads: Threads = 1,
) -> None:
    """Accuracy under natural corruptions, by type and severity, with a heat map and a picture of the images."""
    from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt
    from hwsim.experiments.corruption.results import write_results
    from hwsim.jobs.job import command_line
    from hwsim.jobs.job import threads as use_threads
    from hwsim.reports.attack import write_attack_page
    from hwsim.reports.corruption import write_picture

    job = plan_corrupt(
        model=model,
        weights=weights,
        device=device,
        types=types,
        severities=severities,
        noise=noise,
        salt_pepper=salt_and_pepper,
        baseline=baseline,
        corrupted_dir=corrupted_dir,
        instances=instances,
        draws=draws,
        examples=examples,
        seed=seed,
        age=age,
        data_name=data,
        data_dir=data_dir,
        out=out,
        command=command_line(sys.argv[1:]),
    )
    use_threads(threads)
    print(f"{job.subject.name} on {job.data.name}: {job.examples} images\nfolder: {job.folder}", flush=True)
    records: list[dict[str, Any]] = []
    with_progress(lambda progress: records.extend(run_corrupt(job, progress)))
    _tell_corrupt(write_results(job, records))
    write_picture(job)
    print(f"report: {write_attack_page(job.folder)}")
    print(f"results: {job.folder / 'results.json'}, figures: {job.folder / 'figures'}")


def _tell_corrupt(results: dict[str, Any]) -> None:
    for case in ("model", "baseline"):
        rows = [row for row in results["rows"] if row["case"] == case]
        if not rows:
            continue
        table = Table(results[case], *(str(severity) for severity in results["severities"]), box=None, pad_edge=False)
        for name in dict.fromkeys(row["name"] for row in rows if row["kind"] in ("clean", "corruption")):
            table.add_row(name, *(f"{100 * row['mean']:.1f}" for row in rows if row["name"] == name))
        console.print(table)
        for row in rows:
            if row["kind"] not in ("clean", "corruption"):
                print(f"{row['name']} {row['level']:g}: {100 * row['mean']:.1f} %")
    for means in results["means"]:
        text = f"mean over {means['types']} {means['over']}: {100 * means['accuracy']:.1f} %"
        if results["baseline"]:
            scores = (
                f"{name} {means[key]:.3f}" if isinstance(means[key], float) else f"no {name} ({means[key]})"
                for name, key in (("mCE", "mce"), ("relative mCE", "relative_mce"))
            )
            text += f" ({results['baseline']} {100 * means['baseline_accuracy']:.1f} %); " + "; ".join(scores)
        print(text)
    for caveat in results["caveats"]:
        print(f"note: {caveat}")
