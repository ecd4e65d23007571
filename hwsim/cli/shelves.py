"""``hwsim model``: what stands on the shelf of models."""

from __future__ import annotations

from rich.table import Table

from hwsim.cli.app import console, model_app


@model_app.command("list")
def model_list() -> None:
    """The models on the shelf and those that installed packages bring."""
    from hwsim.study import shelf
    from hwsim.study.plan import read_model

    table = Table("model", "data", "what it is", box=None, pad_edge=False)
    for name in shelf.items("models"):
        _, config = read_model(name)
        table.add_row(name, config.data, config.summary)
    console.print(table)
