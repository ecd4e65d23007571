"""Reference pages from the declarations that validate and parse: keys of cards, commands, public names.

They are written before the build reads its sources, and a public name without a docstring ends it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import hwsim

BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "min_length": "at least {} long"}


def kind(annotation: Any) -> str:
    """An annotation as a reader of YAML would say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("nothing" if part is type(None) else kind(part) for part in arguments)
    if origin in (list, tuple):
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return "mapping"
    names = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Any: "anything"}
    return names.get(annotation, f"[{section(annotation)}](#{section(annotation).lower().replace(' ', '-')})")


def section(of: Any) -> str:
    return str(getattr(of, "__name__", of)).removesuffix("Config").removesuffix("Settings")


def default(value: Any) -> str:
    if value is PydanticUndefined or value is dataclasses.MISSING:
        return "required"
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return "its defaults"
    return "nothing" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rows_of(card: Any) -> Iterator[tuple[str, str, str, str]]:
    """(key, kind, default, range) of every field of a pydantic card or a dataclass."""
    if issubclass(card, BaseModel):
        for name, field in card.model_fields.items():
            limits = [
                BOUNDS[k].format(v) for m in field.metadata for k in BOUNDS if (v := getattr(m, k, None)) is not None
            ]
            value = field.default if field.default_factory is None else field.get_default(call_default_factory=True)
            yield name, kind(field.annotation), default(value), ", ".join(limits)
    else:
        hints = typing.get_type_hints(card)
        for field in dataclasses.fields(card):
            yield field.name, kind(hints[field.name]), default(field.default), ""


def parts(card: Any, known: list[Any]) -> list[Any]:
    """A card's class and those of its sections, each once, in the order of the fields."""
    if card in known:
        return known
    known.append(card)
    hints = typing.get_type_hints(card, include_extras=False)
    names = card.model_fields if issubclass(card, BaseModel) else [field.name for field in dataclasses.fields(card)]
    for name in names:
        for inner in inside(hints[name]):
            parts(inner, known)
    return known


def inside(annotation: Any) -> Iterator[Any]:
    if inspect.isclass(annotation) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from inside(argument)


def table(card: Any) -> list[str]:
    lines = [f"## {section(card)}", "", inspect.cleandoc(card.__doc__ or "").split("\n\n")[0], ""]
    lines += ["| key | what | default | range |", "|---|---|---|---|"]
    return [*lines, *(f"| `{key}` | {what} | {value} | {limits} |" for key, what, value, limits in rows_of(card)), ""]


def cards() -> str:
    from hwsim.cards.array import ArraySettings
    from hwsim.cards.model import ModelConfig
    from hwsim.experiments.sweep.card import StudyConfig

    lines = [
        "# Keys of cards",
        "",
        "Generated from the classes that validate them. `--set key.path=value` sets any of them.",
        "",
    ]
    heads = {"Model cards": ModelConfig, "Studies": StudyConfig, "`array:` of a device card": ArraySettings}
    known: list[Any] = []
    for head, card in heads.items():
        lines += [f"# {head}", ""]
        before = len(known)
        for part in parts(card, known)[before:]:
            lines += table(part)
    lines += [
        "# The rest of a device card",
        "",
        "Keys under `device:`, `forward:`, `backward:`, `mapping:` and `modifier:` are those of aihwkit's own",
        "classes, or of the cell; `hwsim device show NAME` prints them with the values that hold.",
        "",
    ]
    return "\n".join(lines)


def commands() -> str:
    import typer.main

    from hwsim.cli.app import app

    lines = ["# Commands", "", "Generated from the commands themselves; `hwsim COMMAND --help` says the same.", ""]

    def add(name: str, command: Any) -> None:
        inner = getattr(command, "commands", None)
        if inner is not None:
            for part in sorted(inner):
                add(f"{name} {part}", inner[part])
            return
        lines.extend([f"## {name}", "", inspect.cleandoc(command.help or ""), "", "| | default | |", "|---|---|---|"])
        for option in command.params:
            if option.name != "help":
                names = (
                    ", ".join(f"`{n}`" for n in option.opts)
                    if option.param_type_name == "option"
                    else f"`{option.name.upper()}`"
                )
                value = "" if option.default in (None, ()) or callable(option.default) else f"`{option.default}`"
                text = " ".join((getattr(option, "help", "") or "").split()).replace("|", "\\|")
                lines.append(f"| {names} | {'required' if option.required else value} | {text} |")
        lines.append("")

    add("hwsim", typer.main.get_command(app))
    return "\n".join(lines)


def names() -> str:
    lines = ["# Python", "", "`import hwsim as hw` gives these names; everything else is private and may move.", ""]
    undocumented = []
    for name in sorted(hwsim.__all__, key=str.lower):
        value = getattr(hwsim, name)
        if inspect.ismodule(value):
            lines += [f"## hw.{name}", "", inspect.cleandoc(value.__doc__ or "").split("\n\n")[0], ""]
        elif inspect.isclass(value) or inspect.isfunction(value):
            directive = "autoclass" if inspect.isclass(value) else "autofunction"
            options = "\n:members:" if inspect.isclass(value) else ""
            lines += [f"## hw.{name}", "", "```{eval-rst}", f".. {directive}:: {value.__module__}.{value.__qualname__}"]
            lines += [f"   {line}" for line in options.split("\n") if line] + ["```", ""]
        if not (inspect.getdoc(value) or "").strip() and not name.startswith("__"):
            undocumented.append(name)
    if undocumented:
        raise ExtensionError(f"public names without a docstring: {', '.join(undocumented)}")
    return "\n".join(lines)


def write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name, make in {"cards": cards, "commands": commands, "python": names}.items():
        text, path = make() + "\n", folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def plain(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in double backticks: bars and plurals are not markup."""
    del app, what, name, obj, options
    for number, line in enumerate(lines):
        parts = re.split(r"(``[^`]+``)", line)
        parts = [part if part.startswith("``") else part.replace("|", r"\|") for part in parts]
        lines[number] = re.sub(r"(``[^`]+``)(?=\w)", r"\1\\ ", "".join(parts))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
