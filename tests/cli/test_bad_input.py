"""The user's mistakes: a sentence that says where, what was found and what is expected; exit code 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import small

Call = Callable[..., tuple[int, str, str]]

MISTAKES = [
    (["--device", "ecrma"], ["device 'ecrma'", "did you mean 'ecram'"]),
    (["--device", "devices/nowhere/rpu-config.yaml"], ["devices/nowhere/rpu-config.yaml"]),
    (["--model", "digits-mlpp"], ["model 'digits-mlpp'", "did you mean 'digits-mlp'"]),
    (["--data", "digit"], ["data 'digit'", "digits"]),
    (["--data", "cifar10", "--data-dir", "nowhere"], ["--data-dir", "nowhere is not a folder"]),
    (["--repeats", "0"], ["--repeats", "at least 1", "got 0"]),
    (["--seed", "-1"], ["--seed", "got -1"]),
    (["--seed", "x"], ["--seed"]),
    (["--threads", "0"], ["--threads", "at least 1, got 0"]),
    (["--threads", "99999999999"], ["--threads", "from 1 to 1024"]),
    (["--repeats", "9999999999"], ["--repeats", "from 1 to 1e+09"]),
    (["--set", "network.layers=[64, 1000000000, 10]"], ["network.layers", "weights takes about", "GiB"]),
    (["--set", "network.layers=[64, 999999999999999999999, 10]"], ["network.layers", "too large"]),
    (["--set", "learning.batch_size=100000000000"], ["learning.batch_size", "GiB"]),
    (["--set", "in_situ.batch_size=5000"], ["in_situ.batch_size", "at most 1437, the training images, got 5000"]),
    (["--set", "learning.bta=1"], ["learning.bta", "did you mean 'beta'"]),
    (["--set", "learning.rates=[-1, 0.1]"], ["learning.rates", ">= 0", "-1"]),
    (["--set", "learning.rates=[0.1]"], ["rates", "expected 2 numbers"]),
    (["--set", "learning.beta=0"], ["learning.beta", "greater than 0"]),
    (["--set", "learning.beta=[1]"], ["learning.beta", "a list"]),
    (["--set", "learning=fast"], ["learning", "the text 'fast'"]),
    (["--set", "in_situ.rates=[0.1, -2]"], ["in_situ.rates", "-2"]),
    (["--set", "in_situ.epoch=3"], ["in_situ.epoch", "did you mean 'epochs'"]),
    (["--set", "network.layers=[63, 128, 10]"], ["network.layers", "63", "64"]),
    (["--set", "network.layers=[64, 128, 7]"], ["network.layers", "7", "10"]),
    (["--set", "network.layers=[64]"], ["network.layers"]),
    (["--set", "network.type=transformer"], ["network.type", "'layered-hopfield'", "'transformer'"]),
    (["--set", "network.type=conv-hopfield"], ["network."]),
    (["--set", "network.layer=[64, 10]"], ["network.layer", "did you mean 'layers'"]),
    (["--set", "learning.augment.flop=true"], ["learning.augment.flop", "did you mean 'flip'"]),
    (["--set", "evaluation.pgd.stps=3"], ["evaluation.pgd.stps", "did you mean 'steps'"]),
    (["--set", "network.output=soft"], ["network.output", "'linear'"]),
    (["--set", "evaluation.corruptions.types=[fogg]"], ["fogg"]),
    (["--set", "evaluation.corruptions.severities=[9]"], ["severities", "1 to 5"]),
    (["--set", "evaluation.pgd.epsilon=[-0.1]"], ["epsilon", "> 0"]),
    (["--set", "nonsense"], ["--set nonsense", "key.path=value"]),
    (["--set", "device.forward.out_bound=0"], ["out_bound", "0"]),
    (["--set", "device.forward.out_bnd=3"], ["out_bnd", "did you mean 'out_bound'"]),
    (["--set", "device.mapping.weight_scaling_omeg=1"], ["did you mean 'weight_scaling_omega'"]),
    (["--set", "device.foward={}"], ["foward", "did you mean 'forward'"]),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_mistake_is_told(hwsim_here: Call, tmp_path: Path, arguments: list[str], expected: list[str]) -> None:
    device = [] if "--device" in arguments else ["--device", "ecram"]
    code, _, err = hwsim_here("run", *device, "--out", str(tmp_path / "run"), *arguments)
    assert code == 2, err
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert not (tmp_path / "run").exists(), "nothing is begun before everything is valid"


CARDS = {
    "preset: EcRamPresett\n": [":1", "did you mean 'EcRamPreset'"],
    "preset: EcRamPreset\nforward: [1, 2]\n": [":2", "forward", "a list"],
    "preset: EcRamPreset\nforward:\n  out_bound: 0\n": [":3", "forward.out_bound"],
    "preset: EcRamPreset\ndevice: {dw_min: much}\n": [":2", "device.dw_min", "'much'"],
    "preset: EcRamPreset\nlearning: {rates: [-0.1, 0.1]}\n": [":2", "learning.rates", "-0.1"],
    "preset: EcRamPreset\nlearning: {epoch: 1}\n": [":2", "learning.epoch", "did you mean 'epochs'"],
    "- a list\n": [":1", "map"],
    "preset: !!python/object/apply:os.system ['true']\n": ["tag"],
    "preset: EcRamPreset\npreset: EcRamPreset\n": [":2", "twice"],
    "preset: [unclosed\n": ["not valid YAML"],
    "class: os.system\n": ["os.system"],
    "cell: soft-boundz\n": ["soft-boundz", "did you mean 'soft-bounds'"],
    "cell: soft-bounds\nparameters: {dw_min: -1}\n": ["dw_min", "-1"],
    "": ["expected"],
}


@pytest.mark.parametrize("card", CARDS, ids=[text[:40] for text in CARDS])
def test_mistake_in_a_device_file_is_told_with_its_line(hwsim_here: Call, tmp_path: Path, card: str) -> None:
    path = tmp_path / "rpu-config.yaml"
    path.write_text(card)
    code, _, err = hwsim_here("run", "--device", str(path), "--out", str(tmp_path / "run"))
    assert code == 2, err
    assert "rpu-config.yaml" in err
    assert "Traceback" not in err
    for text in CARDS[card]:
        assert text in err


def test_out_that_cannot_be_a_folder(hwsim_here: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = hwsim_here("run", "--out", str(tmp_path / "file" / "run"), *small())
    assert code == 2
    assert "--out" in err


def test_unknown_command_and_option(hwsim_here: Call) -> None:
    assert hwsim_here("rnu")[0] == 2
    assert hwsim_here("run", "--devise", "ecram")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["attack", "--attack", "pgd", "--attack", "fab"], "--attack: given 2 times"),
        (["run", "--device", "ecram", "--repeats=2", "--device", "reram-sb"], "--device: given 2 times"),
        (["device", "traces", "t.csv", "--trains", "up:5", "--trains", "down:5"], "--trains: given 2 times"),
        (["export", "spice", "--image", "1", "--image", "2", "--image=3"], "--image: given 3 times"),
    ],
)
def test_an_option_given_twice_is_refused_and_not_dropped(hwsim_here: Call, arguments: list[str], option: str) -> None:
    code, _, err = hwsim_here(*arguments)
    assert (code, option in err) == (2, True), err


@pytest.mark.parametrize(
    "command", [["train", "--device", "soft-bounds-cell"], ["ablate", "--device", "soft-bounds-cell"]]
)
def test_tuning_is_refused_where_nothing_tunes(hwsim_here: Call, tmp_path: Path, command: list[str]) -> None:
    code, _, err = hwsim_here(*command, "--out", str(tmp_path / "out"), "--set", "in_situ.tune_epochs=2")
    assert (code, "in_situ.tune_epochs: adds a case to `hwsim run`" in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_an_option_that_repeats_may_be_given_twice(hwsim_here: Call) -> None:
    _, _, err = hwsim_here("attack", "--threat", "linf:0.1", "--threat", "l2:1", "--model", "nowhere")
    assert "nowhere" in err


def test_shelves_are_listed(hwsim_here: Call) -> None:
    code, out, _ = hwsim_here("device", "list")
    assert code == 0
    for name in ("ideal", "capacitor", "ecram", "reram-es", "reram-sb", "tiki-taka-reram-sb", "pcm-inference"):
        assert name in out
    code, out, _ = hwsim_here("model", "list")
    assert code == 0
    assert "digits-mlp" in out


def test_lists_load_no_torch() -> None:
    for group in ("device", "model"):
        code = f"import sys; sys.argv = ['hwsim', {group!r}, 'list']\nfrom hwsim.cli import main\n"
        code += (
            "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, 'aihwkit' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False False", done.stderr


@pytest.mark.parametrize("name", ["ideal", "ecram", "pcm-inference", "soft-bounds-cell"])
def test_device_show_and_validate(hwsim_here: Call, name: str) -> None:
    assert hwsim_here("device", "show", name)[0] == 0
    code, out, _ = hwsim_here("device", "validate", name)
    assert code == 0
    assert out.endswith(f"{name}: valid\n")


def test_version(hwsim_here: Call) -> None:
    assert hwsim_here("--version")[1].startswith("hwsim ")
