"""Convolutional networks as objects: shapes, mistakes, starts, what is read when, and arrays of any kind."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from hwsim.crossbar.exact import FloatDevice, FloatSynapse
from hwsim.crossbar.reads.kernels import ImageKernels, PatchKernels
from hwsim.crossbar.reads.window import ImageSynapse, Window, as_images, as_rows
from hwsim.crossbar.synapse import Synapse
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.convolution import Convolution
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.inference import infer
from hwsim.ebm.links import Dense
from hwsim.ebm.settle import OddEven, Outcome, Phase, Solver, Synchronous, UpDown, settle
from hwsim.errors import InputError
from hwsim.learning.ep import UPDATE_FORMS, EquilibriumProp
from hwsim.learning.equilibrium_gradients import Implicit, Unrolled
from hwsim.learning.exact import weight_gradient
from hwsim.rng import Streams

DOUBLE = torch.float64
PAPER = [Conv(128, 3, 1, padding, "max") for padding in (1, 1, 1, 0)]


class NoisyReads(FloatSynapse):
    """Reads that differ every time, and by patches only."""

    noisy = True
    read_images = read_images_transpose = update_images = None  # type: ignore[assignment]

    def __init__(self, post: int, pre: int, noise: float, streams: Streams) -> None:
        super().__init__(torch.zeros(post, pre, dtype=DOUBLE))
        self.noise, self.rng = noise, streams.generator("read")

    def read(self, pre: Tensor) -> Tensor:
        read = super().read(pre)
        return read + self.noise * torch.randn(read.shape, generator=self.rng, dtype=read.dtype)

    def read_transpose(self, post: Tensor) -> Tensor:
        read = super().read_transpose(post)
        return read + self.noise * torch.randn(read.shape, generator=self.rng, dtype=read.dtype)


class Patchwise:
    """A float array that hides what it could do with whole images."""

    def __init__(self, inner: FloatSynapse) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        if name.endswith(("images", "images_transpose")):
            raise AttributeError(name)
        return getattr(self.inner, name)


class PatchwiseDevice(FloatDevice):
    def synapse(self, post: int, pre: int, streams: Streams) -> Synapse:
        return Patchwise(super().synapse(post, pre, streams))  # type: ignore[return-value]


def small(device: FloatDevice | None = None, pool: str = "max", **settings: object) -> LayeredHopfield:
    device = device or FloatDevice(dtype=DOUBLE)
    layers = [Conv(4, pool=pool), Conv(5, stride=2)]
    exact = FloatDevice(dtype=DOUBLE)
    net = layered_hopfield([(2, 8, 8), *layers, 6, 3], device, Streams(0), bias_device=exact, **settings)
    net.program([w.double() for w in net.initial_weights(2.0, Streams(0))])
    return net


def images(seed: int = 0, batch: int = 3) -> Tensor:
    return torch.rand(batch, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_the_published_network_has_its_shapes() -> None:
    layers = [replace(layer, channels=n) for layer, n in zip(PAPER, (128, 256, 512, 512), strict=True)]
    net = layered_hopfield([(3, 32, 32), *layers, 10], FloatDevice(), Streams(0), output="readout")
    assert [link.post_shape for link in net.links] == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 1, 1), (10,)]
    assert net.blocks == 4
    assert sum(s.weight().numel() for s in net.synapses) == 3_843_850
    x = torch.rand(2, 3, 32, 32)
    s = net.given(x).start()
    assert [tuple(layer.shape) for layer in s] == [(2, *link.post_shape) for link in net.links[:4]]
    assert all(bool((layer == 0).all()) for layer in s)


def test_one_dense_layer_is_what_torch_makes_of_it() -> None:
    """The drive of every link is torch's own layer, with flattened images in torch's order."""
    net, x = small(), images()
    w = net.weights()
    first = functional.max_pool2d(functional.conv2d(x, w[0].view(4, 2, 3, 3), w[1][:, 0], padding=1), 2)
    assert_close(net.links[0].forward(x), first)
    second = functional.conv2d(first, w[2].view(5, 4, 3, 3), w[3][:, 0], stride=2, padding=1)
    assert_close(net.links[1].forward(first), second)
    assert_close(net.links[2].forward(second), functional.linear(second.flatten(1), w[4], w[5][:, 0]))


@pytest.mark.parametrize("pool", ["none", "max", "average"])
def test_arrays_without_image_operations_train_to_the_same_weights(pool: str) -> None:
    for form in UPDATE_FORMS:
        trained = []
        for device in (FloatDevice(dtype=DOUBLE, momentum=0.9), PatchwiseDevice(dtype=DOUBLE, momentum=0.9)):
            net = small(device, pool)
            rule = EquilibriumProp(0.5, free=Phase(15), nudged=Phase(8), update_form=form)
            for seed in range(2):
                rule.step(net, SquaredError(), images(seed), torch.tensor([0, 1, 2]), [0.1] * 4, torch.Generator())
            trained.append(net.weights())
        assert isinstance(small(device).links[0].kernels, PatchKernels)
        assert isinstance(small().links[0].kernels, ImageKernels)
        for a, b in zip(*trained, strict=True):
            assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_update_forms_are_equal_in_exact_arithmetic() -> None:
    trained = []
    for form in UPDATE_FORMS:
        net = small(output="readout")
        rule = EquilibriumProp(0.5, update_form=form)
        rule.step(net, CrossEntropy(), images(), torch.tensor([0, 1, 2]), [0.1] * 4, torch.Generator())
        trained.append(net.weights())
    for other in trained[1:]:
        for a, b in zip(trained[0], other, strict=True):
            assert_close(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("output", ["linear", "clamped", "readout"])
def test_biases_beside_the_array_or_in_its_last_column_are_the_same(output: str) -> None:
    digital, column = small(output=output), small(output=output, bias="column")
    w = digital.weights()
    for bias in w[1::2]:
        bias += torch.linspace(-0.2, 0.3, len(bias), dtype=DOUBLE)[:, None]
    digital.program(w)
    column.program([torch.cat(pair, 1) for pair in zip(w[::2], w[1::2], strict=True)])
    for net in (digital, column):
        EquilibriumProp(0.3).step(net, SquaredError(), images(), torch.tensor([0, 1, 2]), [0.1] * 4, torch.Generator())
    after = digital.weights()
    for pair, one in zip(zip(after[::2], after[1::2], strict=True), column.weights(), strict=True):
        assert_close(torch.cat(pair, 1), one, rtol=1e-10, atol=1e-12)


def test_a_feed_forward_start_is_one_pass_without_feedback() -> None:
    net, x = small(start="feed-forward"), images()
    s = net.given(x).start()
    below = x
    for index, (link, layer) in enumerate(zip(net.links, s, strict=True)):
        below = link.forward(below) / 2
        below = below.clamp(0, 1) if index < 3 else below
        assert_close(layer, below)
    assert net.float_twin().start == "feed-forward"
    slow, fast = (
        infer(small(start=start), x, solver=OddEven(), phase=Phase(3))[1] for start in ("zero", "feed-forward")
    )
    assert fast.residual.max() < slow.residual.max()


@pytest.mark.parametrize(("solver", "pooled"), [(Synchronous(), 1), (OddEven(), 1), (UpDown(), 2)], ids=str)
def test_a_step_reads_every_array_once_each_way(solver: Solver, pooled: int) -> None:
    """Twice for the max-pooled link of an up-down step, whose switches move between down and up."""
    layers = [Conv(4), Conv(4, stride=2), Conv(4, pool="max")]
    net = layered_hopfield([(2, 8, 8), *layers, 3], FloatDevice(), Streams(0), output="readout")
    net.program(net.initial_weights(2.0, Streams(0)))
    given = net.given(images().float())
    s = settle(given, given.start(), solver=solver, phase=Phase(3)).state
    for synapse in net.synapses:
        synapse.meter.reset()
    steps = 5
    settle(given, s, solver=solver, phase=Phase(steps))
    meters = [link.synapse.meter for link in net.links]
    assert meters[0].vectors_read == meters[0].vectors_read_transpose == 0  # held; nobody is below
    for meter, positions, times in ((meters[1], 16, 1), (meters[2], 16, pooled)):
        assert meter.vectors_read == pytest.approx(steps * times * 3 * positions, abs=3 * positions)
        assert meter.vectors_read_transpose == pytest.approx(steps * times * 3 * positions, abs=3 * positions)


def test_a_layer_that_has_not_moved_is_not_read_again_but_a_new_energy_reads_anew() -> None:
    net, x = small(), images()
    given = net.given(x)
    s = given.start()
    with torch.no_grad():
        first, again = given.drive(s, [1, 2]), given.drive(s, [1, 2])
        assert net.links[2].synapse.meter.vectors_read == len(x)
        net.given(x).drive(s, [1, 2])
        assert net.links[2].synapse.meter.vectors_read == 2 * len(x)
    for a, b in zip(first, again, strict=True):
        assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("solver", [Synchronous(), OddEven(), UpDown()], ids=str)
def test_memory_does_not_grow_with_the_number_of_steps(solver: Solver) -> None:
    net, x = small(), images()
    given, alive, most = net.given(x), list[weakref.ref[Tensor]](), 0

    def count(_: int, s: tuple[Tensor, ...]) -> None:
        nonlocal most
        alive.extend(weakref.ref(layer) for layer in s)
        most = max(most, sum(ref() is not None for ref in alive))

    settle(given, given.start(), solver=solver, phase=Phase(40), watch=count)
    assert most <= 3 * net.blocks  # this state, the last one, and what readings were taken at


@pytest.mark.parametrize("solver", [Synchronous(), OddEven(), UpDown()], ids=str)
def test_read_noise_is_told_from_movement(solver: Solver) -> None:
    links = [
        Convolution(NoisyReads(4, 18, 1e-3, Streams(0)), no_bias(4), Window(2, 3, 1, 1), pool="max", size=(8, 8)),
        Convolution(NoisyReads(5, 36, 1e-3, Streams(1)), no_bias(5), Window(4, 3, 2, 1), pool="none", size=(4, 4)),
        Dense(NoisyReads(3, 20, 1e-3, Streams(2)), no_bias(3), (5, 2, 2)),
    ]
    net = LayeredHopfield(links)
    net.program([w.double() for w in net.initial_weights(1.0, Streams(0))])
    _, settled = infer(net, images(batch=8), solver=solver, phase=Phase(40, tolerance=1e-6))
    assert settled.share(Outcome.NOISE_FLOOR) == 1.0


def no_bias(channels: int) -> FloatSynapse:
    return FloatSynapse(torch.zeros(channels, 1, dtype=DOUBLE))


def test_predictions_and_costs_of_a_readout_are_what_it_reads() -> None:
    net, x = small(output="readout"), images()
    logits, settled = infer(net, x, solver=UpDown(), phase=Phase(20))
    assert_close(logits, net.links[-1].forward(settled.state[-1]))
    assert_close(net.outputs(settled.state), logits)
    cost, labels = net.cost_of_state(CrossEntropy()), torch.tensor([0, 1, 2])
    target = cost.encode(labels, settled.state[-1])
    expected = functional.cross_entropy(logits, labels, reduction="none")
    assert_close(cost.value(settled.state[-1], target), expected)
    assert small().cost_of_state(SquaredError()) == SquaredError()


@pytest.mark.parametrize("output", ["linear", "readout"])
def test_a_network_of_one_free_layer_has_exact_gradients_too(output: str) -> None:
    layers = [4, 3] if output == "linear" else [4, 5, 3]
    device = FloatDevice(dtype=DOUBLE)
    net = layered_hopfield(layers, device, Streams(0), output=output, bias_device=device)
    net.program([w.double() + 0.1 for w in net.initial_weights(1.0, Streams(0))])
    x, labels = torch.rand(3, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    gradients = [weight_gradient(net, SquaredError(), x, labels, way) for way in (Implicit(), Unrolled(3))]
    for a, b in zip(*gradients, strict=True):
        assert_close(a, b)


def test_input_force_goes_back_through_the_switches_of_the_input() -> None:
    net, x = small(), images()
    x.requires_grad_(True)
    s = tuple(layer + 0.3 for layer in net.initial(x.detach()))
    (slope,) = torch.autograd.grad(net.given(x).value(s).sum(), x)
    assert_close(net.given(x.detach()).input_force(s), -slope)


def test_learning_lowers_the_cost() -> None:
    for output, cost in (("linear", SquaredError()), ("readout", CrossEntropy())):
        net = small(output=output, start="feed-forward")
        rule = EquilibriumProp(0.3, free=Phase(10), nudged=Phase(5), solver=UpDown())
        labels = torch.tensor([0, 1, 2])
        costs = [rule.step(net, cost, images(), labels, [0.3] * 4, torch.Generator()).cost for _ in range(60)]
        assert costs[-1] < 0.2 * costs[0]


def test_float_arrays_offer_image_operations_and_hidden_ones_do_not() -> None:
    assert isinstance(FloatSynapse(torch.zeros(2, 2)), ImageSynapse)
    assert not isinstance(Patchwise(FloatSynapse(torch.zeros(2, 2))), ImageSynapse)


def test_rows_and_images_are_inverse_and_in_the_order_of_patches() -> None:
    x = images()
    assert_close(as_images(as_rows(x), (8, 8)), x)
    assert_close(as_rows(x), Window(2, 1).patches(x))


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: Conv(0), "channels"),
        (lambda: Conv(4, padding=-1), "padding >= 0"),
        (lambda: layered_hopfield([(2, 8, 8), Conv(4, pool="sum"), 3], FloatDevice(), Streams(0)), "'sum'"),
        (lambda: layered_hopfield([(2, 2, 2), Conv(4, 5, 1, 0), 3], FloatDevice(), Streams(0)), "2 x 2 pixels"),
        (lambda: layered_hopfield([(2, 8, 8), Conv(4)], FloatDevice(), Streams(0)), "one layer of units"),
        (lambda: layered_hopfield([128, Conv(4), 3], FloatDevice(), Streams(0)), "right above an image"),
        (lambda: layered_hopfield([(2, 8, 8), 16, Conv(4), 3], FloatDevice(), Streams(0)), "right above an image"),
        (lambda: small(output="softmax"), "'softmax'"),
        (lambda: small(start="random"), "'random'"),
        (lambda: small(bias="none"), "network.bias"),
        (lambda: small().given(torch.zeros(3, 2, 8, 7)), "expected 128 values"),
        (lambda: LayeredHopfield([Dense(FloatSynapse(torch.zeros(3, 4)), None)], output="readout"), "hidden layer"),
        (lambda: Dense(FloatSynapse(torch.zeros(3, 4)), None, (2, 2)), r"\(2, 2\)"),
        (
            lambda: Convolution(FloatSynapse(torch.zeros(3, 9)), None, Window(2, 3), pool="none", size=(8, 8)),
            "9 columns",
        ),
    ],
)
def test_mistakes_are_told(build, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build()
