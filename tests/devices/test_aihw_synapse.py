"""aihwkit's tiles and inference devices as synapses."""

from __future__ import annotations

import importlib
import math
import re
import subprocess
import sys

import pytest
import torch
from aihwkit.inference import GlobalDriftCompensation, PCMLikeNoiseModel
from aihwkit.inference.compensation.drift import PerColumnDriftCompensation
from aihwkit.simulator import presets
from aihwkit.simulator.configs import (
    ConstantStepDevice,
    FloatingPointRPUConfig,
    IdealDevice,
    InferenceRPUConfig,
    SingleRPUConfig,
    SoftBoundsDevice,
)
from aihwkit.simulator.parameters.enums import AnalogMVType
from torch import Tensor

from hwsim.crossbar.synapse import Device, Synapse
from hwsim.devices.aihw import AihwDevice, AihwInferenceDevice, AihwSynapse, check_pair, device_of, pair
from hwsim.errors import InputError, WorkError
from hwsim.rng import Streams

PRESETS = [
    "CapacitorPreset", "EcRamPreset", "ReRamESPreset", "ReRamSBPreset", "IdealizedPreset", "PCMPreset",
    "ReRamES2Preset", "TikiTakaReRamSBPreset", "TTv2EcRamPreset", "AGADEcRamPreset", "MixedPrecisionPCMPreset",
    "StandardHWATrainingPreset", "FloatingPointPreset",
]  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def preset(name: str, omega: float = 0.4):
    config = getattr(presets, name)()
    config.mapping.weight_scaling_omega = omega
    return config


def array(config: object, seed: int = 0, post: int = 6, pre: int = 9, **more: object):
    synapse = AihwDevice(config, **more).synapse(post, pre, Streams(seed))
    synapse.program(torch.randn(post, pre, generator=rng(1)) * 0.1)
    return synapse


def batch(n: int = 8, post: int = 6, pre: int = 9, seed: int = 2) -> tuple[Tensor, Tensor]:
    g = rng(seed)
    return torch.rand(n, pre, generator=g), torch.randn(n, post, generator=g) * 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_every_kind_of_device_does_what_a_synapse_must(name: str) -> None:
    device = device_of(preset(name))
    assert isinstance(device, Device)
    synapse = device.synapse(6, 9, Streams(0))
    assert isinstance(synapse, Synapse)
    weight = torch.randn(6, 9, generator=rng(1)) * 0.1
    synapse.program(weight)
    x, d = batch()
    assert synapse.read(x).shape == (8, 6)
    assert synapse.read_transpose(d).shape == (8, 9)
    synapse.update(x, d, 0.01)
    synapse.update(x, d, 0.0)
    synapse.tick()
    assert torch.isfinite(synapse.weight()).all()
    assert all(value.shape == (6, 9) for value in synapse.conductances().values())
    assert 0 <= synapse.clipped_share() <= 1
    assert synapse.meter.vectors_updated == 16
    other = device.synapse(6, 9, Streams(7))
    other.load_state_dict(synapse.state_dict())
    assert torch.equal(other.weight(), synapse.weight())
    assert torch.equal(other.read(x), synapse.read(x))
    with pytest.raises(ValueError, match=r"saved state of a (compiled tile|programmed array)"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match="learning rate"):
        synapse.update(x, d, -0.1)


def test_device_variation_is_seeded_and_another_one_for_every_array() -> None:
    config = preset("EcRamPreset")
    one, same = array(config).hidden(), array(config).hidden()
    for name in one:
        assert torch.equal(one[name], same[name]), name
    for other in (array(config, seed=1), AihwDevice(config).synapse(6, 9, Streams(0).child("layer", 1))):
        assert not torch.equal(one["max_bound"], other.hidden()["max_bound"])
    config.device.construction_seed = 7
    assert not torch.equal(one["max_bound"], array(config).hidden()["max_bound"])
    assert config.device.construction_seed == 7, "the description must not change"


def test_reads_are_seeded_and_their_gradient_is_the_transpose() -> None:
    config = preset("IdealizedPreset")
    x, d = batch()
    assert torch.equal(array(config).read(x), array(config).read(x))
    assert torch.equal(array(config).read_transpose(d), array(config).read_transpose(d))
    synapse = array(config)
    assert synapse.noisy
    x.requires_grad_()
    (synapse.read(x) * d).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, d @ synapse.weight())


