"""aihwkit's pulsed devices: the compiled tile owns the devices and their pulses, torch reads its weights.

What is seeded: the variation from device to device (``construction_seed``, another one for every array) and the reads
(our generator). What is not: pulses and write noise, which the compiled part draws from clocks. Two runs agree
statistically, not bit for bit.
"""

from __future__ import annotations

import copy

import torch
from aihwkit.simulator.configs import DigitalRankUpdateRPUConfig
from torch import Tensor

from hwsim.crossbar.circuit import Circuit
from hwsim.crossbar.reads.kernels import PatchKernels
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.crossbar.reads.readable import ArrayReads
from hwsim.crossbar.reads.window import Window
from hwsim.crossbar.synapse import Meter, check_keys, check_rate, check_weight
from hwsim.crossbar.updates.pulsed import count_rows
from hwsim.devices.aihw.compiled import compiled_read, move_to, restore_tile, tile_state
from hwsim.devices.aihw.traits import TileTraits
from hwsim.errors import InputError
from hwsim.rng import Streams

COLUMNWISE = (
    "array.mapping_scale: 'layer' is one scale for all outputs, and mapping.weight_scaling_columnwise asks for one "
    "each; keep one of the two"
)


class AihwSynapse(ArrayReads):
    """A compiled tile of shape (post, pre).

    Weights are ``scale`` times the tile's own; it is fixed when weights are programmed
    (``mapping.weight_scaling_omega``). It is one digital factor after the read in either direction, so that
    the converters see the same inputs forward and backward. (aihwkit scales the inputs of the transpose read instead.)
    A scale per column can only be applied to the inputs there.
    """

    def __init__(self, device: TileTraits, shape: tuple[int, int], streams: Streams) -> None:
        self.shape = shape
        self.device = device
        config = copy.deepcopy(device.config)
        if hasattr(config.device, "construction_seed"):
            # 31 bits, and not 0, which means "from the clock".
            config.device.construction_seed = 1 + (
                (streams.seed_of("device") + config.device.construction_seed) % (2**31 - 1)
            )
        self.tile = config.tile_class(*shape, config)
        self.tile.tile.set_weights(torch.zeros(shape))  # aihwkit starts at unseeded random weights
        forward, backward = device.path("forward"), device.path("backward")
        self.noisy = any(path is None or path.noisy for path in (forward, backward))
        self._compiled = forward is None, backward is None  # which directions the compiled tile reads
        self._forward, self._backward = forward or ReadPath(), backward or ReadPath()
        self._rng_read = streams.generator("read")
        self._dw_min = self._granularity() if device.pulsed else None
        pulses = device.pulsed and not isinstance(device.config, DigitalRankUpdateRPUConfig)
        self.meter = Meter(k_limit=float(config.update.desired_bl) if pulses else None)
        self._refresh()

    def _granularity(self) -> float | None:
        """The mean weight change of one pulse, as the compiled part itself uses it."""
        extra = self.tile.tile.dump_extra() or {}
        keys = [key for key in extra if key.endswith(("device.weight_granularity", "device.granularity"))]
        return extra[min(keys, key=len)][0] if keys else None

    def place_in(self, circuit: Circuit) -> None:
        if self.device.unseeded_reads:
            raise InputError(
                f"array: the compiled tile reads this device ({'; '.join(self.device.unseeded_reads)}) and knows "
                "nothing of an array; remove that setting or `array:`"
            )
        if circuit.finite and not self.device.movable:
            raise InputError(
                f"array: a {type(self.device.config.device).__name__} keeps more than the weight in aihwkit's own "
                "tile; finite levels need a single device or a transfer compound without write noise (for a digital "
                "sum, `in_situ.update: accumulate` on a single device)"
            )
        super().place_in(circuit)

    def _refresh(self) -> None:
        self._raw = self.tile.tile.get_weights().detach()
        self._changed()
        scales = self.tile.get_mapping_scales()
        scales = torch.ones(1) if scales is None else scales.detach().flatten()
        common = bool((scales == scales[0]).all())
        self.scale = float(scales[0]) if common else 1.0
        self._columns = None if common else scales

    def read(self, pre: Tensor) -> Tensor:
        if not self._compiled[0]:
            return super().read(pre)
        self.meter.vectors_read += len(pre)
        y = compiled_read(pre, self.tile.tile, transpose=False) * self.scale
        return y if self._columns is None else y * self._columns

    def read_transpose(self, post: Tensor) -> Tensor:
        if not self._compiled[1]:
            return super().read_transpose(post)
        self.meter.vectors_read_transpose += len(post)
        post = post if self._columns is None else post * self._columns
        return compiled_read(post, self.tile.tile, transpose=True) * self.scale

    def read_images(self, images: Tensor, window: Window) -> Tensor:
        if not self._compiled[0]:
            return super().read_images(images, window)
        return PatchKernels(self, window).read(images)

    def read_images_transpose(self, images: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
        if not self._compiled[1]:
            return super().read_images_transpose(images, window, size)
        return PatchKernels(self, window).read_transpose(images, size)

    @torch.no_grad()
    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        check_rate(rate)
        self.meter.vectors_updated += len(pre)
        if rate == 0:
            return  # aihwkit accepts only rates > 0
        self._count_pulses(pre, post, rate)
        before = self._held
        self.tile.set_learning_rate(rate)
        self.tile.update(pre.detach().contiguous(), -post.detach())  # the tile does W -= rate d^T x
        self._refresh()
        self._land(before)

    @property
    def granularity(self) -> float | Tensor | None:
        """None where the tile sums updates itself, or does not tell the size of its pulses."""
        if not self.device.pulsed:
            return 0.0
        if not self._dw_min or isinstance(self.device.config, DigitalRankUpdateRPUConfig):
            return None
        return self._dw_min * (self.scale if self._columns is None else self._columns[:, None])

    @property
    def scales_updates(self) -> bool:
        """``auto_scale`` of aihwkit's chopped and buffered compounds, by running means of the largest factors."""
        return bool(getattr(self.device.config.device, "auto_scale", False))

    period = 1

    @property
    def digital_bytes(self) -> int:
        """Of the accumulator that mixed precision has, in single precision."""
        accumulates = isinstance(self.device.config, DigitalRankUpdateRPUConfig)
        return 4 * self.shape[0] * self.shape[1] if accumulates else 0

    @torch.no_grad()
    def pulse(self, counts: Tensor) -> None:
        """Whole pulses, (post, pre), slot by slot: in each, a row is selected and its columns carry a pulse or none.

        A tile that manages the length of its trains sends exactly these; one with trains of fixed length sends as many
        in the mean.
        """
        count_rows(self.meter, counts)
        step = torch.as_tensor(self.granularity).expand(self.shape[0], 1)
        # A hair less than one pulse is a train of one slot, in which the pulse is all but certain.
        rate = getattr(self.device.config.device, "fast_lr", 0.0) or 1.0
        select = torch.diag(step[:, 0] * (1 - 1e-6) / rate)
        before = self._held
        self.tile.set_learning_rate(1.0)
        for slot in range(int(counts.abs().max())):
            now = counts.sign() * (counts.abs() > slot)
            rows = now.any(1)
            self.tile.update(now[rows].contiguous(), -select[rows])
        self._refresh()
        self._land(before)

    @property
    def _held(self) -> Tensor:
        """The weights that are on levels where devices have such: under write noise those that pulses act on."""
        if self._circuit.finite and self.device.write_noise:
            return self.hidden()["persistent_weights"].clone()
        return self._raw

    def _land(self, before: Tensor) -> None:
        if self._circuit.finite:
            move_to(self.tile, self._circuit.landed(before, self._held))
            self._refresh()

    def _count_pulses(self, pre: Tensor, post: Tensor, rate: float) -> None:
        per_unit = self.pulses_per_unit(rate)
        if per_unit:
            self.meter.count_train(pre, post, per_unit)

    def pulses_per_unit(self, rate: float) -> float:
        """0 of a digital accumulator, which sends whole pulses of its own and says of none."""
        if not self._dw_min or isinstance(self.device.config, DigitalRankUpdateRPUConfig):
            return 0.0
        rate = getattr(self.device.config.device, "fast_lr", 0.0) or rate
        smallest = self.scale if self._columns is None else float(self._columns.min())
        return rate / (self._dw_min * smallest)

    @torch.no_grad()
    def tick(self) -> None:
        self.tile.post_update_step()
        self._refresh()

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        check_weight(weight, self.shape)
        self.meter.programmed += 1
        self._write(weight.detach().float().contiguous())
        if self.device.programming == "pulsed" and float(weight.abs().max()):
            # A reference left from an earlier call makes aihwkit 1.1 and 1.2 fail with UnboundLocalError.
            self.tile.reference_combined_weights = None
            self.tile.program_weights()
        self._refresh()
        held = self._held
        reached, writes = self._circuit.write(held, held, None)
        self.meter.writes += writes
        if reached is not held:
            self.tile.tile.set_weights(reached.contiguous())
            self._refresh()

    def map_to(self, largest: float) -> None:
        if largest and self.device.config.mapping.weight_scaling_columnwise:
            raise InputError(COLUMNWISE)
        super().map_to(largest)

    def _write(self, weight: Tensor) -> None:
        omega = self.device.config.mapping.weight_scaling_omega
        if not (self.full_scale and omega):
            self.tile.set_weights(weight)
            return
        # aihwkit maps an array's own largest weight, to an omega that may be another one each time.
        own = float(weight.abs().max())
        self.tile.set_weights(weight, weight_scaling_omega=omega * own / self.full_scale if own else omega)
        self.tile.set_mapping_scales(torch.tensor([self.full_scale / omega]))

    def weight(self) -> Tensor:
        return self._seen().forward * (self.scale if self._columns is None else self._columns[:, None])

    def hidden(self) -> dict[str, Tensor]:
        """The tile's device parameters and inner weights by aihwkit's names, each (post, pre)."""
        names = self.tile.tile.get_hidden_parameter_names()
        return dict(zip(names, self.tile.tile.get_hidden_parameters().detach(), strict=True)) if names else {}

    def conductances(self) -> dict[str, Tensor]:
        """The normalised weights of the tile, and of every device in a compound cell."""
        inner = {name: value for name, value in self.hidden().items() if name.startswith("hidden_weights")}
        return {"weight": self._raw.clone(), **inner, **self._circuit.conductances(self._raw)}

    def limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """The state of every device with its lowest and highest values, by name, each (post, pre).

        Under write noise the state is what pulses act on, and the weight that is read lies around it. Where noise moves
        the state itself (``TileTraits.noisy_store``) bounds are soft, and there is nothing to hold it against.
        """
        return {} if self.device.noisy_store else self._limits()

    def _limits(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        hidden, limits = self.hidden(), {}
        for name, upper in hidden.items():
            if name.startswith("max_bound"):
                which = name.removeprefix("max_bound")
                read_as = hidden.get("hidden_weights" + which, self._raw)
                value = hidden.get("persistent_weights" + which, read_as)
                limits["weight" + which] = (value, hidden["min_bound" + which], upper)
        return limits

    def clipped_share(self) -> float:
        """Share of devices within 1 % of a bound of their own; a device that only grows from 0 has no lower one."""
        near = []
        for w, lower, upper in self._limits().values():
            margin = (upper - lower) * 0.01
            near.append((upper - w <= margin) | ((w - lower <= margin) & (lower < 0)))
        return float(torch.stack(near).float().mean()) if near else 0.0

    def reseed_reads(self, streams: Streams) -> None:
        self._rng_read = streams.generator("read")

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "raw": self._raw.clone(),
            **tile_state(self.tile),
            "rng.read": self._rng_read.get_state(),
            **self._circuit.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore weights, hidden parameters and counters; ``TileTraits.not_exact`` says what cannot be."""
        check_keys(state, set(self.state_dict()), "compiled tile")
        check_weight(state["raw"], self.shape)
        restore_tile(self.tile, state)
        self._refresh()
        self._raw = state["raw"].clone()
        self._circuit.load_state_dict(state)
        self._changed()
        self._rng_read.set_state(state["rng.read"])
