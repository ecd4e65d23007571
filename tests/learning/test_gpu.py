"""Settling, learning and attacking on a GPU that is pretended: right numbers, tensors in one place, and no waiting."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from pretended import Pretended, pretended
from torch import Tensor
from torch.testing import assert_close

from hwsim.crossbar.exact import FloatDevice
from hwsim.data.split import Split
from hwsim.ebm import settle as settling
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.look import LOOKED_EVERY
from hwsim.ebm.normalise import Normalise
from hwsim.ebm.settle import Phase, settle
from hwsim.ebm.solvers import Anderson, Newton, OddEven, Solver, Synchronous, UpDown
from hwsim.errors import InputError, WorkError
from hwsim.learning.ep import EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit, Unrolled
from hwsim.learning.exact import ExactGradient
from hwsim.learning.graph import Graphed
from hwsim.learning.rule import LearningRule, StepStats
from hwsim.learning.train import NetworkLearner, train
from hwsim.rng import Streams
from hwsim.robustness.apgd import Apgd
from hwsim.robustness.attacks import Attack
from hwsim.robustness.classifier import EquilibriumClassifier
from hwsim.robustness.suite import Pgd, RandomSearch
from hwsim.robustness.threat import Threat
from hwsim.robustness.warm import warmed

BATCH = 6
FREE, NUDGED = Phase(6), Phase(4)
SHORT = Phase(10, tolerance=1e-2, stop_early=True)
EARLY = Phase(40, tolerance=1e-4, stop_early=True)


def network(kind: str, place: str) -> LayeredHopfield:
    device = FloatDevice(momentum=0.5, weight_decay=1e-3, dtype=torch.float64, place=place)
    how = {"bias_device": device, "normalise": Normalise((0.4,) * 3, (0.5,) * 3)}
    layers: list = [(3, 8, 8), Conv(4, 3, 1, 1, "max"), Conv(5, 3, 1, 1, "max"), 7]
    if kind == "dense":
        layers, how["normalise"] = [12, 9, 7], None
    net = layered_hopfield(layers, device, Streams(0), output="readout" if kind == "readout" else "linear", **how)
    net.program([weight.to(torch.float64) for weight in net.initial_weights(1.5, Streams(1))])
    return net


def batch(kind: str, count: int = BATCH) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    shape = (12,) if kind == "dense" else (3, 8, 8)
    return torch.rand(count, *shape, generator=rng, dtype=torch.float64), torch.randint(7, (count,), generator=rng)


def rates(net: LayeredHopfield) -> list[float]:
    return [0.1] * len(net.links)


def stepped(kind: str, rule: LearningRule, place: str, gpu: Pretended | None, steps: int = 2) -> list[Tensor]:
    """The weights, velocities and statistics after some steps; waits are those of the steps alone."""
    net, (x, labels) = network(kind, place), batch(kind)
    x, labels, cost = x.to(place), labels.to(place), CrossEntropy() if kind == "readout" else SquaredError()
    rule.step(net, cost, x, labels, rates(net), torch.Generator())  # constants are brought to the GPU once
    if gpu:
        gpu.waits.clear()
    stats = [rule.step(net, cost, x, labels, rates(net), torch.Generator()) for _ in range(steps)]
    waits = Counter(gpu.waits) if gpu else Counter()
    reads = [torch.tensor([s.meter.vectors_read, s.meter.vectors_read_transpose]) for s in net.synapses]
    found = [t.cpu() for t in net.state_dict().values()] + reads + [numbers(stat) for stat in stats]
    if gpu:
        gpu.waits = waits
    return found


def numbers(stats: StepStats) -> Tensor:
    return torch.tensor([float(value) for value in vars(stats).values()], dtype=torch.float64)


RULES: dict[str, LearningRule] = {
    "synchronous": EquilibriumProp(free=FREE, nudged=NUDGED, solver=Synchronous(0.5)),
    "over-relaxed": EquilibriumProp(free=FREE, nudged=NUDGED, solver=OddEven(1.3)),
    "up-down": EquilibriumProp(free=FREE, nudged=NUDGED, solver=UpDown()),
    "one-sided": EquilibriumProp(nudge="one-sided", free=FREE, nudged=NUDGED, solver=OddEven()),
    "averaged": EquilibriumProp(free=Phase(6, average_last=3), nudged=Phase(4, average_last=2), solver=OddEven()),
}
EXACT: dict[str, LearningRule] = {
    "response": EquilibriumProp(nudge="linear-response", free=Phase(20), nudged=Phase(5), solver=OddEven(1.3)),
    "exact": ExactGradient(Implicit(Phase(20), Phase(5), OddEven())),
}


@pytest.mark.parametrize("kind", ["dense", "conv", "readout"])
@pytest.mark.parametrize("name", RULES)
def test_a_step_of_fixed_phases_waits_for_nothing_and_is_the_cpus(kind: str, name: str) -> None:
    here = stepped(kind, RULES[name], "cpu", None)
    with pretended() as gpu:
        there = stepped(kind, RULES[name], "cuda", gpu)
    assert gpu.waits == Counter()
    assert_close(there, here, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("name", EXACT)
def test_a_linear_response_waits_for_nothing(kind: str, name: str) -> None:
    here = stepped(kind, EXACT[name], "cpu", None)
    with pretended() as gpu:
        there = stepped(kind, EXACT[name], "cuda", gpu)
    assert gpu.waits == Counter()
    arrays = len(network(kind, "cpu").synapses)  # the host cannot see that a pull is zero, so that it reads once more
    for found in (there, here):
        del found[2 * arrays : 3 * arrays]
    assert_close(there, here, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("solver", [OddEven(1.3), Synchronous(0.5), UpDown(1.2), Anderson(2), Newton()], ids=repr)
def test_phases_that_stop_early_are_looked_at_every_few_sweeps(kind: str, solver: Solver) -> None:
    def settled(place: str, gpu: Pretended | None = None) -> list[Tensor]:
        given = network(kind, place).given(batch(kind)[0].to(place))
        start = given.start()
        if gpu:
            gpu.waits.clear()
        end = settle(given, start, solver=solver, phase=EARLY)
        taken.append(int(end.steps.max()) + 1)
        return [*(layer.cpu() for layer in end.state), end.outcome.cpu(), end.steps.cpu(), end.residual.cpu()]

    taken: list[int] = []
    here = settled("cpu")
    with pretended() as gpu:
        there = settled("cuda", gpu)
        looks = gpu.waits["aten._local_scalar_dense.default"] - 1  # one is this test's own
    assert_close(there, here, rtol=0, atol=1e-12)
    assert looks == min(-(-taken[0] // LOOKED_EVERY), (EARLY.steps - 1) // LOOKED_EVERY)
    assert 1 < taken[0] < EARLY.steps


@pytest.mark.parametrize("solver", [OddEven(1.3), Anderson(2)], ids=repr)
def test_a_batch_of_one_size_ends_as_one_that_shrinks(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    given = network("conv", "cpu").given(batch("conv", 40)[0])
    tight = Phase(80, tolerance=1e-9, stop_early=True)
    shrinking = settle(given, given.start(), solver=solver, phase=tight)
    seen: list[int] = []
    monkeypatch.setattr(settling, "costs_nothing", lambda tensor: False)
    fixed = settle(given, given.start(), solver=solver, phase=tight, watch=lambda step, s: seen.append(len(s[0])))
    assert set(seen) == {40}
    assert len(set(shrinking.steps.tolist())) > 1, "examples that end together show nothing"
    assert torch.equal(fixed.outcome, shrinking.outcome)
    assert torch.equal(fixed.steps, shrinking.steps)
    assert_close(fixed.state, shrinking.state, rtol=0, atol=1e-12)
    assert_close(fixed.residual, shrinking.residual, rtol=0, atol=1e-12)


def test_an_epoch_waits_as_often_whatever_its_batches() -> None:
    rule = RULES["over-relaxed"]
    x, labels = batch("conv", 4 * BATCH)
    counts, epochs = [], []
    here = train(network("conv", "cpu"), rule, Split(x, labels), rates=0.1, epochs=2, batch_size=BATCH)
    with pretended() as gpu:
        for size in (BATCH, 2 * BATCH):
            data = Split(x, labels).to("cuda")
            train(network("conv", "cuda"), rule, data, rates=0.1, epochs=1, batch_size=size)
            net = network("conv", "cuda")
            gpu.waits.clear()
            epochs = train(net, rule, data, rates=0.1, epochs=2, batch_size=size)
            counts.append(Counter(gpu.waits))
            if size == BATCH:
                there = epochs
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) < 2 * (5 * len(net.synapses) + 10), counts[0]  # a few an array and epoch
    for a, b in zip(there, here, strict=True):
        assert (a.cost, a.accuracy_train) == pytest.approx((b.cost, b.accuracy_train), rel=1e-10)
        assert (a.residual, a.unsettled_share) == pytest.approx((b.residual, b.unsettled_share), rel=1e-10)


def test_divergence_is_named_by_its_batch_at_the_end_of_the_epoch() -> None:
    x, labels = batch("dense", 4 * BATCH)

    class Broken(NetworkLearner):
        calls = 0

        def step(self, *given: object) -> StepStats:
            stats = super().step(*given)  # pyright: ignore[reportArgumentType]
            Broken.calls += 1
            return stats if Broken.calls != 3 else StepStats(stats.cost * torch.nan, *list(vars(stats).values())[1:])

    with pretended():
        learner = Broken(network("dense", "cuda"), RULES["synchronous"], [0.1, 0.1])
        from hwsim.learning.train import _Plan, train_epochs

        plan = _Plan(1, BATCH, [0.1, 0.1], lambda done: 1.0)
        with pytest.raises(WorkError, match="epoch 1, batch 3: the cost is nan"):
            list(train_epochs(learner, plan, x.to("cuda"), labels.to("cuda"), Streams(0)))
    assert Broken.calls == 4


@pytest.mark.parametrize("attack", [Pgd, Apgd, RandomSearch], ids=["pgd", "apgd", "random-search"])
def test_steps_of_an_attack_wait_for_nothing(attack: type) -> None:
    threat, (x, y) = Threat("linf", 0.05), batch("conv")

    def made(steps: int) -> Attack:
        return attack("ce", steps) if attack is Apgd else attack(steps)

    def moved(place: str, steps: int) -> Tensor:
        model = EquilibriumClassifier(network("conv", place), OddEven(), Phase(6), Unrolled(6, OddEven()))
        return made(steps)(model, x.to(place), y.to(place), threat, torch.Generator().manual_seed(0)).cpu()

    here, counts = moved("cpu", 7), []
    with pretended() as gpu:
        moved("cuda", 1)
        for steps in (3, 7):
            gpu.waits.clear()
            there = moved("cuda", steps)
            counts.append(Counter(gpu.waits))
    draws = 4 if attack is RandomSearch else 0  # the attack's generator is a CPU's here, and draws a batch a step
    assert counts[1] - counts[0] == Counter({"aten._to_copy.default to the GPU": draws} if draws else {})
    assert_close(there, here, rtol=0, atol=1e-9)


def test_a_warm_attack_looks_every_few_sweeps_only() -> None:
    threat, (x, y) = Threat("linf", 0.05), batch("conv")

    def looks(steps: int) -> int:
        model = warmed(
            EquilibriumClassifier(network("conv", "cuda"), OddEven(), Phase(200, stop_early=True)), x.to("cuda")
        )
        gpu.waits.clear()
        Pgd(steps)(model, x.to("cuda"), y.to("cuda"), threat, torch.Generator().manual_seed(0))
        assert set(gpu.waits) <= {"aten._local_scalar_dense.default", "aten._to_copy.default to the GPU"} | COPIES
        return gpu.waits["aten._local_scalar_dense.default"]

    with pretended() as gpu:
        few, more = looks(3), looks(7)
    assert more - few <= 4 * 4, "a warm sweep or two of eight, and as many products"


COPIES = {"aten.copy_.default to the GPU"}


@pytest.mark.parametrize("kind", ["dense", "conv", "readout"])
@pytest.mark.parametrize("name", ["synchronous", "over-relaxed", "early"])
def test_a_recorded_step_is_the_step(kind: str, name: str) -> None:
    rule = RULES.get(name) or EquilibriumProp(free=SHORT, nudged=SHORT, solver=OddEven(1.2))
    assert isinstance(rule, EquilibriumProp)
    here = stepped(kind, rule, "cpu", None)
    with pretended() as gpu:
        there = stepped(kind, Graphed(rule), "cuda", gpu)
    assert set(gpu.waits) == set()
    if name == "early":  # takes all its sweeps
        counted = len(network(kind, "cpu").synapses)
        state = 2 * counted
        here[state : state + counted] = there[state : state + counted]
    assert_close(there, here, rtol=1e-10, atol=1e-12)


def test_a_recording_sees_new_batches_and_weights() -> None:
    rule = EquilibriumProp(free=FREE, nudged=NUDGED, solver=OddEven())
    (x, labels), cost = batch("conv", 2 * BATCH), SquaredError()
    here = network("conv", "cpu")
    for i in (0, 1, 0):
        rows = slice(i * BATCH, (i + 1) * BATCH)
        rule.step(here, cost, x[rows], labels[rows], [0.1 + i] * 3, torch.Generator())
    with pretended():
        there, graphed = network("conv", "cuda"), Graphed(rule)
        for i in (0, 1, 0):
            rows = slice(i * BATCH, (i + 1) * BATCH)
            graphed.step(there, cost, x[rows].to("cuda"), labels[rows].to("cuda"), [0.1 + i] * 3, torch.Generator())
        weights = [weight.cpu() for weight in there.weights()]
    assert_close(weights, here.weights(), rtol=1e-10, atol=1e-12)


def test_on_the_cpu_a_recorded_rule_is_the_rule_and_signs_are_refused() -> None:
    rule = RULES["over-relaxed"]
    assert isinstance(rule, EquilibriumProp)
    assert_close(stepped("conv", Graphed(rule), "cpu", None), stepped("conv", rule, "cpu", None), rtol=0, atol=0)
    with pytest.raises(InputError, match="random sign"):
        Graphed(EquilibriumProp(nudge="random-sign"))


def test_a_nudge_that_opens_the_bowl_is_refused_there_too() -> None:
    rule = EquilibriumProp(beta=3.0, free=FREE, nudged=NUDGED, solver=OddEven())
    with pretended(), pytest.raises(InputError, match="smaller beta"):
        stepped("conv", rule, "cuda", None)


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretended() as gpu:
        there = torch.ones(3).to("cuda")
        with pytest.raises(RuntimeError, match="on one device"):
            there + torch.ones(3)
        gpu.waits.clear()
        assert float((there * 2).sum()) == 6
        assert there[there > 0].shape == (3,)
        assert sum(gpu.waits.values()) == 2, gpu.waits
