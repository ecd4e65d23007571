"""The float synapse: reads, the optimiser in its updates, and saved states that go on exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from theory_reference import DOUBLE, Bug, draw, must_reject
from torch import Tensor
from torch.testing import assert_close

from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.synapse import Device, Meter, Synapse
from hwsim.rng import Streams

SETTINGS = [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.1)]


def array(momentum: float, weight_decay: float, seed: int = 0, dtype: torch.dtype = DOUBLE) -> FloatSynapse:
    made = FloatDevice(momentum, weight_decay, dtype).synapse(3, 4, Streams(0))
    made.program(draw((3, 4), torch.Generator().manual_seed(seed), -1, 1).to(dtype))
    return made


def batches(count: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [(draw((5, 4), rng, -1, 1), draw((5, 3), rng, -1, 1)) for _ in range(count)]


def check_like_sgd(momentum: float, weight_decay: float, calls: int) -> None:
    """Twenty steps, each written in one call or several, against torch's optimiser at one rate."""
    synapse = array(momentum, weight_decay)
    weight = synapse.weight().requires_grad_(True)
    sgd = torch.optim.SGD([weight], lr=0.05, momentum=momentum, weight_decay=weight_decay)
    for pre, post in batches(20):
        for part_pre, part_post in zip(pre.chunk(calls), post.chunk(calls), strict=True):
            synapse.update(part_pre, part_post, 0.05)
        synapse.tick()
        weight.grad = -torch.einsum("bo,bi->oi", post, pre)
        sgd.step()
    assert_close(synapse.weight(), weight.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("momentum", "weight_decay"), SETTINGS)
@pytest.mark.parametrize("calls", [1, 2])
def test_updates_are_those_of_torch_sgd(momentum: float, weight_decay: float, calls: int) -> None:
    check_like_sgd(momentum, weight_decay, calls)


def _nesterov(self: FloatSynapse) -> None:
    self._begun = False
    self._velocity.mul_(self._momentum)
    self.tensor.add_(self._velocity)


def _no_momentum(self: FloatSynapse) -> None:
    self._begun = False
    self.tensor.add_(self._velocity)
    self._velocity.zero_()


def _update(sign: float = 1.0, decay_always: bool = False, mean: bool = False, transposed: bool = False) -> Callable:
    def update(self: FloatSynapse, pre: Tensor, post: Tensor, rate: float) -> None:
        first = self._begin()
        product = torch.einsum("bo,bi->oi", post, pre) * sign
        if mean:
            product = product / len(pre)
        if transposed:
            product = product.T.reshape(self.shape)
        self._velocity.mul_(self._momentum if first else 1.0).add_(product, alpha=rate)
        self._decay(rate, first or decay_always)

    return update


@pytest.mark.parametrize(
    "bug",
    [
        Bug("velocity one step early", FloatSynapse, "tick", _nesterov),
        Bug("no momentum", FloatSynapse, "tick", _no_momentum),
        Bug("descends", FloatSynapse, "update", _update(sign=-1.0)),
        Bug("factor 2", FloatSynapse, "update", _update(sign=2.0)),
        Bug("decays with every call", FloatSynapse, "update", _update(decay_always=True)),
        Bug("mean over the batch", FloatSynapse, "update", _update(mean=True)),
        Bug("transposed", FloatSynapse, "update", _update(transposed=True)),
    ],
    ids=str,
)
def test_optimiser_check_rejects(bug: Bug) -> None:
    must_reject(bug, check_like_sgd, 0.9, 0.1, 2)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.integers(0, 1000))