@pytest.mark.parametrize("columnwise", [False, True])
def test_a_mapped_array_reads_its_logical_weight_in_both_directions(columnwise: bool) -> None:
    config = SingleRPUConfig(device=ConstantStepDevice(w_max=1.0, w_min=-1.0, w_max_dtod=0.0, w_min_dtod=0.0))
    config.mapping.weight_scaling_omega = 0.8
    config.mapping.weight_scaling_columnwise = columnwise
    for io in (config.forward, config.backward):
        io.out_noise, io.out_bound = 0.0, 6.0
    synapse = array(config)
    x, d = batch(200)
    torch.testing.assert_close(synapse.weight(), torch.randn(6, 9, generator=rng(1)) * 0.1)
    for found, exact in ((synapse.read(x), x @ synapse.weight().T), (synapse.read_transpose(d), d @ synapse.weight())):
        assert float((found * exact).sum() / exact.square().sum()) == pytest.approx(1, abs=0.02)
        assert float((found - exact).std() / exact.std()) < 0.1


def test_what_the_torch_path_does_not_cover_is_read_by_the_compiled_tile() -> None:
    config = preset("IdealizedPreset")
    config.forward.mv_type = AnalogMVType.POS_NEG_SEPARATE
    config.backward.out_noise_std = 0.3
    device = AihwDevice(config)
    assert device.unseeded_reads == ("forward: mv_type POS_NEG_SEPARATE", "backward: out_noise_std = 0.3")
    synapse = array(config)
    x, d = batch(4000)
    x.requires_grad_()
    d.requires_grad_()
    for found, exact in ((synapse.read(x), x @ synapse.weight().T), (synapse.read_transpose(d), d @ synapse.weight())):
        assert slope(found.detach(), exact.detach()) == pytest.approx(1, abs=0.05)
        found.sum().backward()
    for grad, exact in ((x.grad, synapse.weight().sum(0)), (d.grad, synapse.weight().sum(1))):
        assert grad is not None
        # Each row's gradient is one noisy read of the same ones, so their mean is the exact sum.
        error = float(grad.std(0).max()) / math.sqrt(len(grad))
        torch.testing.assert_close(grad.mean(0), exact, rtol=0.02, atol=7 * error + 0.01)


def test_what_is_exact_says_so() -> None:
    plain = AihwDevice(FloatingPointRPUConfig())
    assert plain.seedable
    assert plain.ideal
    digital = AihwDevice(SingleRPUConfig(device=IdealDevice()))
    assert digital.seedable
    assert not digital.ideal
    weight = torch.randn(6, 9, generator=rng(1)) * 0.1
    for device in (plain, digital):
        synapse = device.synapse(6, 9, Streams(0))
        synapse.program(weight)
        x, d = batch()
        synapse.update(x, d, 0.3)
        torch.testing.assert_close(synapse.weight() - weight, 0.3 * d.T @ x, rtol=1e-4, atol=1e-6)
    pulsed = AihwDevice(preset("EcRamPreset"))
    assert not pulsed.seedable
    assert not pulsed.ideal
    assert pulsed.not_exact == ()
    assert AihwDevice(preset("TikiTakaReRamSBPreset")).not_exact == (
        "write noise is drawn again, and moves the stored weights",
    )
    assert AihwDevice(preset("ReRamSBPreset")).not_exact == ("write noise is drawn again",)
    assert "accumulator" in AihwDevice(preset("MixedPrecisionPCMPreset")).not_exact[0]


@pytest.mark.parametrize("name", ["CapacitorPreset", "EcRamPreset", "PCMPreset", "TTv2EcRamPreset", "AGADEcRamPreset"])
def test_hidden_state_survives_a_save(name: str) -> None:
    device = AihwDevice(preset(name))
    one = array(preset(name))
    x, d = batch()
    for _ in range(5):
        one.update(x, d, 0.1)
        one.tick()
    state = one.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    other = device.synapse(6, 9, Streams(9))
    other.load_state_dict(state)
    for key, value in other.state_dict().items():
        if key != "extra":
            assert torch.equal(value, state[key]), key
    assert other.tile.tile.dump_extra() == one.tile.tile.dump_extra()


def test_a_write_noise_device_keeps_its_persistent_weights() -> None:
    one = array(preset("ReRamSBPreset"))
    one.update(*batch(), 0.1)
    other = AihwDevice(preset("ReRamSBPreset")).synapse(6, 9, Streams(9))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.hidden()["persistent_weights"], other.hidden()["persistent_weights"])


