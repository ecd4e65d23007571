"""The log of pulses, cross-point by cross-point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_settings import small
from safetensors.torch import load_file
from update_cells import ASYMMETRIC, STEP, SYMMETRIC, rows

from hwsim.cards.device import read_device
from hwsim.cards.read import in_situ_recipe, read_model
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.kernels import kernels
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Device
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.accumulate import AccumulatedDevice
from hwsim.crossbar.updates.log import LoggedDevice, logged
from hwsim.errors import InputError
from hwsim.jobs.store import read_lines
from hwsim.rng import Streams

NOTHING = ("evaluation.pgd.epsilon=[]", "evaluation.input_noise.sigma=[]", "evaluation.corruptions.types=[]")


def sent(device: Device, steps: int = 10) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The log of an array, the pulses that exact factors are worth, and the meter's count."""
    synapse = device.synapse(5, 7, Streams(0))
    exact = torch.zeros(5, 7)
    for step in range(steps):
        x, d = rows(20, 7, step), rows(20, 5, step + 50)
        synapse.update(x, d, 0.05)
        exact += 0.05 * d.abs().T @ x.abs() / STEP
        synapse.tick()
    return synapse.conductances()["pulses"], exact, synapse.meter.pulses


def test_stochastic_trains_are_logged_as_expected() -> None:
    log, exact, metered = sent(LoggedDevice(SYMMETRIC))
    torch.testing.assert_close(log, exact, rtol=1e-4, atol=1e-3)
    assert float(log.sum()) == pytest.approx(metered, rel=1e-4)


def test_the_devices_move_by_what_was_logged() -> None:
    """Up pulses alone, on cells that take equal steps: the weight is the log."""
    synapse = LoggedDevice(SYMMETRIC).synapse(5, 7, Streams(0))
    for step in range(40):
        synapse.update(rows(50, 7, step).abs(), rows(50, 5, step).abs(), 0.02)
    log = synapse.conductances()["pulses"]
    assert float(log.min()) > 100
    torch.testing.assert_close(synapse.weight() / STEP, log, rtol=0.2, atol=0)
    assert float((synapse.weight().sum() / STEP) / log.sum()) == pytest.approx(1, rel=0.02)


def test_saturated_trains_are_logged_as_the_meter_counts_them() -> None:
    log, exact, metered = sent(LoggedDevice(ASYMMETRIC), 1)
    big = LoggedDevice(ASYMMETRIC).synapse(5, 7, Streams(0))
    big.update(rows(20, 7, 0), rows(20, 5, 50), 50.0)
    assert float(big.conductances()["pulses"].sum()) == pytest.approx(big.meter.pulses, rel=1e-4)
    assert big.meter.k_max > big.meter.k_limit
    assert float(log.sum()) == pytest.approx(metered, rel=1e-4)
    assert exact.sum() > 0


def test_whole_pulses_are_counted_one_by_one() -> None:
    synapse = AccumulatedDevice(LoggedDevice(SYMMETRIC)).synapse(5, 7, Streams(0))
    moved = torch.zeros(5, 7)
    for step in range(10):
        before = synapse.weight()
        synapse.update(rows(20, 7, step), rows(20, 5, step + 50), 0.05)
        synapse.tick()
        moved += ((synapse.weight() - before) / STEP).abs().round()
    torch.testing.assert_close(synapse.conductances()["pulses"], moved)


def test_images_tiles_and_twins_have_logs_of_their_own() -> None:
    window, images = Window(1, 3), rows(2, 36, 4).reshape(2, 1, 6, 6)
    errors = rows(2, 80, 5).reshape(2, 5, 4, 4)
    bank, flat = (LoggedDevice(SYMMETRIC).synapse(5, 9, Streams(0)) for _ in range(2))
    kernels(bank, window).update(images, errors, 0.05)
    flat.update(window.patches(images), as_rows(errors), 0.05)
    assert bank.conductances()["pulses"].equal(flat.conductances()["pulses"])
    layer = logged(TwinDevice(TiledDevice(SYMMETRIC, max_cols=4))).synapse(5, 7, Streams(0))
    layer.update(rows(20, 7, 0), rows(20, 5, 1), 0.05)
    log = layer.conductances()
    assert log["pulses"].shape == log["pulses.twin"].shape == (5, 7)
    assert bool(log["pulses"].all())


def test_logging_changes_nothing_and_is_kept() -> None:
    plain, counted = SYMMETRIC.synapse(5, 7, Streams(0)), LoggedDevice(SYMMETRIC).synapse(5, 7, Streams(0))
    for synapse in (plain, counted):
        synapse.update(rows(20, 7, 0), rows(20, 5, 1), 0.05)
    assert counted.weight().equal(plain.weight())
    other = LoggedDevice(SYMMETRIC).synapse(5, 7, Streams(1))
    other.load_state_dict(counted.state_dict())
    assert other.conductances()["pulses"].equal(counted.conductances()["pulses"])
    with pytest.raises(ValueError, match="logs its pulses"):
        other.load_state_dict(plain.state_dict())


def test_devices_without_pulses_refuse_at_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pulse_log: expected a device moved by pulses"):
        LoggedDevice(FloatDevice()).synapse(2, 3, Streams(0))
    document, model = read_model("digits-mlp", [("in_situ.pulse_log", True)])
    for name in ("mixed-precision-pcm", "pcm-inference"):
        with pytest.raises(InputError, match=r"in_situ\.pulse_log: expected a device moved by pulses"):
            in_situ_recipe(document, model, read_device(name))
    with pytest.raises(InputError, match=r"learning\.pulse_log: this belongs to devices"):
        read_model("digits-mlp", [("learning.pulse_log", True)])


def test_a_run_draws_the_log_and_names_the_most_written_device(tmp_path: Path, hwsim_here) -> None:
    out = tmp_path / "run"
    quick = small("in_situ.epochs=1", "evaluation.examples=20", *NOTHING, "in_situ.pulse_log=true")
    code, _, err = hwsim_here("run", "--device", "ecram", "--repeats", "1", "--out", str(out), *quick)
    assert code == 0, err
    page = (out / "report.html").read_text()
    log = load_file(out / "weights" / "in-situ-0.safetensors")["layer0.pulses"]
    row, column = divmod(int(log.argmax()), log.shape[1])
    assert f"most written is row {row}, column {column}, with {float(log.max()):,.0f} pulses" in page
    assert "Endurance: the most-written device got" in page
    (epoch,) = [r for r in read_lines(out / "metrics.jsonl") if (r["kind"], r.get("case")) == ("training", "in-situ")]
    assert [rho is None for rho in epoch["rho"]] == [False, True, False, True]  # biases are digital
    assert "Update traffic at the end: layer0.weight" in page
