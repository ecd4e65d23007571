"""Arrays that take whole pulses, and how far one pulse moves a weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.crossbar.composite import Composite, arrays_of
from hwsim.crossbar.synapse import Meter, Synapse, check_pulses
from hwsim.errors import InputError


@runtime_checkable
class Around(Protocol):
    """A synapse around another one."""

    inner: Synapse


@runtime_checkable
class Pulsed(Protocol):
    """An array whose cross-points can be sent a whole number of pulses each."""

    @property
    def granularity(self) -> float | Tensor | None:
        """Mean change of a weight by one pulse around weight 0, one or (post, 1); 0: exact updates; None: unknown."""
        ...

    def pulse(self, counts: Tensor) -> None:
        """Send counts (post, pre), whole and signed, row by row: a cross-point gets |count| pulses of that sign."""
        ...


@runtime_checkable
class PulseTrains(Protocol):
    """An array that takes stochastic trains of pulses."""

    def pulses_per_unit(self, rate: float) -> float:
        """Pulses expected, at this rate, at a cross-point where |pre post| is 1."""
        ...


@runtime_checkable
class ScalesUpdates(Protocol):
    """An array that may scale updates by those before, so that what it is sent is not what its devices get."""

    @property
    def scales_updates(self) -> bool: ...


@runtime_checkable
class Buffered(Protocol):
    """A synapse with digital memory beside its array, for updates that have not reached the devices yet."""

    @property
    def digital_bytes(self) -> int: ...

    @property
    def period(self) -> int:
        """Training steps from one write to the next."""
        ...


def granularity(synapse: Synapse) -> float | Tensor | None:
    """The change of a weight by one pulse, see ``Pulsed``; None where the synapse does not say."""
    return synapse.granularity if isinstance(synapse, Pulsed) else None


def layers_of(synapse: Synapse) -> Iterator[Synapse]:
    """A synapse and all that are inside it: wrapped ones, tiles, twins, down to the arrays."""
    yield synapse
    inside = synapse.parts.values() if isinstance(synapse, Composite) else ()
    for inner in (synapse.inner,) if isinstance(synapse, Around) else inside:
        yield from layers_of(inner)


def digital_bytes(synapse: Synapse) -> int:
    """Digital memory beside all arrays of a layer, in bytes."""
    return sum(layer.digital_bytes for layer in layers_of(synapse) if isinstance(layer, Buffered))


def write_period(synapse: Synapse) -> int:
    """Training steps until every array of a layer was written to."""
    return max((layer.period for layer in layers_of(synapse) if isinstance(layer, Buffered)), default=1)


def mean_granularity(synapse: Synapse) -> float:
    """The same as one number, the mean over all arrays that a layer lies on; 0: exact updates, or unknown."""
    steps = [step for array in arrays_of(synapse) if (step := granularity(array)) is not None]
    return sum(float(torch.as_tensor(step).mean()) for step in steps) / len(steps) if steps else 0.0


def check_momentum(momentum: float, mode: str) -> None:
    """InputError unless the momentum of a running mean of steps is in [0, 1)."""
    if not 0 <= momentum < 1:
        raise InputError(f"update: {mode}: expected a momentum in [0, 1), got {momentum}")


def count_rows(meter: Meter, counts: Tensor) -> None:
    """Count whole pulses sent row by row: a row takes as many slots as its largest count."""
    sizes = counts.abs()
    slots = sizes.amax(1)
    most = float(slots.max())
    check_pulses(most)
    meter.rows_written += int((slots > 0).sum())
    meter.slots += float(slots.sum())
    meter.pulses += float(sizes.sum())
    meter.k_count += 1
    meter.k_sum += most
    meter.k_max = max(meter.k_max, most)
