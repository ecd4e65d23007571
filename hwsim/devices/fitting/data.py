"""Measured traces as arrays, and what can be said of them before any model: noise, range, local steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Traces:
    """Conductances after each of a train of pulses, in S segments of at most T pulses.

    Args:
        g: (S, T + 1); column 0 is the conductance before the first pulse. NaN: not measured, or past the end.
        direction: (S, T); 1 for an up pulse, -1 down, 0 none (a further read, or past the end).
        device: (S,) index of the device, 0 .. D - 1.
        weight: (S, T) weight of each measurement in a likelihood; 0 where there is none.
    """

    g: Array
    direction: NDArray[np.int64]
    device: NDArray[np.int64]
    weight: Array

    @classmethod
    def of(cls, segments: list[tuple[int, Array, NDArray[np.int64]]]) -> Traces:
        """From (device, g (n + 1,), direction (n,)) of every segment, whose first g must be finite."""
        length = max(len(direction) for _, _, direction in segments)
        g = np.full((len(segments), length + 1), np.nan)
        pulses = np.zeros((len(segments), length), dtype=np.int64)
        for row, (_, values, direction) in enumerate(segments):
            g[row, : len(values)] = values
            pulses[row, : len(direction)] = direction
        if not np.isfinite(g[:, 0]).all():
            raise InputError("traces: the first conductance of every segment must be measured")
        _, device = np.unique([name for name, _, _ in segments], return_inverse=True)
        return cls(g, pulses, device.astype(np.int64), np.isfinite(g[:, 1:]).astype(float))

    @property
    def devices(self) -> int:
        """Number of devices D."""
        return int(self.device.max()) + 1

    @property
    def polarities(self) -> tuple[int, ...]:
        """Directions in which there are pulses at all."""
        return tuple(d for d in (1, -1) if (self.direction == d).any())

    def scaled(self, middle: float, half: float) -> Traces:
        """The same in units of ``half`` about ``middle``: [-1, 1] is the range."""
        return replace(self, g=(self.g - middle) / half)

    def mirrored(self) -> Traces:
        """Every segment together with its mirror image about 0, each at half the weight.

        A stand-in for the missing polarity of a device that was pulsed one way only.
        """
        return Traces(
            np.concatenate([self.g, -self.g]),
            np.concatenate([self.direction, -self.direction]),
            np.concatenate([self.device, self.device]),
            np.concatenate([self.weight, self.weight]) / 2,
        )

    def of_devices(self, keep: NDArray[np.bool_]) -> Traces:
        """Only the devices where ``keep``, (D,), numbered anew."""
        rows = keep[self.device]
        number = np.cumsum(keep) - 1
        return Traces(self.g[rows], self.direction[rows], number[self.device[rows]], self.weight[rows])


@dataclass(frozen=True)
class LocalSteps:
    """Mean step over windows of pulses of one direction: (n,) arrays."""

    level: Array  # mean conductance of the window
    step: Array  # change of conductance a pulse
    std: Array  # standard error of ``step`` for reads with unit noise
    count: Array  # pulses in the window
    direction: NDArray[np.int64]
    device: NDArray[np.int64]


RANGE_NOISE = 0.01  # of half the range: noise that may be left in the measured range
FEWEST_REPEATS = 10  # further reads of one state, from which on they are the estimate of read noise


def noise(traces: Traces) -> tuple[float, float]:
    """Moment estimates (read, pulse) of the standard deviation of a read and of a pulse's change.

    The error of one read enters two neighbouring increments with opposite signs, so their covariance is -read^2; what
    is left of their variance is the pulses'. Where states were read repeatedly, read noise comes from that alone.
    """
    read, pulse = _noise_of_trains(traces)
    repeated = np.where(traces.direction == 0, np.diff(traces.g, axis=1), np.nan)
    if np.isfinite(repeated).sum() >= FEWEST_REPEATS:
        read = math.sqrt(_mean(repeated**2) / 2)
    return read, pulse


def most_read_noise(traces: Traces) -> float:
    """The largest standard deviation of a read that the data leave room for; infinite where they do not say.

    Third differences along a train are free of any smooth response. Of independent reads they keep 20 times the
    variance; pulses, and noise that lasts, only add to it.
    """
    third = np.diff(traces.g, n=3, axis=1)
    towards = traces.direction
    same = (towards[:, 2:] == towards[:, 1:-1]) & (towards[:, 1:-1] == towards[:, :-2])
    third = third[same & np.isfinite(third)]
    return math.sqrt(float((third**2).mean()) / 20) if len(third) >= 20 else math.inf


def _noise_of_trains(traces: Traces) -> tuple[float, float]:
    step = np.diff(traces.g, axis=1)
    step = np.where(traces.direction != 0, step, np.nan)
    # Differences of increments two apart, divided by sqrt(2), are free of a slowly varying mean step.
    same = traces.direction[:, 2:] == traces.direction[:, :-2]
    far = np.where(same, step[:, 2:] - step[:, :-2], np.nan)
    variance_far = _mean(far**2) / 2  # pulse^2 + 2 read^2
    near = np.where(traces.direction[:, 1:] == traces.direction[:, :-1], step[:, 1:] - step[:, :-1], np.nan)
    variance_near = _mean(near**2) / 2  # pulse^2 + 3 read^2
    if not np.isfinite(variance_far + variance_near):
        spread = float(np.nanstd(step)) if np.isfinite(step).any() else 0.0
        return 0.1 * spread, spread
    read = max(variance_near - variance_far, 0.0)
    return float(np.sqrt(read)), float(np.sqrt(max(variance_far - 2 * read, 0.0)))


def device_ranges(traces: Traces, read: float) -> tuple[Array, Array]:
    """Lowest and highest conductance of every device, (D,) each.

    Reads are averaged until their noise, ``read``, is ``RANGE_NOISE`` of half the range (over at most 1/16 of a
    segment): an extreme of noisy reads is mostly noise.
    """
    span = float(np.nanmax(traces.g) - np.nanmin(traces.g))
    longest = int(np.isfinite(traces.g).sum(1).max())
    window = int(np.clip((read / (RANGE_NOISE * span / 2 + 1e-300)) ** 2, 1, max(1, longest // 16)))
    low, high = np.full(traces.devices, np.inf), np.full(traces.devices, -np.inf)
    for row, device in zip(traces.g, traces.device, strict=True):
        values = row[np.isfinite(row)]
        width = min(window, len(values))
        smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
        low[device], high[device] = min(low[device], smooth.min()), max(high[device], smooth.max())
    return low, high


def local_steps(traces: Traces) -> LocalSteps:
    """Regress conductance on pulse number in short windows of pulses of one direction."""
    rows = []
    for g, direction, device in zip(traces.g, traces.direction, traces.device, strict=True):
        edges = np.flatnonzero(np.diff(direction)) + 1
        for run in np.split(np.arange(len(direction)), edges):
            if direction[run[0]] == 0:
                continue
            width = int(np.clip(len(run) // 12, 1, 50))
            for part in np.array_split(run, max(1, len(run) // width)):
                place = np.append(part, part[-1] + 1)
                place = place[np.isfinite(g[place])]
                if len(place) < 2:
                    continue
                values, time = g[place], place - place.mean()
                slope = float(time @ values / (time @ time))
                rows.append(
                    (values.mean(), slope, 1 / np.sqrt(time @ time), place[-1] - place[0], direction[part[0]], device)
                )
    level, step, std, count, towards, device = (np.array(column) for column in zip(*rows, strict=True))
    return LocalSteps(level, step, std, count, towards.astype(np.int64), device.astype(np.int64))


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
