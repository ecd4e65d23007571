"""Networks whose layers follow one another: links from a held input to an output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.energy import State
from hwsim.ebm.links import Link, uniform_weights
from hwsim.ebm.network import Network
from hwsim.ebm.normalise import Normalise
from hwsim.errors import InputError
from hwsim.rng import Streams


class Chain(Network):
    """What the networks of a chain of links share; an energy is what each adds.

    Args:
        links: input side first; link l joins layer l to layer l + 1.
        c: activities are clamp(v / 2c, 0, 1), > 0.
        normalise: what the network does to pixels first.
        outside: how many of the last links lie outside the dynamics.

    Raises InputError for links that do not fit.
    """

    def __init__(self, links: Sequence[Link], *, c: float, normalise: Normalise | None, outside: int = 0) -> None:
        if not c > 0:
            raise InputError(f"network: c must be > 0, got {c}")
        for below, above in pairwise(links):
            if below.post_shape != above.pre_shape:
                raise InputError(f"network: a link of {below.post_shape} units feeds one of {above.pre_shape}")
        self._links = tuple(links)
        self.c = c
        self.normalise = normalise
        self.blocks = len(self.links) - outside
        self.synapses: tuple[Synapse, ...] = tuple(synapse for link in self.links for synapse in link.synapses)
        """All arrays, input side first, each followed by its digital biases where it has them."""

    @property
    def links(self) -> tuple[Link, ...]:
        return self._links

    @property
    def classes(self) -> int:
        return self.links[-1].post_shape[0]

    def initial(self, x: Tensor) -> State:
        """All layers at zero. Relaxations begin at ``given(x).start()``."""
        return tuple(x.new_zeros(len(x), *link.post_shape) for link in self.links[: self.blocks])

    def held_input(self, x: Tensor) -> Tensor:
        """``x`` (B, inputs) or (B, ...), normalised, in the shape of the first link. InputError for another size."""
        shape = self.links[0].pre_shape
        expected, given = torch.Size(shape).numel(), x.shape[1:].numel()
        if given != expected:
            raise InputError(f"network input: expected {expected} values an example, got {given}")
        return (x if self.normalise is None else self.normalise(x)).reshape(len(x), *shape)

    def initial_weights(self, gain: float, streams: Streams) -> list[Tensor]:
        """Uniform weights within gain / sqrt(fan in) and zero biases, in the order of ``synapses``."""
        return uniform_weights(self.links, gain, streams)
