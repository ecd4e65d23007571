"""The parts of a study file, validated: the study, its blocks, their figures, and what other forms replace."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from hwsim.cards.card import Card


class ScaleConfig(Card):
    """What another form, such as the quick one, replaces in a study or a block; ``axes`` names only those it changes.

    Args:
        speed_gmac_per_s: see ``StudyConfig``.
    """

    seeds: list[int] | None = Field(default=None, min_length=1)
    set: dict[str, Any] = Field(default={})
    axes: dict[str, Any] = Field(default={})
    skip: bool = False
    seconds_per_point: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    speed_gmac_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class FigureConfig(Card):
    """How a block is drawn: accuracy against the axis ``x``, one line for each combination of the other axes.

    Args:
        scale: of ``x``; `symlog` starts at zero and goes on logarithmically.
        label: of ``x``, with its unit.
        thresholds: does the block belong to the requirements, with ``x`` getting worse along its values?
    """

    x: str
    scale: Literal["linear", "log", "symlog", "categories"] = "linear"
    label: str = ""
    thresholds: bool = True


class BlockConfig(Card):
    """One grid. ``title`` and ``note`` are for the page."""

    title: str = ""
    note: str = ""
    model: str | None = None
    device: str | None = None
    seeds: list[int] | None = Field(default=None, min_length=1)
    set: dict[str, Any] = Field(default={})
    axes: dict[str, Any] = Field(default={})
    quick: ScaleConfig = ScaleConfig()
    scales: dict[str, ScaleConfig] = Field(default={})
    figure: FigureConfig | None = None

    @model_validator(mode="after")
    def _named_axes(self) -> BlockConfig:
        named = [(f"quick.axes.{axis}", axis) for axis in self.quick.axes]
        named += [(f"scales.{name}.axes.{axis}", axis) for name, scale in self.scales.items() for axis in scale.axes]
        if self.figure is not None:
            named.append(("figure.x", self.figure.x))
        for place, axis in named:
            if axis not in self.axes:
                raise ValueError(f"{place}: {axis!r} is no axis of the block ({', '.join(self.axes) or 'it has none'})")
        _different(self.seeds, self.quick.seeds, *(scale.seeds for scale in self.scales.values()))
        return self


class StudyConfig(Card):
    """A study file without its blocks, each of which is a ``BlockConfig``; see the text above.

    Args:
        measurement: how a point is measured: a name, or `./file.py:NAME` beside the study.
        page: what is made of the results: `table`, `curves` with thresholds, or `./file.py:function` beside the study.
        seconds_per_point: what a point takes on one core, for the time told before anything is measured.
        speed_gmac_per_s: in its place for measurements that count their work: multiply-accumulates, in 1e9 a second,
            of what measures one point.
        units: column -> unit, for the axes in the table of results.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[\w.-]+$")
    question: str = ""
    page: str = "table"
    measurement: str
    model: str = "digits-mlp"
    device: str = "ideal"
    data: str | None = None
    seeds: list[int] = Field(default=[0], min_length=1)
    set: dict[str, Any] = Field(default={})
    quick: ScaleConfig = ScaleConfig()
    scales: dict[str, ScaleConfig] = Field(default={})
    seconds_per_point: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    speed_gmac_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    units: dict[str, str] = Field(default={})
    blocks: dict[str, Any] = Field(min_length=1)

    @model_validator(mode="after")
    def _seeds(self) -> StudyConfig:
        _different(self.seeds, self.quick.seeds, *(scale.seeds for scale in self.scales.values()))
        if reserved := {"quick", "full"} & set(self.scales):
            raise ValueError(f"scales: {reserved.pop()} is a form of every study; expected another name")
        return self


def _different(own: list[int] | None, quick: list[int] | None, *scaled: list[int] | None) -> None:
    named = [("seeds", own), ("quick.seeds", quick), *(("scales: seeds", seeds) for seeds in scaled)]
    for name, seeds in named:
        if seeds is not None and (min(seeds) < 0 or len(set(seeds)) < len(seeds)):
            raise ValueError(f"{name}: expected different numbers >= 0, got {seeds}")


def of_form(config: StudyConfig | BlockConfig, form: str) -> ScaleConfig:
    """What a form replaces; nothing in the full form, and in blocks that do not name it."""
    return config.quick if form == "quick" else config.scales.get(form, ScaleConfig())
