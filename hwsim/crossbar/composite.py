"""Layers that lie on several arrays: what tiles of a layer and twins of an array have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from hwsim.crossbar.synapse import Ages, Bounded, Meter, Synapse
from hwsim.rng import Streams


class Layout(NamedTuple):
    """How a layer lies on arrays.

    Args:
        tiles: number of arrays.
        utilisation: share of their cross-points that hold a weight; 1 where arrays have no fixed size.
    """

    tiles: int
    utilisation: float


@runtime_checkable
class OnArrays(Protocol):
    """A synapse that says on which arrays it lies."""

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        """All arrays, those of the negative phase last."""
        ...

    @property
    def layout(self) -> Layout: ...


def arrays_of(synapse: Synapse) -> tuple[Synapse, ...]:
    """The arrays that a synapse lies on; itself, where it is one array."""
    return synapse.arrays if isinstance(synapse, OnArrays) else (synapse,)


def layout(synapse: Synapse) -> Layout:
    """How a synapse lies on arrays; where it does not say, it is one array."""
    return synapse.layout if isinstance(synapse, OnArrays) else Layout(1, 1.0)


class Composite(ABC):
    """A synapse made of other synapses, its ``parts`` by name.

    They share one ``meter``, which counts a vector once for every array that it is sent to. A subclass says how parts
    are read and updated, and which streams seed the reads of each.
    """

    def __init__(self, shape: tuple[int, int], parts: Mapping[str, Synapse]) -> None:
        self.shape = shape
        self.parts = dict(parts)
        first = next(iter(self.parts.values()))
        self.noisy = first.noisy
        self.meter = first.meter

    @property
    def meter(self) -> Meter:
        return self._meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self._meter = meter
        for part in self.parts.values():
            part.meter = meter

    @property
    def version(self) -> int:
        return sum(part.version for part in self.parts.values())

    @property
    def arrays(self) -> tuple[Synapse, ...]:
        return tuple(array for part in self.parts.values() for array in arrays_of(part))

    def tick(self) -> None:
        for part in self.parts.values():
            part.tick()

    def age(self, seconds: float) -> None:
        """The state so long after programming, of all parts that can be aged."""
        for part in self.parts.values():
            if isinstance(part, Ages):
                part.age(seconds)

    def part_limits(self) -> dict[str, dict[str, tuple[Tensor, Tensor, Tensor]]]:
        """The limits of every part, by the part's name."""
        return {name: part.limits() if isinstance(part, Bounded) else {} for name, part in self.parts.items()}

    def clipped_share(self) -> float:
        sizes = {name: part.shape[0] * part.shape[1] for name, part in self.parts.items()}
        clipped = sum(part.clipped_share() * sizes[name] for name, part in self.parts.items())
        return clipped / sum(sizes.values())

    @abstractmethod
    def read_streams(self, name: str, streams: Streams) -> Streams:
        """The streams that seed the reads of one part."""

    def reseed_reads(self, streams: Streams) -> None:
        for name, part in self.parts.items():
            part.reseed_reads(self.read_streams(name, streams))

    def state_dict(self) -> dict[str, Tensor]:
        """The states of all parts; entries begin with the part's name."""
        return {f"{name}.{key}": value for name, part in self.parts.items() for key, value in part.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        states: dict[str, dict[str, Tensor]] = {name: {} for name in self.parts}
        for key, value in state.items():
            owner = next((name for name in self.parts if key.startswith(f"{name}.")), None)
            if owner is None:
                raise ValueError(f"saved state of a synapse of parts {', '.join(self.parts)}: unexpected entry {key!r}")
            states[owner][key.removeprefix(f"{owner}.")] = value
        for name, part in self.parts.items():
            part.load_state_dict(states[name])
