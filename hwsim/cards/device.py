"""Device cards: from `devices/<name>/rpu-config.yaml`, a file elsewhere or an installed package to a ``Device``.

One top key says of what kind the device is:

    preset: EcRamPreset                # an aihwkit preset, changes beside it
    class: UnitCellRPUConfig           # an aihwkit configuration from its parts
    cell: soft-bounds                  # a python cell: one of hwsim.devices.responses, ./cell.py:MyCell, an entry point
    float: {momentum: 0.9}             # exact arithmetic

Beside it may stand ``name``, ``summary``, ``source``, ``learning``, the training recipe that works on the device, and
``array``, the physical array that it is built into (``hwsim.cards.array``).
aihwkit is loaded for the first two kinds only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import torch

from hwsim.cards import array as arraycard
from hwsim.cards import rpuconfig
from hwsim.cards.fields import PLAIN, Filler
from hwsim.cards.layers import Layer, build
from hwsim.cards.listing import KINDS, text_at
from hwsim.cards.plugins import plugin, read_code
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.shelf import Item, find, load_entry_point
from hwsim.cards.yamlfile import Document, Keys, did_you_mean, shown
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.residual import ResidualDevice
from hwsim.crossbar.synapse import Ages, Device, KnownAges
from hwsim.crossbar.wrapped import innermost_device
from hwsim.devices.responses import CELLS
from hwsim.errors import InputError
from hwsim.rng import Streams

GROUP = "hwsim.devices"
OWN_KEYS = ("name", "summary", "source", "learning", arraycard.KEY)
# where CellDevice's own fields stand
CELL_KEYS = {"update": ("desired_bl", "substeps", "pulses"), "mapping": ("omega", "drift_compensation")}
DEVICE_MEMBERS = ("seedable", "trains", "drifts", "ideal", "unseeded_reads", "not_exact", "not_used", "synapse")
RESIDUAL = "residual"  # two cells a weight: the fields of ResidualDevice
AIHWKIT_ENUMS = {
    "noise_management": "NoiseManagementType",
    "bound_management": "BoundManagementType",
    "w_noise_type": "WeightNoiseType",
}
AIHWKIT_KEYS = ("programming", "compiled_reads")  # AihwDevice's own fields


@dataclass(frozen=True)
class DeviceCard:
    """A device, read and checked.

    Args:
        name, summary, source: for people.
        kind: `aihwkit`, `cell`, `float`, or `package` for a ready device from an entry point.
        path: the YAML file; None for an entry point.
        device: builds the arrays.
        learning: the training recipe for this device, as written; its place for messages is
            ``document`` at `learning`.
        resolved: the whole device with every default written out, for the run folder and its hash.
        document: the card with the settings laid over it.
    """

    name: str
    summary: str
    source: str
    kind: str
    path: Path | None
    device: Device
    learning: dict[str, Any]
    resolved: dict[str, Any]
    document: Document

    @property
    def folder(self) -> Path | None:
        """Where the card's own Python and data lie."""
        return self.path.parent if self.path else None


def read_device(given: str | Path, settings: Sequence[tuple[str, Any]] = ()) -> DeviceCard:
    """The device that a name or path stands for, validated to the last key and tried on a 2x3 array.

    Args:
        given: shelf name, entry point, path of a folder or of a YAML file.
        settings: (key path below the card, value) pairs, such as (`forward.out_bound`, 8), laid over it in turn.

    Raises InputError, with file, line and key path, for any mistake in the card, the settings or the plug-in.
    """
    item = find("devices", given)
    document = item.document()
    for path, value in settings:
        document = document.override(path, value, "--set device.")
    return _card(item, document)


