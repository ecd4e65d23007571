"""Node voltages of a resistive network from Kirchhoff's current law alone: no energy, no sweeps, nothing of hwsim's.

The equations of all nodes are assembled into one matrix, amplifiers included, and solved at once. Ideal diodes are an
active set; Shockley's exponential is found by damped Newton steps on the same matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Book:
    """A network by the book: conductances in siemens, (nodes, nodes below + two constant sources) each."""

    conductances: Sequence[Array]
    gain: float
    bias_V: float = 1.0
    saturation_A: float | None = None
    scale_V: float = 0.025

    def equations(self, sources: Array) -> tuple[Array, Array]:
        """K, c with K v = c: the currents into every node, no diode counted, are c - K v."""
        sizes = [len(g) for g in self.conductances]
        first = np.concatenate([[0], np.cumsum(sizes)])
        k, c = np.zeros((first[-1], first[-1])), np.zeros(first[-1])
        for layer, g in enumerate(self.conductances):
            for node in range(sizes[layer]):
                row = first[layer] + node
                for far in range(g.shape[1]):
                    value = g[node, far]
                    k[row, row] += value
                    if far >= g.shape[1] - 2:
                        c[row] += value * (self.bias_V if far == g.shape[1] - 2 else -self.bias_V)
                    elif layer == 0:
                        c[row] += value * sources[far]
                    else:
                        other = first[layer - 1] + far
                        k[row, other] -= value * self.gain  # the amplifier's output stands at gain x v
                        k[other, other] += value  # and its input draws the current there over the gain
                        k[other, row] -= value / self.gain
        return k, c

    def sides(self) -> Array:
        """+1 where a diode keeps the node up, -1 where down, 0 at outputs."""
        parts = [np.where(np.arange(len(g)) < (len(g) + 1) // 2, 1.0, -1.0) for g in self.conductances[:-1]]
        return np.concatenate([*parts, np.zeros(len(self.conductances[-1]))])

    def voltages(self, sources: Array, injected: Array | None = None) -> list[Array]:
        """Of every layer, with ``injected`` currents in amperes into the output nodes."""
        k, c = self.equations(sources)
        if injected is not None:
            c[-len(injected) :] += injected
        side = self.sides()
        v = self._ideal(k, c, side) if self.saturation_A is None else self._shockley(k, c, side)
        return np.split(v, np.cumsum([len(g) for g in self.conductances])[:-1])

    @staticmethod
    def _ideal(k: Array, c: Array, side: Array) -> Array:
        held = np.zeros(len(c), dtype=bool)
        for _ in range(100):
            free = ~held
            v = np.zeros(len(c))
            v[free] = np.linalg.solve(k[np.ix_(free, free)], c[free])
            needs = (c - k @ v) * side  # a held node needs a current from its diode: negative what flows in otherwise
            now = (held & (needs < 0)) | (free & (v * side < 0))
            if (now == held).all():
                return v
            held = now
        raise RuntimeError("the active set cycles: choose another seed")

    def _shockley(self, k: Array, c: Array, side: Array) -> Array:
        assert self.saturation_A is not None

        def diodes(v: Array) -> tuple[Array, Array]:
            current = self.saturation_A * np.exp(np.clip(-side * v / self.scale_V, None, 200)) * np.abs(side)
            return side * (current - self.saturation_A * np.abs(side)), -current / self.scale_V

        v = np.zeros(len(c))
        for _ in range(2000):
            current, slope = diodes(v)
            step = np.linalg.solve(k - np.diag(slope), c - k @ v + current)
            v = v + step * min(1.0, 2 * self.scale_V / max(np.abs(step).max(), 1e-300))
            if np.abs(step).max() < 1e-16:
                break
        return v
