"""The conformance suite: every device of the shelf passes it, and planted faults do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hwsim.cards.device import read_device
from hwsim.cards.shelf import items
from hwsim.crossbar.array import Array, ArrayDevice
from hwsim.crossbar.cell_array import CellDevice, CellSynapse
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.devices.responses import CubicWindowCell, SoftBoundsCell
from hwsim.rng import Streams
from hwsim.testing import CHECKS, SHAPE, check_device, conformance

NOISY = ReadPath(inp_bound=1.0, inp_res=1 / 126, out_bound=12.0, out_res=1 / 510, out_noise=0.1)
CELL = SoftBoundsCell(dw_min=0.01, dw_min_dtod=0.1, dw_min_std=0.3, w_max_dtod=0.1, w_min_dtod=0.1)
SOUND = CellDevice(CELL, forward=NOISY)


@pytest.mark.parametrize("name", items("devices"))
def test_every_device_on_the_shelf_conforms(name: str) -> None:
    check_device(read_device(name).device)


@pytest.mark.parametrize(
    "device",
    [
        SOUND,
        FloatDevice(),
        FloatDevice(momentum=0.9),
        CellDevice(replace(CELL, drift_nu=0.05, drift_nu_dtod=0.2), forward=NOISY),
        CellDevice(CubicWindowCell(dw_min=0.01, w_min=0.0, w_max=2.0, reference=1.0, read_noise=0.02), omega=0.4),
        TiledDevice(SOUND, 8, 10),
        TwinDevice(SOUND),
        ArrayDevice(SOUND, Array(transpose_mismatch=0.05, offset_std=0.02)),
    ],
    ids=["cell", "float", "momentum", "drifting", "reference", "tiles", "twins", "array"],
)
def test_other_sound_devices_conform(device: Any) -> None:
    check_device(device, Streams(3))


def planted(change: type) -> CellDevice:
    """The sound device with arrays of another class."""

    @dataclass(frozen=True)
    class Planted(CellDevice):
        def synapse(self, post: int, pre: int, streams: Streams) -> CellSynapse:
            return change(self, (post, pre), streams)

    return Planted(CELL, forward=NOISY)


class NotAdjoint(CellSynapse):
    def read_transpose(self, post: Tensor) -> Tensor:
        return super().read_transpose(post).roll(1, 1)


class LouderBackwards(CellSynapse):
    """As after a month of drift that is compensated in one direction only."""

    def read_transpose(self, post: Tensor) -> Tensor:
        return 1.74 * super().read_transpose(post)


class WrongSign(CellSynapse):
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        super().update(pre, -post, rate)


class TransposedUpdate(CellSynapse):
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        super().update(pre.roll(1, 1), post, rate)


class Unbounded(CellSynapse):
    """Strong trains throw it beyond its bounds."""

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        super().update(pre, post, rate)
        if rate == 1.0:
            self.g = self._raw = 1.2 * self.g


class GlobalPulses(CellSynapse):
    def tick(self) -> None:
        self._set(self.g + 1e-4 * torch.randn(self.shape))


class OwnGlobalSeed(CellSynapse):
    def tick(self) -> None:
        torch.manual_seed(0)
        self._set(self.g + 1e-4 * torch.randn(self.shape))


class BiasedRead(CellSynapse):
    def read(self, pre: Tensor) -> Tensor:
        return 1.2 * super().read(pre)


class NoGradient(CellSynapse):
    def read(self, pre: Tensor) -> Tensor:
        return super().read(pre.detach()) + 0 * pre.sum()


class WrongShape(CellSynapse):
    def read_transpose(self, post: Tensor) -> Tensor:
        return super().read_transpose(post)[:, :-1]


class SaysQuiet(CellSynapse):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.noisy = False


class DeafToReseeding(CellSynapse):
    def reseed_reads(self, streams: Streams) -> None:
        pass


class ForgetfulState(CellSynapse):
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict({**state, "rng.update": self._rng_update.get_state()})


class TakesAnything(CellSynapse):
    def program(self, weight: Tensor) -> None:
        if weight.shape == SHAPE:
            self._set(weight.nan_to_num())


class HalfWritten(CellSynapse):
    def program(self, weight: Tensor) -> None:
        super().program(0.5 * weight)


class AgesTwice(CellSynapse):
    def age(self, seconds: float) -> None:
        super().age(seconds)
        self._programmed = self.g


class Raises(CellSynapse):
    def conductances(self) -> dict[str, Tensor]:
        raise KeyError("g")


FAULTS = {
    NotAdjoint: {"adjointness"},
    LouderBackwards: {"adjointness"},
    WrongSign: {"update direction"},
    TransposedUpdate: {"update direction"},
    Unbounded: {"bounds"},
    GlobalPulses: {"determinism", "state"},
    OwnGlobalSeed: {"determinism"},
    BiasedRead: {"mean of reads", "adjointness"},
    NoGradient: {"gradient"},
    WrongShape: {"shapes", "adjointness"},
    SaysQuiet: {"reads repeat"},
    DeafToReseeding: {"reads repeat"},
    ForgetfulState: {"state"},
    TakesAnything: {"programming"},
    HalfWritten: {"programming"},
    Raises: {"shapes"},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault: type) -> None:
    failed = {check.name for check in conformance(planted(fault)) if not check.passed}
    assert failed == FAULTS[fault]


def test_drift_that_adds_up_is_found() -> None:
    @dataclass(frozen=True)
    class Drifting(CellDevice):
        def synapse(self, post: int, pre: int, streams: Streams) -> CellSynapse:
            return AgesTwice(self, (post, pre), streams)

    device = Drifting(replace(CELL, drift_nu=0.1), forward=NOISY)
    assert [check.name for check in conformance(device) if not check.passed] == ["drift"]


def test_unseeded_pulses_are_accepted_where_the_device_says_so() -> None:
    @dataclass(frozen=True)
    class Unseeded(CellDevice):
        seedable = False

        def synapse(self, post: int, pre: int, streams: Streams) -> CellSynapse:
            return GlobalPulses(self, (post, pre), streams)

    check_device(Unseeded(CELL, forward=NOISY))


def test_the_gap_between_the_directions_is_told_and_can_be_allowed() -> None:
    device = replace(SOUND, backward=replace(NOISY, out_scale=0.75))
    failed = [check for check in conformance(device) if not check.passed]
    assert [check.name for check in failed] == ["adjointness"]
    assert float(failed[0].found.split()[-1]) == pytest.approx(0.25, abs=0.02)
    check_device(device, gap=0.3)


def test_a_failure_tells_what_was_found_and_expected() -> None:
    with pytest.raises(AssertionError, match=r"(?s)Planted fails 1 checks\nupdate direction: found cosine -.*expected"):
        check_device(planted(WrongSign))
    raised = next(check for check in conformance(planted(Raises)) if not check.passed)
    assert raised.found == "KeyError: 'g'"


def test_nothing_that_is_checked_depends_on_luck_beyond_its_streams() -> None:
    assert conformance(SOUND, Streams(5)) == conformance(SOUND, Streams(5))
    for seed in range(10):
        check_device(SOUND, Streams(seed))


def test_check_names_are_told_in_order() -> None:
    assert [check.name for check in conformance(FloatDevice())] == list(CHECKS)
    assert math.prod(SHAPE) > 200  # enough cross-points for the bounds of chance to be narrow
