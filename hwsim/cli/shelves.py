"""``hwsim device`` and ``hwsim model``: what stands on the shelves."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hwsim.cli.app import console, device_app, model_app


@device_app.command("list")
def device_list() -> None:
    """The devices on the shelf and those that installed packages bring."""
    from hwsim.study.devicecard import list_devices

    table = Table("device", "kind", "what it is", box=None, pad_edge=False)
    for item in list_devices():
        table.add_row(item.name, item.kind, item.summary)
    console.print(table)


@device_app.command("show")
def device_show(device: Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]) -> None:
    """Everything a device's YAML stands for, defaults included."""

    from hwsim.study.devicecard import describe, read_device
    from hwsim.study.yamlfile import to_yaml

    print(to_yaml(describe(read_device(device))), end="")


@device_app.command("validate")
def device_validate(device: Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]) -> None:
    """Read a device's YAML, build a small array of it, read it both ways and update it once."""
    from hwsim.study.devicecard import read_device, validate

    validate(read_device(device))
    print(f"{device}: valid")


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
