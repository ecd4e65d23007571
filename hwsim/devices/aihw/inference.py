"""aihwkit's inference devices: trained digitally under the array's read noise, then programmed once, then drifting.

aihwkit trains them with a perfect backward read, because backpropagation's backward pass runs in digital there. An
energy-based model reads its feedback from the same array while it infers, so here the configuration's ``forward``
parameters serve both directions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from aihwkit.inference.compensation.drift import GlobalDriftCompensation, GlobalDriftCompensationWithExactReference
from aihwkit.simulator.configs import InferenceRPUConfig
from aihwkit.simulator.parameters.enums import WeightClipType, WeightModifierType, WeightRemapType
from torch import Tensor

from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.readable import ArrayReads
from hwsim.crossbar.reads.vectors import Port, read
from hwsim.crossbar.synapse import Meter, check_keys, check_rate, check_weight
from hwsim.devices.aihw.device import AihwDevice
from hwsim.devices.aihw.noise import measured_ages, own_noise_model
from hwsim.devices.aihw.pair import check_pair
from hwsim.devices.aihw.readpath import not_covered, read_path
from hwsim.devices.aihw.synapse import COLUMNWISE
from hwsim.errors import InputError
from hwsim.rng import Streams


@dataclass(frozen=True, eq=False)
class AihwInferenceDevice:
    """An ``InferenceRPUConfig``: its ``forward`` parameters, noise model, drift compensation and weight scaling.

    While it is updated, an array holds float weights behind noisy reads (hardware-aware training). ``program`` then
    writes them with programming noise and freezes the array; ``age`` lets it drift.
    """

    config: Any

    seedable = True
    trains = "hardware-aware"
    drifts = True
    ideal = False
    unseeded_reads = not_exact = ()

    def __post_init__(self) -> None:
        check_pair()
        name = type(self.config).__name__
        if not isinstance(self.config, InferenceRPUConfig):
            raise InputError(f"AihwInferenceDevice: expected an InferenceRPUConfig, got {name}; use AihwDevice for it")
        reason = not_covered(self.config.forward)
        if reason:
            raise InputError(f"{name}.forward: {reason} is not simulated for devices that are programmed once")
        compensation = self.config.drift_compensation
        if compensation is not None and not isinstance(compensation, GlobalDriftCompensation):
            raise InputError(
                f"{name}.drift_compensation: expected GlobalDriftCompensation or none, because one scale per output "
                f"would make the feedback differ from the transpose; got {type(compensation).__name__}"
            )
        measured_ages(self.config.noise_model)

    @cached_property
    def ages_s(self) -> tuple[float, ...]:
        """Ages that the noise model was measured at, in seconds; none where it is a law that holds at every age."""
        return measured_ages(self.config.noise_model)

    @cached_property
    def path(self) -> ReadPath:
        """Periphery of both read directions."""
        return read_path(self.config.forward)

    @cached_property
    def not_used(self) -> tuple[str, ...]:
        """Parts of the configuration that belong to aihwkit's own training and have no effect here."""
        config = self.config
        parts = {
            "modifier": config.modifier.type != WeightModifierType.NONE,
            "clip": config.clip.type != WeightClipType.NONE,
            "remap": config.remap.type != WeightRemapType.NONE,
            "mapping.learn_out_scaling": config.mapping.learn_out_scaling,
            "pre_post.input_range": config.pre_post.input_range.enable,
        }
        return tuple(name for name, used in parts.items() if used)

    @property
    def compensation(self) -> str:
        how = self.config.drift_compensation
        return "" if how is None else f"by one factor an array, measured at that age ({type(how).__name__})"

    def uncompensated(self) -> AihwInferenceDevice:
        """The same device, its drift left as it is."""
        config = copy.deepcopy(self.config)
        config.drift_compensation = None
        return AihwInferenceDevice(config)

    def synapse(self, post: int, pre: int, streams: Streams) -> AihwInferenceSynapse:
        """An array at weight 0; programming and drift draw from stream ``device``, reads from ``read``."""
        return AihwInferenceSynapse(self, (post, pre), streams)


