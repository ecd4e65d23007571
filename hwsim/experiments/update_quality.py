"""Can a device learn this model by this recipe? What of its updates arrives in the first batches, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwsim.cards.build import COSTS, hardware, layer_names, learning_rule, network
from hwsim.cards.model import ModelConfig, require_energy
from hwsim.cards.recipe import LearningConfig
from hwsim.cards.updates import parse_mode
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.updates.modes import ACCUMULATE, UpdateMode
from hwsim.crossbar.updates.pull import pull_per_pulse
from hwsim.crossbar.updates.pulsed import mean_granularity
from hwsim.data.split import Split
from hwsim.ebm.network import Network
from hwsim.jobs.folder import read_json
from hwsim.jobs.store import write_json
from hwsim.learning.train import Epoch
from hwsim.learning.update_quality import UpdateQuality, update_quality
from hwsim.rng import Streams

FILE = "updates.json"
"""What a folder keeps of it."""
BATCHES = 8
EPOCH_BATCHES = 2
"""Batches behind the ratio of an epoch, fewer, because they are learned after each."""
MOST_PULSES = 5.0
"""Pulses sent for each that counts above which it is a warning: beyond it, asymmetry outweighs the gradient."""


def measured_quality(
    model: ModelConfig, device: Device, recipe: LearningConfig, train: Split, seed: int
) -> list[UpdateQuality]:
    """Of every array with pulses, at initial weights and over the first batches; none where there are none.

    There are ``BATCHES`` of them, or as many as lie between two writes where a sum is written more rarely than that.

    A network of its own is trained for it, so that the training itself is not changed.
    """
    streams = Streams(seed).child("update-quality")
    pull = pull_per_pulse(device, streams.child("pull"))
    if pull is None or device.trains != "in-situ":
        return []
    energy = require_energy(model)
    net = network(energy, hardware(device, recipe), streams, momentum=recipe.momentum)
    net.program(net.initial_weights(energy.init_gain, Streams(seed)))
    rule, cost, size = learning_rule(recipe), COSTS[energy.cost], min(recipe.batch_size, len(train))
    whole = max(1, len(train) // size)
    count = max(min(BATCHES, whole), *(mode.period for mode in _modes(recipe)))
    batches = [(train.x[i * size : (i + 1) * size], train.y[i * size : (i + 1) * size]) for i in range(whole)]
    batches = [batches[i % whole] for i in range(count)]

    def step(net: Network, x: Tensor, labels: Tensor, rng: torch.Generator) -> None:
        rule.step(net, cost, x, labels, [rate * recipe.rate_scale for rate in recipe.rates], rng)

    return update_quality(net, step, batches, layer_names(net), pull, streams.generator("update"))


def with_ratios(
    model: ModelConfig, device: Device, recipe: LearningConfig, train: Split, streams: Streams
) -> Callable[[Network, Epoch], Epoch]:
    """(network, its epoch) -> the epoch with rho of every array, measured on a copy of the network.

    The copy learns the first ``EPOCH_BATCHES`` batches, the same after every epoch, at the epoch's rates. The network
    itself and its generators are left alone.
    """
    energy, own = require_energy(model), streams.child("update-ratio")
    rule, cost, size = learning_rule(recipe), COSTS[energy.cost], min(recipe.batch_size, len(train))
    count = max(EPOCH_BATCHES, *(mode.period for mode in _modes(recipe)))
    batches = [(train.x[i : i + size], train.y[i : i + size]) for i in range(0, len(train) - size + 1, size)]
    batches = [batches[i % len(batches)] for i in range(count)]

    def measured(net: Network, epoch: Epoch) -> Epoch:
        if device.trains != "in-situ" or not any(map(mean_granularity, net.synapses)):
            return epoch
        copy = network(energy, hardware(device, recipe), own, momentum=recipe.momentum)
        copy.load_state_dict(net.state_dict())
        factor = recipe.rate_factor(epoch.epoch - 0.5)
        rates = [rate * factor for rate in recipe.rates]

        def step(net: Network, x: Tensor, labels: Tensor, rng: torch.Generator) -> None:
            rule.step(net, cost, x, labels, rates, rng)

        names = layer_names(copy)
        rng = own.child(epoch.epoch).generator("update")
        by_layer = {each.layer: each.rho for each in update_quality(copy, step, batches, names, 0.0, rng)}
        rho = [by_layer.get(name) for name in names]
        return replace(epoch, rho=[None if r is None or not math.isfinite(r) else r for r in rho])

    return measured


def as_records(
    model: ModelConfig, device: Device, recipe: LearningConfig, train: Split, seed: int
) -> list[dict[str, Any]]:
    """``measured_quality`` as plain values, each with its mode, its ratio rho and, where that is too large, a cure.

    The cure names what a digital sum would send, where that is not what was measured: it is measured as well.
    """
    layers = measured_quality(model, device, recipe, train, seed)
    records = [{**asdict(layer), "rho": layer.rho, "mode": _mode(recipe, i)} for i, layer in enumerate(layers)]
    if any(_too_many(record) and record["mode"] != ACCUMULATE for record in records):
        summed = measured_quality(model, device, recipe.model_copy(update={"update": ACCUMULATE}), train, seed)
        for record, layer in zip(records, summed, strict=True):
            record |= {"rho_accumulated": layer.rho, "held_accumulated": layer.held_weight}
    for record in records:
        record["warning"] = _warning(record)
        record |= {key: None for key, value in record.items() if isinstance(value, float) and not math.isfinite(value)}
    return records


def kept_records(folder: Path, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the folder holds, or what ``measure`` gives, which it then holds."""
    path = folder / FILE
    if path.exists():
        return read_json(path).get("arrays", [])
    records = measure()
    write_json(path, {"arrays": records})
    return records


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """What a command prints: a line an array, then the warnings."""
    return [*map(_line, records), *(f"warning: {record['warning']}" for record in records if record["warning"])]


