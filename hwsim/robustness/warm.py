"""Attacks that begin each equilibrium at the one of the image before.

An attack's next image lies close to the last one, and so does its equilibrium; a cold start walks the whole way again
for every query and every gradient. The memory is the attacker's: what is reported is classified from the network's own
start (``cold``), as its card says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hwsim.ebm.energy import State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.look import seen
from hwsim.ebm.network import Given
from hwsim.ebm.settle import OddEven, Phase, settle
from hwsim.ebm.spectrum import over_relaxation
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.gradient_ways import NudgedInput, Truncated
from hwsim.learning.response_gradient import Known, LinearResponse
from hwsim.rng import Streams
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier
from hwsim.robustness.stochastic import OverDraws

NEAR = 0.1
"""Root mean square of a pixel's change up to which an equilibrium is worth beginning at."""


@dataclass
class Entry:
    """What was found for a batch: images as rows (B, pixels), their states, and their responses, if any."""

    images: Tensor
    state: State
    response: Known

    def chosen(self, rows: Tensor) -> Entry:
        u = self.response.u
        picked = None if u is None else tuple(layer[rows] for layer in u)
        return Entry(self.images[rows], tuple(layer[rows] for layer in self.state), Known(picked))


@dataclass
class Memory:
    """The images that the last answer was begun at, and the last ones.

    A search that keeps an incumbent asks next for a neighbour of either: of the incumbent where the last image was
    turned down, of the last one where it was taken. The nearer of the two is where to begin.
    """

    begun: Entry | None = None
    last: Entry | None = None

    def nearest(self, x: Tensor) -> tuple[Entry, Tensor] | None:
        """(for each image the nearest one known, (B,) bool, is it near?)."""
        entries = [entry for entry in (self.begun, self.last) if entry is not None]
        if not entries or entries[0].images.shape[1] != x[0].numel():
            return None
        rows = x.detach().flatten(1)
        known = torch.cat([entry.images for entry in entries])
        distance, which = torch.cdist(rows, known).min(1)
        near = distance <= NEAR * rows.shape[1] ** 0.5
        return _joined(entries).chosen(which), near

    def keep(self, begun: Entry | None, last: Entry) -> None:
        self.begun, self.last = begun, last

    def forget(self) -> None:
        self.begun = self.last = None


def _joined(entries: list[Entry]) -> Entry:
    if len(entries) == 1:
        return entries[0]
    states = zip(*(entry.state for entry in entries), strict=True)
    responses = [entry.response.u for entry in entries]
    u = None
    if all(response is not None for response in responses):
        u = tuple(torch.cat(layers) for layers in zip(*(r for r in responses if r is not None), strict=True))
    images = torch.cat([entry.images for entry in entries])
    return Entry(images, tuple(torch.cat(layers) for layers in states), Known(u))


