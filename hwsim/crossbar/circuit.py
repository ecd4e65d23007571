"""What an array of devices is built into, as far as a synapse has to know it; the bare array is the default."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Seen(NamedTuple):
    """The matrices, both (post, pre), that the two reads find in an array, and what they add to every output.

    Args:
        forward, transpose: normalised weights behind ``read`` and ``read_transpose``; the same tensor where equal.
        offset, offset_transpose: (post,) and (pre,) normalised outputs to an input of 0; None for none.
    """

    forward: Tensor
    transpose: Tensor
    offset: Tensor | None = None
    offset_transpose: Tensor | None = None


Pulse = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(weights, n_up, n_down) -> weights after so many pulses, all (post, pre) and normalised."""


class Circuit(Protocol):
    """Between the devices of one array and its terminals. Weights are normalised, before any digital scale."""

    @property
    def finite(self) -> bool:
        """Do its devices hold a few conductances only, so that ``landed`` changes anything?"""
        ...

    def landed(self, before: Tensor, after: Tensor) -> Tensor:
        """The weights that an update leaves, which would bring ``before`` to ``after`` if it could; all (post, pre).

        Cross-points that did not move stay as they are.
        """
        ...

    def seen(self, weight: Tensor) -> Seen:
        """What reads find where the devices were brought to ``weight`` (post, pre)."""
        ...

    def write(self, target: Tensor, start: Tensor, pulse: Pulse | None) -> tuple[Tensor, int]:
        """Program: the weights reached, and the writes that it took.

        Args:
            target, start: (post, pre) weights asked for, and those that the devices hold.
            pulse: the response of devices that are moved by pulses; None where writing does not depend on ``start``.
        """
        ...

    def conductances(self, weight: Tensor) -> dict[str, Tensor]:
        """The devices behind ``weight`` in physical units, by name."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Bare:
    """No circuit: reads find what the devices hold, and programming is exact."""

    finite = False

    def landed(self, before: Tensor, after: Tensor) -> Tensor:
        del before
        return after

    def seen(self, weight: Tensor) -> Seen:
        return Seen(weight, weight)

    def write(self, target: Tensor, start: Tensor, pulse: Pulse | None) -> tuple[Tensor, int]:
        del start, pulse
        return target, target.numel()

    def conductances(self, weight: Tensor) -> dict[str, Tensor]:
        del weight
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        del state


BARE = Bare()


@runtime_checkable
class Placeable(Protocol):
    """A synapse whose devices can be built into a circuit."""

    def place_in(self, circuit: Circuit) -> None:
        """From now on, read and program through ``circuit``. InputError where the array cannot."""
        ...