def _line(record: dict[str, Any]) -> str:
    sent, net, cosine, ratio = (
        "no finite number" if record[key] is None else f"{record[key]:{digits}}"
        for key, digits in (
            ("sent_pulses", ".3g"),
            ("net_pulses", ".2g"),
            ("cosine", ".2f"),
            ("signal_to_noise", ".2g"),
        )
    )
    pulses = f"{sent} pulses a step for {net} that count"
    close = f"cosine {cosine} to the exact update, signal to noise {ratio}"
    rho, held = _ratio(record["rho"]), _holds(record["held_weight"], record["centre"])
    return f"updates of {record['layer']} ({record['mode']}): {pulses}{rho}, {held}, {close}"


def _ratio(rho: float | None) -> str:
    return "" if rho is None else f" (ratio {rho:.3g})"


def _holds(weight: float | None, centre: float) -> str:
    if weight is None:
        return "holds any weight"
    return f"holds weights {_reach(weight, centre)}"


def _reach(weight: float, centre: float) -> str:
    """How far from where pulses pull to, which is 0 unless weights are conductances."""
    return f"within {weight:.2g} of {centre:.2g}" if centre else f"up to {weight:.2g}"


def _modes(recipe: LearningConfig) -> list[UpdateMode]:
    """Of the links, or the one of all."""
    return [parse_mode(text) for text in (recipe.update if isinstance(recipe.update, list) else [recipe.update])]


def _mode(recipe: LearningConfig, link: int) -> str:
    """Of a link's array; digital biases have no pulses, so the arrays measured are those of the links."""
    modes = _modes(recipe)
    return modes[link % len(modes)].name


def _too_many(record: dict[str, Any]) -> bool:
    return record["rho"] > MOST_PULSES and math.isfinite(record["held_weight"])


def _warning(record: dict[str, Any]) -> str | None:
    if not _too_many(record):
        return None
    held, largest, centre = record["held_weight"], record["largest_weight"], record["centre"]
    limit = f"further than {held:.2g} from {centre:.2g}" if centre else f"above {held:.2g}"
    what = (
        f"{record['layer']} is sent {record['rho']:.0f} pulses for each that counts and cannot hold weights {limit} "
        f"(its largest is {largest:.2g}{' away' if centre else ''})"
    )
    if "rho_accumulated" not in record:
        return f"{what}; write less often (in_situ.update=accumulate:10) or average more steps (in_situ.average_last)"
    better, reach = record["rho_accumulated"], record["held_accumulated"]
    return f"{what}; in_situ.update=accumulate would send {better:.2g} and hold weights {_reach(reach, centre)}"