def with_exact_updates(card: DeviceCard) -> DeviceCard:
    """The reads of a device, in its array, on cross-points that take every update exactly and have no bounds.

    Raises InputError for a device that is trained in digital or in float, whose updates are exact already.
    """
    given = card.document.data
    if card.device.trains != "in-situ" or card.kind not in ("aihwkit", "cell"):
        raise InputError(
            f"device {card.name}: no pulses of a card's device update it; expected one that learns in situ"
        )
    kept = {key: given[key] for key in ("forward", "backward", *OWN_KEYS) if key in given}
    if arraycard.KEY in kept:
        kept[arraycard.KEY] = {**kept[arraycard.KEY], "weight_range": card.resolved[arraycard.KEY]["weight_range"]}
    if card.kind == "cell":
        noise = {"read_noise": card.resolved["parameters"].get("read_noise", 0.0)}
        data = {"cell": "ideal", "parameters": noise, "mapping": card.resolved["mapping"], **kept}
    else:
        reads = {key: card.resolved[key] for key in ("forward", "backward", "mapping") if key in card.resolved}
        data = {"class": "SingleRPUConfig", "device": "IdealDevice", **kept, **reads}
    item = Item("devices", card.name, card.path)
    return _card(item, dataclasses.replace(card.document, data=data))


def _card(item: Item, document: Document) -> DeviceCard:
    kind, device, resolved = _read(item, document)
    device, resolved = arraycard.placed(device, resolved, document)
    check_learning(document)
    texts = {key: text_at(document, key) for key in ("name", "summary", "source")}
    card = DeviceCard(
        name=texts["name"] or item.name,
        summary=texts["summary"],
        source=texts["source"],
        kind=kind,
        path=item.path,
        device=device,
        learning=document.section("learning"),
        resolved=resolved,
        document=document,
    )
    validate(card)
    return card


def device(given: str | Path | Device, settings: Mapping[str, Any] | None = None) -> Device:
    """The device that a card describes, to build networks on.

    Args:
        given: a name on the shelf (``hwsim device list``), the path of a folder or of an rpu-config.yaml, an RPUConfig
            of aihwkit, or a ``Device``, which is returned as it is.
        settings: values over the card, by key path: ``{"forward.out_noise": 0.2}``.

    Raises InputError, with file, line and key path, for any mistake in the card or the settings.

    >>> import hwsim as hw
    >>> hw.device("soft-bounds-cell", {"parameters.dw_min": 0.002}).cell.dw_min
    0.002
    """
    if type(given).__module__.startswith("aihwkit.") and not settings:
        from hwsim.devices.aihw import device_of

        return cast(Device, device_of(given))
    if not isinstance(given, str | Path):
        if not isinstance(given, Device) or settings:
            what = "settings go over a card" if settings else f"got {type(given).__name__}"
            raise InputError(f"device: {what}; expected a name on the shelf, a path, or a Device without settings")
        return given
    return read_device(given, list((settings or {}).items())).device


def validate(card: DeviceCard) -> None:
    """Build, program, read and update a 2x3 array, so that a plug-in that fails does so before any work.

    Raises InputError with what went wrong.
    """
    device, document = card.device, card.document
    try:
        synapse = device.synapse(2, 3, Streams(0))
        pre, post = torch.full((2, 3), 0.5), torch.full((2, 2), 0.1)
        synapse.program(torch.full((2, 3), 0.1))
        outputs = {"read": (synapse.read(pre), (2, 2)), "read_transpose": (synapse.read_transpose(post), (2, 3))}
        if device.trains == "in-situ":
            synapse.update(pre, post, 0.1)
            synapse.tick()
            outputs["weight"] = (synapse.weight(), (2, 3))
        if device.drifts and isinstance(synapse, Ages):
            inner = innermost_device(device)
            synapse.age(max(inner.ages_s, default=1.0) if isinstance(inner, KnownAges) else 1.0)
            outputs["weight"] = (synapse.weight(), (2, 3))
    except (Exception, SystemExit) as error:  # a plug-in fails in any way it likes
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        raise document.error((), f"an array of 2x3 cannot be built, read and updated ({reason})") from error
    for name, (value, shape) in outputs.items():
        if tuple(value.shape) != shape or not torch.isfinite(value).all():
            wrong = f"shape {tuple(value.shape)}" if tuple(value.shape) != shape else "NaN or infinity"
            raise document.error((), f"{name} of an array of 2x3 gives {wrong}; expected finite numbers, {shape}")


