"""``hwsim model``: what stands on the shelf of models."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hwsim.cli.app import console, model_app


@model_app.command("list")
def model_list() -> None:
    """The models on the shelf and those that installed packages bring."""
    from hwsim.study import shelf
    from hwsim.study.plan import read_model
    from hwsim.study.weights import WEIGHTS

    table = Table("model", "data", "weights", "what it is", box=None, pad_edge=False)
    for name in shelf.items("models"):
        _, config = read_model(name)
        folder = shelf.find("models", name).folder
        shipped = folder is not None and (folder / WEIGHTS).is_file()
        table.add_row(name, config.data, "shipped" if shipped else "to train", config.summary)
    console.print(table)


@model_app.command("show")
def model_show(model: Annotated[str, typer.Argument(help="Shelf name, folder or model.yaml.")]) -> None:
    """Everything a model card stands for, defaults included, and how many weights each part has."""
    from hwsim.study.learners import described
    from hwsim.study.plan import read_model
    from hwsim.study.yamlfile import to_yaml

    print(to_yaml(described(read_model(model)[1])), end="")
