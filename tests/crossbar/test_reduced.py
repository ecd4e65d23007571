"""Reads in fewer bits: rounded where they should be, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice, FloatSynapse, is_exact
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.reduced import ReducedSynapse, reduced
from hwsim.data.dataset import load
from hwsim.errors import InputError
from hwsim.experiments.requests import TrainRequest
from hwsim.experiments.training.job import plan_training
from hwsim.experiments.training.learners import EquilibriumModel, model_of
from hwsim.jobs.place import products_in
from hwsim.rng import Streams


def arrays() -> tuple[FloatSynapse, ReducedSynapse]:
    synapse = FloatDevice(momentum=0.5).synapse(5, 18, Streams(0))
    synapse.program(torch.randn(5, 18, generator=torch.Generator().manual_seed(0)))
    rounded = reduced(synapse)
    assert isinstance(rounded, ReducedSynapse)
    return synapse, rounded


def test_reads_are_products_of_rounded_factors() -> None:
    synapse, rounded = arrays()
    rng, window = torch.Generator().manual_seed(1), Window(2, 3, 1, 1)
    x, y = torch.rand(4, 18, generator=rng), torch.rand(4, 5, generator=rng)
    images, back = torch.rand(2, 2, 6, 6, generator=rng), torch.rand(2, 5, 6, 6, generator=rng)

    def bits(t: torch.Tensor) -> torch.Tensor:
        return t.bfloat16().double()

    coarse = {"rtol": 2**-7, "atol": 2**-7}  # of the result, which is rounded as well
    weight = bits(synapse.tensor)
    assert_close(rounded.read(x).double(), bits(x) @ weight.T, **coarse)
    assert_close(rounded.read_transpose(y).double(), bits(y) @ weight, **coarse)
    assert_close(rounded.read_images(images, window).double(), window.correlate(bits(images), weight), **coarse)
    found = rounded.read_images_transpose(back, window, (6, 6))
    assert_close(found.double(), window.spread(bits(back), weight, (6, 6)), rtol=2**-6, atol=2**-5)
    assert rounded.read(x).dtype is found.dtype is torch.float32
    assert not torch.equal(rounded.read(x), synapse.read(x))


def test_weights_updates_and_meters_are_the_arrays_own() -> None:
    synapse, rounded = arrays()
    before = synapse.weight()
    rounded.read(torch.ones(3, 18))
    rounded.update(torch.ones(2, 18), torch.ones(2, 5), 0.1)
    rounded.tick()
    assert_close(synapse.weight(), before + 0.2)
    rounded.tick()
    assert_close(synapse.weight(), before + 0.3)
    assert synapse.meter.vectors_read == 3
    assert synapse.meter.vectors_updated == 2
    assert rounded.version == synapse.version
    assert rounded.matrix is None
    assert is_exact(rounded)
    bias = FloatDevice().synapse(5, 1, Streams(0))
    assert reduced(bias) is bias


@pytest.mark.parametrize("rule", ["centred", "linear-response", "exact-gradient"])
def test_learning_reads_in_bf16_and_predicts_in_float32(rule: str) -> None:
    how = {"learning.precision": "bf16", "learning.rates": [0.1, 0.05], "learning.tolerance": 1e-2}
    how |= {"learning.rule": rule} if rule == "exact-gradient" else {"learning.nudge": rule}
    config = read_model("digits-mlp", list(how.items()))[1]
    model = model_of(config, config.learning, FloatDevice(config.learning.momentum), Streams(0))
    assert isinstance(model, EquilibriumModel)
    data, rng = load("digits"), torch.Generator().manual_seed(0)
    model.begin(Streams(0))
    for start in range(0, 1024, 64):
        model.step(*data.train[start : start + 64], 1.0, rng)
    assert all(type(synapse) is FloatSynapse for synapse in model.synapses)
    assert model.measure(*data.test, 1, Streams(0)).accuracy > 0.6


def test_precision_is_refused_where_it_does_nothing() -> None:
    with pytest.raises(InputError, match="NVIDIA's GPUs alone; give --accelerator cuda"):
        plan_training(TrainRequest(model="digits-mlp", settings=["learning.precision=tf32"]))
    with pytest.raises(InputError, match="acts on float alone"):
        plan_training(TrainRequest(model="digits-mlp", device="ideal", settings=["in_situ.precision=bf16"]))


def test_products_are_in_full_unless_they_are_asked_to_be_in_tf32() -> None:
    matrices, images = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, images.allow_tf32
    for precision, expected in (("float32", False), ("tf32", True), ("bf16", False)):
        with products_in(precision):
            assert matrices.allow_tf32 is images.allow_tf32 is expected
    assert (matrices.allow_tf32, images.allow_tf32) == before
