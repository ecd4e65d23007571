"""What a user asks of a job: the options of its command, said once, with their defaults and their help."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from hwsim.errors import InputError

MOST = 10**9
"""Of any number that counts something; beyond it somebody mistyped."""


def option(default: Any, help: str, *names: str, least: float | None = None, most: float = MOST) -> Any:
    """A field that is an option of the command line; ``names`` where it is not called as the field is.

    A number is finite and lies between ``least`` and ``most``.
    """
    kept: dict[str, Any] = {"default_factory": list} if default == [] else {"default": default}
    return field(**kept, metadata={"help": help, "names": names, "least": least, "most": most})


def check_number(name: str, value: float, least: float, most: float = MOST) -> None:
    """InputError unless a number is finite and between its limits, both included."""
    if not least <= value <= most:  # false for NaN
        beyond = f"at least {least:g}" if value < least else f"a number from {least:g} to {most:g}"
        raise InputError(f"{name}: expected {beyond}, got {value}")


REQUIRED = MISSING
"""The default of an option that has to be given."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Of any job on a model and its data. Raises InputError for numbers that are out of their limits.

    ``command`` is what does it again; it is kept in the folder and is no option.
    """

    model: str | None = option(None, "Shelf name, folder or model.yaml. (default: digits-mlp)")
    data: str | None = option(None, "Data set, in place of the model card's.")
    data_dir: Path | None = option(None, "Folder that holds the data sets; else $HWSIM_DATA or the cache.")
    seed: int = option(0, "Root of all random streams.", least=0, most=2**63)
    out: Path | None = option(
        None, "Folder; the same command goes on with what is in it. (default: in runs/, named by what it is of)"
    )
    command: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            value, least = getattr(self, each.name), each.metadata.get("least")
            if least is not None and value is not None:
                names = each.metadata["names"] or (f"--{each.name.replace('_', '-')}",)
                check_number(names[0], value, least, each.metadata["most"])


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Request):
    """Of a job that trains; ``settings`` are ``key.path=value``."""

    settings: list[str] = option([], "KEY.PATH=VALUE over the model card; device.KEY... the device's.", "--set")


ACCELERATOR = "Where torch computes what is in float: cpu, cuda or cuda:N."


@dataclass(frozen=True, kw_only=True)
class AcceleratedRequest(Request):
    """Of a job on float networks or torch modules, which may be computed elsewhere than on the CPU."""

    accelerator: str = option("cpu", ACCELERATOR)