def test_pulses_a_sample_are_reported_in_the_devices_own_steps() -> None:
    config = SingleRPUConfig(device=SoftBoundsDevice(dw_min=2e-3))
    config.mapping.weight_scaling_omega = 0.5
    synapse = array(config)
    x, d = torch.full((2, 9), 0.5), torch.full((2, 6), 0.1)
    synapse.update(x, d, 0.2)
    scale = float((torch.randn(6, 9, generator=rng(1)) * 0.1).abs().max()) / 0.5
    assert synapse.meter.k_max == pytest.approx(0.2 * 0.5 * 0.1 / 2e-3 / scale, rel=1e-4)
    assert synapse.meter.k_limit == 31
    mixed = array(preset("MixedPrecisionPCMPreset"))
    assert mixed.meter.k_limit is None


def test_programming_clips_to_the_bounds_and_pulses_if_asked() -> None:
    config = SingleRPUConfig(device=SoftBoundsDevice(w_max=0.6, w_min=-0.6, w_max_dtod=0.0, w_min_dtod=0.0))
    synapse = array(config)
    synapse.program(torch.full((6, 9), 3.0))
    torch.testing.assert_close(synapse.weight(), torch.full((6, 9), 0.6))
    assert synapse.clipped_share() == 1
    pulsed = array(config, programming="pulsed")
    weight = torch.randn(6, 9, generator=rng(1)) * 0.1
    for _ in range(2):  # aihwkit's own second call fails
        pulsed.program(weight)
        assert 1e-4 < float((pulsed.weight() - weight).square().mean().sqrt()) < 0.06


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: setattr(c.pre_post.input_range, "enable", True), "input_range"),
        (lambda c: setattr(c.mapping, "learn_out_scaling", True), "learn_out_scaling"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(change: object, message: str) -> None:
    config = preset("EcRamPreset")
    change(config)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        AihwDevice(config)
    with pytest.raises(InputError, match=r"AihwDevice\.programming"):
        AihwDevice(preset("EcRamPreset"), programming="quick")
    with pytest.raises(InputError, match="use AihwInferenceDevice"):
        AihwDevice(InferenceRPUConfig())
    with pytest.raises(InputError, match="use AihwDevice"):
        AihwInferenceDevice(preset("EcRamPreset"))


# --- inference devices ---


def inference(**more: object) -> InferenceRPUConfig:
    config = InferenceRPUConfig(noise_model=PCMLikeNoiseModel(), drift_compensation=GlobalDriftCompensation())
    config.mapping.weight_scaling_omega = 1.0
    config.forward.out_noise = 0.02
    for name, value in more.items():
        setattr(config, name, value)
    return config


WEIGHT = torch.randn(40, 60, generator=rng(4)) * 0.1


def programmed(config: InferenceRPUConfig, seed: int = 0):
    synapse = AihwInferenceDevice(config).synapse(40, 60, Streams(seed))
    synapse.program(WEIGHT)
    return synapse


def slope(found: Tensor, exact: Tensor) -> float:
    return float((found * exact).sum() / exact.square().sum())


def test_training_is_exact_behind_noisy_reads_and_programming_is_not() -> None:
    synapse = programmed(inference())
    error = synapse.weight() - WEIGHT
    assert 0.02 < float(error.std() / WEIGHT.std()) < 0.3
    x, d = torch.rand(5, 60, generator=rng()), torch.randn(5, 40, generator=rng())
    synapse.update(x, d, 0.0)
    torch.testing.assert_close(synapse.weight(), WEIGHT)
    synapse.update(x, d, 0.1)
    torch.testing.assert_close(synapse.weight(), WEIGHT + 0.1 * d.T @ x)
    assert not torch.equal(synapse.read(x), synapse.read(x))
    with pytest.raises(ValueError, match="program it first"):
        synapse.age(1.0)


def test_programming_is_seeded_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = programmed(inference()), programmed(inference()), programmed(inference(), seed=1)
    one.age(100.0)
    same.age(100.0)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.weight(), same.weight())
    assert not torch.equal(one.weight(), other.weight())
    one.program(WEIGHT)
    assert not torch.equal(one.weight(), programmed(inference()).weight()), "written anew, drawn anew"