class AihwInferenceSynapse(ArrayReads):
    """Float weights until programmed; then what the noise model made of them, at the age last asked for."""

    def __init__(self, device: AihwInferenceDevice, shape: tuple[int, int], streams: Streams) -> None:
        self.shape = shape
        self.device = device
        self.noisy = device.path.noisy
        self.meter = Meter()
        self._noise = own_noise_model(device.config.noise_model)
        self._rng_device = streams.generator("device")
        self._rng_read = streams.generator("read")
        self._forward = self._backward = device.path
        self._target = torch.zeros(shape)
        self._written: Tensor | None = None  # as programmed, in units of the array
        self._nu: list[Any] = []
        self._seed = 0  # of everything random that belongs to the last programming
        self._reference = 0.0
        self._seconds = 0.0
        self._thaw()

    def _thaw(self) -> None:
        """Back to the float weights, mapped so that the largest (of each output) is ``weight_scaling_omega``."""
        mapping = self.device.config.mapping
        self._scale, self._columns = 1.0, None
        if mapping.weight_scaling_omega:
            largest = self._target.abs().amax(1) / mapping.weight_scaling_omega
            if self.full_scale:
                largest = torch.full_like(largest, self.full_scale / mapping.weight_scaling_omega)
            if mapping.weight_scaling_columnwise:
                self._columns = torch.where(largest > 0, largest, 1.0)
            else:
                self._scale = float(largest.max()) or 1.0
        self._raw = self._target / (self._scale if self._columns is None else self._columns[:, None])
        self.scale, self._gain = self._scale, 1.0
        self._written = None
        self._changed()

    def map_to(self, largest: float) -> None:
        if largest and self.device.config.mapping.weight_scaling_columnwise:
            raise InputError(COLUMNWISE)
        super().map_to(largest)
        if self._written is None:
            self._thaw()

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        """Exact update of the float weights; an array that was programmed goes back to them."""
        check_rate(rate)
        self.meter.vectors_updated += len(pre)
        self._target.addmm_(post.T, pre, alpha=rate)
        self._thaw()

    def tick(self) -> None:
        pass

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Write a matrix with the noise model's programming noise; the array is then fresh, 0 s old."""
        check_weight(weight, self.shape)
        self.meter.programmed += 1
        self._target = weight.detach().clone().to(torch.float32)
        self._thaw()
        self._seed = int(torch.randint(2**62, (), generator=self._rng_device))
        reached, writes = self._circuit.write(self._raw, self._raw, None)
        self.meter.writes += writes
        with _seeded(self._seed):
            written, self._nu = self._noise.apply_programming_noise(reached)
        # A measured model draws every age around the targets; from what was written, aihwkit would take another scale.
        self._written = reached if self.device.ages_s else written
        self._reference = 0.0
        self.age(0.0)

    @torch.no_grad()
    def age(self, seconds: float) -> None:
        """The state ``seconds`` after the last programming; the same time gives the same state, in any order.

        Global drift compensation is one factor for both directions, the readout right after programming over the
        readout now. (aihwkit scales the forward read only, which after a month leaves the two 1.7 times apart.)
        Raises ValueError for a negative time, an age that the noise model does not know, or an array that is not
        programmed.
        """
        if not 0 <= seconds < math.inf:
            raise InputError(f"time since programming: expected a finite number of seconds >= 0, got {seconds}")
        if self._written is None:
            raise ValueError("age: the array holds float weights in training; program it first")
        ages = self.device.ages_s
        seconds = seconds or (ages[0] if ages else 0.0)
        if ages and seconds not in ages:
            known, model = ", ".join(f"{age:g}" for age in ages), type(self._noise).__name__
            raise InputError(f"time since programming: {model} knows 0 and {known} s, got {seconds:g}")
        self._seconds = seconds
        with _seeded(self._seed + 1):  # one course of the accumulated 1/f noise, whatever times are asked for
            self._raw = self._noise.apply_drift_noise(self._written, self._nu, seconds)
        self._changed()
        self._gain = 1.0
        if self.device.config.drift_compensation is not None:
            self._reference = self._reference or self._readout(fresh=True)
            self._gain = self._reference / self._readout(fresh=False)
        self.scale = self._scale * self._gain

    def _readout(self, fresh: bool) -> float:
        """Size of the outputs to known inputs, read through the array's own periphery."""
        compensation = self.device.config.drift_compensation
        exact = fresh and isinstance(compensation, GlobalDriftCompensationWithExactReference)
        rng = torch.Generator().manual_seed(self._seed + (2 if fresh else 3))
        inputs = compensation.get_readout_tensor(self.shape[1])
        path = ReadPath(is_perfect=True, out_scale=self.device.path.out_scale) if exact else self.device.path
        seen = self._seen()
        return float(compensation.readout(read(Port(seen.forward, path, rng, offset=seen.offset), inputs)))

    def weight(self) -> Tensor:
        """What is read once it is programmed; while it is trained, the float weights themselves."""
        weight = (self._raw if self._written is None else self._seen().forward) * self.scale
        return weight if self._columns is None else weight * self._columns[:, None]

    def conductances(self) -> dict[str, Tensor]:
        """Normalised weights, and the devices of a pair in uS as the noise model's converter maps them."""
        devices, _ = self._noise.g_converter.convert_to_conductances(self._raw)
        names = ("g_plus_uS", "g_minus_uS") if len(devices) == 2 else [f"g_{i}_uS" for i in range(len(devices))]
        named = dict(zip(names, devices, strict=True)) | self._circuit.conductances(self._raw)
        return {"weight": self._raw.clone(), **named}

    def clipped_share(self) -> float:
        return 0.0  # the map to conductances follows the largest weight, so nothing is cut

    def reseed_reads(self, streams: Streams) -> None:
        self._rng_read = streams.generator("read")

    def state_dict(self) -> dict[str, Tensor]:
        written = torch.zeros(0) if self._written is None else self._written
        nu = [torch.as_tensor(n) for n in self._nu if n is not None] if self._written is not None else []
        return {
            "target": self._target.clone(),
            "written": written.clone(),
            "nu": torch.stack(nu) if nu else torch.zeros(0),
            "full_scale": torch.tensor(self.full_scale, dtype=torch.float64),
            "seed": torch.tensor(self._seed),
            "reference": torch.tensor(self._reference, dtype=torch.float64),
            "seconds": torch.tensor(self._seconds, dtype=torch.float64),
            "rng.device": self._rng_device.get_state(),
            "rng.read": self._rng_read.get_state(),
            **self._circuit.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        check_keys(state, set(self.state_dict()), "programmed array")
        check_weight(state["target"], self.shape)
        self._target = state["target"].clone()
        self.full_scale = float(state["full_scale"])
        self._circuit.load_state_dict(state)
        self._thaw()
        self._seed, self._reference = int(state["seed"]), float(state["reference"])
        if state["written"].numel():
            self._written = state["written"].clone()
            slices = len(self._noise.g_converter.convert_to_conductances(self._written)[0])
            self._nu = list(state["nu"]) if state["nu"].numel() else [None] * slices
            self.age(float(state["seconds"]))
        self._rng_device.set_state(state["rng.device"])
        self._rng_read.set_state(state["rng.read"])


def device_of(config: Any) -> AihwDevice | AihwInferenceDevice:
    """The device that an aihwkit configuration describes. Raises InputError for what is not simulated."""
    return AihwInferenceDevice(config) if isinstance(config, InferenceRPUConfig) else AihwDevice(config)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's global generator at ``seed`` inside, as it was outside: aihwkit's noise models draw from it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
