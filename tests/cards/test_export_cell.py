"""aihwkit's devices as python cells: the same response in mean and spread, the same reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hwsim.cards.device import read_device
from hwsim.cards.export_cell import cell_of
from hwsim.cards.nonidealities import properties
from hwsim.crossbar.synapse import Synapse
from hwsim.rng import Streams

Cli = Callable[..., tuple[int, str, str]]

CARDS = {
    "ECRAM": "preset: EcRamPreset\n",
    "idealized": "preset: IdealizedPreset\n",
    "uneven": "class: SingleRPUConfig\ndevice: {class: ConstantStepDevice, dw_min: 0.005, up_down: 0.3}\n",
    "soft": "class: SingleRPUConfig\ndevice: {class: SoftBoundsDevice, dw_min: 0.01, w_max: 0.8, w_min: -0.5}\n",
    "exponential": "preset: ReRamESPreset\ndevice: {write_noise_std: 0, dw_min_std: 0.5, dw_min: 0.01}\n",
}

UP_DOWN = ("uneven", "exponential")  # aihwkit adds the spread of steps to up_down, cells multiply; their cards say so


def pair(folder: Path, text: str) -> tuple[Synapse, Synapse]:
    """An array of 40 x 50 of the device, and one of its cell."""
    path = folder / "device.yaml"
    path.write_text(text + "mapping: {weight_scaling_omega: 0}\n")
    card = read_device(path)
    (folder / "cell.yaml").write_text(cell_of(card))
    cell = read_device(folder / "cell.yaml").device
    return card.device.synapse(40, 50, Streams(0)), cell.synapse(40, 50, Streams(0))


@pytest.mark.parametrize("name", CARDS)
def test_pulses_do_the_same_in_mean_and_spread(name: str, tmp_path: Path) -> None:
    both = pair(tmp_path, CARDS[name])
    ones = torch.ones(40, 50)
    for sign, trains in ((1, 60), (-1, 100), (1, 40)):
        for synapse in both:
            for _ in range(trains):
                synapse.pulse(sign * ones)
        theirs, ours = (synapse.weight() for synapse in both)
        scale = float(theirs.abs().mean())
        error = 5 * float(theirs.std()) / 2000**0.5
        assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=error * 1.5 + 0.02 * scale)
        if name not in UP_DOWN:
            assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.2)


def test_reads_and_the_map_are_the_cards_own() -> None:
    card = read_device("ecram")
    text = cell_of(card)
    path = card.device.path("forward")
    assert f"inp_res: {path.inp_res}" in text
    assert "out_bound: 12.0" in text
    assert "omega: 0.4" in text
    assert "desired_bl: 31" in text


def test_the_size_of_a_pulse_is_switched_off_altogether(tmp_path: Path) -> None:
    (tmp_path / "cell.yaml").write_text(cell_of(read_device("ecram")))
    found = {item.name: dict(item.off) for item in properties(read_device(tmp_path / "cell.yaml"))}
    assert found["granularity"] == {"update.pulses": "mean"}
    assert found["state-dependent steps"] == {"parameters.gamma_up": 0.0, "parameters.gamma_down": 0.0}


def test_what_a_cell_has_not_is_said() -> None:
    text = cell_of(read_device("capacitor"))
    assert "# A cell has no counterpart of: lifetime_dtod 0.3" in text
    assert "mult_noise false" in text
    assert "lifetime: 1000000" in text
    assert "dw_min_dtod under up_down" in cell_of(read_device("reram-es"))


@pytest.mark.parametrize("name", ["ttv2-ecram", "pcm-inference", "ideal", "soft-bounds-cell", "mixed-precision-ecram"])
def test_what_no_cell_does_is_refused(name: str, hwsim_here: Cli) -> None:
    code, _, err = hwsim_here("device", "export", name, "--to", "cell")
    assert code == 2
    assert f"device {name}: no cell has the equations of" in err


def test_the_command_writes_a_card_that_validates(tmp_path: Path, hwsim_here: Cli) -> None:
    code, out, err = hwsim_here("device", "export", "ecram", "--to", "cell")
    assert code == 0, err
    (tmp_path / "ecram-cell.yaml").write_text(out)
    assert hwsim_here("device", "validate", str(tmp_path / "ecram-cell.yaml"))[0] == 0
    code, _, err = hwsim_here("device", "export", "ecram", "--to", "stone")
    assert code == 2
    assert "--to: expected one of python, cell, got stone" in err
