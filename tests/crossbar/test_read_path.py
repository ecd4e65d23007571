"""The torch read path against aihwkit's compiled tile: mean and spread of every output, both directions.

Every output element is read DRAWS times by either. Their means may differ by 7 standard errors (false failure of
one comparison below 3e-12 times the number of elements), their average spread by 3 %: its standard error is
1/sqrt(DRAWS * elements) = 0.15 % of ours and about 0.4 % from the 32,768 Gaussians that a compiled tile keeps.
The planted bugs at the end show that this is sharp enough.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from aihwkit.simulator.configs import ConstantStepDevice, SingleRPUConfig
from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType, WeightNoiseType
from torch import Tensor

from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.vectors import Port, read
from hwsim.devices.aihw.readpath import read_path

ROWS, POST, PRE, DRAWS = 6, 18, 23, 3000
BASE = {
    "inp_bound": 1.0, "inp_res": 1 / 126, "inp_noise": 0.0, "out_bound": 12.0, "out_res": 1 / 510, "out_noise": 0.06,
    "noise_management": NoiseManagementType.NONE, "bound_management": BoundManagementType.NONE,
}  # fmt: skip
ABS_MAX = {"noise_management": NoiseManagementType.ABS_MAX}
ITERATIVE = {"bound_management": BoundManagementType.ITERATIVE}

SETTINGS = {
    "perfect": {"is_perfect": True, "out_scale": 1.5},
    "no noise, coarse converters": {"out_noise": 0.0, "inp_res": 1 / 14, "out_res": 1 / 30, "out_bound": 3.0},
    "output noise": {},
    "continuous converters": {"inp_res": -1.0, "out_res": -1.0},
    "steps given as a number": {"inp_res": 30.0, "out_res": 62.0},
    "clipped inputs": {"inp_bound": 0.5},
    "clipped outputs": {"out_bound": 0.7},
    "input noise": {"inp_noise": 0.1},
    "dithered converters": {"inp_sto_round": True, "out_sto_round": True, "inp_res": 1 / 6, "out_res": 1 / 14},
    "constant weight noise": {"w_noise": 0.05, "w_noise_type": WeightNoiseType.ADDITIVE_CONSTANT},
    "phase-change weight noise": {"w_noise": 0.1, "w_noise_type": WeightNoiseType.PCM_READ, "inp_noise": 0.05},
    "wires": {"ir_drop": 1.0, "ir_drop_g_ratio": 40.0, "out_noise": 0.02},
    "noise management": {**ABS_MAX, "inp_noise": 0.02},
    "limited noise management": {**ABS_MAX, "nm_thres": 0.6},
    "maximum management": {"noise_management": NoiseManagementType.MAX},
    "constant management": {"noise_management": NoiseManagementType.CONSTANT, "nm_thres": 1.7},
    "bound management": {**ITERATIVE, "out_bound": 0.4},
    "bound management to its limit": {**ITERATIVE, "out_bound": 0.1, "inp_res": 1 / 30, "out_scale": 0.5},
    "both managements": {**ABS_MAX, **ITERATIVE, "out_bound": 0.5, "inp_noise": 0.02},
    "silent rows under input noise": {**ABS_MAX, "inp_noise": 0.2},
}


def tile_and_path(setting: dict, transpose: bool):
    config = SingleRPUConfig(device=ConstantStepDevice(w_max=1, w_min=-1, w_max_dtod=0, w_min_dtod=0))
    for io in (config.forward, config.backward):
        for name, value in {**BASE, **setting}.items():
            setattr(io, name, value)
    tile = config.tile_class(POST, PRE, copy.deepcopy(config))
    return tile, read_path(config.backward if transpose else config.forward, transpose=transpose)


def compared(setting: dict, transpose: bool, bug: dict | None = None) -> str | None:
    """What differs between the compiled read and ours, None if nothing does."""
    rng = torch.Generator().manual_seed(5)
    weight = torch.rand(POST, PRE, generator=rng) - 0.4
    x = torch.rand(ROWS, POST if transpose else PRE, generator=rng) * 1.4 - 0.4
    x[1] *= 0.1
    x[2] = 0
    tile, path = tile_and_path(setting, transpose)
    tile.tile.set_weights(weight)
    many = x.repeat(DRAWS, 1)
    compiled = tile.tile.backward(many, False, False, False, False) if transpose else tile.tile.forward(
        many, False, False, False, False, False
    )  # fmt: skip
    ours = read(Port(weight.T if transpose else weight, replace(path, **(bug or {})), rng), many)
    return differing(compiled.view(DRAWS, ROWS, -1), ours.view(DRAWS, ROWS, -1))


def differing(a: Tensor, b: Tensor) -> str | None:
    std_a, std_b = a.double().std(0), b.double().std(0)
    error = ((std_a**2 + std_b**2) / DRAWS).sqrt() + 1e-5
    z = (a.double().mean(0) - b.double().mean(0)).abs() / error
    if z.max() > 7:
        return f"means differ by {z.max():.1f} standard errors"
    noisy = (std_a > 1e-5) | (std_b > 1e-5)
    if not noisy.any():
        return None
    ratio = float(std_b[noisy].clamp_min(1e-9).mean() / std_a[noisy].clamp_min(1e-9).mean())
    return None if abs(ratio - 1) < 0.03 else f"spreads differ by the factor {ratio:.3f}"


@pytest.mark.parametrize("transpose", [False, True], ids=["forward", "transpose"])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_mean_and_spread_are_the_compiled_tiles(setting: dict, transpose: bool) -> None:
    assert compared(setting, transpose) is None


BUGS = {
    "10 % more noise": ("output noise", {"out_noise": 0.066}),
    "one input bit less": ("no noise, coarse converters", {"inp_res": 1 / 6}),
    "no input noise": ("input noise", {"inp_noise": 0.0}),
    "inputs not clipped": ("clipped inputs", {"inp_bound": 0.6, "inp_res": 0.0}),
    "wrong weight noise": ("phase-change weight noise", {"w_noise_type": "ADDITIVE_CONSTANT"}),
    "wires forgotten": ("wires", {"ir_drop": 0.0}),
    "noise management forgotten": ("limited noise management", {"noise_management": "NONE", "nm_thres": 0.0}),
    "no second read": ("bound management", {"bound_management": "NONE"}),
    "rounded to nearest": ("dithered converters", {"out_sto_round": False}),
}


@pytest.mark.parametrize(("name", "bug"), BUGS.values(), ids=BUGS.keys())
def test_a_planted_bug_is_seen(name: str, bug: dict) -> None:
    assert compared(SETTINGS[name], False, bug) is not None


def test_zero_rows_under_input_noise_are_silent_in_the_transpose_read_only() -> None:
    """A difference between aihwkit's two directions that a first version of this read path missed."""
    setting = SETTINGS["silent rows under input noise"]
    assert compared(setting, True, {"silent_zero": False}) is not None
    assert compared(setting, False, {"silent_zero": True}) is not None


def test_what_is_not_covered_is_refused_by_name() -> None:
    config = SingleRPUConfig()
    config.forward.out_noise_std = 0.1
    with pytest.raises(NotImplementedError, match=r"out_noise_std = 0\.1"):
        read_path(config.forward)
    config.forward = copy.deepcopy(config.backward)
    config.forward.noise_management = NoiseManagementType.AVERAGE_ABS_MAX
    with pytest.raises(NotImplementedError, match="AVERAGE_ABS_MAX"):
        read_path(config.forward)


def test_every_field_that_matters_is_carried_over() -> None:
    """A field of aihwkit's that neither the read path nor the list of what must be off knows would be ignored."""
    from dataclasses import fields

    from aihwkit.simulator.parameters.io import IOParameters

    from hwsim.devices.aihw import readpath

    known = {field.name for field in fields(ReadPath)} | set(readpath._OFF) | {"mv_type"}
    # Each of these only shapes a setting that must be off.
    shapes = {"out_nonlinearity_std", "v_offset_w_min", "slope_calibration"}
    assert {field.name for field in fields(IOParameters)} - known - shapes == set()
