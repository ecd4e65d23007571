"""``hwsim train``: train one model on its data, on a device or in float."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.app import app
from hwsim.cli.options import Jobs, Threads, options_of, use_processes
from hwsim.experiments.requests import TrainRequest


@app.command()
@options_of(TrainRequest)
def train(
    request: TrainRequest,
    jobs: Jobs = None,
    threads: Threads = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Curves for TensorBoard, in the folder.")] = False,
) -> None:
    """Train a model; checkpoints after every epoch, choices by validation, a card at the end.

    The same command goes on with an interrupted training, in float bit for bit as if it had never stopped. A training
    is one process's work; what its card says of a network in float is measured by several.
    """
    from hwsim.experiments.export.tensorboard import teller
    from hwsim.experiments.training.epochs import EpochRecord
    from hwsim.experiments.training.job import plan_training
    from hwsim.experiments.training.work import run_training

    job = plan_training(request)
    curves = teller(job.folder) if tensorboard else None
    pool = use_processes(jobs, threads)
    print(f"{job.model.name} on {job.data.name}, {job.device_name}\nfolder: {job.folder}", flush=True)

    def tell(record: EpochRecord) -> None:
        if curves:
            curves(record)
        line = (
            f"epoch {record.epoch}/{job.recipe.epochs}: cost {record.cost:.4f}, "
            f"accuracy {record.accuracy_train:.3f} (validation {record.accuracy_validation:.3f}), "
        )
        if record.energy is not None:
            steps = "-" if record.settle_steps is None else f"{record.settle_steps:.0f}"
            line += (
                f"unsettled {record.unsettled_share:.0%} in training and {record.unsettled_validation:.0%} in "
                f"inference, {steps} steps to energy {record.energy:.2f}, "
            )
        print(f"{line}{record.seconds:.1f} s", flush=True)

    card = run_training(job, tell, lambda line: print(line, flush=True), pool)
    for part in ("validation", "test"):
        reached = card[f"accuracy_{part}"]
        low, high = 100 * reached["low"], 100 * reached["high"]
        unsettled = card.get(f"unsettled_share_{part}")
        rest = "" if unsettled is None else f", {unsettled:.1%} not settled"
        print(f"{part}: {100 * reached['mean']:.1f} % of {reached['images']} images ({low:.1f} to {high:.1f}){rest}")
    print(f"weights: {job.folder / 'weights.safetensors'} ({card['weights']:,}), card: {job.folder / 'card.json'}")