def test_ageing_is_a_function_of_absolute_time() -> None:
    synapse = programmed(inference(drift_compensation=None))
    fresh = synapse.weight()
    slopes = []
    for seconds in (0.0, 3600.0, 2.6e6):
        synapse.age(seconds)
        slopes.append(slope(synapse.weight(), WEIGHT))
        aged = synapse.weight()
    assert slopes[0] > slopes[1] > slopes[2]
    assert slopes[2] < 0.7
    synapse.age(0.0)
    assert torch.equal(synapse.weight(), fresh)
    synapse.age(2.6e6)
    assert torch.equal(synapse.weight(), aged)
    with pytest.raises(InputError, match="finite number of seconds >= 0"):
        synapse.age(-1.0)


def test_compensation_keeps_the_two_directions_together() -> None:
    synapse = programmed(inference())
    synapse.age(2.6e6)
    assert slope(synapse.weight(), WEIGHT) == pytest.approx(1, abs=0.1)
    x, d = torch.rand(3000, 60, generator=rng()), torch.rand(3000, 40, generator=rng())
    forward, back = (
        slope(synapse.read(x), x @ synapse.weight().T),
        slope(synapse.read_transpose(d), d @ synapse.weight()),
    )
    assert forward == pytest.approx(1, abs=0.05)
    assert back == pytest.approx(forward, abs=0.05)  # aihwkit's own: a factor of 1.7


def test_a_programmed_array_is_resumed_bit_for_bit() -> None:
    one = programmed(inference())
    one.age(3600.0)
    x = torch.rand(5, 60, generator=rng())
    other = AihwInferenceDevice(inference()).synapse(40, 60, Streams(9))
    other.load_state_dict(one.state_dict())
    for synapse in (one, other):
        synapse.read(x)
    for seconds in (3600.0, 1e6):
        one.age(seconds)
        other.age(seconds)
        assert torch.equal(one.read(x), other.read(x))
        assert torch.equal(one.weight(), other.weight())
    one.program(WEIGHT)
    other.program(WEIGHT)
    assert torch.equal(one.weight(), other.weight())


def test_conductances_are_those_of_the_pair_in_microsiemens() -> None:
    found = programmed(inference()).conductances()
    assert set(found) == {"weight", "g_plus_uS", "g_minus_uS"}
    assert 20 < float(torch.maximum(found["g_plus_uS"], found["g_minus_uS"]).max()) < 30


def test_inference_settings_that_break_the_energy_are_refused() -> None:
    with pytest.raises(InputError, match="drift_compensation: expected GlobalDriftCompensation or none"):
        AihwInferenceDevice(inference(drift_compensation=PerColumnDriftCompensation()))
    config = inference()
    config.forward.out_noise_std = 0.1
    with pytest.raises(InputError, match=r"forward: out_noise_std = 0\.1 is not simulated"):
        AihwInferenceDevice(config)
    unused = AihwInferenceDevice(presets.StandardHWATrainingPreset()).not_used
    assert "mapping.learn_out_scaling" in unused


# --- the pair of aihwkit and torch ---


def test_the_installed_pair_works() -> None:
    assert check_pair() is None
    assert isinstance(array(preset("EcRamPreset")), AihwSynapse)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch.so: undefined symbol"),
        ModuleNotFoundError("No module named 'aihwkit'"),
        TypeError("Invalid weights dimensions: expected [3,4] tensor\nC++ trace"),
    ],
)
def test_a_wrong_pair_is_named_with_its_cure_in_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    working = importlib.import_module

    def broken(name: str) -> object:
        if name.startswith("aihwkit"):
            raise error
        return working(name)

    monkeypatch.setattr(pair.importlib, "import_module", broken)
    pair.check_pair.cache_clear()
    try:
        with pytest.raises(WorkError) as caught:
            pair.check_pair()
    finally:
        monkeypatch.undo()
        pair.check_pair.cache_clear()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r"aihwkit \S+ does not work with torch \S+", message)
    for part in (
        type(error).__name__,
        "aihwkit==1.1.0",
        "torch==2.10.*",
        "aihwkit==1.2.0",
        "torch==2.14.*",
        "pip inst",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["check_pair", "AihwDevice"])
def test_without_aihwkit_the_same_sentence_comes(name: str) -> None:
    code = (
        "import sys; sys.modules['aihwkit'] = None\n"
        "from hwsim.errors import WorkError\n"
        "try:\n"
        f"    from hwsim.devices.aihw import {name}\n"
        f"    {name}()\n"
        "except WorkError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "cure: pip install" in done.stdout, done.stderr
