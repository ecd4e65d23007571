"""Synapses: arrays of cross-points, read in both directions and updated by outer products.

A synapse is what an energy-based model knows of its hardware. A float weight matrix is one, an
aihwkit tile another, a researcher's cell array a third; no code above this file asks which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hwsim.errors import WorkError
from hwsim.rng import Streams


@dataclass
class Meter:
    """What an array was asked to do since ``reset``: the raw counts behind cost and health figures.

    ``k`` is the expected number of pulses a cross-point gets for one sample's update,
    rate |pre|max |post|max / dw_min; a stochastic pulse train saturates above ``k_limit``
    (aihwkit's ``desired_bl``). Saturated conversions are counted only while ``count_saturation``
    is set, because counting costs time on the hottest path. ``slots`` are the time slots of all pulse trains sent,
    ``pulses`` the pulses that cross-points are expected to get in them, ``programmed`` the matrices written,
    ``writes`` the shots or pulses that devices took to get there. ``rows_written`` are rows of whole pulses, one row at
    a time, ``digital_products`` the multiplications beside the array that an update mode needs.
    """

    vectors_read: int = 0
    vectors_read_transpose: int = 0
    vectors_updated: int = 0
    slots: float = 0.0
    pulses: float = 0.0
    programmed: int = 0
    writes: int = 0
    rows_written: int = 0
    digital_products: int = 0
    conversions: int = 0
    saturated: int = 0
    k_max: float = 0.0
    k_sum: float = 0.0
    k_count: int = 0
    k_limit: float | None = None
    count_saturation: bool = False

    def reset(self) -> None:
        """Start counting anew; the settings (``k_limit``, ``count_saturation``) stay."""
        self.vectors_read = self.vectors_read_transpose = self.vectors_updated = 0
        self.conversions = self.saturated = self.k_count = self.programmed = self.writes = 0
        self.rows_written = self.digital_products = 0
        self.k_max = self.k_sum = self.slots = self.pulses = 0.0

    def count_train(self, pre: Tensor, post: Tensor, per_unit: float) -> Tensor:
        """Count one update's pulses, ``per_unit`` expected at a cross-point where |pre post| is 1.

        Returns k, (B,): those expected at the strongest cross-point of each sample. At most ``k_limit`` slots carry
        them; a sample that needs more loses the share of its pulses that does not fit. WorkError where k is not finite.
        """
        pre, post = pre.abs(), post.abs()
        k = pre.amax(1) * post.amax(1) * per_unit
        most = k.max().item()
        check_pulses(most)
        self.k_count += 1
        self.k_sum += most
        self.k_max = max(self.k_max, most)
        slots = k if self.k_limit is None else k.clamp_max(self.k_limit)
        self.slots += slots.ceil().sum().item()
        self.pulses += (pre.sum(1) * post.sum(1) * slots / k.clamp_min(1e-30)).sum().item() * per_unit
        return k

    @property
    def k_mean(self) -> float:
        """Mean over updates of the largest expected pulse count of the update."""
        return self.k_sum / self.k_count if self.k_count else 0.0

    @property
    def saturated_share(self) -> float:
        """Share of counted analog-to-digital conversions that hit the converter's bound."""
        return self.saturated / self.conversions if self.conversions else 0.0


@runtime_checkable
class Synapse(Protocol):
    """One array of cross-points of shape (post, pre). B is a batch.

    Reads are differentiable with respect to their input (straight through where the hardware
    quantises), so that attacks can look through them; they carry no gradient to the weights.

    >>> import hwsim as hw
    >>> import torch
    >>> synapse = hw.FloatDevice().synapse(3, 5, hw.Streams(0))
    >>> isinstance(synapse, hw.Synapse), tuple(synapse.read(torch.ones(2, 5)).shape)
    (True, (2, 3))
    """

    shape: tuple[int, int]
    noisy: bool  # do two reads of one unchanged array differ?

    @property
    def meter(self) -> Meter:
        """What the array was asked to do; parts of a layer are given the meter of the layer."""
        ...

    @meter.setter
    def meter(self, meter: Meter) -> None: ...

    @property
    def version(self) -> int:
        """Rises with every change to what reads find: updates, programming, ageing, a state taken over."""
        ...

    def read(self, pre: Tensor) -> Tensor:
        """(B, pre) -> (B, post): W pre, as the array reads it."""
        ...

    def read_transpose(self, post: Tensor) -> Tensor:
        """(B, post) -> (B, pre): W^T post, on the same cross-points."""
        ...

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        """W += rate * sum_b post_b pre_b^T, as the devices can; ``rate`` >= 0, signs are in the factors."""
        ...

    def tick(self) -> None:
        """The end of one training step: leaks, drifts and momentum act here."""
        ...

    def program(self, weight: Tensor) -> None:
        """Write a (post, pre) matrix, as the device can."""
        ...

    def weight(self) -> Tensor:
        """A noiseless, detached copy of the weights that the array holds now, (post, pre)."""
        ...

    def conductances(self) -> dict[str, Tensor]:
        """The physical or normalised state of the cross-points, by name, for pictures and histograms."""
        ...

    def clipped_share(self) -> float:
        """Share of cross-points within 1 % of their own bound; 0 where there is none."""
        ...

    def reseed_reads(self, streams: Streams) -> None:
        """Start the read-noise stream anew, so that a measurement does not depend on earlier ones."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on, generators' states included."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over a state saved by the same kind and shape of synapse; ValueError otherwise."""
        ...


@runtime_checkable
class Ages(Protocol):
    """A synapse whose devices can be brought to an age."""

    def age(self, seconds: float) -> None:
        """The state ``seconds`` after programming, whatever was aged before; InputError for a negative time."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A synapse that knows how far its devices go."""

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """The state of the devices with its lowest and highest values, each (post, pre), by name; none: no bounds."""
        ...


@runtime_checkable
class Device(Protocol):
    """A frozen description of a device, from which arrays are built.

    ``seedable``: are arrays bit-exact under their streams? Where False, results are statistical.
    ``trains``: "in-situ" where updates act on the devices, "hardware-aware" where only reads do.
    ``drifts``: do weights change with the time since programming? Arrays then are ``Ages``.
    ``ideal``: is it indistinguishable from plain float arithmetic?

    The last three say in words what a device does not promise; a class that derives from this one promises all.

    >>> import hwsim as hw
    >>> isinstance(hw.device("ecram"), hw.Device), hw.FloatDevice().ideal, hw.device("ecram").trains
    (True, True, 'in-situ')
    """

    @property
    def seedable(self) -> bool: ...

    @property
    def trains(self) -> str: ...

    @property
    def drifts(self) -> bool: ...

    @property
    def ideal(self) -> bool: ...

    @property
    def unseeded_reads(self) -> tuple[str, ...]:
        """Read directions whose noise no stream seeds, each ``forward`` or ``backward`` with its reason."""
        return ()

    @property
    def not_exact(self) -> tuple[str, ...]:
        """What an array does not get back exactly from a saved state."""
        return ()

    @property
    def not_used(self) -> tuple[str, ...]:
        """Settings that have no effect here."""
        return ()

    def synapse(self, post: int, pre: int, streams: Streams) -> Synapse:
        """A new array of ``post`` rows and ``pre`` columns, at the device's initial state."""
        ...


@runtime_checkable
class Compensated(Protocol):
    """A device that says what it does against its drift."""

    @property
    def compensation(self) -> str:
        """In words that follow "compensated"; empty: nothing is done."""
        ...

    def uncompensated(self) -> Device:
        """The same device, its drift left as it is."""
        ...


@runtime_checkable
class KnownAges(Protocol):
    """A device whose state is known at some ages only, because it was measured then."""

    @property
    def ages_s(self) -> tuple[float, ...]:
        """Seconds after programming, rising; none: every age is known. An age of 0 stands for the first of them."""
        ...


def check_rate(rate: float) -> None:
    """ValueError unless a learning rate is a finite number >= 0."""
    if not 0 <= rate < float("inf"):
        raise ValueError(f"learning rate: expected a finite number >= 0, got {rate}")


def check_pulses(most: float) -> None:
    """WorkError unless the largest number of pulses that an update asks for is finite."""
    if not most < math.inf:
        raise WorkError(
            f"an update asks for {most} pulses a cross-point, no finite number: smaller rates or a larger beta"
        )


def check_weight(weight: Tensor, shape: tuple[int, int]) -> None:
    """ValueError unless ``weight`` is a finite matrix of ``shape`` (post, pre)."""
    if tuple(weight.shape) != tuple(shape):
        raise ValueError(f"weights: expected shape (post, pre) = {tuple(shape)}, got {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError(f"weights of shape {tuple(shape)}: expected finite numbers, got NaN or infinity")


def check_keys(state: dict[str, Tensor], expected: set[str], what: str) -> None:
    """ValueError unless a saved state has exactly the expected entries."""
    if set(state) != expected:
        raise ValueError(f"saved state of a {what}: expected {sorted(expected)}, got {sorted(state)}")
