"""`device plot` and `device diff`: what a portrait says of devices whose properties are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwsim.cards.differences import diff
from hwsim.characterisation.portrait import LEVELS, SECONDS, portray, steps_by_level, symmetry_of, write_device_figure
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.devices.fitting import merit
from hwsim.devices.responses import CubicWindowCell, LinearStepCell, SoftBoundsCell, TabulatedCell
from hwsim.errors import InputError


def test_the_symmetry_point_of_soft_bounds_is_found() -> None:
    """(1 + u)(1 - g) = (1 - u)(1 + g) at g = u."""
    device = CellDevice(SoftBoundsCell(dw_min=0.005, up_down=0.3))
    response = portray(device).response
    assert response is not None
    assert symmetry_of(response).attracting == pytest.approx(0.3, abs=0.05)
    level, step, _ = steps_by_level(response, True)
    np.testing.assert_allclose(step, 1.3 * (1 - level), atol=0.15)
    level, step, _ = steps_by_level(response, False)
    np.testing.assert_allclose(step, -0.7 * (1 + level), atol=0.15)


@pytest.mark.parametrize("up_down", [0.3, -0.3])
def test_constant_unequal_steps_have_no_symmetry_point(up_down: float) -> None:
    cell = LinearStepCell(dw_min=0.005, gamma_up=0, gamma_down=0, up_down=up_down, w_max=50, w_min=-50)
    response = portray(CellDevice(cell), updates=40).response
    assert response is not None
    assert not symmetry_of(response).exists


def test_a_point_that_repels_is_no_symmetry_point_in_a_plot_as_in_the_figures_of_merit() -> None:
    """Up steps grow with the weight faster than down steps, which cross them once, from below, at about 0.5.

    Steps of the plot are those of the table wherever no bound cut them: its last update, from 0.8 to the bound at 1.2,
    once joined a point of symmetry to the rest.
    """
    cell = TabulatedCell(
        dw_min=0.0121,
        w_max=1.2,
        w_min=-1.36,
        piecewise_up=(0.355, 0.344, 0.777, 1.0, 1.154, 1.383, 1.831),
        piecewise_down=(1.424, 0.949, 0.909, 1.0, 1.077, 1.087, 1.0),
        up_down=-0.0631,
    )
    of_cell = merit.symmetry_of(cell)
    response = portray(CellDevice(cell, pulses="mean")).response
    assert response is not None
    drawn = symmetry_of(response)
    assert not of_cell.exists
    assert not drawn.exists
    assert drawn.repelling == pytest.approx(of_cell.repelling, abs=0.03)
    steps = merit.curve(cell)
    for up, size in ((True, steps.up), (False, steps.down)):
        level, step, _ = steps_by_level(response, up)
        assert len(level) >= 10
        np.testing.assert_allclose(step, np.interp(level, steps.g, size) / cell.dw_min, atol=0.06)


def test_float_has_steps_as_asked_and_no_noise() -> None:
    portrait = portray(FloatDevice())
    assert portrait.response is not None
    assert portrait.retention is None
    for up, sign in ((True, 1), (False, -1)):
        np.testing.assert_allclose(steps_by_level(portrait.response, up)[1], sign, atol=1e-4)
    assert not symmetry_of(portrait.response).exists
    assert portrait.noise.max() == 0
    assert portrait.drawn.std() < 1e-6


def test_noise_of_both_reads_and_spread_of_devices_are_seen() -> None:
    """64 reads of 24 lines: the standard deviation is known to 2 %; 6 of its errors are 12 %."""
    quiet, loud = ReadPath(out_noise=0.02), ReadPath(out_noise=0.06)
    device = CellDevice(SoftBoundsCell(dw_min=0.002, dw_min_dtod=0.3), forward=quiet, backward=loud)
    portrait = portray(device)
    np.testing.assert_allclose(portrait.noise[0], 0.02, rtol=0.12)
    np.testing.assert_allclose(portrait.noise[1], 0.06, rtol=0.25)
    assert portrait.drawn.std() > 0.1 * abs(portrait.drawn.mean())


def test_retention_follows_the_power_law() -> None:
    cell = CubicWindowCell(w_min=0.0, w_max=2.0, reference=1.0, drift_nu=0.05)
    portrait = portray(CellDevice(cell), updates=40)
    assert portrait.retention is not None
    mean = portrait.retention[0]
    expected = (1 + LEVELS) * np.array(SECONDS)[:, None] ** -0.05 - 1
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def test_portraits_repeat_under_a_seed() -> None:
    device = CellDevice(SoftBoundsCell(dw_min=0.01, dw_min_std=0.3, dw_min_dtod=0.3))
    same, other = portray(device, seed=3, updates=30), portray(device, seed=4, updates=30)
    np.testing.assert_array_equal(portray(device, seed=3, updates=30).drawn, same.drawn)
    assert (same.drawn != other.drawn).any()


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_the_figure_is_written(tmp_path: Path, drift: float) -> None:
    device = CellDevice(SoftBoundsCell(dw_min=0.01, dw_min_std=0.3, drift_nu=drift))
    svg, png = write_device_figure(portray(device, updates=30), "mine", tmp_path)
    assert png.stat().st_size > 20_000
    assert "<svg" in svg.read_text()[:2000]


def test_too_short_trains_are_refused() -> None:
    with pytest.raises(InputError, match="20 or more updates"):
        portray(FloatDevice(), updates=3)


def test_diff_tells_every_key_that_differs_and_no_other() -> None:
    first = {"cell": "a", "parameters": {"dw_min": 1, "w_max": 1.0}, "forward": {"x": 1}, "nan": float("nan"), "on": 1}
    second = {"cell": "b", "parameters": {"dw_min": 2, "w_max": 1.0}, "nan": float("nan"), "new": [1], "on": True}
    assert diff(first, second) == {
        "cell": ("a", "b"),
        "parameters.dw_min": (1, 2),
        "forward.x": (1, None),
        "on": (1, True),
        "new": (None, [1]),
    }
    assert diff(first, first) == {}
    assert diff({"a": 1}, {"a": {"b": 2}}) == {"a": (1, {"b": 2})}
