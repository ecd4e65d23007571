"""``hwsim train``: train one model on its data, on a device or in float."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim.cli.app import DataDir, app


@app.command()
def train(
    model: Annotated[str | None, typer.Option(help="Shelf name, folder or model.yaml. [default: digits-mlp]")] = None,
    data: Annotated[str | None, typer.Option(help="Data set, in place of the model card's.")] = None,
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="Train in situ on this device. [default: float]")] = None,
    seed: Annotated[int, typer.Option(help="Root of all random streams.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder. [default: runs/train-MODEL-DEVICE-seedN-HASH]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE over the model card; device.KEY... the device's.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")] = 1,
    accelerator: Annotated[str, typer.Option(help="Where torch computes: cpu or cuda.")] = "cpu",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Curves for TensorBoard, in the folder.")] = False,
) -> None:
    """Train a model; checkpoints after every epoch, choices by validation, a card at the end.

    The same command goes on with an interrupted training, in float bit for bit as if it had never stopped.
    """
    from hwsim.experiments.export.tensorboard import teller
    from hwsim.experiments.training.job import plan_training
    from hwsim.experiments.training.work import run_training
    from hwsim.jobs.job import command_line
    from hwsim.jobs.job import threads as use_threads

    job = plan_training(
        model=model,
        data_name=data,
        data_dir=data_dir,
        device=device,
        seed=seed,
        out=out,
        settings=set_ or [],
        command=command_line(sys.argv[1:]),
        place=accelerator,
    )
    curves = teller(job.folder) if tensorboard else None
    use_threads(threads)
    where = job.device.name if job.device else "float"
    print(f"{job.model.name} on {job.data.name}, {where}\nfolder: {job.folder}", flush=True)

    def tell(record: dict[str, Any]) -> None:
        if curves:
            curves(record)
        told = (
            f"epoch {record['epoch']}/{job.recipe.epochs}: cost {record['cost']:.4f}, "
            f"accuracy {record['accuracy_train']:.3f} (validation {record['accuracy_validation']:.3f}), "
        )
        if "energy" in record:
            steps = record["settle_steps"]
            told += (
                f"unsettled {record['unsettled_share']:.0%} in training and {record['unsettled_validation']:.0%} in "
                f"inference, {'-' if steps is None else f'{steps:.0f}'} steps to energy {record['energy']:.2f}, "
            )
        print(f"{told}{record['seconds']:.1f} s", flush=True)

    card = run_training(job, tell)
    for part in ("validation", "test"):
        found = card[f"accuracy_{part}"]
        low, high = 100 * found["low"], 100 * found["high"]
        unsettled = card.get(f"unsettled_share_{part}")
        rest = "" if unsettled is None else f", {unsettled:.1%} not settled"
        print(f"{part}: {100 * found['mean']:.1f} % of {found['images']} images ({low:.1f} to {high:.1f}){rest}")
    print(f"weights: {job.folder / 'weights.safetensors'} ({card['weights']:,}), card: {job.folder / 'card.json'}")
