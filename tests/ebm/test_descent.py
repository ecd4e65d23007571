"""The energy never rises where every block moves to its minimiser in turn, and does where all move at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from theory_reference import DOUBLE, Bug, Plain, draw, must_reject, plain_cost, random_plain
from torch import Tensor
from torch.testing import assert_close

from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.energy import Energy, Nudged, State
from hwsim.ebm.hopfield import Dense, GivenInput
from hwsim.ebm.settle import OddEven, Outcome, Phase, Settled, Solver, Synchronous, UpDown, settle
from hwsim.ebm.solvers import FRESH, Anderson, Memory, Newton

LABELS = torch.tensor([0, 1, 0])


def energies(
    plain: Plain, x: Tensor, s: Sequence[Tensor], solver: Solver, cost: str | None = None, beta: float = 0.0
) -> Tensor:
    """(steps + 1, B): the plain energy, nudged by a plain cost, along a relaxation by hwsim."""
    energy: Energy = plain.network().given(x)
    if cost is not None:
        chosen = SquaredError() if cost == "squared" else CrossEntropy()
        energy = Nudged(energy, chosen, chosen.encode(LABELS, s[-1]), beta)
    path: list[State] = [tuple(s)]
    settle(energy, tuple(s), solver=solver, phase=Phase(20), watch=lambda _, state: path.append(state))
    values = [plain.energy(x, state) for state in path]
    if cost is not None:
        values = [v + beta * plain_cost(cost, state[-1], LABELS) for v, state in zip(values, path, strict=True)]
    return torch.stack(values)


def rises(values: Tensor) -> Tensor:
    """(steps, B): by how much each step raised the energy, relative to its size so far; rounding is about 1e-15."""
    return (values[1:] - values[:-1]) / (1 + values.abs().cummax(0).values[:-1])


def check_descends(
    solver: Solver, layers: tuple[int, ...], scale: float, clamped: bool, seed: int, cost: str | None, beta: float
) -> None:
    plain, x, rng = random_plain(layers, seed, scale=scale, clamped=clamped)
    start = [draw((3, n), rng) for n in layers[1:]]
    assert rises(energies(plain, x, start, solver, cost, beta)).max() <= 1e-12


def two_cycle() -> tuple[Plain, Tensor, list[Tensor]]:
    """Two pairs of units that each do what the other did: synchronous steps exchange them for ever."""
    weights = (torch.zeros(2, 1, dtype=DOUBLE), 2 * torch.eye(2, dtype=DOUBLE))
    biases = (torch.zeros(2, dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE))
    start = [torch.ones(3, 2, dtype=DOUBLE), torch.zeros(3, 2, dtype=DOUBLE)]
    return Plain(weights, biases, clamped=True), torch.zeros(3, 1, dtype=DOUBLE), start


def check_two_cycle_is_left(solver: Solver) -> None:
    plain, x, start = two_cycle()
    settled = settle(plain.network().given(x), tuple(start), solver=solver, phase=Phase(40, tolerance=1e-9))
    assert settled.share(Outcome.SETTLED) == 1.0


layouts = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(lambda sizes: (*sizes, 2))
costs = st.one_of(
    st.just((None, 0.0)),
    st.tuples(st.just("squared"), st.floats(-1.5, 3)),
    st.tuples(st.just("cross-entropy"), st.floats(-3.9, 4)),  # the output's energy is a bowl for beta > -4c, c = 1
)


sweeps = st.sampled_from([OddEven, UpDown])
damped = st.tuples(costs, st.builds(lambda kind, damping: kind(damping), sweeps, st.floats(0.05, 1)))
quadratic = costs.filter(lambda cost: cost[0] != "cross-entropy")  # others are only touched by their bowl
overshooting = st.tuples(quadratic, st.builds(lambda kind, damping: kind(damping), sweeps, st.floats(1, 1.99)))
extrapolating = st.tuples(quadratic, st.one_of(st.builds(Anderson, st.integers(1, 5)), st.just(Newton())))


@given(
    layouts,
    st.floats(0.1, 4),
    st.booleans(),
    st.integers(0, 10_000),
    st.one_of(damped, overshooting, extrapolating),
)
@settings(max_examples=80)
def test_sweeps_never_raise_the_energy(
    layers: tuple[int, ...], scale: float, clamped: bool, seed: int, way: tuple[tuple[str | None, float], Solver]
) -> None:
    cost, solver = way
    check_descends(solver, layers, scale, clamped, seed, *cost)


@given(st.integers(0, 10_000), st.floats(0.2, 0.99))
def test_half_damped_synchronous_steps_descend_while_no_slope_is_below_minus_3(seed: int, share: float) -> None:
    plain, x, rng = random_plain((3, 4, 4, 2), seed)
    w1, w2 = plain.weights[1:]
    coupled = torch.zeros(10, 10, dtype=DOUBLE)
    coupled[4:8, :4], coupled[8:, 4:8] = w1, w2
    slope = torch.linalg.eigvalsh(coupled + coupled.T)[-1].item() / 2  # c = 1; the spectrum is symmetric
    factor = 3 * share / slope
    plain = Plain((plain.weights[0], w1 * factor, w2 * factor), plain.biases)
    values = energies(plain, x, [draw((3, n), rng) for n in (4, 4, 2)], Synchronous(0.5))
    assert rises(values).max() <= 1e-12


def test_half_damping_does_not_save_a_network_of_slope_below_minus_3() -> None:
    _, x, start = two_cycle()
    weights = (torch.zeros(2, 1, dtype=DOUBLE), 8 * torch.eye(2, dtype=DOUBLE))
    biases = (torch.full((2,), -3.0, dtype=DOUBLE), torch.full((2,), -3.0, dtype=DOUBLE))
    plain = Plain(weights, biases, clamped=True)
    middle = [torch.full((3, 2), 0.51, dtype=DOUBLE), torch.full((3, 2), 0.49, dtype=DOUBLE)]
    assert rises(energies(plain, x, middle, Synchronous(0.5))).max() > 1e-6
    assert rises(energies(plain, x, start, OddEven())).max() <= 1e-12


def test_synchronous_steps_2_cycle_where_sweeps_settle() -> None:
    plain, x, start = two_cycle()
    values = energies(plain, x, start, Synchronous())
    assert_close(values[2::2], values[:-2:2])
    settled = settle(plain.network().given(x), tuple(start), solver=Synchronous(), phase=Phase(40))
    assert settled.share(Outcome.MAX_STEPS) == 1.0
    assert_close(settled.residual, torch.ones(3, dtype=DOUBLE))
    check_two_cycle_is_left(OddEven())
    check_two_cycle_is_left(UpDown())
    check_two_cycle_is_left(Synchronous(0.5))


def test_synchronous_steps_raise_some_energies() -> None:
    """The check has teeth: the solver that lacks the property fails it."""
    with pytest.raises(AssertionError):
        check_descends(Synchronous(), (2, 4, 4, 4), 4.0, True, 7, None, 0.0)


def _all_at_once(self: OddEven, energy: Energy, s: State, memory: Memory = FRESH) -> tuple[State, Memory]:
    return energy.minimise(s, range(energy.blocks)), memory


def _overshooting(self: GivenInput, layer: int, drive: Tensor, stiffness: float = 0.0, **_: object) -> Tensor:
    return (drive / (0.4 * self.net.c + stiffness)).clamp(0, 1)


def _overlong_bowl(self: CrossEntropy, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
    return target - torch.softmax(output, 1) + output, 1.0


TOGETHER = Bug("all blocks at once", OddEven, "step", _all_at_once)
SETTING = (OddEven(), (2, 4, 4, 4), 4.0, True, 7, None, 0.0)
DESCENT_BUGS = [
    (TOGETHER, SETTING),
    (Bug("transposed read", Dense, "backward_onto", lambda self, v, post: v + self.synapse.read(post)), SETTING),
    (
        Bug("flipped read", Dense, "backward", lambda self, post, *_: -self.synapse.read_transpose(post)),
        (OddEven(), (2, 3, 5, 2), 2.0, False, 0, None, 0.0),
    ),
    (
        Bug("overshooting minimiser", GivenInput, "respond", _overshooting),
        (OddEven(), (2, 4, 2), 1.0, True, 0, None, 0.0),
    ),
    (
        Bug("curvature of log-sum-exp overrated", CrossEntropy, "bowl", _overlong_bowl),
        (OddEven(), (2, 3, 2), 1.0, False, 0, "cross-entropy", -1.5),
    ),
]


@pytest.mark.parametrize(("bug", "setting"), DESCENT_BUGS, ids=lambda v: str(v) if isinstance(v, Bug) else "")
def test_descent_check_rejects(bug: Bug, setting: tuple) -> None:
    must_reject(bug, check_descends, *setting)


def test_two_cycle_check_rejects_blocks_moved_together() -> None:
    must_reject(TOGETHER, check_two_cycle_is_left, OddEven())


@pytest.mark.parametrize("beta", [-3.5, -1.9, -0.5, 0.5, 4.0])
@pytest.mark.parametrize("solver", [Synchronous(), OddEven(), UpDown()])
def test_cross_entropy_nudges_of_both_signs_settle_at_zero_slope(beta: float, solver: Solver) -> None:
    plain, x, _ = random_plain((3, 4, 3), 0, scale=0.5)
    cost = CrossEntropy()
    energy = plain.network().given(x)
    target = cost.encode(torch.tensor([0, 1, 2]), torch.zeros(3, 3, dtype=DOUBLE))
    nudged = Nudged(energy, cost, target, beta)
    end: Settled = settle(nudged, plain.network().initial(x), solver=solver, phase=Phase(400, tolerance=1e-12))
    assert end.share(Outcome.SETTLED) == 1.0
    output = end.state[-1].clone().requires_grad_(True)
    value = plain.energy(x, (*end.state[:-1], output)) - beta * (target * torch.log_softmax(output, 1)).sum(1)
    (slope,) = torch.autograd.grad(value.sum(), output)
    assert slope.abs().max() < 1e-10
