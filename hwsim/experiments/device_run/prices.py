"""From counted work to energy and time, by a table of prices with their sources."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hwsim.cards.layers import Layer, build
from hwsim.cards.yamlfile import read_yaml
from hwsim.crossbar.work import Work

Amount = Field(gt=0, allow_inf_nan=False)


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    source: str = Field(min_length=1)


class ReadPrice(_Prices):
    """A chip's peak figures; a read of one of its arrays follows from them."""

    cores: int = Field(ge=1)
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    tops: float = Amount
    tops_per_watt: float = Amount

    @property
    def operations(self) -> int:
        """Of one array read: a multiplication and an addition at each cross-point."""
        return 2 * self.rows * self.columns

    @property
    def energy_J(self) -> float:
        """Of one read of a whole array."""
        return self.operations / (self.tops_per_watt * 1e12)

    @property
    def seconds(self) -> float:
        """Of one read; the cores work side by side."""
        return self.cores * self.operations / (self.tops * 1e12)

    def cores_for(self, work: Work) -> int:
        """Cores that an array of this work's size takes."""
        return math.ceil(work.rows / self.rows) * math.ceil(work.columns / self.columns)


class PulsePrice(_Prices):
    """One pulse across one device."""

    voltage_V: float = Amount
    conductance_uS: float = Amount
    width_ns: float = Amount

    @property
    def energy_J(self) -> float:
        return self.voltage_V**2 * self.conductance_uS * 1e-6 * self.width_ns * 1e-9


class DigitalPrice(_Prices):
    """Arithmetic beside the arrays."""

    add_pJ: float = Amount
    multiply_pJ: float = Amount


class CostTable(BaseModel):
    """Prices of operations, with sources."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    schema_version: Literal[1] = 1
    name: str
    read: ReadPrice
    pulse: PulsePrice
    digital: DigitalPrice

    def assumptions(self) -> list[str]:
        """All that stands between the counts and the prices, one sentence each."""
        read, pulse, digital = self.read, self.pulse, self.digital
        return [
            f"A read of an array of {read.rows} x {read.columns} takes {read.energy_J * 1e9:.1f} nJ and "
            f"{read.seconds * 1e9:.0f} ns, converters included, in either direction ({read.source}).",
            "A smaller array costs as much as a whole one (unused lines are not switched off); the energy by share "
            "counts the cross-points in use alone. A larger one takes several, side by side.",
            "The arrays of different layers, and the tiles of one, work at the same time; reads of one array come one "
            "after another. So the time is that of the busiest array.",
            f"A pulse takes {pulse.energy_J * 1e12:.3g} pJ at a cross-point and {pulse.width_ns:g} ns "
            f"({pulse.source}). Charging of lines and pulses that meet no partner are free.",
            f"Each converted value is added to a unit's state for {digital.add_pJ:g} pJ. Digital biases, updates "
            "summed or factored in digital and float arithmetic cost "
            f"{digital.multiply_pJ + digital.add_pJ:g} pJ a product, and no time ({digital.source}).",
            "Data transport, buffers, control and idle power are free.",
        ]


@dataclass(frozen=True)
class Price:
    """What a piece of work costs.

    Args:
        energy_J: in all, arrays read whole.
        energy_by_share_J: in all, a read costing the share of the array's cross-points that is in use.
        read_J, pulse_J, digital_J: parts of ``energy_J``: reads, pulses and programming, digital arithmetic.
        seconds: of the busiest array; digital arithmetic takes none.
        digital_reference_J: the same products and sums in digital floating point, without memory access.
    """

    energy_J: float
    energy_by_share_J: float
    read_J: float
    pulse_J: float
    digital_J: float
    seconds: float
    digital_reference_J: float


def read_table(path: Path | None = None) -> CostTable:
    """The table at ``path``, or ours. Raises InputError, with line and key, for mistakes in it."""
    if path is not None:
        return build(CostTable, [Layer(read_yaml(path))])
    ours = importlib.resources.files("hwsim.experiments.device_run") / "cost-table.yaml"
    with importlib.resources.as_file(ours) as file:
        return build(CostTable, [Layer(read_yaml(file, "hwsim/experiments/device_run/cost-table.yaml"))])


def priced(works: Sequence[Work], table: CostTable) -> Price:
    """Energy and time of what the arrays of a network did."""
    read, pulse, digital = table.read, table.pulse, table.digital
    whole = share = pulses = 0.0
    products = additions = reference = 0.0
    seconds = [0.0]
    for work in works:
        reference += work.multiplications + work.update_products
        products += work.digital_products
        if work.digital or not (work.slots or work.digital_products):
            products += work.update_products
        if work.digital:
            products += work.multiplications
            continue
        vectors = work.reads + work.reads_transpose
        whole += vectors * read.cores_for(work) * read.energy_J
        share += work.multiplications / (read.rows * read.columns) * read.energy_J
        pulses += (work.pulses + work.writes) * pulse.energy_J
        additions += work.adc_conversions
        seconds.append((vectors * read.seconds + work.slots * pulse.width_ns * 1e-9) / work.arrays)
    product_J, add_J = (digital.multiply_pJ + digital.add_pJ) * 1e-12, digital.add_pJ * 1e-12
    arithmetic = products * product_J + additions * add_J
    rest = pulses + arithmetic
    return Price(whole + rest, share + rest, whole, pulses, arithmetic, max(seconds), reference * product_J)
