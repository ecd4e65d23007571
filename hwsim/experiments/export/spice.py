"""Netlists of what a run, a training or a model of the shelf holds, for SPICE to judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hwsim.cards.array import ArraySettings
from hwsim.cards.build import layer_names, network
from hwsim.cards.device import read_device
from hwsim.cards.model import ModelConfig
from hwsim.crossbar.conductance import Conductances
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.netlist import read_netlist
from hwsim.crossbar.tiling import tile_sizes
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.ebm.convolution import Convolution
from hwsim.ebm.inference import infer
from hwsim.ebm.netlist import to_spice
from hwsim.ebm.network import Network
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.errors import InputError
from hwsim.experiments.evaluation import relaxation
from hwsim.experiments.gallery import file_stem
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.experiments.subject import read_subject
from hwsim.experiments.trained import programmed
from hwsim.jobs.weights import WEIGHTS
from hwsim.rng import Streams

UNIT = "_uS"
"""How the names of conductances in physical units end."""

EFFECTIVE = "G_uS"
"""Conductances between nodes as the simulation computes with them, wires and faults included."""


@dataclass(frozen=True)
class Choice:
    """Which read of which array, or which input of a resistive network.

    Attributes:
        array: its name, ``layer0.weight``; None: the circuit of a resistive network as a whole.
        image: of the test images, from 0; what the array gets is what it gets at this image's equilibrium.
        position: of a convolution's window, from 0, line by line.
        tile: row and column of the tile, where the array is split into several.
        wire_ohm: of one wire segment in place of the device's; None: the device's.
        units: the map to conductances where the device names none in microsiemens.
    """

    array: str | None
    image: int = 0
    position: int = 0
    tile: tuple[int, int] | None = None
    wire_ohm: float | None = None
    units: Conductances = field(default_factory=Conductances)


@dataclass(frozen=True)
class Source:
    """A network with its conductances.

    Attributes:
        net: in float, with the weights that its arrays show.
        conductances: by array and name, those that the device names.
        settings: of the physical array that the device is built into, where it is.
        title: what it is, in words.
    """

    config: ModelConfig
    net: Network
    data: Dataset
    conductances: Mapping[str, Mapping[str, Tensor]]
    settings: ArraySettings | None
    title: str


def read_source(
    given: str,
    *,
    case: str | None = None,
    instance: int = 0,
    device: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
) -> Source:
    """What stands for ``given``: the folder of a run, that of a training, or a model. See ``of_run``, ``of_model``.

    Raises InputError for a choice that it does not offer, which would be dropped in silence.
    """
    path = Path(given)
    folder = read_folder(path) if (path / "config.yaml").is_file() else None
    if folder is None or folder.kind != "run":
        if case is not None:
            raise InputError(f"--case {case}: {given} is no run; a model or a training has no cases, so leave it out")
        if device is None and instance:
            raise InputError(f"--instance {instance}: {given} is in float and has no device instances; give --device")
        return of_model(folder or given, device=device, instance=instance, seed=seed, data_dir=data_dir)
    if device is not None:
        raise InputError(f"--device {device}: {path} is a run on {folder.device}; leave it out, or name its model")
    return of_run(folder, case=case or "in-situ", instance=instance, data_dir=data_dir)


def of_model(
    model: str | JobFolder,
    *,
    device: str | None = None,
    instance: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
) -> Source:
    """A model of the shelf with its weights, or a training's folder; on ``device``, its instance of this number.

    Instances are those that ``hwsim attack`` makes under the same seed. Raises InputError for a torch module.
    """
    if isinstance(model, JobFolder):
        config, weights = _of_training(model)
        net = network(config.energy, FloatDevice(), Streams(0))
        net.program(_tensors(weights, layer_names(net)))
        dataset = data.load(config.data, data_dir)
    else:
        subject, dataset = read_subject(model, None, None, data_dir)
        if subject.config is None or subject.net is None:
            raise InputError(f"{model}: is a torch module and has no arrays; expected an energy-based network")
        config, net = subject.config, subject.net
    if device is None:
        return Source(config, net, dataset, {}, None, f"{config.name} in float")
    card = read_device(device)
    on_device = programmed(config.energy, card.device, net, Streams(seed).child("programmed").child("chip", instance))
    pairs = zip(layer_names(on_device), on_device.synapses, strict=True)
    conductances = {name: synapse.conductances() for name, synapse in pairs}
    settings = _settings(card.resolved.get("array"))
    title = f"{config.name} programmed onto {card.name}, instance {instance}, seed {seed}"
    return Source(config, on_device.float_twin(), dataset, conductances, settings, title)


def of_run(folder: JobFolder, *, case: str = "in-situ", instance: int = 0, data_dir: Path | None = None) -> Source:
    """A case of a finished run on one of its device instances. Raises InputError where the run has none such."""
    path = folder.path / "weights" / f"{file_stem(case)}-{instance}.safetensors"
    if not path.is_file():
        kept = ", ".join(sorted(file.stem for file in (folder.path / "weights").glob("*.safetensors"))) or "nothing yet"
        raise InputError(f"{path}: no such case and instance; this run holds {kept}")
    config = ModelConfig.model_validate(folder.config["model"])
    net = network(config.energy, FloatDevice(), Streams(0))
    net.program(_tensors(path, layer_names(net)))
    conductances: dict[str, dict[str, Tensor]] = {}
    if case != "float":
        mark = ".conductance."
        with safe_open(path, framework="pt") as file:
            for key in (key for key in file.keys() if mark in key):  # noqa: SIM118 - not a mapping
                layer, _, name = key.partition(mark)
                conductances.setdefault(f"{layer}.weight", {})[name] = file.get_tensor(key)
    settings = _settings(folder.config["device"]["resolved"].get("array")) if case != "float" else None
    title = f"{folder.model} on {folder.device}, {case}, instance {instance}"
    return Source(config, net, data.load(folder.data, data_dir), conductances, settings, title)


def netlist(source: Source, choice: Choice) -> str:
    """What is chosen, as text for SPICE. Raises InputError for what is not there."""
    names = [name for name in layer_names(source.net) if name.endswith(".weight")]
    if choice.array in names:
        return _array_netlist(source, choice, choice.array)
    if choice.array is not None:
        raise InputError(f"--array {choice.array}: expected one of {', '.join(names)}")
    if choice.tile is not None or choice.position:
        option = "--position" if choice.position else "--tile"
        raise InputError(f"{option}: is of one array; give --array, one of {', '.join(names)}")
    if not isinstance(source.net, ResistiveNetwork):
        raise InputError(
            f"{source.config.name}: relaxes by reads of its arrays and is no circuit as a whole; give --array, one of "
            f"{', '.join(names)}"
        )
    return _circuit_netlist(source, source.net, choice)


def _array_netlist(source: Source, choice: Choice, array: str) -> str:
    """One read of one crossbar, see ``crossbar.netlist``."""
    crossbars, volts, origin = _crossbars(source, choice, array)
    crossbars, inputs = _tile(source.settings, choice, crossbars, _input(source, choice, array))
    segment = _segment_ohm(source, choice)
    if "g_reference_uS" in crossbars:
        crossbars = {"": torch.cat([crossbars["g_uS"], crossbars["g_reference_uS"]])}
        read = f"i(vout<j>) - i(vout{len(crossbars['']) - 1}), the reference's"
    elif set(crossbars) == {"g_uS"}:
        crossbars, read = {"": crossbars["g_uS"]}, "i(vout<j>)"
    else:
        crossbars = {name.removeprefix("g_").removesuffix(UNIT): g for name, g in crossbars.items()}
        read = "i(voutplus_<j>) - i(voutminus_<j>)"
    tile = f", tile {choice.tile[0]},{choice.tile[1]}" if choice.tile else ""
    position = f", position {choice.position} of the window" if choice.position else ""
    comments = [
        f"{source.title}, {array}{tile}, test image {choice.image} of {source.data.name}{position}",
        f"{origin}; wire segments of {segment:g} ohm; an input of 1 is {volts:g} V, converters are left out",
        f"output j of the layer: {read}",
    ]
    crossbars = {name: g.double() for name, g in crossbars.items()}
    return read_netlist(crossbars.get("", crossbars), inputs.double() * volts, segment, comments)


def _circuit_netlist(source: Source, net: ResistiveNetwork, choice: Choice) -> str:
    """A resistive network under one image, see ``ebm.netlist``, its wires as ladders between the nodes."""
    segment = _segment_ohm(source, choice)
    arrays = [_crossbars(source, choice, name)[0] for name in layer_names(net)]
    limits = (source.settings.max_rows, source.settings.max_cols) if source.settings else (None, None)
    for name, synapse in zip(layer_names(net), net.synapses, strict=True):
        split = any(len(tile_sizes(n, most)) > 1 for n, most in zip(synapse.shape, limits, strict=True))
        if split and segment:
            raise InputError(f"{name}: is split into tiles, whose wires have no netlist; leave out wires, --wire-ohm 0")
    comments = [
        f"{source.title}, test image {choice.image} of {source.data.name}; wire segments of {segment:g} ohm",
        f"score of class k: v(n{net.blocks - 1}_<k>) - v(n{net.blocks - 1}_<k + {net.classes}>)",
    ]
    g_uS = [next(iter(named.values())).double() for named in arrays]
    return to_spice(net, _image(source, choice)[0], g_uS=g_uS, segment_ohm=segment, comments=comments)


def _segment_ohm(source: Source, choice: Choice) -> float:
    if choice.wire_ohm is not None:
        if not 0 <= choice.wire_ohm < math.inf:
            raise InputError(f"--wire-ohm {choice.wire_ohm:g}: expected a wire resistance in ohms >= 0")
        return choice.wire_ohm
    return source.settings.wire_resistance_ohm if source.settings else 0.0


def _crossbars(source: Source, choice: Choice, array: str) -> tuple[dict[str, Tensor], float, str]:
    """The conductances of an array as its device names them, the voltage of an input of 1, and where they are from."""
    named = source.conductances.get(array, {})
    net, weight = source.net, source.net.weights()[layer_names(source.net).index(array)]
    physical = {name: g for name, g in named.items() if name.endswith(UNIT) and name != EFFECTIVE}
    if isinstance(net, ResistiveNetwork):  # its inputs are voltages, its weights conductances
        return {"g_uS": physical.get("g_uS", net.unit_uS * weight)}, 1.0, "conductances between the nodes"
    if physical:
        volts = (source.settings.array(1.0).units if source.settings else choice.units).read_voltage_V
        return physical, volts, "the device's conductances"  # of twins, the first array
    units = replace(choice.units, weight_range=float(weight.abs().max()) or 1.0)
    origin = f"weights as {units.encoding} conductances from {units.g_min_uS:g} to {units.g_max_uS:g} uS, the largest"
    origin = f"{origin}, {units.weight_range:g}, at the end of the range"
    return units.named(units.encode(weight)), units.read_voltage_V, origin


def _image(source: Source, choice: Choice) -> Tensor:
    """(1, ...): the test image."""
    x = source.data.test.x
    if not 0 <= choice.image < len(x):
        raise InputError(f"--image {choice.image}: expected 0 to {len(x) - 1}, the test images of {source.data.name}")
    return x[choice.image : choice.image + 1]


def _input(source: Source, choice: Choice, array: str) -> Tensor:
    """(pre,): what the array reads at the equilibrium of the image."""
    net, image, index = source.net, _image(source, choice), layer_names(source.net).index(array)
    state = infer(net, image, **relaxation(source.config.inference))[1].state
    couplings = net.given(image).couplings(state)
    if len(couplings) <= index:
        return state[-1][0]  # of a readout, which lies outside the dynamics
    pre = couplings[index].pre
    link = next(link for link in net.links if net.synapses[index] in link.synapses)
    if isinstance(link, Convolution) and pre.dim() == 4:
        pre = link.window.patches(pre)
    elif not isinstance(link, Convolution):
        pre = pre[:1]
    if not 0 <= choice.position < len(pre):
        raise InputError(f"--position {choice.position}: expected 0 to {len(pre) - 1}")
    return pre[choice.position]


def _tile(
    settings: ArraySettings | None, choice: Choice, crossbars: dict[str, Tensor], inputs: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """The conductances and the input of the tile; all of them where the array is not split."""
    rows = next(iter(crossbars.values())).shape[0]
    heights = tile_sizes(rows, settings.max_rows if settings else None)
    widths = tile_sizes(inputs.numel(), settings.max_cols if settings else None)
    last = f"{len(heights) - 1},{len(widths) - 1}"
    if choice.tile is None and last != "0,0":
        raise InputError(f"--array {choice.array}: is split into tiles; expected --tile 0,0 to {last}")
    row, column = choice.tile or (0, 0)
    if not (0 <= row < len(heights) and 0 <= column < len(widths)):
        raise InputError(f"--tile {row},{column}: expected 0,0 to {last}")
    parts = {}
    for name, g in crossbars.items():
        own = [1] * len(heights) if name == "g_reference_uS" else heights
        parts[name] = g.split(own, 0)[row].split(widths, 1)[column]
    return parts, inputs.split(widths)[column]


def _settings(section: Any) -> ArraySettings | None:
    return ArraySettings(**section) if isinstance(section, dict) else None


def _of_training(folder: JobFolder) -> tuple[ModelConfig, Path]:
    if folder.kind != "train":
        raise InputError(f"{folder.path}: a folder of hwsim {folder.kind}; expected one of hwsim run or hwsim train")
    model = {**folder.config["model"], "learning": folder.config["learning"], "data": folder.data}
    path = folder.path / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no such file; the training is not finished, its command goes on")
    return ModelConfig.model_validate(model), path


def _tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return [file.get_tensor(name) for name in names]
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: no weights can be read from it ({error})") from error