@dataclass(frozen=True)
class Warm:
    """A classifier at equilibrium as an attacker sees it who remembers.

    Not for a verdict that is reported: what it says of an image depends, within the tolerance of its phases, or where
    there are several equilibria beyond it, on the images before.

    Attributes:
        cold: the classifier itself.
        first, brief: how it relaxes and is differentiated where an image is far from all that is known, and where
            it is near.
    """

    cold: EquilibriumClassifier
    first: EquilibriumClassifier
    brief: EquilibriumClassifier
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)

    @property
    def classes(self) -> int:
        return self.cold.classes

    @property
    def bounds(self) -> tuple[float, float]:
        return self.cold.bounds

    @property
    def noisy(self) -> bool:
        return self.cold.noisy

    def logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            given = self._given(x)
            start, begun, near = self._start(given, x)
            how = self._how(near)
            state = settle(given, start, solver=how.solver, phase=how.phase).state
            response = begun.response if begun is not None else Known()
            self.memory.keep(begun, Entry(x.detach().flatten(1).clone(), state, response))
            return self.cold.net.logits(state, given)

    def differentiable(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            given = self._given(x)
            start, begun, near = self._start(given, x)
            through = self._how(near).through
            u = begun.response.u if begun is not None else None
            response = Known(None if u is None else tuple(layer * _each(near, layer) for layer in u))
            if isinstance(through, LinearResponse):
                state = through.reach_from(given, start, response)
            else:
                state = through.reach(given, start)
            settled = tuple(layer.detach() for layer in state)
            self.memory.keep(begun, Entry(x.detach().flatten(1).clone(), settled, response))
            return self.cold.net.logits(state, given)

    def reseed(self, streams: Streams) -> None:
        self.memory.forget()
        self.cold.reseed(streams)

    def _given(self, x: Tensor) -> Given:
        prepared = x if self.cold.prepare is None else self.cold.prepare(x)
        return self.cold.net.given(prepared, hold=self.cold.hold_input)

    def _how(self, near: Tensor) -> EquilibriumClassifier:
        return self.first if self.first is self.brief or not bool(near.all()) else self.brief

    def _start(self, given: Given, x: Tensor) -> tuple[State, Entry | None, Tensor]:
        """(where to begin, what that was taken from, (B,) bool, which images are near it)."""
        found = self.memory.nearest(x)
        if found is None:
            return given.start(), None, torch.zeros(len(x), dtype=torch.bool, device=x.device)
        begun, near = found
        if seen(near.all()):
            return begun.state, begun, near
        with torch.no_grad():
            own = given.start()
        pairs = zip(begun.state, own, strict=True)
        return tuple(torch.where(_each(near, layer), layer, start) for layer, start in pairs), begun, near


def _each(near: Tensor, layer: Tensor) -> Tensor:
    return near.reshape(-1, *[1] * (layer.dim() - 1))


STATE_TOLERANCE, RESPONSE_TOLERANCE = 1e-3, 1e-2
"""Moves of a unit, and what is left of a response relative to its pull, that are small enough to climb by."""

AFTERWARDS = 5
"""Reads that a noisy network takes from a warm start before those that it averages."""


def warmed(classifier: Classifier, x: Tensor) -> Classifier:
    """The classifier as an attacker climbs or queries it, with a memory where that helps, or as it is.

    Exact arrays relax by over-relaxed sweeps and are differentiated by their linear response, both only as far as an
    attack needs; noisy ones take fewer reads from a warm start. Networks that are read before they settle stay as
    they are, and so do gradients through states before rest (unrolled, simultaneous): that is their point.

    Args:
        x: some images (B, ...), by which the sweeps' factor is chosen.
    """
    if isinstance(classifier, OverDraws):
        return replace(classifier, instances=tuple(warmed(instance, x) for instance in classifier.instances))
    if not isinstance(classifier, EquilibriumClassifier):
        return classifier
    if classifier.noisy:
        return _brief_reads(classifier)
    through, few = classifier.through, x[:16]
    if not isinstance(through, Implicit | LinearResponse | NudgedInput | Truncated) or not len(few):
        return classifier
    if classifier.relaxed(few)[1].unsettled_share > 0.05:
        return classifier
    quick = _over_relaxed(classifier, few)
    return Warm(classifier, quick, quick)


def _over_relaxed(classifier: EquilibriumClassifier, x: Tensor) -> EquilibriumClassifier:
    steps = max(classifier.phase.steps, 100)
    phase = Phase(steps, tolerance=STATE_TOLERANCE, stop_early=True)
    with torch.no_grad():
        given = classifier.net.given(x if classifier.prepare is None else classifier.prepare(x))
        if not isinstance(given, GivenInput):  # another energy, whose own solver knows it
            return replace(classifier, phase=phase)
        rest = settle(given, given.start(), solver=OddEven(), phase=phase).state
        factor = over_relaxation(given, rest, torch.Generator(x.device).manual_seed(0))
    solver, through = OddEven(factor), classifier.through
    if isinstance(through, Implicit | LinearResponse):
        adjoint = Phase(100, tolerance=RESPONSE_TOLERANCE, stop_early=True)
        through = LinearResponse(phase, adjoint, solver)
    return replace(classifier, solver=solver, phase=phase, through=through)


def _brief_reads(classifier: EquilibriumClassifier) -> Classifier:
    """Fewer reads where the state is near already; how many are averaged stays."""

    def brief(phase: Phase) -> Phase:
        return replace(phase, steps=min(phase.steps, phase.average_last + AFTERWARDS))

    through = classifier.through
    if isinstance(through, Implicit | Truncated):
        through = replace(through, phase=brief(through.phase))
    elif isinstance(through, NudgedInput):
        through = replace(through, free=brief(through.free))
    else:
        return classifier
    return Warm(classifier, classifier, replace(classifier, phase=brief(classifier.phase), through=through))


def cold(classifier: Classifier) -> Classifier:
    """The classifier without a memory: verdicts that count begin at the network's own start."""
    if isinstance(classifier, OverDraws):
        return replace(classifier, instances=tuple(cold(instance) for instance in classifier.instances))
    return classifier.cold if isinstance(classifier, Warm) else classifier
