"""Predictive coding networks: every layer predicts the next one, and the energy is what the predictions miss.

    E(x, h) = sum_l |h_l - p_l|^2 / 2,    p_l = P(W_l f(h_{l-1})) + b_l,    p_1 = P(W_1 x) + b_1

with f(h) = clamp(h / 2c, 0, 1) and pooling P (Rao and Ballard 1999; Whittington and Bogacz 2017). Without a nudge the
energy is 0 at the forward pass: the network predicts without feedback. With one, the errors e_l = h_l - p_l at rest are

    e_L = -beta dC/dh_L,    e_l = f'(h_l) W_{l+1}^T e_{l+1}

which is backpropagation's recursion at the nudged state. So equilibrium propagation, whose gradient is made of
dE/dW_l = -e_l f(h_{l-1})^T, becomes backpropagation's as beta -> 0 (trained so by Kerjan, Hoeier and Scellier, arXiv
2606.03584).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.chain import Chain
from hwsim.ebm.energy import Bound, Cost, Coupling, Relaxable, State, Wrapped, examples
from hwsim.ebm.links import Dense, Link, Reading
from hwsim.ebm.look import costs_nothing
from hwsim.ebm.network import Given
from hwsim.ebm.normalise import Normalise
from hwsim.ebm.solvers import FRESH, Memory
from hwsim.errors import InputError


class PredictiveCoding(Chain):
    """A chain of links, each of which predicts the layer above it from the activities of the layer below.

    Args:
        links: input side first; link l predicts layer l + 1.
        c: activities are clamp(h / 2c, 0, 1), as in a layered Hopfield network of the same c, > 0.
        normalise: what the network does to pixels first; nothing by default.

    States are the layers before their activation, without bounds; the last one is the output. Raises InputError for
    links that do not fit. ``predictive_coding`` builds one from its sizes.

    >>> import hwsim as hw
    >>> net = hw.predictive_coding([64, 16, 10])
    >>> x, y = hw.load_data("digits").test[:4]
    >>> logits, settled = hw.infer(net, x, solver=hw.ErrorSweeps(), phase=hw.Phase(1))
    >>> tuple(logits.shape), settled.unsettled_share, float(net.given(x).value(settled.state).max())
    ((4, 10), 0.0, 0.0)
    """

    starts_at_rest = True

    def __init__(self, links: Sequence[Link], *, c: float = 1.0, normalise: Normalise | None = None) -> None:
        if not links:
            raise InputError("network: a predictive coding network needs a link at least, got none")
        super().__init__(links, c=c, normalise=normalise)

    def activity(self, h: Tensor) -> Tensor:
        return (h / (2 * self.c)).clamp(0.0, 1.0)

    def slope(self, h: Tensor) -> Tensor:
        """Of ``activity``, 0 where it is clamped."""
        return ((h > 0) & (h < 2 * self.c)).to(h.dtype) / (2 * self.c)

    def given(self, x: Tensor, *, hold: bool = True) -> GivenPrediction:
        """The energy over the layers with the input clamped at ``x`` (B, inputs) or (B, ...).

        ``hold``: the prediction of the first layer is read once, see ``Network.given``.
        """
        x = self.held_input(x)
        return GivenPrediction(self, x, self.links[0].read(x) if hold else None)

    def logits(self, s: State, given: Given) -> Tensor:
        """(B, classes): the prediction of the output."""
        return given.drive(s, [self.blocks - 1])[0]

    def outputs(self, s: State) -> Tensor:
        return s[-1]

    def cost_of_state(self, cost: Cost) -> Cost:
        return cost

    def mapped(self, change: Callable[[Synapse], Synapse]) -> PredictiveCoding:
        """The same network with ``change(array)`` in place of every array."""
        links = [link.replaced([change(synapse) for synapse in link.synapses]) for link in self.links]
        return PredictiveCoding(links, c=self.c, normalise=self.normalise)


@dataclass(frozen=True)
class GivenPrediction:
    """The energy of a predictive coding network with its input held.

    A prediction is kept until the layer that it is read from moves. Each block's bowl touches the energy at the present
    state and has the curvature 1 + b with b no less than that of |p_{l+1}|^2 / 2, by the largest sums of |W| along rows
    and columns. Where an activity passes the end of its clamp the slope jumps, and the bowl may cut through the energy.
    """

    net: PredictiveCoding
    x: Tensor
    held: Reading | None
    _kept: dict[int, tuple[Tensor, int, Reading]] = field(default_factory=dict, compare=False, repr=False)

    exact_bowls = False

    @property
    def blocks(self) -> int:
        return self.net.blocks

    @property
    def noisy(self) -> bool:
        return self.net.noisy

    def start(self) -> State:
        """The forward pass: at rest, and the energy is 0."""
        s: State = ()
        for layer in range(self.blocks):
            s = (*s, self._reading(s, layer).drive)
        return s

    def _reading(self, s: State, layer: int) -> Reading:
        """What link ``layer`` predicts of its layer."""
        if layer == 0:
            return self.held or self.net.links[0].read(self.x)
        below, version = s[layer - 1], self.net.version
        kept = self._kept.get(layer)
        if kept is not None and kept[0] is below and kept[1] == version and not torch.is_grad_enabled():
            return kept[2]
        reading = self.net.links[layer].read(self.net.activity(below))
        if not torch.is_grad_enabled():
            self._kept[layer] = below, version, reading
        return reading

    def errors(self, s: State) -> State:
        """e_l = h_l - p_l of every layer."""
        return tuple(layer - self._reading(s, number).drive for number, layer in enumerate(s))

    def _feedback(self, s: State, layer: int, error: Tensor) -> Tensor:
        """What the ``error`` of the layer above means for block ``layer``: f'(h) W^T e."""
        above = self.net.links[layer + 1]
        switches = self._reading(s, layer + 1).switches if above.switched else None
        return self.net.slope(s[layer]) * above.backward(error, switches)

    def value(self, s: State) -> Tensor:
        total = self.x.new_zeros(len(self.x))
        for error in self.errors(s):
            total = total + 0.5 * error.flatten(1).square().sum(1)
        return total

    def drive(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self._drive(s, layer) for layer in layers)

    def _drive(self, s: State, layer: int) -> Tensor:
        prediction = self._reading(s, layer).drive
        if layer == self.blocks - 1:
            return prediction
        # Where a graph is recorded the errors from above are held: at rest without a nudge they are 0 for every input
        # and every weight, so that the implicit gradient is that of the forward pass.
        with torch.no_grad():
            error = s[layer + 1] - self._reading(s, layer + 1).drive
            felt = self._feedback(s, layer, error)
        return prediction + felt + self._beyond(layer) * s[layer]

    def _beyond(self, layer: int) -> float:
        """What a hidden block's curvature has beyond the 1 of its own error; nothing where a graph is recorded."""
        if layer == self.blocks - 1 or torch.is_grad_enabled():
            return 0.0
        return _norm_bound(self.net.links[layer + 1]) / (2 * self.net.c) ** 2

    def respond(
        self, layer: int, drive: Tensor, stiffness: float | Tensor = 0.0, *, out: Tensor | None = None
    ) -> Tensor:
        curvature = 1.0 + self._beyond(layer) + stiffness
        looked = not isinstance(curvature, Tensor) or costs_nothing(curvature)
        least = curvature.min().item() if isinstance(curvature, Tensor) and looked else curvature
        if looked and not least > 0:
            raise InputError(
                f"nudge: beta times the cost's stiffness, {least - 1:g}, turns the output's bowl upside down; expected "
                "more than -1, so use a smaller beta"
            )
        return torch.div(drive, curvature, out=out)

    def bounds(self, layer: int) -> tuple[Bound, Bound]:
        return -math.inf, math.inf

    def minimise(self, s: State, layers: Sequence[int]) -> State:
        return tuple(self.respond(layer, self._drive(s, layer)) for layer in layers)

    def force(self, s: State) -> State:
        errors = self.errors(s)
        felt = [self._feedback(s, layer, errors[layer + 1]) for layer in range(self.blocks - 1)]
        return (*(f - e for f, e in zip(felt, errors[:-1], strict=True)), -errors[-1])

    def input_force(self, s: State) -> Tensor:
        """(B, ...): -dE/dx = W_1^T e_1, 0 at the forward pass."""
        reading = self._reading(s, 0)
        return self.net.links[0].backward(s[0] - reading.drive, reading.switches)

    def power(self, s: State) -> None:
        """None: layers are states of a digital loop, not of a circuit."""

    def couplings(self, s: State) -> tuple[Coupling, ...]:
        """dE/dW_l = -e_l f(h_{l-1})^T."""
        couplings: list[Coupling] = []
        pres = (self.x, *(self.net.activity(layer) for layer in s[:-1]))
        for number, (link, pre) in enumerate(zip(self.net.links, pres, strict=True)):
            reading = self._reading(s, number)
            couplings += link.couplings(pre, s[number] - reading.drive, reading.switches)
        return tuple(couplings)

    def swept(self, s: State, output: Tensor) -> State:
        """Down with the errors, beginning with the one that ``output`` makes, and up with the predictions."""
        error = output - self._reading(s, self.blocks - 1).drive
        errors = [error]
        for layer in reversed(range(self.blocks - 1)):
            error = self._feedback(s, layer, error)
            errors.append(error)
        new: State = ()
        for layer, error in enumerate(reversed(errors)):
            new = (*new, self._reading(new, layer).drive + error)
        return new

    def chosen(self, rows: Tensor, s: State) -> tuple[GivenPrediction, State]:
        held = self.held and self.held.chosen(rows)
        chosen = tuple(examples(layer, rows) for layer in s)
        kept = {
            layer: (chosen[layer - 1], version, reading.chosen(rows))
            for layer, (below, version, reading) in self._kept.items()
            if below is s[layer - 1]
        }
        return replace(self, x=examples(self.x, rows), held=held, _kept=kept), chosen


