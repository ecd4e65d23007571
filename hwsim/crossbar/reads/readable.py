"""How an array of normalised weights is read: through its circuit, its periphery, and its digital scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hwsim.crossbar.circuit import BARE, Circuit, Seen
from hwsim.crossbar.reads.images import read_images, read_images_transpose
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.vectors import Port, read
from hwsim.crossbar.reads.window import Window, as_rows
from hwsim.crossbar.synapse import Meter


class ArrayReads:
    """The reads of a synapse whose weights are ``scale`` times what the circuit makes of the matrix ``_raw``.

    A subclass sets ``meter``, ``_forward`` and ``_backward``, ``_rng_read``, ``_raw`` and, whenever that changes, calls
    ``_changed``. Reads are differentiable with respect to their inputs, and patches of images are read all at once.
    """

    meter: Meter
    scale: float = 1.0  # one digital factor after either read
    _columns: Tensor | None = None  # (post,) further factors: after the forward read, before the transpose read
    _raw: Tensor
    _forward: ReadPath
    _backward: ReadPath
    _rng_read: torch.Generator
    _circuit: Circuit = BARE
    _view: Seen | None = None
    update: Callable[[Tensor, Tensor, float], None]
    version: int = 0
    full_scale: float = 0.0  # the |weight| that programming maps to the end of the range; 0: the array's own largest

    def place_in(self, circuit: Circuit) -> None:
        """From now on, read and program through ``circuit``."""
        self._circuit = circuit
        self._changed()

    def map_to(self, largest: float) -> None:
        """From now on, programming takes ``largest`` for the largest |weight|; 0: the array's own."""
        self.full_scale = largest

    def _changed(self) -> None:
        self._view = None
        self.version += 1

    def _seen(self) -> Seen:
        """What reads find, worked out when it is first asked for after a change."""
        if self._view is None:
            self._view = self._circuit.seen(self._raw)
        return self._view

    def _port(self) -> Port:
        seen = self._seen()
        return Port(seen.forward, self._forward, self._rng_read, self.meter, self.scale, seen.offset)

    def _port_transpose(self) -> Port:
        seen = self._seen()
        return Port(seen.transpose.T, self._backward, self._rng_read, self.meter, self.scale, seen.offset_transpose)

    def read(self, pre: Tensor) -> Tensor:
        self.meter.vectors_read += len(pre)
        y = read(self._port(), pre)
        return y if self._columns is None else y * self._columns

    def read_transpose(self, post: Tensor) -> Tensor:
        self.meter.vectors_read_transpose += len(post)
        post = post if self._columns is None else post * self._columns
        return read(self._port_transpose(), post)

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        y = read_images(self._port(), images, window)
        self.meter.vectors_read += len(y) * y.shape[2:].numel()
        return y if self._columns is None else y * self._columns[:, None, None]

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        self.meter.vectors_read_transpose += len(images) * images.shape[2:].numel()
        images = images if self._columns is None else images * self._columns[:, None, None]
        return read_images_transpose(self._port_transpose(), images, window, size)

    def update_images(self, pre: Tensor, post: Tensor, rate: float, window: Window) -> None:
        """Devices get their pulses patch by patch."""
        self.update(window.patches(pre), as_rows(post), rate)