def check_learning(document: Document) -> None:
    """InputError for a mistake in the recipe of a device card, whatever model it will be laid over.

    What it leaves open stands here for the model's: phases long enough for any average, a solver for any damping.
    """
    given = document.section("learning")
    solver = "odd-even" if given.get("damping") is not None else "synchronous"
    left_open = Document({"rates": [0.1], "free_steps": 10**9, "nudged_steps": 10**9, "solver": solver}, "a model")
    build(LearningConfig, [Layer(left_open), Layer(document, ("learning",))])


def describe(card: DeviceCard) -> dict[str, Any]:
    """What `device show` prints of a card: for people first, then every parameter."""
    device = card.device
    notes = {
        "reads that are not seeded": device.unseeded_reads,
        "not restored exactly by a resume": device.not_exact,
        "in the file but without effect here": device.not_used,
    }
    return {
        "name": card.name,
        "summary": card.summary,
        "source": card.source,
        "file": card.document.name,
        "kind": card.kind,
        "trained": device.trains,
        "seeded": "bit for bit" if device.seedable else "statistically only",
        "drifts": device.drifts,
        **{name: list(what) for name, what in notes.items() if what},
        "learning": card.learning,
        "parameters": card.resolved,
    }


def _read(item: Item, document: Document) -> tuple[str, Device, dict[str, Any]]:
    if item.entry_point is not None:
        loaded = load_entry_point(item.entry_point)
        if isinstance(loaded, Device) and not inspect.isclass(loaded):
            return "package", loaded, {"entry_point": item.entry_point.value}
        if not inspect.isclass(loaded) and callable(getattr(loaded, "synapse", None)):
            lacks = ", ".join(sorted(name for name in DEVICE_MEMBERS if not hasattr(loaded, name)))
            raise InputError(
                f"device {item.name} ({item.entry_point.value}): lacks {lacks}; a class that derives from "
                "hwsim.crossbar.synapse.Device has defaults for what a device does not promise"
            )
        document = dataclasses.replace(document, data={"cell": item.name, **document.data})
    chosen = [key for key in KINDS if key in document.data]
    misspelt = [key for key in document.data if key not in OWN_KEYS and did_you_mean(str(key), KINDS) != "."]
    if not chosen and misspelt:
        raise document.unknown((misspelt[0],), (*KINDS, *OWN_KEYS))
    if len(chosen) != 1:
        given = f"got {' and '.join(chosen)}" if chosen else "got none of them"
        raise document.error((), f"expected exactly one of the keys {', '.join(KINDS)} at the top, {given}")
    read = {"aihwkit": _aihwkit, "cell": _cell, "float": _float}[KINDS[chosen[0]]]
    return KINDS[chosen[0]], *read(document, item.folder)


def _aihwkit(document: Document, folder: Path | None) -> tuple[Device, dict[str, Any]]:
    del folder
    config = rpuconfig.load(document, frozenset((*OWN_KEYS, *AIHWKIT_KEYS)))
    from hwsim.devices.aihw import device_of  # loads aihwkit

    with _placed(document):
        device = device_of(config)
    options = {key: document.data[key] for key in AIHWKIT_KEYS if key in document.data}
    device = Filler(document, PLAIN).fill(device, options)
    return device, {**rpuconfig.dump(config), **_values(device)}


