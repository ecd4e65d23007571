"""Relaxation: how it ends example by example, what it returns and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from theory_reference import DOUBLE, Bug, Plain, draw, must_reject, random_plain, smooth_plain
from torch import Tensor
from torch.testing import assert_close

import hwsim.ebm.settle
from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.dense import planned
from hwsim.ebm.energy import Cost, Energy, Nudged, State
from hwsim.ebm.hopfield import Dense, GivenInput, LayeredHopfield
from hwsim.ebm.inference import infer
from hwsim.ebm.settle import SOLVERS, OddEven, Outcome, Phase, Settled, Solver, Synchronous, UpDown, settle
from hwsim.ebm.solvers import FRESH, Anderson, Newton
from hwsim.rng import Streams


class NoisySynapse(FloatSynapse):
    """Float weights whose every read has fresh Gaussian noise of standard deviation ``noise``."""

    noisy = True

    def __init__(self, weight: Tensor, noise: float, rng: torch.Generator) -> None:
        super().__init__(weight)
        self.noise, self.rng = noise, rng

    def read(self, pre: Tensor) -> Tensor:
        return self._disturbed(super().read(pre))

    def read_transpose(self, post: Tensor) -> Tensor:
        return self._disturbed(super().read_transpose(post))

    def _disturbed(self, read: Tensor) -> Tensor:
        return read + self.noise * torch.randn(read.shape, generator=self.rng, dtype=read.dtype)


def noisy(plain: Plain, noise: float, seed: int = 0) -> LayeredHopfield:
    rng = torch.Generator().manual_seed(seed)
    links = [
        Dense(NoisySynapse(w.clone(), noise, rng), FloatSynapse(b[:, None].clone()))
        for w, b in zip(plain.weights, plain.biases, strict=True)
    ]
    return LayeredHopfield(links, c=plain.c, output="clamped" if plain.clamped else "linear")


def relax(
    net: LayeredHopfield,
    x: Tensor,
    solver: Solver,
    phase: Phase,
    *,
    hold: bool = True,
    by: Callable[..., Settled] = settle,
) -> Settled:
    return by(net.given(x, hold=hold), net.initial(x), solver=solver, phase=phase)


def exchange(batch: int) -> tuple[Plain, Tensor, State]:
    """Two units that hand a 1 to each other for ever under synchronous steps."""
    weights = (torch.zeros(1, 1, dtype=DOUBLE), torch.full((1, 1), 2.0, dtype=DOUBLE))
    biases = (torch.zeros(1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE))
    start = (torch.ones(batch, 1, dtype=DOUBLE), torch.zeros(batch, 1, dtype=DOUBLE))
    return Plain(weights, biases, clamped=True), torch.zeros(batch, 1, dtype=DOUBLE), start


DAMPED = [kind(0.5) for kind in (Synchronous, OddEven, UpDown)]
GENERAL = [kind(1.0) for name, kind in SOLVERS.items() if name != "error-sweeps"]  # of predictive coding alone
BOLD = [OddEven(1.4), UpDown(1.4), Anderson(1), Anderson(3)]


@pytest.mark.parametrize("solver", [*GENERAL, *DAMPED, *BOLD])
def test_a_contracting_network_settles_at_its_fixed_point(solver: Solver) -> None:
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    end = relax(plain.network(), x, solver, Phase(200, tolerance=1e-12))
    assert end.share(Outcome.SETTLED) == 1.0
    assert end.unsettled_share == 0.0
    for found, expected in zip(end.state, plain.relax(x), strict=True):
        assert_close(found, expected, rtol=0, atol=1e-10)


def test_too_few_steps_and_a_cycle_are_max_steps() -> None:
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    short = relax(plain.network(), x, Synchronous(), Phase(2, tolerance=1e-6))
    assert short.share(Outcome.MAX_STEPS) == short.unsettled_share == 1.0
    cycle, nothing, start = exchange(3)
    end = settle(cycle.network().given(nothing), start, solver=Synchronous(), phase=Phase(50))
    assert end.share(Outcome.MAX_STEPS) == 1.0
    assert end.residual.tolist() == [1.0] * 3
    assert end.steps.tolist() == [50] * 3


def test_outcomes_are_told_example_by_example() -> None:
    """One example settles, one exchanges for ever, one is not a number, one overflows; none disturbs another."""
    plain, x, start = exchange(4)
    first, second = (t.clone() for t in start)
    first[0] = second[0] = 0.0
    first[2] = torch.nan
    end = settle(plain.network().given(x), (first, second), solver=Synchronous(), phase=Phase(30))
    expected = [Outcome.SETTLED, Outcome.MAX_STEPS, Outcome.NONFINITE, Outcome.MAX_STEPS]
    assert [Outcome(int(o)) for o in end.outcome] == expected
    assert end.share(Outcome.NONFINITE) == 0.25
    assert end.unsettled_share == 0.75


def test_a_network_that_grows_without_bound_is_nonfinite() -> None:
    grower = LayeredHopfield([Dense(FloatSynapse(torch.eye(2, dtype=DOUBLE)), None)])
    x = torch.tensor([[0.5], [torch.inf], [torch.nan]], dtype=DOUBLE)
    end = relax(grower, x, Synchronous(), Phase(5))
    assert [Outcome(int(o)) for o in end.outcome] == [Outcome.SETTLED, Outcome.NONFINITE, Outcome.NONFINITE]


def check_noise_floor(by: Callable[..., Settled] = settle) -> None:
    """Told from a descent, however slow, and from a cycle. Seeded: nothing here fails by chance."""
    plain, _, _ = smooth_plain((4, 6, 5, 3))
    x = draw((200, 4), torch.Generator().manual_seed(1))
    floor = [
        relax(noisy(plain, noise), x, solver, Phase(40, tolerance=1e-9), by=by).share(Outcome.NOISE_FLOOR)
        for noise in (1e-4, 0.05)
        for solver in (Synchronous(), Synchronous(0.2), OddEven())
    ]
    # At damping 0.2 the descent is over after 40 steps only where the noise is not tiny.
    assert min(floor[0], floor[2], *floor[3:]) > 0.9, floor
    for steps in (1, 2, 5, 10, 20):
        slow = relax(noisy(plain, 1e-4), x, Synchronous(0.1), Phase(steps), by=by)
        assert slow.share(Outcome.NOISE_FLOOR) == 0.0, steps
    cycle, nothing, start = exchange(200)
    end = by(noisy(cycle, 0.01).given(nothing), start, solver=Synchronous(), phase=Phase(40))
    assert end.share(Outcome.MAX_STEPS) == 1.0


def test_the_noise_floor_is_told_from_descents_and_cycles() -> None:
    check_noise_floor()


def test_a_diverged_example_hides_no_noise_floor() -> None:
    plain, _, _ = smooth_plain((4, 6, 5, 3))
    x = draw((50, 4), torch.Generator().manual_seed(1))
    x[7] = torch.nan
    end = relax(noisy(plain, 0.05), x, Synchronous(), Phase(40))
    assert end.outcome[7] == Outcome.NONFINITE
    assert end.share(Outcome.NOISE_FLOOR) > 0.9


def test_noiseless_energies_are_never_on_the_floor() -> None:
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    for steps in (1, 3, 8):
        assert relax(plain.network(), x, Synchronous(0.1), Phase(steps)).share(Outcome.NOISE_FLOOR) == 0.0


def test_the_noise_of_a_held_input_settles() -> None:
    """Held, the one read is a constant of the relaxation; read anew it keeps a single layer moving."""
    plain, x, _ = random_plain((3, 2), 0)
    assert relax(noisy(plain, 0.1), x, Synchronous(), Phase(8)).share(Outcome.SETTLED) == 1.0
    assert relax(noisy(plain, 0.1), x, Synchronous(), Phase(8), hold=False).share(Outcome.NOISE_FLOOR) == 1.0


def check_averaging_divides_noise(by: Callable[..., Settled] = settle) -> None:
    """10,000 independent states: their standard deviation is known to 0.7 %, so 5 % is 7 sigma (p < 1e-11)."""
    plain = Plain((torch.zeros(50, 2, dtype=DOUBLE),), (torch.zeros(50, dtype=DOUBLE),))
    x = torch.ones(200, 2, dtype=DOUBLE)
    for n in (1, 4, 16):
        end = relax(noisy(plain, 0.3, seed=n), x, Synchronous(), Phase(20, average_last=n), hold=False, by=by)
        assert end.state[0].std().item() == pytest.approx(0.3 / 2 / n**0.5, rel=0.05), n


def test_averaging_divides_noise_by_the_square_root() -> None:
    check_averaging_divides_noise()


def check_averaged_are_the_last(by: Callable[..., Settled] = settle) -> None:
    plain, x, _ = random_plain((3, 4, 2), 1)
    net, seen = plain.network(), list[State]()
    phase = Phase(7, average_last=3, tolerance=1e-12)
    end = by(
        net.given(x), net.initial(x), solver=Synchronous(0.3), phase=phase, watch=lambda _, s: seen.append(s)
    )  # fmt: skip
    for layer, found in enumerate(end.state):
        assert_close(found, sum(s[layer] for s in seen[-3:]) / 3)
    assert_close(end.residual, torch.stack([(a - b).abs().amax(1) for a, b in zip(*seen[-2:], strict=True)]).amax(0))


def test_the_average_is_over_the_last_steps() -> None:
    check_averaged_are_the_last()


def test_stopping_early_keeps_what_was_averaged_so_far() -> None:
    """It ends in the step that nothing moves any more, within the averaged ones or before them."""
    plain, x, _ = random_plain((3, 2), 0)  # a single layer is there after one step
    for average in (1, 3, 10):
        end = relax(plain.network(), x, Synchronous(), Phase(10, average_last=average, stop_early=True))
        assert_close(end.state[0], plain.relax(x, 2)[0])
        assert end.share(Outcome.SETTLED) == 1.0


def steps_taken(net: LayeredHopfield, x: Tensor, phase: Phase) -> tuple[list[int], Settled]:
    told: list[int] = []
    watch = lambda step, _: told.append(step)  # noqa: E731
    return told, settle(net.given(x), net.initial(x), solver=Synchronous(), phase=phase, watch=watch)


def test_steps_count_moves_and_early_stops_wait_for_everyone() -> None:
    """Feed-forward by hand: w = 1 passes x on from layer to layer only where it is not zero."""
    eye = torch.eye(1, dtype=DOUBLE)
    net = LayeredHopfield([Dense(FloatSynapse(w * eye), FloatSynapse(0 * eye)) for w in (1.0, 1e-9, 1e-9)])
    x = torch.tensor([[0.0], [1.0]], dtype=DOUBLE)
    told, end = steps_taken(net, x, Phase(9, tolerance=1e-6, stop_early=True))
    assert end.steps.tolist() == [0, 1]
    assert told == [1, 2]
    told, end = steps_taken(net, x, Phase(9, tolerance=1e-6))
    assert told == list(range(1, 10))
    assert end.steps.tolist() == [0, 0]  # nothing moves in the last step, the only one looked at
    assert steps_taken(net, x, Phase(1, tolerance=1e-6))[1].steps.tolist() == [0, 1]


def pooled(pool: str) -> tuple[LayeredHopfield, Tensor]:
    """A convolutional network in float64 whose examples take from few to many steps, and a batch for it."""
    device = FloatDevice(dtype=DOUBLE)
    layers = [Conv(4, pool="max"), Conv(6, pool=pool), Conv(5, stride=2)]
    net = layered_hopfield([(2, 8, 8), *layers, 3], device, Streams(0), start="feed-forward", bias_device=device)
    net.program([w.double() for w in net.initial_weights(1.7, Streams(1))])
    x = (
        draw((12, 2, 8, 8), torch.Generator().manual_seed(2))
        * torch.linspace(0, 3, 12, dtype=DOUBLE)[:, None, None, None]
    )
    return net, x


def check_alone_as_in_company(solver: Solver, pool: str) -> None:
    """An example that stops early ends where it would end alone, after as many steps, whatever its batch does."""
    net, x = pooled(pool)
    phase = Phase(60, tolerance=1e-4, stop_early=True)
    given = net.given(x)
    together = settle(given, given.start(), solver=solver, phase=phase)
    assert together.steps.unique().numel() > 2  # some leave early
    for row in range(len(x)):
        given = net.given(x[row : row + 1])
        told = list[State]()
        alone = settle(given, given.start(), solver=solver, phase=phase, watch=lambda _, s, told=told: told.append(s))
        # Extrapolation divides by differences of small changes, which magnifies rounding.
        rounding = 1e-9 if isinstance(solver, Anderson) else 1e-12
        for company, own in zip(together.state, alone.state, strict=True):
            assert_close(company[row : row + 1], own, rtol=0, atol=rounding)
        assert_close(together.residual[row : row + 1], alone.residual, rtol=0, atol=rounding)
        assert together.outcome[row] == alone.outcome[0]
        assert together.steps[row] == alone.steps[0] == len(told) - 1  # and one step that showed that it was over


@pytest.mark.parametrize("pool", ["none", "max"])
@pytest.mark.parametrize("solver", GENERAL + BOLD)
def test_an_example_ends_alone_as_in_company(solver: Solver, pool: str) -> None:
    check_alone_as_in_company(solver, pool)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
def test_extrapolation_stands_still_where_nothing_moves(dtype: torch.dtype) -> None:
    """Examples at rest beside others that move, all of them after hundreds of sweeps: nothing is divided by zero."""
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    net = LayeredHopfield(
        [
            Dense(FloatSynapse(w.to(dtype)), FloatSynapse(b[:, None].to(dtype)))
            for w, b in zip(plain.weights, plain.biases, strict=True)
        ]
    )
    given = net.given(x.to(dtype))
    rest = settle(given, given.start(), solver=OddEven(), phase=Phase(200)).state
    mixed = tuple(torch.cat([layer[:2], torch.zeros_like(layer[2:])]) for layer in rest)
    for depth in (1, 2, 5):
        end = settle(given, mixed, solver=Anderson(depth), phase=Phase(300))
        for a, b in zip(end.state, rest, strict=True):
            assert_close(a, b, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def check_guard(early: bool) -> None:
    """A cross-entropy pulled at backwards overshoots by more than its bowl says: the guard sees its energy rise.

    The curvature of the nudged output lies between 2 - 3.9 / 2 and 2, the bowl's is 1.025: going 1.9 times as far as
    that says is 3.7 times too far where the output is sure of itself.
    """
    plain, x, _ = random_plain((3, 4, 3), 0, scale=3.0)
    net, cost = plain.network(), CrossEntropy()
    target = cost.encode(torch.tensor([0, 1, 2]), net.initial(x)[-1])
    nudged = Nudged(net.given(x), cost, target, -3.9)
    phase = Phase(600, tolerance=1e-9, stop_early=early)
    ends = [settle(nudged, net.initial(x), solver=solver, phase=phase) for solver in (OddEven(), OddEven(1.9))]
    assert all(end.share(Outcome.SETTLED) == 1.0 for end in ends)
    for a, b in zip(*(end.state for end in ends), strict=True):
        assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("early", [False, True])
def test_a_guard_returns_to_plain_sweeps_what_overshoots(early: bool) -> None:
    check_guard(early)
    blind = Bug("no guard", hwsim.ebm.settle._Guard, "plain", lambda *_: None)
    must_reject(blind, check_guard, early)


def check_stalled(rows: int) -> None:
    """Three examples, of which those from ``rows`` on stop falling: only they are told to be plain."""
    plain, x, start = exchange(3)
    guard, told = hwsim.ebm.settle._Guard(plain.network().given(x), start), list[Any]()
    for step in range(10):
        change = torch.full((3,), 0.5**step, dtype=DOUBLE)
        change[rows:] = change[rows:].clamp_min(0.1)
        told.append(guard.plain(plain.network().given(x), start, change))
    assert told[6] is None
    assert told[9] is not None
    assert told[9].tolist() == [i >= rows for i in range(3)]


def test_a_guard_waits_some_sweeps_for_a_residual_to_fall() -> None:
    check_stalled(1)
    never = Bug("patience", hwsim.ebm.settle, "_PATIENCE", 100)  # type: ignore[arg-type]
    must_reject(never, check_stalled, 1)


@pytest.mark.parametrize("solver", [OddEven(1.7), UpDown(1.7), Anderson(), Newton()])
def test_plain_examples_take_plain_sweeps(solver: Solver) -> None:
    plain, x, _ = smooth_plain((4, 6, 3), batch=3)
    with torch.no_grad():
        given, memory = planned(plain.network().given(x)), FRESH
    s, bold = plain.network().initial(x), False
    for _ in range(3):
        memory = memory._replace(plain=torch.tensor([True, False, True]))
        kind = UpDown() if isinstance(solver, UpDown) else OddEven()
        expected, _ = kind.step(given, s)
        s, memory = solver.step(given, s, memory)
        for a, b in zip(s, expected, strict=True):
            assert_close(a[::2], b[::2], rtol=0, atol=1e-14)
        bold |= bool((s[1][1] - expected[1][1]).abs().max() > 1e-6)
    assert bold  # the other one does not


def steps_until(solver: Solver, weights: float, layers: tuple[int, ...] = (4, 12, 3)) -> float:
    plain, x, _ = smooth_plain(layers, gain=weights)
    given = plain.network().given(x)
    end = settle(given, given.start(), solver=solver, phase=Phase(300, tolerance=1e-9, stop_early=True))
    assert end.share(Outcome.SETTLED) == 1.0
    return end.steps.double().mean().item()


def test_extrapolation_and_curvature_save_sweeps() -> None:
    """On a smooth net Newton is there at once, and three outputs are spanned by three extrapolated sweeps."""
    plain, newton = steps_until(OddEven(), 1.0), steps_until(Newton(), 1.0)
    assert newton <= 3 < 6 < plain
    assert steps_until(Anderson(3), 1.0) < 0.7 * plain
    deep = (4, 6, 5, 3)
    assert steps_until(Newton(), 0.6, deep) == steps_until(OddEven(), 0.6, deep)  # nothing is known of its output


def _wrong_examples(self: GivenInput, rows: Tensor, s: State) -> tuple[GivenInput, State]:
    return _chosen(self, rows.flip(0), s)[0], _chosen(self, rows, s)[1]


def _stale_readings(self: GivenInput, rows: Tensor, s: State) -> tuple[GivenInput, State]:
    chosen, new = _chosen(self, rows, s)
    for link, (_, reading) in self._kept.readings.items():
        chosen._kept.readings[link] = (new[link - 1], reading.chosen(rows))
    return chosen, new


_chosen = GivenInput.chosen


@pytest.mark.parametrize("wrong", [_wrong_examples, _stale_readings])
def test_company_check_rejects(wrong: Callable[..., object]) -> None:
    bug = Bug("examples chosen wrongly", GivenInput, "chosen", wrong)
    must_reject(bug, check_alone_as_in_company, OddEven(), "max")


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("cost", [SquaredError(), CrossEntropy()])
def test_two_nudges_side_by_side_end_as_one_after_the_other(cost: Cost, early: bool) -> None:
    net, x = pooled("max")
    given, phase = net.given(x), Phase(40, tolerance=1e-4, stop_early=early)
    free = settle(given, given.start(), solver=OddEven(), phase=phase).state
    target = cost.encode(torch.arange(len(x)) % 3, free[-1])
    nudges = [Nudged(given, cost, target, beta) for beta in (0.4, -0.3)]
    rows = torch.arange(len(x)).repeat(2)
    twice, start = given.chosen(rows, free)
    betas = torch.tensor([0.4, -0.3], dtype=target.dtype).repeat_interleave(len(x))
    both = settle(Nudged(twice, cost, target[rows], betas), start, solver=OddEven(), phase=phase)
    for nudge, part in zip(nudges, (slice(len(x)), slice(len(x), None)), strict=True):
        alone, found = settle(nudge, free, solver=OddEven(), phase=phase), both.part(part)
        for a, b in zip(found.state, alone.state, strict=True):
            assert_close(a, b, rtol=0, atol=1e-12)
        assert_close(found.residual, alone.residual, rtol=0, atol=1e-12)
        assert torch.equal(found.steps, alone.steps)
        assert torch.equal(found.outcome, alone.outcome)


def test_watchers_see_the_whole_batch() -> None:
    """Those that have settled stay where they were, and the last state told is the one returned."""
    net, x = pooled("none")
    given, seen = net.given(x), list[State]()
    phase = Phase(60, tolerance=1e-4, stop_early=True)
    end = settle(given, given.start(), solver=OddEven(), phase=phase, watch=lambda _, s: seen.append(s))
    assert all(len(layer) == len(x) for s in seen for layer in s)
    for found, told in zip(end.state, seen[-1], strict=True):
        assert_close(found, told)
    row = int(end.steps.argmin())
    gone = int(end.steps[row]) + 1
    for s in seen[gone:]:
        assert torch.equal(s[0][row], seen[gone - 1][0][row])


def test_the_start_is_left_as_it_was() -> None:
    plain, x, _ = random_plain((3, 4, 2), 1)
    start = tuple(torch.rand(3, n, dtype=DOUBLE) for n in (4, 2))
    kept = [layer.clone() for layer in start]
    settle(plain.network().given(x), start, solver=OddEven(), phase=Phase(6, average_last=4))
    assert all(torch.equal(a, b) for a, b in zip(start, kept, strict=True))


def check_warm_starts_begin_where_they_are_put(by: Callable[..., tuple[Tensor, Settled]] = infer) -> None:
    """From its own equilibrium nothing moves; from elsewhere a contracting network ends in the same place."""
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    net, kind = plain.network(), {"solver": OddEven(), "phase": Phase(200, tolerance=1e-12, stop_early=True)}
    logits, cold = by(net, x, **kind)
    again, warm = by(net, x, **kind, start=cold.state)
    assert warm.steps.tolist() == [0] * len(x)
    assert int(cold.steps.min()) > 0
    moved, near = by(net, x + 1e-3, **kind, start=cold.state)
    far, there = by(net, x + 1e-3, **kind)
    assert int(near.steps.max()) < int(there.steps.max())
    for a, b in ((again, logits), (moved, far)):
        assert_close(a, b, rtol=0, atol=1e-10)


def test_warm_starts_begin_where_they_are_put() -> None:
    check_warm_starts_begin_where_they_are_put()
    with pytest.raises(AssertionError):
        check_warm_starts_begin_where_they_are_put(lambda *given, start=None, **how: infer(*given, **how))


def test_settling_records_no_graph() -> None:
    plain, x, _ = random_plain((3, 4, 2), 1)
    net = plain.network()
    net.links[0].synapse.tensor.requires_grad_(True)
    assert not any(layer.requires_grad for layer in relax(net, x, Synchronous(), Phase(3)).state)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Phase(0), "phase steps: expected at least 1, got 0"),
        (lambda: Phase(5, average_last=6), r"average_last: expected 1 to steps \(5\), got 6"),
        (lambda: Phase(5, average_last=0), "average_last"),
        (lambda: Phase(5, tolerance=0.0), "tolerance: expected a number > 0, got 0"),
        (lambda: Synchronous(0.0), r"damping: expected a number in \(0, 1\], got 0"),
        (lambda: Synchronous(1.5), r"damping: expected a number in \(0, 1\], got 1.5"),
        (lambda: OddEven(2.0), r"damping: expected a number in \(0, 2\), got 2"),
        (lambda: UpDown(-0.5), "damping"),
    ],
)
def test_impossible_settings_are_refused(wrong, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        wrong()


def _always_on_the_floor(energy: Energy, s: State, **how: Any) -> Settled:
    end = settle(energy, s, **how)
    outcome = torch.full_like(end.outcome, int(Outcome.NOISE_FLOOR)) if energy.noisy else end.outcome
    return Settled(end.state, outcome, end.steps, end.residual)


def _last_state_only(energy: Energy, s: State, **how: Any) -> Settled:
    return settle(energy, s, **{**how, "phase": Phase(how["phase"].steps)})


def _averaged_from_the_start(energy: Energy, s: State, **how: Any) -> Settled:
    steps = how["phase"].steps
    return settle(energy, s, **{**how, "phase": Phase(steps, average_last=steps)})


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (_always_on_the_floor, check_noise_floor),
        (_last_state_only, check_averaging_divides_noise),
        (_last_state_only, check_averaged_are_the_last),
        (_averaged_from_the_start, check_averaging_divides_noise),
        (_averaged_from_the_start, check_averaged_are_the_last),
    ],
)
def test_checks_reject_planted_bugs(wrong: Callable[..., Settled], check: Callable[..., None]) -> None:
    check()
    with pytest.raises(AssertionError):
        check(wrong)


def test_floor_check_rejects_a_noise_measured_as_zero() -> None:
    zero = Bug("no change", hwsim.ebm.settle, "_change", lambda a, b: torch.zeros(len(a[0]), dtype=DOUBLE))
    must_reject(zero, check_noise_floor)
