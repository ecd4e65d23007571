"""Crossbars of python cells: conductances, pulsed updates and reads, every draw from a seeded stream.

A ``CellDevice`` puts a cell (``hwsim.devices.responses``, or a researcher's own) at every cross-point between two
``ReadPath``s.
Updates are trains of pulses (``hwsim.crossbar.pulses``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from hwsim.crossbar.pulses import coincidences, mean_counts
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.readable import ArrayReads
from hwsim.crossbar.synapse import Meter, check_keys, check_rate, check_weight
from hwsim.crossbar.updates.pulsed import count_rows
from hwsim.errors import InputError
from hwsim.rng import Streams

PULSES = ("stochastic", "mean")
DRIFT_COMPENSATION = ("none", "global")
_BLOCK = 2**16  # cross-points stepped at once: what a step needs on the way stays in the processor's cache


class Cell(Protocol):
    """What an array needs to know of the cells at its cross-points; ``hwsim.devices.cell.BaseCell`` implements it."""

    @property
    def dw_min(self) -> float:
        """Mean change by one pulse, in the cell's unit; 0 for cells that take exact updates."""
        ...

    @property
    def reference(self) -> float:
        """The conductance that stands for weight 0."""
        ...

    @property
    def drifts(self) -> bool: ...

    @property
    def read_noise(self) -> float:
        """Standard deviation of a read conductance, in the cell's unit."""
        ...

    def spread(self, shape: tuple[int, int], rng: torch.Generator) -> Cell:
        """The same cell with its device-to-device parameters drawn for every cross-point."""
        ...

    def varied(self) -> dict[str, Tensor]:
        """The parameters that ``spread`` drew, by name."""
        ...

    def with_varied(self, varied: dict[str, Tensor]) -> Cell:
        """The same cell with these per-cross-point parameters."""
        ...

    def bounds(self) -> tuple[Tensor | float, Tensor | float]:
        """Lowest and highest conductance."""
        ...

    def step(self, g: Tensor, n_up: Tensor, n_down: Tensor, rng: torch.Generator) -> Tensor:
        """The conductances after ``n_up`` and ``n_down`` pulses, of an array or of some of its rows."""
        ...

    def after(self, n_up: Tensor, n_down: Tensor) -> Cell:
        """The cell once it has had these pulses: another one where the conductance is not all that they change."""
        ...

    @property
    def remembers(self) -> bool:
        """Does ``after`` change anything?"""
        ...

    def leak(self, g: Tensor, rng: torch.Generator) -> Tensor:
        """The conductances one training step later."""
        ...

    def drift(self, g: Tensor, seconds: float) -> Tensor:
        """The conductances ``seconds`` after they were programmed to ``g``."""
        ...


