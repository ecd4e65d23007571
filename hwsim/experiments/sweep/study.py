"""Study files: a grid of points in one YAML.

    name: tolerance
    question: How good must a device be that learns by EP?
    measurement: in-situ-accuracy     # one of experiments.sweep.measurements, or ./file.py:NAME beside the study
    page: curves                      # table, curves, or ./file.py:function beside the study
    device: ./device.yaml             # the base; models and devices are shelf names or paths, ./ beside the study
    seeds: [0, 1, 2]
    set: {in_situ.epochs: 15}         # key paths as in `hwsim run --set`; measurement.KEY is for the measurement
    quick: {seeds: [0], set: {in_situ.epochs: 5}}
    blocks:
      read-noise:
        set: {in_situ.beta: 1.0}
        axes:
          device.forward.out_noise: [0.0, 0.1, 0.2]
          reads: {keys: [in_situ.average_last, inference.average_last], values: [1, 5]}
        quick: {axes: {device.forward.out_noise: [0.0, 0.2]}}

Each block is the product of its axes and the seeds. An axis is a key path, `device` or `model`, with its values, or any
name with ``keys`` that take the same value or ``cases``, named maps of settings. ``quick`` replaces, axis by axis, and
so does every other form of the study under ``scales``, in the study and in its blocks (`--scale NAME`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.cards.layers import Layer, build
from hwsim.cards.shelf import find, shelf, shown_path
from hwsim.cards.yamlfile import Document, Keys, key_path, read_yaml, shown
from hwsim.errors import InputError
from hwsim.experiments.sweep.card import BlockConfig, ScaleConfig, StudyConfig, of_form
from hwsim.jobs.place import CPU, check_place
from hwsim.jobs.request import check_number

Settings = Mapping[str, Any]
Values = list[tuple[Any, Settings]]


@dataclass(frozen=True)
class Spec:
    """What is measured at a point, in plain values that travel between processes.

    Args:
        measurement: its name, or `./file.py:NAME` relative to ``folder``.
        settings: (key path, value) pairs in the order in which they lie over each other.
        folder: the study's, for what it names relative to itself.
        code: digest of the measurement's own code when the sweep was planned; None is not checked.
    """

    measurement: str
    model: str
    device: str
    data: str | None
    seed: int
    settings: tuple[tuple[str, Any], ...]
    folder: str
    data_dir: str | None = None
    code: str | None = None

    def options(self) -> dict[str, Any]:
        """The settings for the measurement itself, without their prefix; later ones win."""
        return dict(self._below("measurement."))

    def for_device(self) -> list[tuple[str, Any]]:
        return self._below("device.")

    def for_model(self) -> list[tuple[str, Any]]:
        return [(path, value) for path, value in self.settings if not path.startswith(("measurement.", "device."))]

    def _below(self, prefix: str) -> list[tuple[str, Any]]:
        return [(path.removeprefix(prefix), value) for path, value in self.settings if path.startswith(prefix)]


@dataclass(frozen=True)
class Point:
    """One place in a block's grid: the values of its axes as a table shows them, and what to compute there."""

    block: str
    axes: dict[str, Any]
    seed: int
    spec: Spec


@dataclass(frozen=True)
class Block:
    """A block with its axes: axis -> (value as it is shown, the settings that it stands for)."""

    config: BlockConfig
    axes: dict[str, Values]


