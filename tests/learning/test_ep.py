"""Learning rules: what they write to the arrays, in which form, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from theory_reference import DOUBLE, Bug, Plain, draw, must_reject, smooth_plain
from torch import Tensor
from torch.testing import assert_close

import hwsim.learning.ep
from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.energy import Coupling
from hwsim.ebm.hopfield import Dense, LayeredHopfield
from hwsim.ebm.inference import infer
from hwsim.ebm.settle import Phase, Synchronous
from hwsim.errors import InputError
from hwsim.learning.ep import UPDATE_FORMS, EquilibriumProp, written
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.learning.exact import ExactGradient, weight_gradient
from hwsim.learning.rule import StepStats, per_synapse

DEEP = Phase(300, tolerance=1e-14, stop_early=True)


class RecordingSynapse(FloatSynapse):
    """Keeps the rows of every update instead of writing them."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.calls: list[tuple[Tensor, Tensor, float]] = []
        self.ticks = 0

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.calls.append((pre, post, rate))

    def tick(self) -> None:
        self.ticks += 1

    @property
    def pulses(self) -> float:
        """Sum over rows and cross-points of |post| |pre|: what a pulsed device spends, up to a constant."""
        return sum(torch.mm(post.abs().T, pre.abs()).sum().item() for pre, post, _ in self.calls)

    @property
    def written(self) -> Tensor:
        return torch.stack([post.T @ pre * rate for pre, post, rate in self.calls]).sum(0)


def recording(plain: Plain) -> LayeredHopfield:
    links = [
        Dense(RecordingSynapse(w.clone()), RecordingSynapse(b[:, None].clone()))
        for w, b in zip(plain.weights, plain.biases, strict=True)
    ]
    return LayeredHopfield(links, c=plain.c)


def learn(form: str = "difference", beta: float = 0.1, **settings: Any) -> tuple[LayeredHopfield, Tensor]:
    plain, x, labels = smooth_plain((4, 6, 5, 3))
    net = recording(plain)
    rule = EquilibriumProp(beta=beta, free=DEEP, nudged=DEEP, update_form=form, **settings)
    rule.step(net, SquaredError(), x, labels, [0.3, 0.2, 0.1], torch.Generator().manual_seed(0))
    return net, x


def couplings(rows: int, pre: int, post: int, seed: int, shared: bool) -> tuple[Coupling, Coupling]:
    rng = torch.Generator().manual_seed(seed)
    array = FloatSynapse(torch.zeros(post, pre, dtype=DOUBLE))
    b, d = draw((rows, pre), rng), draw((rows, pre), rng)
    return Coupling(array, b, draw((rows, post), rng)), Coupling(
        array, b.clone() if shared else d, draw((rows, post), rng)
    )


def check_written(form: str, rows: int, pre: int, post: int, seed: int, shared: bool) -> None:
    """The rows add up to post+^T pre+ - post-^T pre-, whatever the form."""
    plus, minus = couplings(rows, pre, post, seed, shared)
    kept = [t.clone() for t in (plus.pre, plus.post, minus.pre, minus.post)]
    expected = torch.einsum("bo,bi->oi", plus.post, plus.pre) - torch.einsum("bo,bi->oi", minus.post, minus.pre)
    calls = hwsim.learning.ep.written(plus, minus, form)
    found = sum(torch.einsum("bo,bi->oi", b, a) for a, b in calls)
    assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(kept, (plus.pre, plus.post, minus.pre, minus.post), strict=True))


sizes = st.integers(1, 6)


@given(st.sampled_from(UPDATE_FORMS), sizes, sizes, sizes, st.integers(0, 1000), st.booleans())
def test_every_form_writes_the_difference_of_products(
    form: str, rows: int, pre: int, post: int, seed: int, shared: bool
) -> None:
    check_written(form, rows, pre, post, seed, shared)


def _rows(plus: Coupling, minus: Coupling, signs: tuple[float, float, float]) -> list[tuple[Tensor, Tensor]]:
    a, b, c, d = plus.post, plus.pre, minus.post, minus.pre
    return [(torch.cat([b + signs[0] * d, b + signs[1] * d]), torch.cat([a - c, a + c]) * signs[2])]


WRITING_BUGS = {
    "sign of the second product": lambda plus, minus, form: [(plus.pre, plus.post), (minus.pre, minus.post)],
    "states exchanged": lambda plus, minus, form: written(minus, plus, form),
    "factor 1/2 missing": lambda plus, minus, form: _rows(plus, minus, (1, -1, 1)),
    "b + d twice": lambda plus, minus, form: _rows(plus, minus, (1, 1, 0.5)),
    "shortcut taken always": lambda plus, minus, form: [(plus.pre, plus.post - minus.post)],
}


