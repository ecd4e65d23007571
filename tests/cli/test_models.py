"""The shelf of models: every card is valid, builds, trains, goes on after an interruption, and is judged as it says."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hwsim.cards import shelf
from hwsim.cards.read import read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.data import dataset as data
from hwsim.errors import InputError
from hwsim.experiments.subject import read_subject
from hwsim.experiments.training import resume as training
from hwsim.experiments.training.learners import EquilibriumModel, classifier_of, model_of
from hwsim.jobs.place import check_place
from hwsim.jobs.store import read_lines
from hwsim.rng import Streams
from hwsim.robustness.classifier import correct

Call = Callable[..., tuple[int, str, str]]

EP = [
    "network.convolutions=[{channels: 4, pool: max}, {channels: 6, stride: 2}]",
    "learning.rates=[0.1, 0.1, 0.05]",
    "learning.free_steps=30",
    "learning.stop_early=true",
    "inference.steps=100",
    "inference.stop_early=true",
]
MODULE = ["network.parameters.convolutions=[{channels: 4, pool: max}, {channels: 6, stride: 2}]"]
VIT = [
    "network.parameters={patch_size: 8, num_layers: 1, num_heads: 2, hidden_dim: 8, mlp_dim: 8, dropout: 0.2, "
    "attention_dropout: 0.1}",
    "learning.warmup_epochs=1",
]
TINY = {
    "ep-cnn": [*EP, "learning.nudged_steps=10"],
    "ep-cnn-small": EP,
    "exact-cnn-small": EP,
    "bp-cnn": MODULE,
    "bp-cnn-small": MODULE,
    "ff-cnn-small-cross-entropy": MODULE,
    "ff-cnn-small-squared-error": MODULE,
    "ff-cnn-small-stopped": MODULE,
    "ep-cnn-small-cross-entropy": EP,
    "adv-ep-cnn-small": [*EP, "learning.adversarial.steps=2"],
    "pc-cnn-small": EP[:2],
    "adv-cnn-l2": [*MODULE, "learning.adversarial.steps=2"],
    "adv-cnn-linf": [*MODULE, "learning.adversarial.steps=2", "learning.adversarial.share=0.5"],
    "vit": VIT,
}
ADV_EP = [*EP, 'learning.adversarial={threat: "linf:8/255", steps: 2}', "learning.nudged_steps=4"]


@pytest.fixture(scope="module")
def tiny_cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's layout with 100 learning and 20 test images; a class is a shade, so that it can be learned."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("".join(f"shade{i}\n" for i in range(10)))
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = np.tile(np.arange(10), 2)
        pixels = rng.integers(0, 60, (20, 3072)) + labels[:, None] * 20
        (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], pixels], 1).astype(np.uint8).tobytes())
    return root


def arguments(model: str, root: Path, out: Path, *settings: str) -> list[str]:
    common = ["learning.epochs=2", "learning.batch_size=18"]
    sets = [part for setting in (*common, *settings) for part in ("--set", setting)]
    return ["train", "--model", model, "--data-dir", str(root), "--out", str(out), *sets]


@pytest.mark.parametrize("name", shelf.items("models"))
def test_every_card_is_valid_and_has_a_page(name: str) -> None:
    document, config = read_model(name)
    assert config.name == name
    assert config.summary
    folder = shelf.find("models", name).folder
    assert folder is not None
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    assert f"--model {name}" in page
    assert document.data["schema_version"] == 1
    model = model_of(config, config.learning, FloatDevice(), Streams(0))
    assert model.weights > 0


def paper_weights(widths: tuple[int, ...], classes: int, *, bias: bool) -> int:
    """Convolutions of 3 x 3 and a linear readout: with a bias, or with BatchNorm's two numbers, a channel."""
    kernels = sum(9 * below * above for below, above in zip((3, *widths), widths, strict=False))
    return kernels + (1 if bias else 2) * sum(widths) + (widths[-1] + 1) * classes