def _cell(document: Document, folder: Path | None) -> tuple[Device, dict[str, Any]]:
    _known_keys(document, ("cell", "parameters", "forward", "backward", RESIDUAL, *CELL_KEYS))
    filler = Filler(document, PLAIN)
    reference = document.data["cell"]
    cell = filler.fill(_cell_class(reference, document, folder), document.data.get("parameters"), ("parameters",))
    settings: dict[str, Any] = {"cell": cell}
    for key in ("forward", "backward"):
        if document.data.get(key) is not None:
            settings[key] = filler.fill(ReadPath, _plain_names(document.data[key]), (key,))
    device = CellDevice(cell)
    for key, names in CELL_KEYS.items():
        given = filler.map_at(document.data.get(key), (key,))
        for name in given:
            if name not in names:
                raise document.unknown((key, name), names)
        filled = filler.fill(device, given, (key,))
        settings |= {name: getattr(filled, name) for name in names}
    with _placed(document):
        device = CellDevice(**settings)
    forward, backward = device.forward, device.backward or device.forward
    resolved: dict[str, Any] = {"cell": reference}
    if reference not in CELLS:
        # a cell of one's own is what its source says, so that editing it makes another run
        if ":" in reference:
            resolved["cell_sha256"] = read_code(reference, folder, document, ("cell",)).digest
        else:
            source = Path(inspect.getfile(type(cell))).read_bytes()
            resolved["cell_sha256"] = hashlib.sha256(source).hexdigest()
    resolved |= {"parameters": _values(cell), "forward": _values(forward), "backward": _values(backward)}
    resolved |= {key: {n: getattr(device, n) for n in names} for key, names in CELL_KEYS.items()}
    if RESIDUAL not in document.data:
        return device, resolved
    try:
        pair = ResidualDevice(device)
    except InputError as error:
        raise document.error((RESIDUAL,), str(error).removeprefix("ResidualDevice.gamma: ")) from error
    pair = filler.fill(pair, document.data[RESIDUAL], (RESIDUAL,))
    return pair, {**resolved, RESIDUAL: _values(pair)}


def _plain_names(given: Any) -> Any:
    """Names as aihwkit's enums say them, ``NoiseManagementType.ABS_MAX``, without their class."""
    if not isinstance(given, dict):
        return given
    prefixes = {key: f"{kind}." for key, kind in AIHWKIT_ENUMS.items()}
    return {k: v.removeprefix(prefixes.get(k, "")) if isinstance(v, str) else v for k, v in given.items()}


def _float(document: Document, folder: Path | None) -> tuple[Device, dict[str, Any]]:
    del folder
    _known_keys(document, ("float",))
    device = Filler(document, PLAIN).fill(FloatDevice(), document.data["float"], ("float",))
    return device, {"float": _values(device)}


def _cell_class(reference: Any, document: Document, folder: Path | None) -> type:
    if not isinstance(reference, str):
        raise document.error(("cell",), f"expected a cell's name or ./file.py:Name, got {shown(reference)}")
    if reference in CELLS:
        return CELLS[reference]
    points = {point.name for point in entry_points(group=GROUP)}
    if ":" not in reference and reference not in points:
        raise document.unknown(("cell",), [*CELLS, *points, "./file.py:Name"], f"unknown cell {reference!r}", reference)
    cell = plugin(reference, folder, GROUP, document, ("cell",))
    wanted = "expected a dataclass that derives from hwsim.BaseCell"
    if not inspect.isclass(cell) or not dataclasses.is_dataclass(cell) or not callable(getattr(cell, "step", None)):
        raise document.error(("cell",), f"{wanted}, got {getattr(cell, '__name__', shown(cell))}")
    undecorated = set(inspect.get_annotations(cell)) - {field.name for field in dataclasses.fields(cell)}
    undecorated = {name for name in undecorated if "ClassVar" not in str(inspect.get_annotations(cell)[name])}
    if undecorated:
        missing = ", ".join(sorted(undecorated))
        raise document.error(
            ("cell",), f"{cell.__name__} lacks @dataclass(frozen=True), so {missing} would be no parameters"
        )
    return cell


def _known_keys(document: Document, keys: tuple[str, ...]) -> None:
    for key in document.data:
        if key not in keys and key not in OWN_KEYS:
            raise document.unknown((key,), (*keys, *OWN_KEYS))


@contextmanager
def _placed(document: Document) -> Iterator[None]:
    """Tell a device's own `Class.key.path: message` at the line of the key."""
    try:
        yield
    except InputError as error:
        match = re.fullmatch(r"(?:[A-Z]\w*\.)?([a-z]\w*(?:\.\w+)*): (.*)", str(error), re.DOTALL)
        keys: Keys = tuple(match[1].split(".")) if match else ()
        raise document.error(keys, match[2] if match else str(error)) from error


def _values(thing: Any) -> dict[str, Any]:
    values = {name: getattr(thing, name) for name in PLAIN.parameter_types(type(thing))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
