"""The cost of a run: what its arrays do for one inference and one training step, and what a table says it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from hwsim.cards.build import COSTS, hardware, layer_names, learning_rule, network
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.updates.pulsed import write_period
from hwsim.crossbar.work import Work, cost_of
from hwsim.ebm.inference import infer
from hwsim.errors import InputError
from hwsim.experiments.device_run.circuit import static_power
from hwsim.experiments.device_run.job import RunJob
from hwsim.experiments.device_run.prices import CostTable, priced, read_table
from hwsim.experiments.evaluation import relaxation
from hwsim.jobs.weights import WEIGHTS, load_weights
from hwsim.rng import Streams

ACTIVITIES = {"programming": "programming", "inference": "inference, an example", "training": "training, an example"}


def cost_section(
    job: RunJob, table: CostTable | None = None, weights: Sequence[Tensor] | None = None
) -> dict[str, Any]:
    """Counts and prices of a job on its device, as plain values.

    The network is built anew, programmed with its initial weights, asked for one batch and trained by it for as many
    steps as lie between two writes; so the pulses are those of the first steps, and fall as the error does.
    ``programming`` is of the whole network; ``inference`` and ``training`` are means over the examples of the batch.

    A circuit that relaxes by itself makes no reads. What it takes is ``power``, from its own voltages on the batch.

    Args:
        table: prices; ours if None.
        weights: learned ones, by which the power is worked out; the initial ones if None.
    """
    table = table or read_table()
    recipe = job.in_situ
    streams = Streams(job.seed).child("cost")
    net = network(job.model.energy, hardware(job.device.device, recipe), streams)
    arrays = dict(zip(layer_names(net), net.synapses, strict=True))
    x, labels = job.data.train[: recipe.batch_size]
    size = len(x)
    initial = net.initial_weights(job.model.energy.init_gain, streams)
    rule, cost = learning_rule(recipe), COSTS[job.model.energy.cost]

    done = {"programming": cost_of(arrays, lambda: net.program(initial))}
    inferred = cost_of(arrays, lambda: infer(net, x, **relaxation(job.model.inference)))
    done["inference"] = [work.per(size) for work in inferred]
    steps, rng = max(write_period(synapse) for synapse in net.synapses), streams.generator("update")

    def train() -> None:
        for _ in range(steps):
            rule.step(net, cost, x, labels, [rate * recipe.rate_scale for rate in recipe.rates], rng)

    done["training"] = [work.per(steps * size) for work in cost_of(arrays, train)]
    section = {
        "table": table.name,
        "batch": size,
        "activities": [_activity(name, works, table) for name, works in done.items()],
        "assumptions": table.assumptions(),
    }
    net.program(initial if weights is None else weights)
    at_rest = static_power(net, x, job.model.inference)
    if at_rest is None:
        return section
    learned = "initial" if weights is None else "learned"
    return {**section, "power": asdict(at_rest[0]), "assumptions": [CIRCUIT.format(learned), *section["assumptions"]]}


def shipped_weights(job: RunJob, folder: Path | None) -> list[Tensor] | None:
    """The weights beside a model's card; None where there are none, or where settings made it another network."""
    path = folder / WEIGHTS if folder else None
    if path is None or not path.is_file():
        return None
    net = network(job.model.energy, FloatDevice(), Streams(0))
    try:
        load_weights(net, path)
    except InputError:
        return None
    return net.weights()


CIRCUIT = (
    "The circuit relaxes by itself, so that an inference has no reads to be priced: the power is the sum of current "
    "times voltage over its settled elements at the {} weights, mean over the batch. The energy of an inference is "
    "that times the time it takes to settle, which depends on capacitances that are not simulated. Converters at "
    "inputs and outputs are not in it."
)
POWERS = {
    "static power of the settled circuit": "total_W",
    "  of it conductances": "conductances_W",
    "  diodes": "diodes_W",
    "  given by sources": "sources_W",
    "  by amplifiers": "amplifiers_W",
}


def _activity(name: str, works: Sequence[Work], table: CostTable) -> dict[str, Any]:
    return {
        "name": name,
        "title": ACTIVITIES[name],
        "layers": [work.as_record() for work in works],
        "price": asdict(priced(works, table)),
    }


def rows(section: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """A section as a table for people: what is counted or priced, and its value for each activity."""
    activities = section["activities"]
    table: list[tuple[str, list[str]]] = []
    for i, layer in enumerate(activities[0]["layers"]):
        if not layer["digital"]:
            post, pre = layer["shape"]
            tiles = f", {layer['arrays']} tiles" if layer["arrays"] > 1 else ""
            counts = [(a["layers"][i]["reads"], a["layers"][i]["reads_transpose"]) for a in activities]
            table.append(
                (
                    f"reads of {layer['layer']} ({post} x {pre}{tiles}), back",
                    [f"{_short(f)}, {_short(b)}" for f, b in counts],
                )
            )
    counted = {
        "products of all reads": "multiplications",
        "DAC conversions": "dac_conversions",
        "ADC conversions": "adc_conversions",
        "pulse slots": "slots",
        "pulses at cross-points": "pulses",
        "writes by programming": "writes",
        "rows written by digital sums": "rows_written",
        "digital products of updates": "digital_products",
    }
    for title, key in counted.items():
        table.append((title, [_short(sum(layer.get(key, 0) for layer in a["layers"])) for a in activities]))
    held, weights = (sum(of(layer) for layer in activities[0]["layers"]) for of in (_memory, _weights))
    table.append(("digital memory of updates, bytes a weight", ["", "", _short(held / weights if weights else 0.0)]))
    priced_as = {
        "energy": "energy_J",
        "  of it reads": "read_J",
        "  pulses and writes": "pulse_J",
        "  digital": "digital_J",
        "energy, reads by share of the array used": "energy_by_share_J",
        "the same in digital floating point": "digital_reference_J",
    }
    power = section.get("power")
    if power is not None:
        table += [(title, ["", with_unit(power[key], "W"), ""]) for title, key in POWERS.items()]
    # Where a circuit relaxes, there is no energy of an inference to be had from a table of reads.
    dark = {"inference"} if power is not None else set()
    table += [
        (title, ["" if a["name"] in dark else with_unit(a["price"][key], "J") for a in activities])
        for title, key in priced_as.items()
    ]
    seconds = ["" if a["name"] in dark else with_unit(a["price"]["seconds"], "s") for a in activities]
    return [*table, ("time", seconds)]


def _memory(layer: dict[str, Any]) -> float:
    return float(layer["memory_bytes"])


def _weights(layer: dict[str, Any]) -> int:
    """Of arrays of devices; digital biases are no part of what an update mode is for."""
    return 0 if layer["digital"] else layer["shape"][0] * layer["shape"][1]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_unit(value: float, unit: str) -> str:
    """A quantity with three digits and the prefix that suits it."""
    if value == 0:
        return "0"
    for prefix, size in (("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value / 1e-12:.3g} p{unit}"