@pytest.mark.parametrize("name", WRITING_BUGS)
def test_written_check_rejects(name: str) -> None:
    must_reject(
        Bug(name, hwsim.learning.ep, "written", WRITING_BUGS[name]), check_written, "difference", 3, 4, 2, 0, False
    )


def test_rows_and_calls_of_each_form() -> None:
    """Inputs and bias constants are the same in both states, so their difference needs one row an example."""
    rows = {form: [[len(pre) for pre, _, _ in s.calls] for s in learn(form)[0].synapses] for form in UPDATE_FORMS}
    assert rows["difference"] == [[5], [5], [10], [5], [10], [5]]
    assert rows["interleaved"] == [[10]] * 6
    assert rows["two-phase"] == [[5, 5]] * 6


def test_interleaved_rows_alternate_example_by_example() -> None:
    plus, minus = couplings(3, 2, 2, 0, shared=False)
    ((pre, post),) = written(plus, minus, "interleaved")
    assert torch.equal(pre[0::2], plus.pre)
    assert torch.equal(post[0::2], plus.post)
    assert torch.equal(pre[1::2], minus.pre)
    assert torch.equal(post[1::2], -minus.post)


def test_the_difference_form_spends_few_pulses_near_equilibrium() -> None:
    """Two states 2 beta apart: the two products cost 1/beta, their difference does not grow as beta falls."""
    spent = {(f, b): [s.pulses for s in learn(f, b)[0].synapses] for f in UPDATE_FORMS for b in (0.01, 0.1)}
    for index in range(6):
        difference, interleaved, two_phase = (spent[form, 0.01][index] for form in UPDATE_FORMS)
        assert difference < 0.05 * two_phase
        assert interleaved == pytest.approx(two_phase, rel=1e-9)
        assert difference == pytest.approx(spent["difference", 0.1][index], rel=0.1)
        assert two_phase == pytest.approx(10 * spent["two-phase", 0.1][index], rel=0.1)
    for a, b in zip(learn("difference")[0].synapses, learn("two-phase")[0].synapses, strict=True):
        assert_close(a.written, b.written, rtol=1e-9, atol=1e-13)


