"""Layered Hopfield networks: the energy of a chain of layers on crossbars. Links: links.py, convolution.py.

    E(x, s) = sum_l c |s_l|^2 - sum_l <s_{l+1}, W_l s_l + b_l>,    s_0 = x held    (docs/concepts/energy.md)
    fixed point:  s_l = clamp((W_{l-1} s_{l-1} + b_{l-1} + W_l^T s_{l+1}) / 2c, 0, 1)

c = 1 is the network of Mansingh et al. (arXiv 2401.11543), activation clamp(v/2, 0, 1); c = 1/2 is
the plain hard sigmoid of Scellier and Bengio 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.chain import Chain
from hwsim.ebm.costs import ThroughReadout
from hwsim.ebm.energy import Bound, Cost, Coupling, State, examples
from hwsim.ebm.links import Dense, Link, Reading
from hwsim.ebm.look import costs_nothing
from hwsim.ebm.network import Given
from hwsim.ebm.normalise import Normalise
from hwsim.errors import InputError

OUTPUTS = ("linear", "clamped", "readout")
STARTS = ("zero", "feed-forward")


class LayeredHopfield(Chain):
    """A chain of links from a held input to an output, symmetric by construction.

    Args:
        links: input side first; link l joins layer l to layer l + 1.
        c: coefficient of the quadratic term, > 0.
        output: "linear", an output layer without bounds; "clamped", one in [0, 1] like the hidden
            ones (it saturates, learns less and its zero gradients fake robustness); or "readout", no
            output layer: the last link reads the last hidden layer out, outside the dynamics, and a
            cost on what it reads nudges that layer (Laborieux et al. 2021; arXiv 2401.11543).
        start: where relaxations begin: all layers at "zero", or one "feed-forward" pass.
        normalise: what the network does to pixels first; nothing by default.

    Raises InputError for links that do not fit and for unknown names. ``hopfield`` builds one from its sizes.

    >>> import hwsim as hw
    >>> net = hw.hopfield([64, 128, 10])
    >>> len(net.links), len(net.synapses), net.noisy
    (2, 4, False)
    """

    def __init__(
        self,
        links: Sequence[Link],
        *,
        c: float = 1.0,
        output: str = "linear",
        start: str = "zero",
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__(links, c=c, normalise=normalise, outside=int(output == "readout"))
        if output not in OUTPUTS:
            raise InputError(f"network: output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if start not in STARTS:
            raise InputError(f"network: start must be one of {', '.join(STARTS)}, got {start!r}")
        if len(links) <= (output == "readout"):
            raise InputError(f"network: a readout needs a hidden layer to read, got {len(links)} links")
        self.output = output
        self.start = start

    def given(self, x: Tensor, *, hold: bool = True) -> GivenInput:
        """The energy over the free layers with the input clamped at ``x`` (B, inputs) or (B, ...).

        ``hold``: read W_0 x + b_0 once and hold it for the whole relaxation and all its phases, as a
        sample-and-hold circuit would; the noise of the one read is then common to all phases and
        cancels in their difference. Otherwise it is read at every step.
        """
        x = self.held_input(x)
        return GivenInput(self, x, self.links[0].read(x) if hold else None)

    def logits(self, s: State, given: Given) -> Tensor:
        """(B, outputs): the drive from below into the output, the pre-activation."""
        return self.links[-1].forward(s[len(self.links) - 2]) if len(self.links) > 1 else given.drive(s, [0])[0]

    def outputs(self, s: State) -> Tensor:
        """(B, outputs): what a cost is a function of, the output layer or what the readout reads."""
        return self.links[-1].forward(s[-1]) if self.output == "readout" else s[-1]

    def cost_of_state(self, cost: Cost) -> Cost:
        """``cost`` as a function of the last free layer: through the readout where there is one."""
        return ThroughReadout(self.links[-1], cost) if self.output == "readout" else cost

    def mapped(self, change: Callable[[Synapse], Synapse]) -> LayeredHopfield:
        """The same network with ``change(array)`` in place of every array."""
        links = [link.replaced([change(synapse) for synapse in link.synapses]) for link in self.links]
        return LayeredHopfield(links, c=self.c, output=self.output, start=self.start, normalise=self.normalise)


@dataclass
class Kept:
    """Readings and feedbacks, by link, with the layers and switches that they were taken at.

    ``version`` is the network's when they were taken; ``held`` replaces the input's reading after a write.
    """

    version: int | None = None
    held: Reading | None = None
    readings: dict[int, tuple[Tensor, Reading]] = field(default_factory=dict)
    feedbacks: dict[int, tuple[Tensor, Tensor | None, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenInput:
    """The energy of a layered Hopfield network with its input held.

    A layer that has not moved is not read again: its drive on the next one stays until it moves, as in
    a sample-and-hold circuit. This is what makes sweeps and max-pooling cost no read twice. Where a
    graph is recorded, everything is read anew, and so it is after an array was written to.
    """

    net: LayeredHopfield
    x: Tensor
    held: Reading | None
    _kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self._kept.version is None:
            self._kept.version = self.net.version

    exact_bowls = True  # max-pooling lies below its bowl, see convolution.py

    @property
    def blocks(self) -> int:
        return self.net.blocks

    @property
    def noisy(self) -> bool:
        return self.net.noisy

    def start(self) -> State:
        """Where relaxations begin: at zero, or with every layer's answer to the drive from below alone."""
        if self.net.start == "zero":
            return self.net.initial(self.x)
        kept = self._keep()
        s: State = ()
        for layer in range(self.blocks):
            s = (*s, self.respond(layer, self._reading(kept, layer, s).drive))
        return s

    def input_drive(self) -> Tensor:
        """(B, units of layer 1): W_0 x + b_0, held or read anew."""
        return self._reading(self._current(), 0, ()).drive

    def value(self, s: State) -> Tensor:
        energy = self.net.c * sum(layer.flatten(1).square().sum(1) for layer in s)
        energy = energy - (s[0] * self.input_drive()).flatten(1).sum(1)
        kept = self._keep()
        for layer, above in enumerate(s[1:], start=1):
            energy = energy - (above * self._reading(kept, layer, s).drive).flatten(1).sum(1)
        return energy

    def drive(self, s: State, layers: Sequence[int]) -> State:
        kept = self._keep()
        return tuple(self._drive(kept, s, layer) for layer in layers)

    def _drive(self, kept: Kept, s: State, layer: int) -> Tensor:
        """The drive of one layer: a new tensor, but for the last one, whose reading is kept."""
        drive = self._reading(kept, layer, s).drive
        if layer == self.blocks - 1:
            return drive
        if layer or torch.is_grad_enabled():
            return drive + self._feedback(kept, layer + 1, s)
        # No solver asks twice for the feedback to the first layer: it need not be kept.
        link = self.net.links[1]
        if isinstance(link, Dense):
            return link.backward_onto(drive, s[1])
        return link.backward(s[1], self._switches(kept, 1, s)).add_(drive)

    def _switches(self, kept: Kept, layer: int, s: State) -> Tensor | None:
        return self._reading(kept, layer, s).switches if self.net.links[layer].switched else None

    def _keep(self) -> Kept:
        """Where readings of this call are kept: for later calls too, unless a graph is recorded."""
        current = self._current()
        return Kept(current.version, current.held) if torch.is_grad_enabled() else current

    def _current(self) -> Kept:
        """What was kept of the weights that the arrays hold now."""
        kept, version = self._kept, self.net.version
        if kept.version != version:
            kept.readings.clear()
            kept.feedbacks.clear()
            kept.held = None if self.held is None else self.net.links[0].read(self.x)
            kept.version = version
        return kept

    def _reading(self, kept: Kept, layer: int, s: State) -> Reading:
        """What link ``layer`` makes of the layer below it."""
        if layer == 0:
            return kept.held or self.held or self.net.links[0].read(self.x)
        below = s[layer - 1]
        last = kept.readings.get(layer)
        if last is None or last[0] is not below:
            last = kept.readings[layer] = (below, self.net.links[layer].read(below))
        return last[1]

    def _feedback(self, kept: Kept, layer: int, s: State) -> Tensor:
        """What link ``layer`` sends back to the layer below it."""
        link, above = self.net.links[layer], s[layer]
        switches = self._switches(kept, layer, s)
        last = kept.feedbacks.get(layer)
        if last is None or last[0] is not above or last[1] is not switches:
            last = kept.feedbacks[layer] = (above, switches, link.backward(above, switches))
        return last[2]

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        curvature = 2 * self.net.c + stiffness
        self.check_bowl(stiffness)
        state = torch.mul(drive, 1 / curvature, out=out)  # half the time of a division
        return state.clamp_(0.0, 1.0) if self._bounded(layer) else state

    def check_bowl(self, stiffness: float | Tensor) -> None:
        """Raise InputError where a block is no bowl any more with so much added to its curvature.

        A number each is looked at where that costs nothing; elsewhere who made them has to check the least of them.
        """
        if isinstance(stiffness, Tensor) and not costs_nothing(stiffness):
            return
        least = stiffness.min().item() if isinstance(stiffness, Tensor) else stiffness
        if 2 * self.net.c + least <= 0:
            raise InputError(
                f"nudge: beta times the cost's stiffness, {least:g}, turns the output's bowl upside down; "
                f"expected more than {-2 * self.net.c:g}, so use a smaller beta"
            )

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        return (0.0, 1.0) if self._bounded(layer) else (-math.inf, math.inf)

    def _bounded(self, layer: int) -> bool:
        return layer < self.blocks - 1 or self.net.output != "linear"

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        kept, new = self._keep(), []
        last, graph = self.blocks - 1, torch.is_grad_enabled()
        for layer in layers:
            drive = self._drive(kept, s, layer)
            new.append(self.respond(layer, drive, out=None if graph or layer == last else drive))
        return tuple(new)

    def force(self, s: State) -> State:
        drives = self.drive(s, range(self.blocks))
        return tuple(v - 2 * self.net.c * layer for v, layer in zip(drives, s, strict=True))

    def input_force(self, s: State) -> Tensor:
        """(B, ...): -dE/dx = W_0^T s_1, what the first array sends back to its (normalised) input."""
        return self.net.links[0].backward(s[0], self._reading(self._current(), 0, s).switches)

    def power(self, s: State) -> None:
        """A digital loop settles the state: what that takes is counted read by read."""
        del s

    def couplings(self, s: State, at: State | None = None) -> tuple[Coupling, ...]:
        """See ``Energy``; through the switches of max-pooling that the state ``at`` sets, by default ``s`` itself."""
        kept, couplings = self._keep(), list[Coupling]()
        for layer, (link, pre, post) in enumerate(zip(self.net.links, (self.x, *s[:-1]), s, strict=False)):
            switches = self._switches(kept, layer, at or s)
            couplings += link.couplings(pre, post, switches)
        return tuple(couplings)

    def chosen(self, rows: Tensor, s: State) -> tuple[GivenInput, State]:
        chosen, last = tuple(examples(layer, rows) for layer in s), self._current()
        held = last.held or self.held
        held = held and held.chosen(rows)
        kept = Kept(last.version)
        for link, (below, reading) in last.readings.items():
            if below is s[link - 1]:
                kept.readings[link] = chosen[link - 1], reading.chosen(rows)
        for link, (above, switches, feedback) in last.feedbacks.items():
            # A feedback through switches is worth keeping only with the reading that has set them.
            known = kept.readings.get(link)
            if above is s[link] and (switches is None or (known and last.readings[link][1].switches is switches)):
                now = known[1].switches if switches is not None and known else None
                kept.feedbacks[link] = chosen[link], now, examples(feedback, rows)
        return replace(self, x=examples(self.x, rows), held=held, _kept=kept), chosen
