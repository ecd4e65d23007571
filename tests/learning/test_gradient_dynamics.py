"""Ernoult et al. 2019: step by step, EP's nudged phase plays backpropagation through time backwards (GDU property).

From a settled free state, under synchronous dynamics, the change of the products post^T pre in step t of
the nudged phase, over beta, tends to minus the part of dC/dW that step T - t of the free phase adds.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from theory_reference import Bug, Plain, must_reject, plain_cost, smooth_plain
from torch import Tensor
from torch.testing import assert_close

from hwsim.ebm.costs import SquaredError
from hwsim.ebm.energy import Nudged
from hwsim.ebm.hopfield import Dense
from hwsim.ebm.settle import OddEven, Phase, Solver, Synchronous, settle

STEPS = 6


def backward_steps(plain: Plain, x: Tensor, labels: Tensor) -> list[list[Tensor]]:
    """[t][layer]: dC/dW_layer of the weights as used in the t-th step from the end, C summed over the batch."""
    s = plain.relax(x)
    copies = [[w.clone().requires_grad_(True) for w in plain.weights] for _ in range(STEPS)]
    for weights in copies:
        s = Plain(tuple(weights), plain.biases, plain.c).sweep(x, s)
    value = plain_cost("squared", s[-1], labels).sum()
    flat = torch.autograd.grad(value, [w for weights in copies for w in weights], materialize_grads=True)
    layers = len(plain.weights)
    return [list(flat[k * layers : (k + 1) * layers]) for k in reversed(range(STEPS))]


def nudged_steps(plain: Plain, x: Tensor, labels: Tensor, beta: float, solver: Solver) -> list[list[Tensor]]:
    """[t][layer]: what step t of hwsim's nudged phase adds to post^T pre, over beta; centred in beta."""
    net, cost = plain.network(), SquaredError()
    given, free = net.given(x), tuple(plain.relax(x))
    target = cost.encode(labels, free[-1])
    paths = []
    for sign in (beta, -beta):
        path = [free]
        settle(
            Nudged(given, cost, target, sign), free, solver=solver, phase=Phase(STEPS),
            watch=lambda _, s, path=path: path.append(s),
        )  # fmt: skip
        products = [[c.post.T @ c.pre for c in given.couplings(s) if c.pre.shape[1] > 1] for s in path]
        paths.append([[b - a for a, b in zip(p, q, strict=True)] for p, q in pairwise(products)])
    return [[(p - m) / (2 * beta) for p, m in zip(*step, strict=True)] for step in zip(*paths, strict=True)]


def check_dynamics(solver: Solver) -> None:
    plain, x, labels = smooth_plain((4, 5, 5, 5), c=1.0)
    expected = backward_steps(plain, x, labels)
    found = nudged_steps(plain, x, labels, 1e-4, solver)
    for step, (ep, bptt) in enumerate(zip(found, expected, strict=True)):
        for layer, (a, b) in enumerate(zip(ep, bptt, strict=True)):
            assert_close(a, -b, rtol=1e-6, atol=1e-8, msg=lambda m, at=(step, layer): f"step, layer {at}: {m}")


def test_nudged_steps_are_backpropagation_steps() -> None:
    check_dynamics(Synchronous())


def test_sweeps_are_not_the_same_dynamics() -> None:
    with pytest.raises(AssertionError):
        check_dynamics(OddEven())


def test_the_first_layer_hears_of_the_nudge_one_step_a_layer_later() -> None:
    plain, x, labels = smooth_plain((4, 5, 5, 5))
    first = [step[0].abs().max().item() for step in nudged_steps(plain, x, labels, 1e-3, Synchronous())]
    assert max(first[:2]) < 1e-9
    assert first[2] > 1e-4


BUGS = [
    Bug("transposed read", Dense, "backward", lambda self, post, *_: self.synapse.read(post)),
    Bug("flipped read", Dense, "backward", lambda self, post, *_: -self.synapse.read_transpose(post)),
    Bug("twice the nudge", SquaredError, "bowl", lambda self, output, target: (2 * target - output, 1.0)),
]


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_dynamics_check_rejects(bug: Bug) -> None:
    must_reject(bug, check_dynamics, Synchronous())


def test_dynamics_check_rejects_damping() -> None:
    with pytest.raises(AssertionError):
        check_dynamics(Synchronous(0.5))
