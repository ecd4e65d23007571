"""``hwsim model``: what stands on the shelf of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from hwsim.cli.app import console, model_app
from hwsim.cli.options import DataDir, use_threads


@model_app.command("list")
def model_list() -> None:
    """The models on the shelf and those that installed packages bring."""
    from hwsim.cards.listing import list_models

    columns = (Column("model", no_wrap=True), "data", "weights", "test accuracy % (95 % interval)", "what it is")
    table = Table(*columns, box=None, pad_edge=False)
    for item in list_models():
        table.add_row(item.name, item.data, item.weights, item.reached, item.summary)
    console.print(table)


@model_app.command("show")
def model_show(model: Annotated[str, typer.Argument(help="Shelf name, folder or model.yaml.")]) -> None:
    """Everything a model card stands for, defaults included, and how many weights each part has."""
    from hwsim.cards.read import read_model
    from hwsim.cards.yamlfile import to_yaml
    from hwsim.experiments.training.learners import described

    print(to_yaml(described(read_model(model)[1])), end="")


@model_app.command("verify")
def model_verify(
    models: Annotated[list[str] | None, typer.Argument(help="Models with weights. [default: all of the shelf]")] = None,
    data_dir: DataDir = None,
) -> None:
    """Judge shipped weights again and compare with their cards; exit code 1 where a figure differs."""
    from hwsim.cards import shelf
    from hwsim.errors import InputError, WorkError
    from hwsim.experiments.training import shipped

    use_threads(1)
    differ: list[str] = []
    missing: list[InputError] = []
    for name in models or shipped.with_weights(shelf.items("models")):
        try:
            again = shipped.verify(name, data_dir)
        except InputError as error:  # the others can still be measured
            print(f"{name}: not measured", flush=True)
            missing.append(error)
            continue
        for part in again:
            stated = f"its card says {100 * part.stated:.2f} % of {part.of_card}"
            verdict = ("as on its card" if part.images == part.of_card else stated) if part.agrees else stated
            of = name if part.device == shipped.FLOAT else f"{name}, learned on {part.device}, copied"
            print(f"{of}: {part.part} {100 * part.measured:.2f} % of {part.images} images, {verdict}", flush=True)
            if not part.agrees:
                differ.append(f"{of} ({part.part})")
    if differ:
        raise WorkError(f"accuracies that differ from their cards by more than chance: {', '.join(differ)}")
    if missing:
        raise missing[0]


@model_app.command("ship")
def model_ship(
    training: Annotated[Path, typer.Argument(help="The folder of a finished `hwsim train`.")],
    to: Annotated[Path | None, typer.Option(help="The model's folder. [default: the shelf's]")] = None,
) -> None:
    """Put a training's weights beside its model's card, with card.json and the figures in the README."""
    from hwsim.experiments.training import shipped

    print(f"weights, {shipped.CARD} and the README's figures: {shipped.ship(training, to)}")
