"""Options of commands, each declared once: shared ones by name, those of a job as the fields of its request."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from hwsim.jobs.request import ACCELERATOR, Request, check_number

if TYPE_CHECKING:
    from hwsim.jobs.executors import Processes

DataDir = Annotated[Path | None, typer.Option(help="Folder that holds the data sets; else $HWSIM_DATA or the cache.")]
Accelerator = Annotated[str | None, typer.Option(help=f"{ACCELERATOR} [default: as the study says]")]
Seed = Annotated[int, typer.Option(help="Root of the random streams.", min=0, max=2**63)]
Threads = Annotated[int, typer.Option(help="Threads of torch; small networks are fastest on one.")]
Jobs = Annotated[int | None, typer.Option(help="Processes that compute at once. [default: one a core]")]
DeviceArgument = Annotated[str, typer.Argument(help="Shelf name, folder or rpu-config.yaml.")]

Asked = TypeVar("Asked", bound=Request)


def command_line() -> str:
    """The command that was typed, to be kept with what it leaves."""
    return shlex.join(["hwsim", *sys.argv[1:]])


def use_threads(count: int) -> None:
    """Compute on so many threads of torch: small networks run fastest on one, more only cost."""
    import torch

    check_number("--threads", count, 1, 1024)

    torch.set_num_threads(count)


def use_processes(jobs: int | None, threads: int) -> Processes:
    """Compute in so many processes, of so many threads each; by default as many as the cores allow."""
    from hwsim.jobs.executors import Processes

    use_threads(threads)
    return Processes(jobs, threads)


def options_of(request: type[Asked], *left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of a request as its options; its function gets the request as first argument.

    ``left_out``: fields that this command does not offer, and that keep their defaults.
    """
    offered = {each.name: each for each in fields(request) if each.metadata and each.name not in left_out}
    hints = get_type_hints(request)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            own = {name: given.pop(name) for name in offered}
            command(request(**own, command=command_line()), **given)

        parameters = []
        for name, each in offered.items():
            names, help_text = each.metadata["names"], each.metadata["help"]
            default = inspect.Parameter.empty if each.default is each.default_factory is MISSING else each.default
            default = [] if each.default_factory is not MISSING else default
            kind = Annotated[hints[name], typer.Option(*names, help=help_text)]
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        known = get_type_hints(command, include_extras=True)
        own = list(inspect.signature(command).parameters.values())[1:]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=known[p.name]) for p in own]
        called.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return decorate
