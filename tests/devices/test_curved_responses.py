"""Curved step responses: their stated equations, and one pulse of each against aihwkit's compiled device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hwsim.devices.cell import BaseCell
from hwsim.devices.responses import ExpStepCell, PowerStepCell, TabulatedCell
from hwsim.errors import InputError

G = torch.linspace(-0.75, 0.45, 13, dtype=torch.float64)
BOUNDS: dict[str, Any] = {"w_max": 0.5, "w_min": -0.8}
SHARED: dict[str, Any] = {"dw_min": 0.01, "up_down": 0.0, **BOUNDS}
TABLES = {"piecewise_up": [1.5, 1.0, 0.2], "piecewise_down": [0.1, 0.7, 1.3]}
PAIRS: dict[str, tuple[BaseCell, str, dict[str, Any]]] = {
    "exp": (ExpStepCell(**SHARED), "ExpStepDevice", SHARED),
    # aihwkit's dw_min is the step at the far bound
    "power": (
        PowerStepCell(pow_gamma=1.7, **SHARED),
        "PowStepDevice",
        {**SHARED, "dw_min": 0.01 * 2**1.7, "pow_gamma": 1.7, "pow_gamma_dtod": 0.0},
    ),
    "table": (
        TabulatedCell(**{name: tuple(table) for name, table in TABLES.items()}, **SHARED),
        "PiecewiseStepDevice",
        {**SHARED, **TABLES},
    ),
}


def compiled_step(name: str, settings: dict[str, Any], up: bool) -> torch.Tensor:
    """Change of every conductance in ``G`` by exactly one pulse on a compiled tile without any spread."""
    from aihwkit.simulator.configs import SingleRPUConfig, UpdateParameters
    from aihwkit.simulator.configs import devices as kinds
    from aihwkit.simulator.tiles import AnalogTile

    none = {key: 0.0 for key in ("dw_min_dtod", "dw_min_std", "w_max_dtod", "w_min_dtod", "up_down_dtod")}
    device = getattr(kinds, name)(**settings, **none)
    update = UpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)
    tile = AnalogTile(1, len(G), SingleRPUConfig(device=device, update=update))
    tile.set_weights(G[None].float())
    # A rate far above dw_min makes the one slot of the train fire surely.
    tile.set_learning_rate(1e3 * settings["dw_min"])
    tile.update(torch.ones(1, len(G)), torch.full((1, 1), -1.0 if up else 1.0))
    return tile.get_weights()[0][0].double() - G


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_one_pulse_is_that_of_aihwkit(kind: str, up: bool) -> None:
    cell, name, settings = PAIRS[kind]
    step = cell.pulse(G, up, torch.Generator())
    torch.testing.assert_close(compiled_step(name, settings, up), step, rtol=1e-3, atol=2e-7)
    assert (step.sign() == (1 if up else -1)).all()


@pytest.mark.parametrize("kind", PAIRS)
def test_up_down_makes_up_steps_larger_and_down_steps_smaller(kind: str) -> None:
    """As aihwkit documents it; its compiled part only shrinks the smaller of the two."""
    cell, name, settings = PAIRS[kind]
    biased = replace(cell, up_down=0.2)  # pyright: ignore[reportCallIssue]
    for up, factor in ((True, 1.2), (False, 0.8)):
        ratio = biased.pulse(G, up, torch.Generator()) / cell.pulse(G, up, torch.Generator())
        torch.testing.assert_close(ratio, torch.full_like(G, factor))
        compiled = compiled_step(name, {**settings, "up_down": 0.2}, up) / cell.pulse(G, up, torch.Generator())
        torch.testing.assert_close(compiled, torch.full_like(G, min(factor, 1.0)), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_planted_exchange_of_up_and_down_is_seen(kind: str, up: bool) -> None:
    cell, name, settings = PAIRS[kind]
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            compiled_step(name, settings, up), -cell.pulse(G, not up, torch.Generator()), rtol=1e-3, atol=2e-7
        )


def test_a_power_of_one_is_the_soft_bounds_cell() -> None:
    cell = PowerStepCell(dw_min=0.01, w_max=1.0, w_min=-1.0)
    torch.testing.assert_close(cell.pulse(G, True, torch.Generator()), 0.01 * (1 - G))
    torch.testing.assert_close(cell.pulse(G, False, torch.Generator()), -0.01 * (1 + G))


def test_steps_of_drawn_devices_follow_their_own_parameters() -> None:
    cell = PowerStepCell(dw_min=0.01, pow_gamma=2.0, pow_gamma_dtod=0.3, w_max_dtod=0.1)
    drawn = cell.spread((3, 4), torch.Generator().manual_seed(1))
    g = torch.full((3, 4), 0.2)
    step = drawn.pulse(g, True, torch.Generator())
    one = PowerStepCell(
        dw_min=0.01, pow_gamma=float(drawn.varied()["pow_gamma"][1, 2]), w_max=float(drawn.varied()["w_max"][1, 2])
    )
    torch.testing.assert_close(step[1, 2], one.pulse(g[1, 2], True, torch.Generator()))
    assert step.std() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TabulatedCell(piecewise_up=(1.0,)), r"TabulatedCell\.piecewise_up: expected two or more"),
        (lambda: TabulatedCell(piecewise_down=(1.0, -1.0)), r"TabulatedCell\.piecewise_down: .* >= 0"),
        (lambda: PowerStepCell(pow_gamma=-1.0), r"PowerStepCell\.pow_gamma: expected a number >= 0"),
        (lambda: ExpStepCell(w_max=-1.0, w_min=1.0), r"ExpStepCell\.w_min"),
    ],
)
def test_impossible_parameters_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
