"""What every network on crossbars is: arrays, an energy of its free layers once its input is given, and an output.

Learning rules, attacks and jobs know a network by this alone, whatever its energy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.crossbar.synapse import Ages, Synapse
from hwsim.ebm.energy import Cost, Energy, State
from hwsim.ebm.power import Power
from hwsim.rng import Streams


@runtime_checkable
class Given(Energy, Protocol):
    """The energy of a network over its free layers, with its input held."""

    @property
    def x(self) -> Tensor:
        """(B, ...): the input, as it was given."""
        ...

    def start(self) -> State:
        """Where relaxations begin."""
        ...

    def input_force(self, s: State) -> Tensor:
        """(B, ...): -dE/dx at the state ``s``, in the shape of ``x``."""
        ...

    def power(self, s: State) -> Power | None:
        """What the network draws at the state ``s``, where it is a circuit that relaxes by itself; else None."""
        ...

    def chosen(self, rows: Tensor, s: State) -> tuple[Given, State]: ...


class Junction(Protocol):
    """What joins two layers: one array, and what belongs to it. A learning rate is one junction's."""

    @property
    def synapses(self) -> tuple[Synapse, ...]: ...


class Network(ABC):
    """A network whose weights are held by arrays.

    Attributes:
        synapses: all arrays, input side first; those of a link one after the other.
        blocks: how many free layers it has.
        starts_at_rest: is the start of a relaxation an equilibrium already, as a forward pass may be?

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 16, 10])
    >>> isinstance(net, hw.Network), net.classes, len(net.synapses)
    (True, 10, 4)
    """

    synapses: tuple[Synapse, ...]
    blocks: int
    starts_at_rest = False

    @property
    @abstractmethod
    def links(self) -> Sequence[Junction]:
        """What joins the layers, input side first."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many scores it gives."""

    @abstractmethod
    def initial(self, x: Tensor) -> State:
        """All free layers at zero."""

    @abstractmethod
    def given(self, x: Tensor, *, hold: bool = True) -> Given:
        """The energy over the free layers with the input at ``x`` (B, ...).

        ``hold``: the input is read once and held for the whole relaxation and all its phases, as a sample-and-hold
        circuit would; the noise of the one read is then common to all phases and cancels in their difference.
        """

    @abstractmethod
    def logits(self, s: State, given: Given) -> Tensor:
        """(B, classes): the scores that the layers below the output give it."""

    @abstractmethod
    def outputs(self, s: State) -> Tensor:
        """(B, classes): what a cost is a function of."""

    @abstractmethod
    def cost_of_state(self, cost: Cost) -> Cost:
        """``cost`` as a function of the last free layer."""

    @abstractmethod
    def mapped(self, change: Callable[[Synapse], Synapse]) -> Network:
        """The same network with ``change(array)`` in place of every array."""

    @abstractmethod
    def initial_weights(self, gain: float, streams: Streams) -> list[Tensor]:
        """Weights to begin a training with, in the order of ``synapses``; ``gain`` scales their spread."""

    @property
    def noisy(self) -> bool:
        """Do two relaxations from one start differ?"""
        return any(synapse.noisy for synapse in self.synapses)

    @property
    def version(self) -> int:
        """Rises with every change to what the arrays' reads find."""
        return sum(synapse.version for synapse in self.synapses)

    def weights(self) -> list[Tensor]:
        """Noiseless copies of what every array holds, in the order of ``synapses``."""
        return [synapse.weight() for synapse in self.synapses]

    def program(self, weights: Sequence[Tensor]) -> None:
        """Write all arrays, each as its device can."""
        for synapse, weight in zip(self.synapses, weights, strict=True):
            synapse.program(weight)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the arrays have to remember; array i's entries begin with ``i.``."""
        return {f"{i}.{name}": t for i, s in enumerate(self.synapses) for name, t in s.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state_dict`` gave. Raises ValueError where it is another network's."""
        parts: list[dict[str, Tensor]] = [{} for _ in self.synapses]
        for key, tensor in state.items():
            index, _, name = key.partition(".")
            if not index.isdecimal() or int(index) >= len(parts):
                raise ValueError(f"saved state: {key!r} belongs to none of {len(parts)} arrays")
            parts[int(index)][name] = tensor
        for synapse, part in zip(self.synapses, parts, strict=True):
            synapse.load_state_dict(part)

    def tick(self) -> None:
        """The end of a training step on every array."""
        for synapse in self.synapses:
            synapse.tick()

    def age(self, seconds: float) -> None:
        """Bring all arrays that can age to this time after they were programmed; the others stay as they are.

        Drift is compensated as each device says. InputError for a negative time.
        """
        for synapse in self.synapses:
            if isinstance(synapse, Ages):
                synapse.age(seconds)

    def reseed_reads(self, streams: Streams) -> None:
        """Start every array's read noise anew; array i takes the streams of the child ``("array", i)``."""
        for index, synapse in enumerate(self.synapses):
            synapse.reseed_reads(streams.child("array", index))

    def float_twin(self) -> Network:
        """The same network with exact copies of the weights that the arrays hold now."""
        return self.mapped(lambda synapse: FloatSynapse(synapse.weight()))
