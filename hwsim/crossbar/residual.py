"""Two cells a weight: a fast one that takes the updates, and a slow one that learns from its reads.

The visible weight is W = slow + gamma fast. Pulses that cancel, and what they pull to the symmetry point, land on the
fast cell; what it holds in the mean is carried over, column by column. With gamma = 0 this is Tiki-Taka (Gokmen and
Haensch, Front. Neurosci. 2020, 14:103). With gamma > 0 the slow array learns what the fast one leaves over, so that an
error of the transfer is seen and corrected: residual learning (Wu et al. 2025, arXiv 2502.06309).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.circuit import Circuit
from hwsim.crossbar.reads.readable import ArrayReads
from hwsim.crossbar.synapse import Device, Meter, check_keys, check_rate, check_weight
from hwsim.crossbar.wrapped import WrappedDevice
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True)
class ResidualDevice(WrappedDevice):
    """Two arrays of a cell for one of weights.

    Args:
        device: of either array, and the periphery of the visible weight and of transfers.
        gamma: weight of the fast cell in what is read; 0: it is not read but by transfers.
        transfer_every: training steps between two transfers.
        transfer_columns: columns of the fast array that one transfer reads; the next one goes on behind them.
        transfer_rate: a slow weight changes by this, times the learning rate, times what was read of the fast one.

    Raises InputError for values out of range and for a cell that takes exact updates.
    """

    device: Device
    gamma: float = 0.2
    transfer_every: int = 1
    transfer_columns: int = 1
    transfer_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gamma", "transfer_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"ResidualDevice.{name}: expected a finite number >= 0, got {getattr(self, name)}")
        for name in ("transfer_every", "transfer_columns"):
            if getattr(self, name) < 1:
                raise InputError(f"ResidualDevice.{name}: expected at least 1, got {getattr(self, name)}")
        if not self.cells.cell.dw_min:
            raise InputError(
                "ResidualDevice.gamma: expected a cell moved by pulses; one of dw_min 0 takes updates exactly"
            )

    @property
    def cells(self) -> CellDevice:
        """The device of either array. InputError for one that is not made of cells."""
        if not isinstance(self.device, CellDevice):
            raise InputError(f"ResidualDevice.device: expected a CellDevice, got {type(self.device).__name__}")
        return self.device

    def synapse(self, post: int, pre: int, streams: Streams) -> ResidualSynapse:
        return ResidualSynapse(self, (post, pre), streams)


class ResidualSynapse(ArrayReads):
    """A fast and a slow array, read as one; what the circuit around them sees is the visible weight.

    An update of dW moves the fast array by dW, and so the weight by gamma dW at once. Programming writes the slow one.
    """

    def __init__(self, device: ResidualDevice, shape: tuple[int, int], streams: Streams) -> None:
        self.shape = shape
        self.device = device
        self.fast = device.cells.synapse(*shape, streams.child("fast"))
        self.slow = device.cells.synapse(*shape, streams.child("slow"))
        self.transfers = Meter()  # what reads of the fast and updates of the slow array are counted in
        self.fast.meter = self.slow.meter = self.transfers
        self.meter = Meter(k_limit=float(device.cells.desired_bl))
        self._forward, self._backward = device.cells.paths()
        self.noisy = self.slow.noisy
        self._rng_read = streams.generator("read")
        self._column = self._steps = 0
        self._rate = 0.0  # of the last update
        self._refresh()

    def place_in(self, circuit: Circuit) -> None:
        if circuit.finite:
            raise InputError("array: finite levels of two cells a weight are not simulated; remove `levels`")
        super().place_in(circuit)

    def _refresh(self) -> None:
        self.scale = self.slow.scale
        shift = self.slow.cell.reference
        self._raw = (self.slow.g - shift) + self.device.gamma * (self.fast.scale / self.scale) * (self.fast.g - shift)
        self._changed()

    @contextmanager
    def _metered(self) -> Iterator[None]:
        """The fast array counts for the layer."""
        self.fast.meter = self.meter
        try:
            yield
        finally:
            self.fast.meter = self.transfers

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        with self._metered():
            self.fast.update(pre, post, rate)
        self._rate = rate or self._rate
        self._refresh()

    @torch.no_grad()
    def tick(self) -> None:
        self._steps += 1
        if self._steps >= self.device.transfer_every:
            self._steps = 0
            self._transfer()
        self.fast.tick()
        self.slow.tick()
        self._refresh()

    def _transfer(self) -> None:
        count, columns = min(self.device.transfer_columns, self.shape[1]), self.shape[1]
        chosen = [(self._column + i) % columns for i in range(count)]
        self._column = (self._column + count) % columns
        select = torch.eye(columns)[chosen]
        if self._rate:
            self.slow.update(select, self.fast.read(select), self.device.transfer_rate * self._rate)

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Write the slow array; the fast one goes back to weight 0."""
        check_weight(weight, self.shape)
        self.meter.programmed += 1
        largest = self.full_scale or float(weight.abs().max())
        self.slow.map_to(largest)
        self.fast.map_to(largest)
        self.slow.program(weight)
        self.fast.program(torch.zeros_like(weight))
        held = self.slow.weight() / self.slow.scale
        reached, writes = self._circuit.write(held, held, None)
        self.meter.writes += writes
        if reached is not held:
            self.slow.program(reached * self.slow.scale)
        self._column = self._steps = 0
        self._refresh()

    @torch.no_grad()
    def age(self, seconds: float) -> None:
        """The state ``seconds`` after the last programming, of both arrays. InputError for a negative time."""
        self.slow.age(seconds)
        self.fast.age(seconds)
        self._refresh()

    def weight(self) -> Tensor:
        return self._seen().forward * self.scale

    def conductances(self) -> dict[str, Tensor]:
        return {"g": self.slow.g.clone(), "g_fast": self.fast.g.clone(), **self._circuit.conductances(self._raw)}

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """The conductances of both arrays with their lowest and highest values, each (post, pre)."""
        return {"g": self.slow.limits()["g"], "g_fast": self.fast.limits()["g"]}

    def clipped_share(self) -> float:
        return (self.slow.clipped_share() + self.fast.clipped_share()) / 2

    def reseed_reads(self, streams: Streams) -> None:
        self._rng_read = streams.generator("read")

    def state_dict(self) -> dict[str, Tensor]:
        parts = {"fast": self.fast, "slow": self.slow}
        state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
        state |= {"column": torch.tensor(self._column), "steps": torch.tensor(self._steps)}
        state |= {"rate": torch.tensor(self._rate, dtype=torch.float64), "rng.read": self._rng_read.get_state()}
        return state | self._circuit.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        check_keys(state, set(self.state_dict()), "residual array")
        for name, part in (("fast", self.fast), ("slow", self.slow)):
            prefix = f"{name}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._column, self._steps, self._rate = int(state["column"]), int(state["steps"]), float(state["rate"])
        self._circuit.load_state_dict(state)
        self._rng_read.set_state(state["rng.read"])
        self._refresh()