@dataclass(frozen=True)
class CellDevice:
    """A cell, the periphery of both read directions, and the map from weights to conductances.

    Args:
        cell: the cell at every cross-point.
        forward: periphery of ``read``.
        backward: periphery of ``read_transpose``; None: the same as ``forward``.
        omega: programming maps the largest |weight| of an array to this conductance (above the cell's reference);
            0: weights are conductances, scale 1.
        desired_bl: most pulse slots for the update of one sample.
        substeps: most parts in which a batch's pulses are applied. Within a part every pulse sees the conductance at
            its start, so more parts are closer to one pulse after another and cost more.
        pulses: ``stochastic`` trains, or ``mean``: every cross-point gets the expected number, a fraction of a pulse
            too, without limit. What is left of an update then is the cell's own doing.
        drift_compensation: ``global``: after ``age`` one digital factor for both read directions restores the summed
            magnitude of the weights. One factor keeps the two directions each other's transpose.

    Raises InputError for values out of range.

    >>> import hwsim as hw
    >>> device = hw.CellDevice(hw.device("soft-bounds-cell").cell, forward=hw.ReadPath(out_noise=0.05), omega=0.4)
    >>> hw.hopfield([64, 16, 10], device).noisy
    True
    """

    cell: Cell
    forward: ReadPath = field(default_factory=ReadPath)
    backward: ReadPath | None = None
    omega: float = 0.0
    desired_bl: int = 31
    substeps: int = 4
    pulses: str = "stochastic"
    drift_compensation: str = "none"

    seedable = True
    trains = "in-situ"
    unseeded_reads = not_exact = not_used = ()

    def __post_init__(self) -> None:
        if not 0 <= self.omega < math.inf:
            raise InputError(f"CellDevice.omega: expected a finite number >= 0, got {self.omega}")
        for name in ("desired_bl", "substeps"):
            if getattr(self, name) < 1:
                raise InputError(f"CellDevice.{name}: expected an integer >= 1, got {getattr(self, name)}")
        for name, known in (("pulses", PULSES), ("drift_compensation", DRIFT_COMPENSATION)):
            if getattr(self, name) not in known:
                raise InputError(f"CellDevice.{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.cell.read_noise and (self.forward.w_noise or (self.backward or self.forward).w_noise):
            raise InputError("CellDevice: read noise is given twice, by cell.read_noise and by w_noise; keep one")

    @property
    def drifts(self) -> bool:
        return self.cell.drifts

    @property
    def ideal(self) -> bool:
        exact = self.forward.ideal and (self.backward or self.forward).ideal and not self.cell.read_noise
        return exact and self.cell.dw_min == 0 and all(math.isinf(float(b)) for b in self.cell.bounds())

    @property
    def compensation(self) -> str:
        return "by one factor an array, from the sum of its conductances" if self.drift_compensation == "global" else ""

    def uncompensated(self) -> CellDevice:
        """The same device, its drift left as it is."""
        return replace(self, drift_compensation="none")

    def paths(self) -> tuple[ReadPath, ReadPath]:
        """Periphery of the forward and of the transpose read, the cell's read noise included."""
        both = self.forward, self.backward or self.forward
        if not self.cell.read_noise:
            return both
        noise = {"w_noise": self.cell.read_noise, "w_noise_type": "ADDITIVE_CONSTANT"}
        return replace(both[0], **noise), replace(both[1], **noise)

    def synapse(self, post: int, pre: int, streams: Streams) -> CellSynapse:
        """An array at weight 0: device variation from stream ``device``, then ``read`` and ``update``."""
        return CellSynapse(self, (post, pre), streams)


class CellSynapse(ArrayReads):
    """A (post, pre) array of cells; conductances ``g`` in the cell's unit, weights ``scale * (g - reference)``.

    What reads find is the circuit's view of ``g - reference``, worked out when it is first asked for after a change.
    """

    def __init__(self, device: CellDevice, shape: tuple[int, int], streams: Streams) -> None:
        self.shape = shape
        self.device = device
        self.cell = device.cell.spread(shape, streams.generator("device"))
        self.scale = 1.0  # of the weights, a digital factor on every read
        self._gain = 1.0  # the part of it that makes up for drift
        self.meter = Meter(k_limit=float(device.desired_bl) if device.cell.dw_min else None)
        self._forward, self._backward = device.paths()
        self.noisy = self._forward.noisy or self._backward.noisy
        self._rng_read = streams.generator("read")
        self._rng_update = streams.generator("update")
        self._set(torch.full(shape, float(device.cell.reference)))
        self._programmed = self.g
        self._blocks: list[Cell] | None = None

    def _set(self, g: Tensor) -> None:
        self.g = bounded(g, *self.cell.bounds())
        self._raw = self.g - self.cell.reference if self.cell.reference else self.g
        self._changed()

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        self.meter.vectors_updated += len(pre)
        rate = rate / self.scale
        if rate == 0:
            return
        dw_min = self.device.cell.dw_min
        if dw_min == 0:
            self._land(torch.addmm(self.g, post.T, pre, alpha=rate))
            return
        k = self.meter.count_train(pre, post, rate / dw_min)
        g = self.g
        parts = self._parts(float(k.sum()))
        if self.device.pulses == "mean":
            counts = mean_counts(pre, post, rate / dw_min, parts)
        else:
            counts = coincidences(pre, post, k, self.device.desired_bl, parts, self._rng_update)
        self._land(self._stepped(g, counts))

    @property
    def granularity(self) -> float:
        return self.device.cell.dw_min * self.scale

    def pulses_per_unit(self, rate: float) -> float:
        return rate / self.scale / self.device.cell.dw_min if self.device.cell.dw_min else 0.0

    @torch.no_grad()
    def pulse(self, counts: Tensor) -> None:
        """Whole pulses, (post, pre); many are applied in parts, as those of a train are."""
        count_rows(self.meter, counts)
        most = int(counts.abs().max())
        if not most:
            return
        parts = min(most, self._parts(float(counts.abs().amax(1).sum())))
        done, trains = torch.zeros_like(counts), []
        for part in range(1, parts + 1):
            now = (counts * (part / parts)).trunc_() if part < parts else counts
            sent, done = now - done, now
            trains.append((sent.clamp_min(0), (-sent).clamp_min(0)))
        self._land(self._stepped(self.g, trains))

    def _land(self, g: Tensor) -> None:
        """Take ``g``, or what finite levels leave of it, after an update."""
        if self._circuit.finite:
            g = self._circuit.landed(self._raw, g - self.cell.reference) + self.cell.reference
        self._set(g)

    def _stepped(self, g: Tensor, counts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """``g`` after pulses in this order. Cross-points do not see each other, so large arrays go block by block."""
        rows = max(1, _BLOCK // self.shape[1])
        if rows >= self.shape[0] or self.cell.remembers:
            for n_up, n_down in counts:
                g = self._pulsed(g, n_up, n_down)
            return g
        if self._blocks is None:
            self._blocks = [self._rows_of(slice(i, i + rows)) for i in range(0, self.shape[0], rows)]
        done = []
        for index, part in enumerate(g.split(rows)):
            block = slice(index * rows, (index + 1) * rows)
            for n_up, n_down in counts:
                part = self._blocks[index].step(part, n_up[block], n_down[block], self._rng_update)
            done.append(part)
        return torch.cat(done)

    def _pulsed(self, g: Tensor, n_up: Tensor, n_down: Tensor) -> Tensor:
        g = self.cell.step(g, n_up, n_down, self._rng_update)
        self.cell = self.cell.after(n_up, n_down)
        return g

    def _rows_of(self, rows: slice) -> Cell:
        varied = self.cell.varied().items()
        return self.cell.with_varied({k: v[rows] if len(v) == self.shape[0] else v for k, v in varied})

    def _parts(self, pulses: float) -> int:
        """Parts of a batch such that none moves a cell by more than 4 % of its range, at most ``substeps``."""
        lower, upper = self.device.cell.bounds()
        share = pulses * self.device.cell.dw_min / float(upper - lower)
        return int(min(self.device.substeps, 1 + share // 0.04))

    @torch.no_grad()
    def tick(self) -> None:
        g = self.cell.leak(self.g, self._rng_update)
        if g is not self.g:
            self._set(g)

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Set the conductances as the circuit's programming does, exactly by default, up to the bounds of each cell."""
        check_weight(weight, self.shape)
        self.meter.programmed += 1
        largest = self.full_scale or float(weight.abs().max())
        self.scale = largest / self.device.omega if self.device.omega and largest else 1.0
        self._gain = 1.0
        target = weight.detach().to(self.g.dtype) / self.scale
        reached, writes = self._circuit.write(target, self._raw, self._pulse if self.device.cell.dw_min else None)
        self.meter.writes += writes
        self._set(reached + self.cell.reference)
        self._programmed = self.g

    def _pulse(self, weight: Tensor, n_up: Tensor, n_down: Tensor) -> Tensor:
        reference = self.cell.reference
        return self._pulsed(weight + reference, n_up, n_down) - reference

    @torch.no_grad()
    def age(self, seconds: float) -> None:
        """The state ``seconds`` after the last programming, whatever was aged before. ValueError if negative."""
        if seconds < 0:
            raise InputError(f"time since programming: expected seconds >= 0, got {seconds}")
        self._set(self.cell.drift(self._programmed, seconds))
        if self.device.drift_compensation == "global":
            fresh, now = (float((g - self.cell.reference).abs().sum()) for g in (self._programmed, self.g))
            gain = fresh / now if now else 1.0
            self.scale *= gain / self._gain
            self._gain = gain

    def weight(self) -> Tensor:
        return self._seen().forward * self.scale

    def conductances(self) -> dict[str, Tensor]:
        return {"g": self.g.clone(), **self._circuit.conductances(self._raw)}

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """The conductances with their lowest and highest values, each (post, pre)."""
        lower, upper = (torch.as_tensor(b).expand(self.shape) for b in self.cell.bounds())
        return {"g": (self.g, lower, upper)}

    def clipped_share(self) -> float:
        g, lower, upper = self.limits()["g"]
        margin = (upper - lower) * 0.01
        near = ((upper - g <= margin) | (g - lower <= margin)) & torch.isfinite(margin)
        return float(near.float().mean())

    def reseed_reads(self, streams: Streams) -> None:
        self._rng_read = streams.generator("read")

    def state_dict(self) -> dict[str, Tensor]:
        state = {
            "g": self.g.clone(),
            "programmed": self._programmed.clone(),
            "scale": torch.tensor(self.scale, dtype=torch.float64),
            "gain": torch.tensor(self._gain, dtype=torch.float64),
        }
        state |= {f"cell.{name}": value.clone() for name, value in self.cell.varied().items()}
        state |= self._circuit.state_dict()
        return state | {"rng.read": self._rng_read.get_state(), "rng.update": self._rng_update.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        check_keys(state, set(self.state_dict()), "cell synapse")
        check_weight(state["g"], self.shape)
        prefix = "cell."
        varied = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        self.cell, self._blocks = self.cell.with_varied(varied), None
        self.scale, self._gain = float(state["scale"]), float(state["gain"])
        self._circuit.load_state_dict(state)
        self._set(state["g"].clone())
        self._programmed = state["programmed"].clone()
        self._rng_read.set_state(state["rng.read"])
        self._rng_update.set_state(state["rng.update"])


def bounded(g: Tensor, lower: Tensor | float, upper: Tensor | float) -> Tensor:
    """``g`` within bounds that may be common or one per cross-point."""
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        return torch.clamp(g, torch.as_tensor(lower), torch.as_tensor(upper))
    return g.clamp(lower, upper)