@dataclass(frozen=True)
class Study:
    """A study file, read and checked, in one of its forms: "full", "quick", or a name among its ``scales``.

    ``seeds`` and ``accelerator`` are those of the command line, None for the file's.
    """

    config: StudyConfig
    blocks: dict[str, Block]
    document: Document
    folder: Path
    form: str
    seeds: list[int] | None = None
    data_dir: Path | None = None
    accelerator: str | None = None

    @property
    def home(self) -> str:
        """Where the study lies, for a page that is drawn later: a name on the shelf, else its folder."""
        on_shelf = self.folder.parent == shelf("studies").resolve()
        return self.folder.name if on_shelf else str(self.folder)

    @property
    def seconds_per_point(self) -> float | None:
        """What the study says a point takes on one core."""
        return of_form(self.config, self.form).seconds_per_point or self.config.seconds_per_point

    @property
    def speed_gmac_per_s(self) -> float | None:
        """What the study says measures a point, in 1e9 multiply-accumulates a second."""
        return of_form(self.config, self.form).speed_gmac_per_s or self.config.speed_gmac_per_s

    def points(self) -> Iterator[Point]:
        """Every place of every block, seeds innermost; those with equal specs are measured once."""
        study = self.config
        for name, block in self.blocks.items():
            base = {**study.set, **of_form(study, self.form).set}
            base |= {**block.config.set, **of_form(block.config, self.form).set}
            for combination in itertools.product(*block.axes.values()):
                axes = dict(zip(block.axes, (value for value, _ in combination), strict=True))
                settings = dict(base)
                for _, chosen in combination:
                    # In their own order, a later setting lies over all earlier ones, those of its parts included.
                    settings = {path: value for path, value in settings.items() if path not in chosen} | dict(chosen)
                if self.accelerator not in (None, settings.get("measurement.accelerator", CPU)):
                    settings["measurement.accelerator"] = self.accelerator
                model, device = settings.pop("model", block.config.model), settings.pop("device", block.config.device)
                for seed in self._seeds(block.config):
                    spec = Spec(
                        measurement=study.measurement,
                        model=self._placed(model or study.model),
                        device=self._placed(device or study.device),
                        data=study.data,
                        seed=seed,
                        settings=tuple(settings.items()),
                        folder=str(self.folder),
                        data_dir=str(self.data_dir) if self.data_dir else None,
                    )
                    yield Point(name, axes, seed, spec)

    def _seeds(self, block: BlockConfig) -> list[int]:
        scaled = of_form(block, self.form).seeds or of_form(self.config, self.form).seeds
        return self.seeds or scaled or block.seeds or self.config.seeds

    def _placed(self, name: str) -> str:
        return str(self.folder / name) if name.startswith(("./", "../")) else name


def read_study(
    path: Path,
    *,
    quick: bool = False,
    scale: str | None = None,
    seeds: int | None = None,
    data_dir: Path | None = None,
    accelerator: str | None = None,
) -> Study:
    """Read a study file. Raises InputError for the first mistake in it, with file, line and key path.

    ``accelerator``: where its measurement computes, in place of what the study says (`measurement.accelerator`).
    """
    if accelerator is not None:
        check_place(accelerator)
    if seeds is not None:
        check_number("--seeds", seeds, 1, 10**6)
    document, config = read_config(path)
    form = _form(config, quick, scale)
    _check_paths(document, ("set",), config.set)
    for place, scaled in _scales(config):
        _check_paths(document, (*place, "set"), scaled.set)
    blocks = {}
    for name in config.blocks:
        block = build(BlockConfig, [Layer(document, ("blocks", name))])
        for other in block.scales:
            if other not in config.scales:
                known = f"the study's own are {', '.join(config.scales) or 'none'}"
                raise document.error(("blocks", name, "scales", other), f"{other!r} is no scale of the study; {known}")
        checked = _block(document, ("blocks", name), block, form)
        if not of_form(block, form).skip:
            blocks[name] = checked
    wanted = list(range(seeds)) if seeds else None
    return Study(config, blocks, document, path.resolve().parent, form, wanted, data_dir, accelerator)


def read_config(path: Path) -> tuple[Document, StudyConfig]:
    """A study file without its blocks. Raises InputError, also for the words of hwsim before 0.1.0."""
    document = read_yaml(path, shown_path(path))
    for old, new in (("cell", "measurement"), ("seconds_per_cell", "seconds_per_point")):
        if old in document.data:
            raise document.error((old,), f"is `{new}:` now; an earlier hwsim wrote this study")
    return document, build(StudyConfig, [Layer(document)])


