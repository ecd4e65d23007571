"""What a user asks of a job: the options of its command, said once, with their defaults and their help."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any


def option(default: Any, help: str, *names: str) -> Any:
    """A field that is an option of the command line; ``names`` where it is not called as the field is."""
    kept: dict[str, Any] = {"default_factory": list} if default == [] else {"default": default}
    return field(**kept, metadata={"help": help, "names": names})


REQUIRED = MISSING
"""The default of an option that has to be given."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Of any job on a model and its data.

    ``command`` is what does it again; it is kept in the folder and is no option.
    """

    model: str | None = option(None, "Shelf name, folder or model.yaml. (default: digits-mlp)")
    data: str | None = option(None, "Data set, in place of the model card's.")
    data_dir: Path | None = option(None, "Folder that holds the data sets; else $HWSIM_DATA or the cache.")
    seed: int = option(0, "Root of all random streams.")
    out: Path | None = option(
        None, "Folder; the same command goes on with what is in it. (default: in runs/, named by what it is of)"
    )
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Request):
    """Of a job that trains; ``settings`` are ``key.path=value``."""

    settings: list[str] = option([], "KEY.PATH=VALUE over the model card; device.KEY... the device's.", "--set")