@pytest.mark.parametrize(
    ("name", "widths", "classes", "bias"),
    [
        ("ep-cnn", (128, 256, 512, 512), 10, True),
        ("ep-cnn-cifar100", (128, 256, 512, 1024), 100, True),
        ("bp-cnn", (128, 256, 512, 512), 10, False),
    ],
)
def test_the_papers_networks_have_its_sizes(name: str, widths: tuple[int, ...], classes: int, bias: bool) -> None:
    _, config = read_model(name)
    model = model_of(config, config.learning, FloatDevice(), Streams(0))
    assert model.weights == paper_weights(widths, classes, bias=bias)
    if isinstance(model, EquilibriumModel):
        sides = (16, 8, 4, 1)
        layers = [(width, side, side) for width, side in zip(widths, sides, strict=True)]
        assert [link.post_shape for link in model.net.links] == [*layers, (classes,)]
        assert (model.net.output, model.net.start, model.net.c, model.net.blocks) == ("readout", "zero", 1.0, 4)


def test_controls_have_the_layers_of_what_they_control() -> None:
    energy = read_model("ep-cnn-small")[1].energy
    assert read_model("exact-cnn-small")[1].network == energy
    convolutions = [layer.model_dump() for layer in energy.convolutions]  # pyright: ignore[reportAttributeAccessIssue]
    usual = {"kernel": 3, "stride": 1, "padding": 1, "pool": "none"}
    for name in (
        "bp-cnn-small",
        "ff-cnn-small-cross-entropy",
        "ff-cnn-small-squared-error",
        "adv-cnn-l2",
        "adv-cnn-linf",
    ):
        network = read_model(name)[1].network
        given = network.parameters["convolutions"]  # pyright: ignore[reportAttributeAccessIssue]
        assert [{**usual, **layer} for layer in given] == convolutions, name


@pytest.mark.parametrize("name", TINY)
def test_trains_and_is_judged_as_its_card_says(hwsim_here: Call, tmp_path: Path, tiny_cifar: Path, name: str) -> None:
    code, out, err = hwsim_here(*arguments(name, tiny_cifar, tmp_path / "t", *TINY[name]))
    assert (code, err) == (0, "")
    card = json.loads((tmp_path / "t" / "card.json").read_text())
    records = read_lines(tmp_path / "t" / "metrics.jsonl")
    assert card["curve"] == [r["accuracy_validation"] for r in records]
    settles = read_model(name)[1].network.type != "module"
    assert ("unsettled_share_test" in card) == ("steps to energy" in out) == ("energy" in records[0]) == settles
    if name == "exact-cnn-small":
        assert all(record["residual"] > 0 for record in records)

    path = tmp_path / "t" / "config.yaml"
    assert path.exists()
    _, config = read_model(name, [(key, parsed) for key, parsed in settings_of(*TINY[name])])
    dataset = data.load("cifar10", tiny_cifar)
    judge = classifier_of(config, tmp_path / "t" / "weights.safetensors")
    share = correct(judge, dataset.test.x, dataset.test.y).double().mean().item()
    assert share == pytest.approx(card["accuracy_test"]["mean"])