def test_rates_are_the_links_own_and_signs_are_in_the_factors() -> None:
    for nudge in ("centred", "one-sided", "random-sign"):
        net, _ = learn(nudge=nudge)
        assert [s.calls[0][2] for s in net.synapses] == [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
        assert [s.ticks for s in net.synapses] == [1] * 6


def test_a_step_does_not_depend_on_how_often_an_example_is_repeated() -> None:
    """The update is a mean over the batch."""
    plain, x, labels = smooth_plain((4, 6, 3))
    moved = []
    for times in (1, 3):
        net = plain.network()
        rule = EquilibriumProp(beta=0.1, free=DEEP, nudged=DEEP)
        rule.step(net, SquaredError(), x.repeat(times, 1), labels.repeat(times), [1.0, 1.0], torch.Generator())
        moved.append(net.weights())
    for a, b in zip(*moved, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-13)


def short_step(*, hold: bool) -> tuple[LayeredHopfield, Tensor]:
    plain, x, labels = smooth_plain((4, 6, 3))
    net = plain.network()
    rule = EquilibriumProp(beta=0.1, free=Phase(6), nudged=Phase(4), hold_input=hold)
    rule.step(net, SquaredError(), x, labels, [0.1, 0.1], torch.Generator())
    return net, x


def test_a_held_input_is_read_once_a_batch() -> None:
    held, x = short_step(hold=True)
    anew, _ = short_step(hold=False)
    assert held.synapses[0].meter.vectors_read == len(x)
    assert anew.synapses[0].meter.vectors_read == len(x) * (6 + 4 + 4)


def test_only_random_signs_draw_and_they_draw_from_the_generator_given() -> None:
    plain, x, labels = smooth_plain((4, 6, 3))
    for nudge, draws in (("centred", False), ("one-sided", False), ("random-sign", True)):
        rng = torch.Generator().manual_seed(0)
        before = rng.get_state()
        rule = EquilibriumProp(beta=0.1, nudge=nudge, free=Phase(5), nudged=Phase(5))
        rule.step(plain.network(), SquaredError(), x, labels, [0.1, 0.1], rng)
        assert torch.equal(before, rng.get_state()) != draws


def test_examples_still_on_their_way_are_reported() -> None:
    plain, x, labels = smooth_plain((4, 6, 5, 3))
    tight = EquilibriumProp(beta=0.1, free=Phase(2, tolerance=1e-9), nudged=DEEP)
    stats = tight.step(plain.network(), SquaredError(), x, labels, [0.0] * 3, torch.Generator())
    assert stats.unsettled_share == 1.0
    assert stats.residual > 1e-3


def test_a_residual_that_is_not_a_number_is_not_hidden_by_the_other_phases() -> None:
    plain, x, labels = smooth_plain((4, 6, 5, 3))
    x[0] = torch.nan
    rule = EquilibriumProp(beta=0.1, free=Phase(6), nudged=Phase(3))
    stats = rule.step(plain.network(), SquaredError(), x, labels, [0.0] * 3, torch.Generator())
    assert stats.residual != stats.residual


def test_infer_reads_logits_at_equilibrium() -> None:
    plain, x, _ = smooth_plain((4, 6, 5, 3))
    logits, end = infer(plain.network(), x, solver=Synchronous(), phase=DEEP)
    assert_close(logits, plain.relax(x)[-2] @ plain.weights[-1].T + plain.biases[-1], rtol=1e-10, atol=1e-10)
    assert end.unsettled_share == 0.0
    assert not logits.requires_grad


def test_learning_lowers_the_cost() -> None:
    """The sign of it all, over many steps and on a net whose units do meet their bounds."""
    for rule in (EquilibriumProp(beta=0.3), EquilibriumProp(beta=0.3, solver=Synchronous(0.5)), ExactGradient()):
        plain, x, labels = smooth_plain((4, 8, 3), gain=1.0)
        net = plain.network()
        rng = torch.Generator().manual_seed(0)
        costs = [rule.step(net, SquaredError(), x, labels, [0.3, 0.3], rng).cost for _ in range(60)]
        assert costs[-1] < 0.7 * costs[0]


def test_exact_gradients_say_whether_the_state_was_at_rest() -> None:
    plain, x, labels = smooth_plain((4, 8, 6, 3))

    def stats(steps: int) -> StepStats:
        rule = ExactGradient(Implicit(Phase(steps, tolerance=1e-9, stop_early=True)), tolerance=1e-6)
        return rule.step(plain.network(), SquaredError(), x, labels, [0.0] * 3, torch.Generator())

    early, late = stats(1), stats(500)
    assert (early.unsettled_share, late.unsettled_share) == (1.0, 0.0)
    assert early.residual > 1e-3
    assert late.residual < 1e-6


def test_a_loose_adjoint_still_reaches_the_first_layer() -> None:
    """Stopped where little moves, it would end before the news has come down through weak links."""
    plain, x, labels = smooth_plain((4, 8, 6, 5, 3), gain=0.05)
    loose = Implicit(DEEP, Phase(100, tolerance=0.1, stop_early=True))
    tight = Implicit(DEEP, Phase(500, tolerance=1e-12, stop_early=True))
    found, exact = (weight_gradient(plain.network(), SquaredError(), x, labels, way) for way in (loose, tight))
    for a, b in zip(found, exact, strict=True):
        assert b.norm() > 0
        assert torch.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99
        assert 0.5 < a.norm() / b.norm() < 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: EquilibriumProp(beta=0.0), "beta: expected a number > 0, got 0"),
        (lambda: EquilibriumProp(beta=float("nan")), "beta"),
        (lambda: EquilibriumProp(nudge="centered"), "nudge: expected one of centred, one-sided.*got 'centered'"),
        (lambda: EquilibriumProp(update_form="both"), "update_form: expected one of difference, .*got 'both'"),
    ],
)
def test_impossible_settings_are_refused(wrong: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()


@pytest.mark.parametrize("rule", [EquilibriumProp(), ExactGradient()])
def test_rates_must_be_one_a_link(rule: EquilibriumProp | ExactGradient) -> None:
    plain, x, labels = smooth_plain((4, 6, 3))
    with pytest.raises(ValueError, match="expected one for each of 2 links, got 3"):
        rule.step(plain.network(), SquaredError(), x, labels, [0.1] * 3, torch.Generator())
    assert per_synapse(plain.network("column"), [0.1, 0.2]) == [0.1, 0.2]


def test_a_nudge_beyond_the_bowl_changes_no_weight() -> None:
    plain, x, labels = smooth_plain((4, 6, 3))
    net = plain.network()
    with pytest.raises(InputError, match="smaller beta"):
        EquilibriumProp(beta=2.0).step(net, SquaredError(), x, labels, [0.1, 0.1], torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(net.weights(), plain.network().weights(), strict=True))
