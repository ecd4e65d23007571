"""The command line's root: its groups, and how far a job is, on a terminal or in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand

from hwsim import __version__
from hwsim.errors import InputError


class Command(TyperCommand):
    """An option that is given twice and does not repeat is a mistake: the first value would be dropped in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = Counter(self.make_parser(ctx).parse_args(list(args))[2])
        for option, times in given.items():
            if times > 1 and not getattr(option, "multiple", False) and option.nargs != -1:
                raise InputError(f"{option.opts[0]}: given {times} times; expected once, as only the last would count")
        return super().parse_args(ctx, args)


class Group(typer.Typer):
    """A group of commands of this kind."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        return super().command(name, **{"cls": Command, **settings})


app = Group(
    name="hwsim",
    help="Energy-based models on simulated resistive crossbars, trained by equilibrium propagation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
device_app = Group(help="The shelf of devices.", no_args_is_help=True)
model_app = Group(help="The shelf of models.", no_args_is_help=True)
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")
console = Console()


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("preparing", total=None)

    def total(self, units: int) -> None:
        self._bar.update(self._task, total=units)

    def done(self, what: str, units: int = 1) -> None:
        self._bar.update(self._task, advance=units, description=what)

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


class Lines:
    """A plain line every few seconds, where nobody watches a bar.

    Units differ, so how long a job takes follows what each line finds only by a part; nothing is said of it before a
    twentieth of the units are done.
    """

    EVERY_S = 5.0
    FOLLOWS = 0.3

    def __init__(self) -> None:
        self._total = self._done = 0
        self._started = time.monotonic()
        self._last = 0.0
        self._takes_s: float | None = None

    def total(self, units: int) -> None:
        self._total = units

    def done(self, what: str, units: int = 1) -> None:
        self._done += units
        now = time.monotonic()
        if now - self._last >= self.EVERY_S or self._done == self._total:
            self._last = now
            print(f"{self._done}/{self._total} {what}{self._left(now - self._started)}", flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)

    def _left(self, elapsed_s: float) -> str:
        if self._done >= self._total or 20 * self._done < self._total:
            return ""
        takes_s = elapsed_s * self._total / self._done
        before = takes_s if self._takes_s is None else self._takes_s
        self._takes_s = before + self.FOLLOWS * (takes_s - before)
        return f", about {max(1.0, self._takes_s - elapsed_s):.0f} s left"


Result = TypeVar("Result")


def with_progress(work: Callable[[Any], Result]) -> Result:
    """Run ``work(progress)`` under a bar or with plain lines."""
    if not console.is_terminal:
        return work(Lines())
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        return work(Bar(bar))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        print(f"hwsim {__version__}")
        raise typer.Exit
