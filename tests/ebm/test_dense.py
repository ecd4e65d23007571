"""The plan of exact dense networks against the path that every network takes: the same numbers, reads and owners."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from theory_reference import DOUBLE, GENERAL, Bug, draw, must_reject
from torch import Tensor
from torch.testing import assert_close

import hwsim.ebm.dense
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.dense import DenseChain, planned
from hwsim.ebm.energy import Cost, Energy, Nudged, State
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.settle import OddEven, Phase, Settled, Solver, Synchronous, settle
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

LAYERS = (9, 12, 3, 7, 4)  # wider and narrower than the batch
BATCH = 6
SOLVERS: list[Solver] = [Synchronous(), Synchronous(0.6), OddEven(), OddEven(0.7), OddEven(1.3)]
PHASES = [Phase(9), Phase(9, average_last=4), Phase(60, tolerance=1e-3, stop_early=True)]


def network(
    dtype: torch.dtype = DOUBLE, layers: tuple[int, ...] = LAYERS, output: str = "linear", start: str = "zero"
) -> tuple[LayeredHopfield, Tensor]:
    device = FloatDevice(momentum=0.9, dtype=dtype)
    net = layered_hopfield(layers, device, Streams(0), output=output, start=start, bias_device=device)
    rng = torch.Generator().manual_seed(1)
    net.program([(draw(s.shape, rng, -1, 1) * 1.5 / s.shape[1] ** 0.5).to(dtype) for s in net.synapses])
    return net, draw((BATCH, layers[0]), rng, -1, 2).to(dtype)


def end_of(net: LayeredHopfield, x: Tensor, solver: Solver, phase: Phase, nudge: tuple[Cost, object] | None) -> Settled:
    given = net.given(x)
    energy: Energy = given
    if nudge is not None:
        cost, beta = nudge
        betas = torch.linspace(-0.9, 0.9, BATCH, dtype=x.dtype) if beta == "each" else beta
        energy = Nudged(given, cost, cost.encode(torch.arange(BATCH) % 4, net.initial(x)[-1]), betas)  # type: ignore[arg-type]
    return settle(energy, given.start(), solver=solver, phase=phase)


def reads(net: LayeredHopfield) -> list[tuple[int, int]]:
    return [(s.meter.vectors_read, s.meter.vectors_read_transpose) for s in net.synapses]


def check_equal(solver: Solver, phase: Phase, nudge: tuple[Cost, object] | None = None, **kind: object) -> None:
    net, x = network(**kind)  # type: ignore[arg-type]
    with torch.no_grad():
        assert isinstance(planned(net.given(x)), DenseChain)
    quick, counted = end_of(net, x, solver, phase, nudge), reads(net)
    other, _ = network(**kind)  # type: ignore[arg-type]
    other.given(x)
    with GENERAL.planted():
        slow = end_of(other, x, solver, phase, nudge)
    rounding = 1e-12 if x.dtype == DOUBLE else 1e-6
    for a, b in zip(quick.state, slow.state, strict=True):
        assert_close(a, b, rtol=0, atol=rounding)
    assert_close(quick.residual, slow.residual, rtol=0, atol=rounding)
    assert torch.equal(quick.outcome, slow.outcome)
    assert torch.equal(quick.steps, slow.steps)
    if nudge is None and other.start == "zero":  # a bowl that follows the output asks for its drive apart
        assert counted == reads(other)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_plan_is_the_general_path(solver: Solver, phase: Phase) -> None:
    check_equal(solver, phase)
    check_equal(solver, phase, (SquaredError(), "each"))


@pytest.mark.parametrize("nudge", [(SquaredError(), 0.4), (SquaredError(), -0.9), (CrossEntropy(), 0.7)])
@pytest.mark.parametrize("solver", [Synchronous(), OddEven(1.3)])
def test_nudges_of_every_kind(solver: Solver, nudge: tuple[Cost, object]) -> None:
    for phase in PHASES:
        check_equal(solver, phase, nudge)


@pytest.mark.parametrize(
    "kind",
    [
        {"layers": (9, 4)},
        {"layers": (9, 12, 4)},
        {"output": "clamped"},
        {"output": "readout"},
        {"start": "feed-forward"},
        {"dtype": torch.float32},
        {"layers": (9, 4), "dtype": torch.float32},
    ],
    ids=str,
)
def test_networks_of_every_kind(kind: dict[str, object]) -> None:
    for solver in (Synchronous(), OddEven(1.3)):
        check_equal(solver, Phase(9), **kind)
        check_equal(solver, Phase(9), None if kind.get("output") == "readout" else (SquaredError(), "each"), **kind)


def _one_buffer(self: hwsim.ebm.dense._Block) -> tuple[Tensor, Tensor]:
    _next(self)
    return self.buffers[0]


_next = hwsim.ebm.dense._Block.next


def _one_stiffness(self: DenseChain, pull: Tensor, stiffness: Tensor | float) -> DenseChain:
    return _nudged(self, pull, stiffness.mean().item() if isinstance(stiffness, Tensor) else stiffness)


def _no_pull(self: DenseChain, pull: Tensor, stiffness: Tensor | float) -> DenseChain:
    return _nudged(self, torch.zeros_like(pull), stiffness)


def _wrong_examples(self: DenseChain, rows: Tensor, s: State) -> tuple[DenseChain, State]:
    return _chosen(self, rows.flip(0), s)[0], _chosen(self, rows, s)[1]


def _uncounted(self: object, *counts: int) -> None:
    del self, counts


_nudged, _chosen = DenseChain.nudged, DenseChain.chosen
BLOCK = hwsim.ebm.dense._Block


@pytest.mark.parametrize(
    ("bug", "solver", "phase"),
    [
        (
            Bug("state overwritten while it is looked at", BLOCK, "next", _one_buffer),
            OddEven(1.2),
            PHASES[0],
        ),
        (Bug("one stiffness for all", DenseChain, "nudged", _one_stiffness), OddEven(), PHASES[0]),
        (Bug("no pull", DenseChain, "nudged", _no_pull), OddEven(), PHASES[0]),
        (Bug("wrong examples", DenseChain, "chosen", _wrong_examples), OddEven(), PHASES[2]),
    ],
    ids=str,
)
def test_equality_check_rejects(bug: Bug, solver: Solver, phase: Phase) -> None:
    must_reject(bug, check_equal, solver, phase, (SquaredError(), "each"))


def test_uncounted_reads_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwsim.ebm.links.Dense, "count", _uncounted)
    with pytest.raises(AssertionError):
        check_equal(OddEven(), Phase(3))


def check_kept(settled_by: Callable[..., Settled] = settle) -> None:
    """What a relaxation left stays as it is whatever is relaxed next, from it or on the same energy."""
    net, x = network()
    with torch.no_grad():
        chain = planned(net.given(x))
    first = settled_by(chain, net.initial(x), solver=OddEven(), phase=Phase(3))
    kept = [layer.clone() for layer in first.state]
    settled_by(chain, first.state, solver=OddEven(), phase=Phase(4))
    settled_by(chain, net.initial(x), solver=Synchronous(), phase=Phase(4))
    assert isinstance(chain, DenseChain)
    settled_by(chain.nudged(x[:, :4], 0.3), first.state, solver=OddEven(), phase=Phase(4))
    assert all(torch.equal(a, b) for a, b in zip(first.state, kept, strict=True))


def test_states_that_were_handed_out_are_not_written_into() -> None:
    check_kept()
    must_reject(Bug("shared memory", BLOCK, "fresh", lambda self: self), check_shared)


def check_shared() -> None:
    try:
        check_kept()
    except IndexError as error:  # blocks that were never given memory
        raise AssertionError from error


@torch.no_grad()
def check_energy() -> None:
    """Its value, forces and couplings, of some of its examples, nudged."""
    net, x = network()
    given, rng = net.given(x), torch.Generator().manual_seed(5)
    betas = torch.linspace(-1, 1, BATCH, dtype=DOUBLE)
    nudge = Nudged(given, SquaredError(), draw((BATCH, 4), rng), betas)
    for energy in (given, nudge):
        chain, expected = planned(energy), energy
        s = tuple(draw(layer.shape, rng) for layer in net.initial(x))
        for rows in ([4, 1, 1], [2, 0]):
            # Constants apart: a quadratic cost is 0 at its target, a pull is 0 at 0.
            zero = tuple(torch.zeros_like(layer) for layer in s)
            assert_close(
                chain.value(s) - chain.value(zero), expected.value(s) - expected.value(zero), rtol=0, atol=1e-12
            )
            for a, b in zip(chain.force(s), expected.force(s), strict=True):
                assert_close(a, b, rtol=0, atol=1e-12)
            for a, b in zip(chain.couplings(s), expected.couplings(s), strict=True):
                assert torch.equal(a.pre, b.pre)
                assert torch.equal(a.post, b.post)
                assert a.synapse is b.synapse
            chain, _ = chain.chosen(torch.tensor(rows), s)
            expected, s = expected.chosen(torch.tensor(rows), s)


def test_its_energy_is_the_same() -> None:
    check_energy()
    must_reject(Bug("no stiffness", DenseChain, "nudged", _no_stiffness), check_energy)


def _no_stiffness(self: DenseChain, pull: Tensor, stiffness: Tensor | float) -> DenseChain:
    return _nudged(self, pull, 0 * stiffness)


class Seen(FloatSynapse):
    """An array that is more than its matrix."""


def test_only_exact_arrays_with_a_held_input_are_planned() -> None:
    net, x = network()
    with torch.no_grad():
        assert not isinstance(planned(net.given(x, hold=False)), DenseChain)
        assert not isinstance(planned(net.mapped(lambda s: Seen(s.weight())).given(x)), DenseChain)
    with torch.enable_grad():
        assert not isinstance(planned(net.given(x)), DenseChain)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("nudge", ["centred", "one-sided", "random-sign"])
def test_training_steps_are_those_of_the_general_path(nudge: str, dtype: torch.dtype) -> None:
    """Weights, momentum, meters and statistics after three steps."""

    def trained() -> tuple[list[Tensor], list[object]]:
        net, x = network(dtype)
        rule = EquilibriumProp(0.4, nudge, Phase(8), Phase(5), OddEven(1.2))
        rng, labels = torch.Generator().manual_seed(0), torch.arange(BATCH) % 4
        stats = [rule.step(net, SquaredError(), x, labels, [0.3] * 4, rng) for _ in range(3)]
        counts = [(*pair, s.meter.vectors_updated) for pair, s in zip(reads(net), net.synapses, strict=True)]
        seen = [value for s in stats for value in (s.correct, s.examples, s.unsettled_share)]
        return [*net.state_dict().values(), *(torch.tensor([s.cost, s.residual]) for s in stats)], [seen, counts]

    quick, exact = trained()
    with GENERAL.planted():
        slow, same = trained()
    rounding = 1e-12 if dtype == DOUBLE else 1e-6
    for a, b in zip(quick, slow, strict=True):
        assert_close(a.double(), b.double(), rtol=0, atol=rounding)
    assert exact == same