def test_updates_add_up_over_the_batch(post: int, pre: int, rows: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    at_once, one_by_one = (FloatSynapse(torch.zeros(post, pre, dtype=DOUBLE)) for _ in range(2))
    x, y = draw((rows, pre), rng, -1, 1), draw((rows, post), rng, -1, 1)
    at_once.update(x, y, 0.3)
    for row in range(rows):
        one_by_one.update(x[row : row + 1], y[row : row + 1], 0.3)
    assert_close(at_once.weight(), one_by_one.weight(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("momentum", "weight_decay"), SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_saved_state_goes_on_bit_for_bit(momentum: float, weight_decay: float, dtype: torch.dtype) -> None:
    def train(synapse: FloatSynapse, steps: list[tuple[Tensor, Tensor]]) -> None:
        for pre, post in steps:
            synapse.update(pre.to(dtype), post.to(dtype), 0.05)
            synapse.tick()

    whole, half, resumed = (array(momentum, weight_decay, seed, dtype) for seed in (0, 0, 5))
    train(whole, batches(12))
    train(half, batches(12)[:6])
    resumed.update(*(t.to(dtype) for t in batches(1)[0]), 0.7)  # an unfinished step of its own must not survive
    resumed.load_state_dict({name: t.clone() for name, t in half.state_dict().items()})
    train(resumed, batches(12)[6:])
    assert torch.equal(whole.weight(), resumed.weight())
    for name, saved in whole.state_dict().items():
        assert torch.equal(saved, resumed.state_dict()[name])


def test_a_saved_state_is_a_copy() -> None:
    synapse = array(0.9, 0.0)
    saved = synapse.state_dict()
    kept = {name: t.clone() for name, t in saved.items()}
    synapse.update(*batches(1)[0], 0.1)
    synapse.tick()
    assert all(torch.equal(saved[name], kept[name]) for name in kept)


def test_programming_forgets_momentum_and_unfinished_steps() -> None:
    synapse = array(0.9, 0.0)
    for pre, post in batches(2):
        synapse.update(pre, post, 0.1)
        synapse.tick()
    synapse.update(*batches(1)[0], 0.1)
    target = torch.ones(3, 4, dtype=DOUBLE)
    synapse.program(target)
    synapse.tick()
    synapse.tick()
    assert torch.equal(synapse.weight(), target)


def test_reads_are_products_and_are_counted() -> None:
    synapse = array(0.0, 0.0)
    (pre, post), w = batches(1)[0], synapse.weight()
    assert_close(synapse.read(pre), torch.einsum("oi,bi->bo", w, pre))
    assert_close(synapse.read_transpose(post), torch.einsum("oi,bo->bi", w, post))
    synapse.update(pre, post, 0.0)
    meter = synapse.meter
    assert (meter.vectors_read, meter.vectors_read_transpose, meter.vectors_updated) == (5, 5, 5)
    assert torch.equal(synapse.weight(), w)


def test_weights_are_handed_out_as_copies() -> None:
    synapse = array(0.0, 0.0)
    synapse.weight().zero_()
    synapse.conductances()["weight"].zero_()
    assert synapse.weight().abs().sum() > 0
    assert synapse.clipped_share() == 0.0


def test_reads_pass_gradients_to_inputs_and_weights_but_updates_leave_none() -> None:
    synapse = array(0.9, 0.1)
    (pre, post), _ = batches(1)[0], synapse.tensor.requires_grad_(True)
    (gradient,) = torch.autograd.grad((synapse.read(pre) * post).sum(), synapse.tensor)
    assert_close(gradient, post.T @ pre)
    synapse.update(pre.requires_grad_(True), post, 0.1)
    synapse.tick()
    assert synapse.tensor.is_leaf
    assert not synapse.weight().requires_grad


def test_float_fits_the_protocols() -> None:
    assert isinstance(FloatDevice(), Device)
    assert isinstance(array(0.0, 0.0), Synapse)


def test_meters_start_anew_and_keep_their_settings() -> None:
    meter = Meter(k_limit=31, count_saturation=True)
    assert meter.k_mean == meter.saturated_share == 0.0
    meter.k_sum, meter.k_count, meter.saturated, meter.conversions, meter.vectors_read = 6.0, 4, 1, 8, 3
    assert (meter.k_mean, meter.saturated_share) == (1.5, 0.125)
    meter.reset()
    assert meter == Meter(k_limit=31, count_saturation=True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: FloatDevice(momentum=1.0), r"FloatDevice.momentum: expected a number in \[0, 1\), got 1"),
        (lambda: FloatDevice(weight_decay=-0.1), "FloatDevice.weight_decay: expected a number >= 0, got -0.1"),
        (lambda: array(0, 0).update(*batches(1)[0], -0.1), "learning rate: expected a finite number >= 0, got -0.1"),
        (lambda: array(0, 0).update(*batches(1)[0], float("nan")), "got nan"),
        (lambda: array(0, 0).program(torch.zeros(4, 3)), r"expected shape \(post, pre\) = \(3, 4\), got \(4, 3\)"),
        (lambda: array(0, 0).program(torch.full((3, 4), torch.nan)), "expected finite numbers"),
        (lambda: array(0, 0).load_state_dict({"weight": torch.zeros(3, 4)}), r"expected \['velocity', 'weight'\]"),
        (
            lambda: array(0, 0).load_state_dict({"weight": torch.zeros(3, 4), "velocity": torch.zeros(1)}),
            r"expected shape .* \(3, 4\), got \(1,\)",
        ),
    ],
)
def test_impossible_values_are_refused(wrong: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()


def test_a_refused_update_changes_nothing() -> None:
    synapse = array(0.9, 0.1)
    before = synapse.state_dict()
    with pytest.raises(ValueError, match="learning rate"):
        synapse.update(*batches(1)[0], -1.0)
    synapse.tick()
    assert all(torch.equal(before[name], t) for name, t in synapse.state_dict().items())
