"""Two cells a weight: what is read, where updates and transfers go, what it learns, what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from update_cells import ASYMMETRIC, SYMMETRIC, rows

from hwsim.cards.device import read_device
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.residual import ResidualDevice
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.devices.responses import IdealCell, LinearStepCell
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.testing import check_device

EVEN = replace(SYMMETRIC, pulses="mean")  # every update is exact
WEIGHT = rows(5, 7, 99, 0.3)


def array(device: ResidualDevice) -> Synapse:
    synapse = device.synapse(5, 7, Streams(0))
    synapse.program(WEIGHT)
    return synapse


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_an_update_goes_to_the_fast_array_and_shows_by_its_share(gamma: float) -> None:
    synapse = array(ResidualDevice(EVEN, gamma))
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    synapse.update(x, d, 0.1)
    expected = 0.1 * d.T @ x
    torch.testing.assert_close(synapse.fast.weight(), expected)
    torch.testing.assert_close(synapse.slow.weight(), WEIGHT)
    torch.testing.assert_close(synapse.weight(), WEIGHT + gamma * expected)
    torch.testing.assert_close(synapse.read(x), x @ synapse.weight().T)
    torch.testing.assert_close(synapse.read_transpose(d), d @ synapse.weight())


def test_a_transfer_adds_the_next_columns_at_the_rate_of_the_update() -> None:
    synapse = array(ResidualDevice(EVEN, 0.25, transfer_every=2, transfer_columns=3, transfer_rate=0.5))
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    synapse.update(x, d, 0.1)
    fast, slow = synapse.fast.weight(), WEIGHT.clone()
    for columns in ([], [0, 1, 2], [], [3, 4, 5], [], [6, 0, 1]):
        synapse.tick()
        slow[:, columns] += 0.5 * 0.1 * fast[:, columns]
        torch.testing.assert_close(synapse.slow.weight(), slow)
        torch.testing.assert_close(synapse.weight(), slow + 0.25 * fast)
    torch.testing.assert_close(synapse.fast.weight(), fast)


def test_mapped_arrays_share_a_scale() -> None:
    synapse = array(ResidualDevice(replace(EVEN, omega=0.4), 0.25))
    assert float(synapse.conductances()["g"].abs().max()) == pytest.approx(0.4)
    x, d = rows(6, 7, 1), rows(6, 5, 2)
    synapse.update(x, d, 0.1)
    torch.testing.assert_close(synapse.weight(), WEIGHT + 0.25 * 0.1 * d.T @ x)


# Symmetric at weight 0, and pulled there by every pulse.
PULLED = CellDevice(LinearStepCell(dw_min=0.01, gamma_up=0.5, gamma_down=0.5))


def learned(device: Device, steps: int = 1000) -> float:
    """Relative error of a linear regression on noisy targets, whose pulses mostly cancel."""
    synapse, generator = device.synapse(5, 7, Streams(0)), torch.Generator().manual_seed(1)
    synapse.program(torch.zeros(5, 7))
    target = rows(5, 7, 98, 0.5)
    errors: list[Tensor] = []
    for step in range(steps):
        x = torch.randn(4, 7, generator=generator)
        d = x @ (target - synapse.weight()).T + torch.randn(4, 5, generator=generator)
        synapse.update(x, d, 0.05)
        synapse.tick()
        if step > 0.9 * steps:
            errors.append(synapse.weight() - target)
    return float(torch.stack(errors).mean(0).norm() / target.norm())


def test_it_learns_where_one_array_is_pulled_to_its_symmetry_point() -> None:
    plain, residual = learned(PULLED), learned(ResidualDevice(PULLED, 0.2, transfer_columns=4))
    assert plain > 0.25
    assert residual < 0.7 * plain


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    device = ResidualDevice(ASYMMETRIC, 0.2, transfer_every=2, transfer_columns=3)

    def lived(synapse: Synapse, steps: range) -> Tensor:
        for step in steps:
            synapse.update(rows(6, 7, step), rows(6, 5, step + 50), 0.1)
            synapse.tick()
        return synapse.weight()

    whole, first = array(device), array(device)
    lived(first, range(5))
    second = device.synapse(5, 7, Streams(8))
    second.load_state_dict(first.state_dict())
    assert lived(second, range(5, 11)).equal(lived(whole, range(11)))
    with pytest.raises(ValueError, match="residual array"):
        second.load_state_dict({})


CARD = "cell: soft-bounds\nparameters: {dw_min: 0.01, drift_nu: 0.02}\n"
READS = "forward: {inp_bound: 1.0, inp_res: 7bit, out_bound: 12.0, out_res: 9bit, out_noise: 0.02}\n"


def card(folder: Path, residual: str, more: str = "") -> Path:
    path = folder / "device.yaml"
    path.write_text(f"{CARD}residual: {residual}\n{READS}{more}")
    return path


@pytest.mark.parametrize("array", ["", "array: {max_rows: 9, stuck_low: 0.02, offset_std: 0.01}\n"])
def test_a_card_in_residual_form_conforms(array: str, tmp_path: Path) -> None:
    found = read_device(card(tmp_path, "{gamma: 0.3}", array))
    assert found.resolved["residual"] == {
        "gamma": 0.3, "transfer_every": 1, "transfer_columns": 1, "transfer_rate": 1.0
    }  # fmt: skip
    assert found.device.seedable
    check_device(found.device)


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        ("{gamma: -1}", ":3: residual.gamma: expected a finite number >= 0, got -1"),
        ("{gama: 1}", ":3: residual.gama: unknown key; did you mean 'gamma'?"),
        ("{transfer_every: 0}", ":3: residual.transfer_every: expected at least 1, got 0"),
        ("{transfer_columns: 0.5}", ":3: residual.transfer_columns: expected an integer"),
        ("[1]", ":3: residual: expected a map"),
    ],
)
def test_mistakes_are_told_where_they_stand(residual: str, message: str, tmp_path: Path) -> None:
    path = card(tmp_path, residual)
    with pytest.raises(InputError) as error:
        read_device(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_what_it_is_not_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a cell moved by pulses"):
        ResidualDevice(replace(EVEN, cell=IdealCell()))
    with pytest.raises(InputError, match="finite levels of two cells a weight"):
        read_device(card(tmp_path, "{}", "array: {levels: 8}\n"))
