"""What arrays are asked to do, counted: reads, conversions, pulses, programmings. Prices are elsewhere.

The counts come from the meters of the arrays (``hwsim.crossbar.synapse.Meter``) and are exact but for pulses, which
are the
expected number that stochastic trains carry. Repeated reads of a periphery with iterative bound management count once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hwsim.crossbar.composite import arrays_of
from hwsim.crossbar.exact import FloatSynapse
from hwsim.crossbar.synapse import Synapse
from hwsim.crossbar.updates.pulsed import digital_bytes

COUNTS = {
    "reads": "vectors_read",
    "reads_transpose": "vectors_read_transpose",
    "updates": "vectors_updated",
    "slots": "slots",
    "pulses": "pulses",
    "programmed": "programmed",
    "writes": "writes",
    "rows_written": "rows_written",
    "digital_products": "digital_products",
}


@dataclass(frozen=True)
class Work:
    """What the arrays of one layer did. A layer cut into tiles has several arrays, and each has its own converters.

    Args:
        layer: name of the layer.
        shape: (post, pre) of the whole layer.
        arrays: arrays that hold it.
        rows, columns: outputs and inputs of one of them, their mean where tiles differ by one.
        digital: exact arithmetic, such as the biases beside an array; it has no converters and no pulses.
        reads, reads_transpose, updates: vectors sent to arrays; one to a layer of four tiles counts four times.
        slots: time slots of all pulse trains.
        pulses: pulses that cross-points are expected to get.
        programmed: matrices written into arrays.
        writes: shots or pulses that devices took for that.
        rows_written: rows of whole pulses written by a digital sum, one row at a time.
        digital_products: multiplications beside the arrays that an update mode needs.
        memory_bytes: digital memory beside the arrays, for updates on their way; it is there, not done.
    """

    layer: str
    shape: tuple[int, int]
    arrays: int
    rows: float
    columns: float
    digital: bool
    reads: float = 0.0
    reads_transpose: float = 0.0
    updates: float = 0.0
    slots: float = 0.0
    pulses: float = 0.0
    programmed: float = 0.0
    writes: float = 0.0
    rows_written: float = 0.0
    digital_products: float = 0.0
    memory_bytes: int = 0

    @property
    def multiplications(self) -> float:
        """Products of an input and a cross-point in all reads: rows x columns x vectors."""
        return self.rows * self.columns * (self.reads + self.reads_transpose)

    @property
    def update_products(self) -> float:
        """Products of two factors in all updates, had they been worked out: rows x columns x vectors."""
        return self.rows * self.columns * self.updates

    @property
    def dac_conversions(self) -> float:
        """Values that the input lines of either direction take; 0 in digital."""
        return 0.0 if self.digital else self.reads * self.columns + self.reads_transpose * self.rows

    @property
    def adc_conversions(self) -> float:
        """Values that the output lines of either direction give; 0 in digital."""
        return 0.0 if self.digital else self.reads * self.rows + self.reads_transpose * self.columns

    def per(self, examples: int) -> Work:
        """The share of one example."""
        return replace(self, **{name: getattr(self, name) / examples for name in COUNTS})

    def as_record(self) -> dict[str, Any]:
        """Plain values, the derived counts included."""
        derived = "multiplications", "update_products", "dac_conversions", "adc_conversions"
        return {**asdict(self), "shape": list(self.shape), **{name: getattr(self, name) for name in derived}}


def cost_of(synapses: Mapping[str, Synapse], doing: Callable[[], object]) -> list[Work]:
    """What the arrays of each layer do while ``doing`` runs; their meters go on counting.

    >>> from hwsim.rng import Streams
    >>> from hwsim.crossbar.exact import FloatDevice
    >>> import torch
    >>> synapse = FloatDevice().synapse(3, 4, Streams(0))
    >>> cost_of({"layer": synapse}, lambda: synapse.read(torch.ones(5, 4)))[0].multiplications
    60.0
    """
    before = {name: _counts(synapse) for name, synapse in synapses.items()}
    doing()
    works = []
    for name, synapse in synapses.items():
        done = {key: value - before[name][key] for key, value in _counts(synapse).items()}
        works.append(replace(_at_rest(name, synapse), **done))
    return works


def _counts(synapse: Synapse) -> dict[str, float]:
    return {name: float(getattr(synapse.meter, attribute)) for name, attribute in COUNTS.items()}


def _at_rest(name: str, synapse: Synapse) -> Work:
    arrays = arrays_of(synapse)
    rows, columns = (sum(array.shape[i] for array in arrays) / len(arrays) for i in range(2))
    return Work(
        name,
        synapse.shape,
        len(arrays),
        rows,
        columns,
        all(isinstance(array, FloatSynapse) for array in arrays),
        memory_bytes=digital_bytes(synapse),
    )