def folder_of(home: str) -> Path:
    """The folder that ``Study.home`` stands for. Raises InputError where there is none of that name on the shelf."""
    folder = Path(home) if "/" in home else find("studies", home).folder
    if folder is None or not folder.is_dir():
        raise InputError(f"{home}: the study's folder is not there any more")
    return folder


def _form(config: StudyConfig, quick: bool, scale: str | None) -> str:
    if scale is None:
        return "quick" if quick else "full"
    if quick and scale != "quick":
        raise InputError(f"--scale {scale}: is another form than --quick; give one of the two")
    known = ("full", "quick", *config.scales)
    if scale not in known:
        raise InputError(f"--scale {scale}: expected one of {', '.join(known)}, the forms of {config.name}")
    return scale


def _scales(config: StudyConfig | BlockConfig) -> list[tuple[Keys, ScaleConfig]]:
    return [(("quick",), config.quick), *((("scales", name), scale) for name, scale in config.scales.items())]


def _block(document: Document, place: Keys, block: BlockConfig, form: str) -> Block:
    _check_paths(document, (*place, "set"), block.set)
    full = {axis: _axis(document, (*place, "axes", axis), axis, given) for axis, given in block.axes.items()}
    axes, chosen = dict(full), of_form(block, form)
    for below, scaled in _scales(block):
        _check_paths(document, (*place, *below, "set"), scaled.set)
        for axis, given in scaled.axes.items():
            where = (*place, *below, "axes", axis)
            other = _axis(document, where, axis, given, like=block.axes[axis])
            axes[axis] = other if scaled is chosen else axes[axis]
    return Block(block, axes)


def _axis(document: Document, place: Keys, axis: str, given: Any, like: Any = None) -> Values:
    """An axis's values with their settings; a bare list in `quick` stands for values or cases of the full axis."""
    if isinstance(given, list) and isinstance(like, dict):
        given = {**like, "values": given} if "values" in like else {"cases": _chosen(document, place, given, like)}
    if isinstance(given, list):
        given = {"keys": [axis], "values": given}
    if not isinstance(given, dict) or set(given) not in ({"keys", "values"}, {"cases"}):
        raise document.error(
            place, f"expected a list of values, or a map of `keys` and `values`, or of `cases`, got {shown(given)}"
        )
    for key, kind in (("keys", list), ("values", list), ("cases", dict)):
        if key in given and not (isinstance(given[key], kind) and given[key]):
            raise document.error((*place, key), f"expected some {'names' if key == 'cases' else key}, got nothing")
    if "cases" in given:
        for name, settings in given["cases"].items():
            if not isinstance(settings, dict):
                raise document.error((*place, "cases", name), f"expected a map of settings, got {shown(settings)}")
            _check_paths(document, (*place, "cases", name), settings)
        return list(given["cases"].items())
    for path in given["keys"]:
        _check_paths(document, (*place, "keys"), {path if isinstance(path, str) else shown(path): None})
    return [(value, dict.fromkeys(given["keys"], value)) for value in given["values"]]


def _chosen(document: Document, place: Keys, names: list[Any], like: dict[str, Any]) -> dict[str, Any]:
    cases = like.get("cases") or {}
    for i, name in enumerate(names):
        if name not in cases:
            raise document.unknown((*place, i), map(str, cases), f"{name!r} is no case of the axis", str(name))
    return {name: cases[name] for name in names}


def _check_paths(document: Document, place: Keys, settings: Settings) -> None:
    for path in settings:
        if not isinstance(path, str):
            raise document.error(place, f"expected key paths such as device.forward.out_noise, got {shown(path)}")
        if str(path).startswith("cell."):
            raise document.error((*place, path), f"is measurement.{str(path).removeprefix('cell.')} now")
        try:
            key_path(str(path), "")
        except InputError as error:
            raise document.error((*place, path), str(error)) from error
