"""Whatever aihwkit knows by name goes from YAML to an array that is read, updated, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from aihwkit.simulator.configs import compounds, devices

from hwsim.cards.device import read_device
from hwsim.cards.nonidealities import properties
from hwsim.crossbar.synapse import Synapse
from hwsim.devices.aihw import catalog
from hwsim.errors import InputError
from hwsim.rng import Streams

PRESETS = sorted(catalog.presets_by_name())
ALONE = sorted(
    name
    for name in catalog.choices((devices.PulsedDevice, devices.IdealDevice, devices.FloatingPointDevice))
    if not issubclass(catalog.classes()[name], compounds.UnitCell)
)
COMPOUNDS = {
    "VectorUnitCell": "unit_cell_devices: [SoftBoundsDevice, ConstantStepDevice]",
    "ReferenceUnitCell": "unit_cell_devices: [SoftBoundsReferenceDevice, SoftBoundsReferenceDevice]",
    "OneSidedUnitCell": "unit_cell_devices: [PCMPresetDevice]",
    "DifferenceUnitCell": "unit_cell_devices: [SoftBoundsDevice]",
    "PCMPresetUnitCell": "{}",
    "TransferCompound": "unit_cell_devices: [EcRamPresetDevice, EcRamPresetDevice]\n  transfer_every: 2",
    "BufferedTransferCompound": "unit_cell_devices: [EcRamPresetDevice, EcRamPresetDevice]\n  fast_lr: 0.1",
    "ChoppedTransferCompound": "unit_cell_devices: [EcRamPresetDevice, EcRamPresetDevice]\n  in_chop_prob: 0.1",
    "DynamicTransferCompound": "unit_cell_devices: [EcRamPresetDevice, EcRamPresetDevice]\n  tail_weightening: 5",
    "MixedPrecisionCompound": "device: ReRamSBPresetDevice\n  granularity: 0.01",
}


def used(path: Path, text: str) -> Synapse:
    """Read, update, save and load an array of the device; what comes back reads alike."""
    path.write_text(text)
    device = read_device(path).device
    synapse = device.synapse(5, 7, Streams(0))
    generator = torch.Generator().manual_seed(1)
    synapse.program(torch.randn(5, 7, generator=generator) * 0.1)
    x, d = torch.rand(6, 7, generator=generator), torch.randn(6, 5, generator=generator) * 0.1
    programmed = synapse.weight()
    assert synapse.read(x).shape == (6, 5)
    assert synapse.read_transpose(d).shape == (6, 7)
    for _ in range(20):
        synapse.update(x, d, 0.1)
        synapse.tick()
    changed = synapse.weight()
    assert torch.isfinite(changed).all()
    if not text.startswith("class: UnitCellRPUConfig") and "TT" not in text and "AGAD" not in text:
        assert not changed.equal(programmed)
    other = device.synapse(5, 7, Streams(0))
    other.load_state_dict(synapse.state_dict())
    assert other.weight().equal(changed)
    if not device.unseeded_reads:
        assert other.read(x).equal(synapse.read(x))
        assert other.read_transpose(d).equal(synapse.read_transpose(d))
    other.update(x, d, 0.1)
    other.tick()
    return synapse


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str, tmp_path: Path) -> None:
    used(tmp_path / "device.yaml", f"preset: {name}\n")


@pytest.mark.parametrize("name", ALONE)
def test_every_single_device(name: str, tmp_path: Path) -> None:
    config = "FloatingPointRPUConfig" if name == "FloatingPointDevice" else "SingleRPUConfig"
    used(tmp_path / "device.yaml", f"class: {config}\ndevice: {name}\n")


def test_every_compound_is_tried() -> None:
    known = catalog.choices((compounds.UnitCell, compounds.DigitalRankUpdateCell))
    assert set(COMPOUNDS) == set(known)


@pytest.mark.parametrize("name", COMPOUNDS)
def test_every_compound(name: str, tmp_path: Path) -> None:
    config = "DigitalRankUpdateRPUConfig" if name == "MixedPrecisionCompound" else "UnitCellRPUConfig"
    parts = "" if COMPOUNDS[name] == "{}" else f"\n  {COMPOUNDS[name]}"
    used(tmp_path / "device.yaml", f"class: {config}\ndevice:\n  class: {name}{parts}\n")


OWN_TEST = {"UnitCellRPUConfig", "DigitalRankUpdateRPUConfig", "TorchInferenceRPUConfigIRDropT"}


def test_a_configuration_with_a_read_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"forward: parameters of class IOParametersIRDropT .* not simulated"):
        used(tmp_path / "device.yaml", "class: TorchInferenceRPUConfigIRDropT\n")


@pytest.mark.parametrize("name", sorted(set(catalog.configs_by_name()) - OWN_TEST))
def test_every_general_configuration(name: str, tmp_path: Path) -> None:
    used(tmp_path / "device.yaml", f"class: {name}\n")


@pytest.mark.parametrize("prefix", ["", "NoiseManagementType."])
@pytest.mark.parametrize("kind", ["preset: EcRamPreset", "cell: soft-bounds"])
def test_names_of_enums_with_and_without_their_class(kind: str, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(f"{kind}\nforward: {{noise_management: {prefix}ABS_MAX, bound_management: NONE}}\n")
    assert read_device(path).resolved["forward"]["noise_management"] == "ABS_MAX"


def test_a_name_of_another_enum_is_refused(tmp_path: Path) -> None:
    for kind in ("preset: EcRamPreset", "cell: soft-bounds"):
        path = tmp_path / "device.yaml"
        path.write_text(f"{kind}\nforward: {{noise_management: BoundManagementType.ABS_MAX}}\n")
        with pytest.raises(InputError, match=r"noise_management: .*ABS_MAX"):
            read_device(path)


@pytest.mark.parametrize("kind", ["preset: EcRamPreset", "cell: soft-bounds", "class: InferenceRPUConfig"])
def test_no_steps_are_zero_or_minus_one(kind: str, tmp_path: Path) -> None:
    """As aihwkit documents; reads with either are the same, and differ from those with steps."""
    reads = []
    for res in (0, -1, "4bit"):
        path = tmp_path / "device.yaml"
        path.write_text(
            f"{kind}\nforward: {{inp_bound: 1, inp_res: {res}, out_bound: 12, out_res: {res}, out_noise: 0}}\n"
        )
        card = read_device(path)
        synapse = card.device.synapse(5, 7, Streams(0))
        generator = torch.Generator().manual_seed(1)
        synapse.program(torch.randn(5, 7, generator=generator) * 0.1)
        reads.append(synapse.read(torch.rand(6, 7, generator=generator)))
        steps = {"DAC steps", "ADC steps"} & {item.name for item in properties(card)}
        assert not steps or res == "4bit" or kind.startswith("preset")
    assert reads[0].equal(reads[1])
    assert not reads[0].equal(reads[2])
