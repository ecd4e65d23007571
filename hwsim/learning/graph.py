"""A training step as a CUDA graph: all its phases in one launch instead of thousands.

A relaxation is many small operations, and a GPU does most of them faster than the host can start them. Recorded once,
they are started together: the host copies a batch into the tensors that the recording reads, and launches. Arrays are
read where they lie, so that updates between two launches are seen; the updates themselves stay outside, because their
rates change from step to step. Inside, the host looks at nothing (``ebm.look``): a phase that stops early takes all its
steps, and every example keeps the state in which it settled.

Not tried on a GPU: a stand-in of CUDA graphs that repeats operations on the CPU has tested what is recorded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hwsim.ebm.energy import Cost
from hwsim.ebm.look import costs_nothing
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.learning.ep import Compared, Contrastive, write
from hwsim.learning.rule import StepStats

WARM_UP = 3
"""Runs before the recording, in which libraries choose their kernels and constants are brought to the GPU."""


class Recorded:
    """A function of tensors on a GPU, recorded for their shapes; called, it leaves its result in the same tensors."""

    def __init__(self, function: Callable[..., Any], *inputs: Tensor) -> None:
        self._inputs = [given.clone() for given in inputs]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.result = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self.result


@dataclass
class _Step:
    """One network's recorded step, and what a run of it adds to the meters: (reads, transpose reads) an array."""

    recorded: Recorded
    counts: list[tuple[int, int]]


@dataclass
class Graphed:
    """A contrastive rule whose phases are recorded, once for every network and shape of a batch.

    On the CPU it is the rule itself. Raises InputError for ``random-sign``, whose sign the host draws.
    """

    rule: Contrastive
    _steps: dict[tuple[Any, ...], _Step] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if getattr(self.rule, "nudge", "") == "random-sign":
            raise InputError("graph: a random sign is drawn by the host; expected another nudge, such as centred")

    def step(
        self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rates: Sequence[float], rng: torch.Generator
    ) -> StepStats:
        if costs_nothing(x):
            return self.rule.step(net, cost, x, labels, rates, rng)
        key = (id(net), cost, x.shape, x.dtype)
        if key not in self._steps:
            self._steps[key] = self._recorded(net, cost, x, labels, rng)
        step = self._steps[key]
        compared: Compared = step.recorded(x, labels)
        for synapse, (reads, transpose) in zip(net.synapses, step.counts, strict=True):
            synapse.meter.vectors_read += reads
            synapse.meter.vectors_read_transpose += transpose
        write(net, compared, rates)
        stats = vars(compared.stats).items()  # the next launch writes where these numbers lie
        return replace(compared.stats, **{name: v.clone() for name, v in stats if isinstance(v, Tensor)})

    def _recorded(self, net: Network, cost: Cost, x: Tensor, labels: Tensor, rng: torch.Generator) -> _Step:
        before = [_counted(synapse.meter) for synapse in net.synapses]
        recorded = Recorded(lambda x, labels: self.rule.compare(net, cost, x, labels, rng), x, labels)
        counts = []
        for synapse, (reads, transpose) in zip(net.synapses, before, strict=True):
            now = _counted(synapse.meter)
            runs = WARM_UP + 1
            counts.append(((now[0] - reads) // runs, (now[1] - transpose) // runs))
            synapse.meter.vectors_read, synapse.meter.vectors_read_transpose = reads, transpose
        return _Step(recorded, counts)


def _counted(meter: Any) -> tuple[int, int]:
    return meter.vectors_read, meter.vectors_read_transpose