def settings_of(*settings: str) -> list[tuple[str, object]]:
    from hwsim.cards.yamlfile import parse_setting

    return [parse_setting(setting) for setting in settings]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bp-cnn", MODULE),
        ("vit", VIT),
        ("adv-cnn-l2", TINY["adv-cnn-l2"]),
        ("ep-cnn", TINY["ep-cnn"]),
        ("ep-cnn-small", ADV_EP),
        ("exact-cnn-small", EP),
    ],
    ids=["sgd", "adamw and dropout", "adversarial", "readout", "adversarial ep", "exact"],
)
def test_resumed_equals_uninterrupted(
    hwsim_here: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_cifar: Path,
    name: str,
    settings: list[str],
) -> None:
    more = [*settings, "learning.augment={flip: true, crop_padding: 2, crop_border: edge}"]
    assert hwsim_here(*arguments(name, tiny_cifar, tmp_path / "whole", *more))[0] == 0
    save = training.save_state

    def dies(of: training.Stateful, path: Path, epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        save(of, path, epoch)

    monkeypatch.setattr(training, "save_state", dies)
    assert hwsim_here(*arguments(name, tiny_cifar, tmp_path / "parts", *more))[0] == 130
    monkeypatch.setattr(training, "save_state", save)
    assert hwsim_here(*arguments(name, tiny_cifar, tmp_path / "parts", *more))[0] == 0
    whole, parts = (load_file(tmp_path / folder / "state.safetensors") for folder in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(whole[key].equal(parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("name", "settings"), [("ep-cnn-small", ADV_EP), ("adv-cnn-linf", TINY["adv-cnn-linf"])], ids=["AdvEP", "AdvCNN"]
)
def test_moved_images_cost_more(tiny_cifar: Path, name: str, settings: list[str]) -> None:
    dataset = data.load("cifar10", tiny_cifar)
    x, labels = dataset.train.x[:40], dataset.train.y[:40]

    def first_cost(*more: str) -> float:
        _, config = read_model(name, settings_of(*settings, *more))
        streams = Streams(1)
        model = model_of(config, config.learning, FloatDevice(), streams)
        model.begin(streams)
        return model.step(x, labels, 1.0, streams.generator("update")).cost

    clean = first_cost("learning.adversarial=null")
    half = first_cost("learning.adversarial.share=0.5")
    whole = first_cost("learning.adversarial.share=1.0")
    assert clean < half < whole


def test_attacks_leave_batch_norms_averages_alone(tiny_cifar: Path) -> None:
    _, config = read_model("adv-cnn-linf", settings_of(*TINY["adv-cnn-linf"]))
    model = model_of(config, config.learning, FloatDevice(), Streams(0))
    dataset = data.load("cifar10", tiny_cifar)
    model.step(dataset.train.x[:10], dataset.train.y[:10], 1.0, torch.Generator())
    counts = [t.item() for key, t in model.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts == [1, 1]


def test_training_draws_nothing_from_torchs_own_stream(tiny_cifar: Path) -> None:
    before = torch.random.get_rng_state()
    _, config = read_model("vit", settings_of(*VIT))
    dataset = data.load("cifar10", tiny_cifar)
    steps = []
    for _ in range(2):
        model = model_of(config, config.learning, FloatDevice(), Streams(0))
        steps.append(model.step(dataset.train.x, dataset.train.y, 1.0, torch.Generator().manual_seed(3)).cost)
        assert torch.random.get_rng_state().equal(before)
        torch.rand(1)
        before = torch.random.get_rng_state()
    assert steps[0] == steps[1]


def test_attack_takes_a_module_of_the_shelf(hwsim_here: Call, tmp_path: Path, tiny_cifar: Path) -> None:
    folder = tmp_path / "mine"
    source = shelf.find("models", "bp-cnn").folder
    assert source is not None
    shutil.copytree(source, folder)
    card = (folder / "model.yaml").read_text().replace("128,", "4,").replace("256,", "4,").replace("512,", "4,")
    (folder / "model.yaml").write_text(card)
    assert hwsim_here(*arguments(str(folder), tiny_cifar, tmp_path / "t"))[0] == 0
    shutil.copy(tmp_path / "t" / "weights.safetensors", folder)
    subject, dataset = read_subject(str(folder), None, None, tiny_cifar)
    assert subject.classifier().logits(dataset.test.x).shape == (20, 10)
    assert (subject.classifier().bounds, subject.classifier().noisy) == ((0.0, 1.0), False)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("bp-cnn", ["learning={rule: exact-gradient, rates: [0.1]}"], ["learning.rule", "module", "exact-gradient"]),
        ("ep-cnn", ["learning={rule: backpropagation, rate: 0.1}"], ["learning.rule", "conv-hopfield"]),
        ("ep-cnn", ["learning.rule=backprop"], ["learning.rule", "backpropagation", "backprop"]),
        ("ep-cnn", ["network.type=convnet"], ["network.type", "'module'", "convnet"]),
        ("ep-cnn", ["learning.rates=[0.1, 0.1, 0.1, 0.1]"], ["learning.rates", "5 numbers"]),
        ("bp-cnn", ["learning.rates=[0.1]"], ["learning.rates", "unknown key", "rate"]),
        ("bp-cnn", ["learning.rate=-1"], ["learning.rate", "-1"]),
        ("bp-cnn", ["learning.schedule=cosine"], ["learning.rate_decay", "exponential", "cosine"]),
        ("vit", ["learning.momentum=0.9"], ["learning.momentum", "adamw"]),
        ("adv-cnn-l2", ["learning.adversarial.threat=8/255"], ["learning.adversarial.threat", "NORM:EPSILON"]),
        ("adv-cnn-l2", ["learning.adversarial.step=3"], ["learning.adversarial.step", "did you mean", "steps"]),
        ("ep-cnn-small", ["learning.adversarial={threat: 3}"], ["learning.adversarial.threat", "3"]),
        ("bp-cnn", ["network.module=./nets.py:ConvNet"], ["network.module", "nets.py", "no such file"]),
        ("bp-cnn", ["network.module=./net.py:ConvNets"], ["network.module", "did you mean 'ConvNet'"]),
        ("bp-cnn", ["network.module=../../hwsim/rng.py:Streams"], ["network.module", "outside"]),
        ("bp-cnn", ["network.module=./net.py:HalfClamp"], ["network.parameters", "HalfClamp"]),
        ("bp-cnn", ["network.parameters.width=3"], ["network.parameters", "width"]),
        ("bp-cnn", ["network.parameters.norm=layer"], ["network", "layer", "batch or none"]),
        ("bp-cnn", ["network.parameters.convolutions=[{channels: 3, kernel: 99}]"], ["network", "99"]),
        ("bp-cnn", ["network.classes=7"], ["network.classes", "7", "10"]),
        ("bp-cnn", ["network.image=[3, 28, 28]"], ["network.image", "28", "32"]),
        ("bp-cnn", ["network.normalise={mean: [0.5], std: [0.5]}"], ["network.normalise", "channels"]),
    ],
)
def test_mistakes_are_told_where_they_are(
    hwsim_here: Call, tmp_path: Path, tiny_cifar: Path, name: str, settings: list[str], words: list[str]
) -> None:
    # A mistake in a module is found when it is built, after the batch has been held against the few images there are.
    sets = [part for setting in ("learning.batch_size=18", *settings) for part in ("--set", setting)]
    given = ["--model", name, "--data-dir", str(tiny_cifar), "--out", str(tmp_path / "t"), *sets]
    code, _, err = hwsim_here("train", *given)
    assert code == 2, err
    for word in words:
        assert word in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["attack", "corrupt"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--accelerator", "cuda"], ["--accelerator cuda", "no CUDA device here"]),
        (["--accelerator", "cuda:x"], ["--accelerator", "cuda:N", "cuda:x"]),
        (["--accelerator", "cuda", "--device", "soft-bounds-cell"], ["simulated devices", "CPU"]),
    ],
)
def test_where_attacks_and_corruptions_cannot_be_computed_is_a_sentence(
    hwsim_here: Call, tmp_path: Path, command: str, more: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = hwsim_here(command, "--model", "digits-mlp", "--out", str(tmp_path / "a"), *more)
    assert code == 2, err
    for word in words:
        assert word in err
    assert not (tmp_path / "a").exists()


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_place("cuda")
    check_place("cuda:1")
    with pytest.raises(InputError, match="no CUDA device 2; expected one of cuda:0, cuda:1"):
        check_place("cuda:2")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--device", "ideal"], ["bp-cnn", "energy-based"]),
        (["--accelerator", "cuda"], ["--accelerator cuda", "CUDA"]),
        (["--accelerator", "tpu"], ["--accelerator", "tpu"]),
        (["--tensorboard"], ["--tensorboard", "pip install"]),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    hwsim_here: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_cifar: Path,
    more: list[str],
    words: list[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = hwsim_here(*arguments("bp-cnn", tiny_cifar, tmp_path / "t", *MODULE), *more)
    assert code == 2
    for word in words:
        assert word in err


def test_a_run_needs_an_energy(hwsim_here: Call, tiny_cifar: Path) -> None:
    code, _, err = hwsim_here("run", "--model", "bp-cnn", "--data-dir", str(tiny_cifar))
    assert code == 2
    assert "energy-based" in err


def test_backpropagation_that_diverges_is_a_sentence(hwsim_here: Call, tmp_path: Path, tiny_cifar: Path) -> None:
    settings = [*MODULE, "learning.rate=1e20"]
    code, _, err = hwsim_here(*arguments("ff-cnn-small-cross-entropy", tiny_cifar, tmp_path / "t", *settings))
    assert code == 1
    assert "epoch 1" in err
    assert "smaller learning.rate" in err


def test_a_training_stops_at_its_training_accuracy(
    hwsim_here: Call, tmp_path: Path, tiny_cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first epoch that has it, in float and by EP; and it stays stopped when it is taken up again."""
    for model, settings in (("ff-cnn-small-stopped", MODULE), ("ep-cnn-small", EP)):
        out = tmp_path / model
        whole = [*settings, "learning.epochs=6", "learning.schedule=constant"]
        assert hwsim_here(*arguments(model, tiny_cifar, tmp_path / f"{model}-whole", *whole))[0] == 0
        records = read_lines(tmp_path / f"{model}-whole" / "metrics.jsonl")
        reached = [record["accuracy_train"] for record in records if record["kind"] == "training"]
        first = next(i for i, accuracy in enumerate(reached) if accuracy >= max(reached[:4]))
        stop = [*whole, f"learning.stop_at_training_accuracy={max(reached[:4])}"]
        for _ in range(2):
            assert hwsim_here(*arguments(model, tiny_cifar, out, *stop))[0] == 0
            stopped = [r["accuracy_train"] for r in read_lines(out / "metrics.jsonl") if r["kind"] == "training"]
            assert stopped == reached[: first + 1]
    code, _, err = hwsim_here(*arguments("ep-cnn-small", tiny_cifar, out, "learning.stop_at_training_accuracy=2"))
    assert code == 2
    assert "learning.stop_at_training_accuracy" in err


def test_squared_error_is_what_networks_with_an_energy_learn_by(tmp_path: Path) -> None:
    """The gradient of a step on a linear module against its formula."""
    _, config = read_model("ff-cnn-small-squared-error", [("learning.momentum", 0.0), ("learning.weight_decay", 0.0)])
    model = model_of(config, config.learning, FloatDevice(), Streams(0))
    x, labels = torch.rand(5, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4])
    head = model.module.head  # type: ignore[union-attr]
    before, seen = head.bias.detach().clone(), []
    hook = head.register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    model.step(x, labels, 1.0, torch.Generator().manual_seed(0))
    hook.remove()
    slope = (seen[-1] - torch.eye(10)[labels]).mean(0)
    torch.testing.assert_close(head.bias.detach(), before - config.learning.rate * slope)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="label_smoothing: acts on the cross-entropy only"):
        read_model("ff-cnn-small-squared-error", [("learning.label_smoothing", 0.1)])


def test_list_and_show(hwsim_here: Call) -> None:
    code, out, _ = hwsim_here("model", "list")
    assert code == 0
    assert all(name in out for name in shelf.items("models"))
    code, out, _ = hwsim_here("model", "show", "ff-cnn-small-cross-entropy")
    assert code == 0
    assert "features.0.weight: 32 x 3 x 5 x 5" in out
    assert "label_smoothing: 0.0" in out