@dataclass(frozen=True)
class ErrorSweeps:
    """Sweeps for predictive coding networks: errors go down once, predictions come up once.

    The output moves to its minimiser under the nudge, its error is handed down layer by layer, and every layer is put
    where the new prediction and its error say. Without a nudge one sweep is the forward pass. With one, a sweep changes
    the errors by the factor beta times the sum of |dh_L/dh_l|^2 over the layers below the output, so it converges where
    an equilibrium under -beta exists at all. Moves of single blocks converge by the square of the network's gains.

    ``damping`` in (0, 1]: the share of the way that the output moves.

    >>> import hwsim as hw
    >>> net, x = hw.predictive_coding([64, 32, 16, 10]), hw.load_data("digits").test.x
    >>> hw.infer(net, x, solver=hw.ErrorSweeps(), phase=hw.Phase(1))[1].unsettled_share
    0.0
    """

    damping: float = 1.0

    bold = False
    revisits = True

    def __post_init__(self) -> None:
        if not 0 < self.damping <= 1:
            raise ValueError(f"solver damping: expected a number in (0, 1], got {self.damping}")

    def step(self, energy: Relaxable, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
        inner = energy
        while isinstance(inner, Wrapped):
            inner = inner.energy
        if not isinstance(inner, GivenPrediction):
            raise InputError("solver error-sweeps: works on predictive coding networks alone; use odd-even or up-down")
        (output,) = energy.minimise(s, [energy.blocks - 1])
        if self.damping < 1:
            output = torch.lerp(s[-1], output, self.damping)
        return inner.swept(s, output), memory


def _norm_bound(link: Link) -> float:
    """At least the square of the largest gain of a link: |W|^2 <= |W|_1 |W|_inf."""
    weight = link.synapse.weight()[:, : link.fan_in].abs()
    # Of a convolution, every pixel feeds all kernels at all places of its channel's window.
    by_unit = weight if isinstance(link, Dense) else weight.unflatten(1, (link.pre_shape[0], -1)).sum(2)
    return (weight.sum(1).max() * by_unit.sum(0).max()).item()
