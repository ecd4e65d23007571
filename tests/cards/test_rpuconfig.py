"""aihwkit's configurations as YAML: nothing is lost on the way there and back, and no mistake passes."""

from __future__ import annotations

import copy
import dataclasses
import enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.cards.rpuconfig import dump, load
from hwsim.cards.yamlfile import parse_yaml, to_yaml
from hwsim.devices.aihw import catalog
from hwsim.errors import InputError

# The two general configurations that hold no device until one is named.
WITHOUT_DEVICE = {"UnitCellRPUConfig", "DigitalRankUpdateRPUConfig"}
PRESETS = sorted(catalog.presets_by_name())
CONFIGS = [*PRESETS, *sorted(set(catalog.configs_by_name()) - WITHOUT_DEVICE)]
DEVICES = sorted(name for name in catalog.classes() if name.endswith("PresetDevice"))


def make(name: str) -> Any:
    return catalog.classes()[name]()


def from_yaml(text: str, besides: frozenset[str] = frozenset()) -> Any:
    return load(parse_yaml(text, "f.yaml"), besides)


def state(value: Any) -> Any:
    """Everything that an object holds, by types and attributes and without ``dump``, so that the two can disagree."""
    if isinstance(value, enum.Enum) or value is None or isinstance(value, bool | int | float | str | type):
        return value
    if isinstance(value, list | tuple):
        return [state(item) for item in value]
    if isinstance(value, dict):
        return {key: state(item) for key, item in value.items()}
    return type(value).__name__, {key: state(item) for key, item in vars(value).items()}


def changed(value: Any) -> Any:
    """A copy in which every number, truth value and name that a file may set differs from the original."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, enum.Enum):
        return list(type(value))[-1]
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.875 + 0.03125
    if isinstance(value, list):
        return [changed(item) for item in value]
    if dataclasses.is_dataclass(value):
        known = catalog.parameter_types(type(value))
        return dataclasses.replace(value, **{name: changed(getattr(value, name)) for name in known})
    return copy.deepcopy(value)


def test_the_catalogue_holds_every_preset():
    assert len(PRESETS) >= 54
    for family in ("EcRam", "EcRam2", "EcRam4", "TikiTakaEcRam", "TTv2EcRam", "ChoppedTTv2EcRam", "AGADEcRam"):
        assert f"{family}Preset" in PRESETS
    assert {"MixedPrecisionPCMPreset", "PCMPreset", "FloatingPointPreset", "StandardHWATrainingPreset"} <= set(PRESETS)
    assert {"ReRamArrayOMPresetDevice", "ReRamArrayHfO2PresetDevice"} <= set(DEVICES)


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_through_yaml(name: str):
    config = make(name)
    mapping = dump(config)
    again = from_yaml(to_yaml(mapping))
    assert state(again) == state(config)
    assert dump(again) == mapping


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_of_changed_values(name: str):
    """Defaults alone could come back without being read."""
    config = changed(make(name))
    assert dump(config) != dump(make(name))
    # not probed: the compiled part has its own opinion of such mixtures
    again = load(parse_yaml(to_yaml(dump(config)), "f.yaml"), probe=False)
    assert state(again) == state(config)


@pytest.mark.parametrize("name", DEVICES)
def test_round_trip_of_device_only_presets(name: str):
    config = from_yaml(f"class: SingleRPUConfig\ndevice: {name}\n")
    assert type(config.device) is catalog.classes()[name]
    assert state(load(dump(config))) == state(config)


@pytest.mark.parametrize(
    "text",
    [
        "noise_model: {class: HermesNoiseModel, num_devices: 1}",
        "noise_model: {class: PCMLikeNoiseModel, g_converter: {class: DualPairConductanceConverter, f_lst: [1, 2]}}",
        "noise_model: {prog_coeff: [0.3, 0.2, 0.1], prog_coeff_g_max_reference: 20, t_0: 10}",
        "noise_model: {class: StateIndependentNoiseModel, drift_nu_mean: 0.2, g_max: 30}",
        "noise_model: {class: ReRamWan2022NoiseModel, coeff_dic: {1.0: [1.0, 0.1], 86400.0: [1, 0], 172800.0: [1, 0]}}",
        "noise_model: ReRamCMONoiseModel",
        "drift_compensation: PerColumnDriftCompensation",
        "drift_compensation: null",
        "modifier: {type: ADD_NORMAL, std_dev: 0.1}",
    ],
)
def test_round_trip_of_inference_parts(text: str):
    config = from_yaml(f"class: InferenceRPUConfig\n{text}\n")
    mapping = dump(config)
    assert dump(load(parse_yaml(to_yaml(mapping), "f"))) == mapping
    assert mapping != dump(make("InferenceRPUConfig"))


def test_overrides_change_in_place_and_class_replaces():
    config = from_yaml("preset: EcRamPreset\ndevice: {dw_min: 1/400}\nforward: {inp_res: 8bit, out_noise: 1e-2}\n")
    preset = make("EcRamPreset")
    assert type(config.device) is type(preset.device)
    assert config.device.dw_min == 1 / 400
    assert config.device.gamma_up == preset.device.gamma_up
    assert config.forward.inp_res == 1 / 254
    assert config.forward.out_noise == 0.01
    assert config.backward == preset.backward
    replaced = from_yaml("preset: EcRamPreset\ndevice: {class: SoftBoundsDevice, dw_min: 0.01}\n")
    assert replaced.device == catalog.classes()["SoftBoundsDevice"](dw_min=0.01)


def test_devices_inside_cells():
    many = ", ".join(["SoftBoundsDevice"] * 3000)
    with pytest.raises(InputError, match=r"unit_cell_devices: expected at most 16 entries, got 3,000"):
        from_yaml(f"class: UnitCellRPUConfig\ndevice: {{class: VectorUnitCell, unit_cell_devices: [{many}]}}\n")
    text = "preset: TikiTakaReRamSBPreset\ndevice: {unit_cell_devices: %s}\n"
    by_position = from_yaml(text % "{1: {dw_min: 0.1}}").device.unit_cell_devices
    by_list = from_yaml(text % "[{}, {dw_min: 0.1}]").device.unit_cell_devices
    assert by_position == by_list
    assert [type(device).__name__ for device in by_list] == ["ReRamSBPresetDevice"] * 2
    assert [device.dw_min for device in by_list] == [0.002, 0.1]
    replaced = from_yaml(text % "[SoftBoundsDevice, {class: EcRamPresetDevice, dw_min: 0.1}]").device.unit_cell_devices
    assert [type(device).__name__ for device in replaced] == ["SoftBoundsDevice", "EcRamPresetDevice"]


def test_parts_of_a_named_class_start_from_its_own_defaults():
    text = "class: UnitCellRPUConfig\ndevice:\n  class: TransferCompound\n  transfer_forward: {out_noise: 0.25}\n"
    cell = from_yaml(text + "  unit_cell_devices: [SoftBoundsDevice, SoftBoundsDevice]\n").device
    assert cell.transfer_forward == catalog.classes()["IOParameters"](out_noise=0.25)


def test_an_ideal_device_may_stand_behind_imperfect_reads():
    config = from_yaml("class: SingleRPUConfig\ndevice: IdealDevice\n")
    assert type(config.device).__name__ == "IdealDevice"


ECRAM = "preset: EcRamPreset\n"
INFERENCE = "class: InferenceRPUConfig\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # names
        (ECRAM + "device: {dw_mim: 1e-3}", "f.yaml:2: device.dw_mim: unknown key; did you mean 'dw_min'? Known keys: "),
        (ECRAM + "foward: {}", "f.yaml:2: foward: unknown key; did you mean 'forward'? Known keys: backward, device, "),
        (ECRAM + "sumary: x", "f.yaml:2: sumary: unknown key; did you mean 'summary'? Known keys: "),
        (
            ECRAM + "mapping: {weight_scaling_omg: .4}",
            "f.yaml:2: mapping.weight_scaling_omg: unknown key; did you mean 'weight_scaling_omega'? Known keys: ",
        ),
        (ECRAM + "runtime: {data_tpe: FLOAT}", "f.yaml:2: runtime.data_tpe: unknown key; did you mean 'data_type'? "),
        (ECRAM + "dw_min: 1", "f.yaml:2: dw_min: unknown key; did you mean 'device.dw_min', one level down?"),
        (ECRAM + "tile_class: x", "f.yaml:2: tile_class: cannot be set; EcRamPreset fixes it"),
        (INFERENCE + "backward: {}", "f.yaml:2: backward: cannot be set; InferenceRPUConfig fixes it"),
        (INFERENCE + "noise_model: {g_mx: 3}", "f.yaml:2: noise_model.g_mx: unknown key; did you mean 'g_max'? "),
        (
            "preset: EcRamPrset",
            "f.yaml:1: preset: unknown preset 'EcRamPrset'; did you mean 'EcRamPreset'? Known: AGADCap",
        ),
        ("class: EcRamPreset", "f.yaml:1: class: 'EcRamPreset' is a preset; write preset: EcRamPreset instead"),
        (
            "preset: ReRamArrayOMPresetDevice",
            "f.yaml:1: preset: 'ReRamArrayOMPresetDevice' is not a whole configuration; write class: SingleRPUConfig "
            "and device: {class: ReRamArrayOMPresetDevice} instead",
        ),
        ("forward: {}", "f.yaml: expected exactly one of the keys preset: and class: at the top"),
        (
            ECRAM + "forward: {class: os.system}",
            "f.yaml:2: forward.class: unknown class 'os.system'. Known: IOParameters, IOParametersIRDropT, ",
        ),
        (ECRAM + "device: {class: TransferCompound}", "f.yaml:2: device.class: unknown class 'TransferCompound'"),
        (
            ECRAM + "forward: {noise_management: AbsMax}",
            "f.yaml:2: forward.noise_management: unknown name 'AbsMax'; did you mean 'ABS_MAX'? Known: ABS_MAX, ",
        ),
        # types
        ("preset: 3", "f.yaml:1: preset: expected a name, got the number 3"),
        (ECRAM + "forward: [1]", "f.yaml:2: forward: expected a map of keys and values, got a list"),
        (ECRAM + "forward: fast", "f.yaml:2: forward: expected a map of keys and values, got the text 'fast'"),
        (ECRAM + "device:", "f.yaml:2: device: expected a value, got nothing (null)"),
        (ECRAM + "forward: {out_bound: big}", "f.yaml:2: forward.out_bound: expected a number, got the text 'big'"),
        (ECRAM + "forward: {out_bound: '12'}", "f.yaml:2: forward.out_bound: expected a number, got the text '12'"),
        (ECRAM + "forward: {out_bound: 7bit}", "f.yaml:2: forward.out_bound: expected a number, got the text '7bit'"),
        (
            ECRAM + "forward: {out_bound: true}",
            "f.yaml:2: forward.out_bound: expected a number, got the truth value true",
        ),
        (ECRAM + "forward: {out_bound: [1]}", "f.yaml:2: forward.out_bound: expected a number, got a list"),
        (
            ECRAM + "forward: {is_perfect: 1}",
            "f.yaml:2: forward.is_perfect: expected true or false, got the number 1",
        ),
        (ECRAM + "update: {desired_bl: 3.5}", "f.yaml:2: update.desired_bl: expected an integer, got the number 3.5"),
        (ECRAM + "forward: {noise_management: 3}", "f.yaml:2: forward.noise_management: expected one of NONE, ABS_MAX"),
        (
            ECRAM + "device: {class: PiecewiseStepDevice, piecewise_up: [1, a]}",
            "f.yaml:2: device.piecewise_up[1]: expected a number, got the text 'a'",
        ),
        (
            "preset: TikiTakaReRamSBPreset\ndevice: {unit_cell_devices: [{dw_min: 1}]}",
            "f.yaml:2: device.unit_cell_devices: a list of 1, and 2 are there; name a class: in every entry",
        ),
        (
            "preset: TikiTakaReRamSBPreset\ndevice: {unit_cell_devices: {2: {dw_min: 1}}}",
            "f.yaml:2: device.unit_cell_devices[2]: no such entry; there are 2",
        ),
        (
            "preset: TikiTakaReRamSBPreset\ndevice:\n  unit_cell_devices:\n    - {}\n    - {dw_mn: 1}",
            "f.yaml:5: device.unit_cell_devices[1].dw_mn: unknown key; did you mean 'dw_min'? ",
        ),
        # ranges
        (ECRAM + "forward: {out_bound: 0}", "f.yaml:2: forward.out_bound: expected a number > 0, got 0"),
        (ECRAM + "forward: {out_noise: -0.1}", "f.yaml:2: forward.out_noise: expected a number >= 0, got -0.1"),
        (ECRAM + "forward: {out_noise: .nan}", "f.yaml:2: forward.out_noise: expected a finite number, got nan"),
        (ECRAM + "forward: {out_bound: .inf}", "f.yaml:2: forward.out_bound: expected a finite number, got inf"),
        (ECRAM + "device: {dw_min: -1e-3}", "f.yaml:2: device.dw_min: expected a number > 0, got -0.001"),
        (ECRAM + "device: {corrupt_devices_prob: 2}", "f.yaml:2: device.corrupt_devices_prob: expected a probability"),
        (ECRAM + "device: {w_min: 2}", "f.yaml:2: device.w_min: expected w_min < w_max, got w_min 2.0 and w_max 1.17"),
        (ECRAM + "update: {desired_bl: 0}", "f.yaml:2: update.desired_bl: expected a number > 0, got 0"),
        # what only building an array shows
        (ECRAM + "device: {w_min: 1}", "f.yaml:2: device.w_min: aihwkit refuses this value: "),
        (ECRAM + "runtime: {data_type: HALF}", "f.yaml:2: runtime.data_type: aihwkit refuses this value: "),
        (
            ECRAM + "forward:\n  out_noise: 0.1\n  inp_bound: 2",
            "f.yaml:4: forward.inp_bound: aihwkit refuses this value: ",
        ),
        (
            "class: UnitCellRPUConfig\ndevice: VectorUnitCell",
            "f.yaml:2: device.unit_cell_devices: VectorUnitCell needs a list with at least one entry",
        ),
        (
            "class: UnitCellRPUConfig\ndevice: {class: OneSidedUnitCell, unit_cell_devices: []}",
            "f.yaml:2: device.unit_cell_devices: OneSidedUnitCell needs a list with at least one entry",
        ),
        (
            "class: UnitCellRPUConfig\ndevice: {class: TransferCompound, unit_cell_devices: [SoftBoundsDevice]}",
            "f.yaml: aihwkit refuses this combination of values: TransferCompound needs more unit_cell_devices than",
        ),
        (
            "class: UnitCellRPUConfig",
            "f.yaml: device: UnitCellRPUConfig needs a device; give it class:, one of Buffered",
        ),
        # noise models
        (
            INFERENCE + "noise_model: CustomDriftPCMLikeNoiseModel",
            "f.yaml:2: noise_model: CustomDriftPCMLikeNoiseModel needs 'custom_drift_model'",
        ),
        (
            INFERENCE + "noise_model: {g_max: 30, g_converter: {class: SinglePairConductanceConverter, g_max: 20}}",
            "f.yaml:2: noise_model.g_max: has no effect: PCMLikeNoiseModel takes 20.0 from another of its arguments; ",
        ),
        (
            INFERENCE + "noise_model:\n  g_converter: {class: SinglePairConductanceConverter, g_max: 20, g_min: 30}",
            "f.yaml:3: noise_model.g_converter: SinglePairConductanceConverter cannot be built: g_min should be",
        ),
    ],
)
def test_mistakes_are_told_where_they_stand(text: str, message: str):
    with pytest.raises(InputError) as error:
        from_yaml(text, frozenset({"name", "summary"}))
    assert str(error.value).startswith(message)


def maps_in(mapping: dict[str, Any], keys: tuple = ()) -> list[tuple]:
    """Key paths of every map, the top included, through lists."""
    found = [keys]
    for key, value in mapping.items():
        if isinstance(value, dict) and "class" in value:
            found += maps_in(value, (*keys, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    found += maps_in(item, (*keys, key, index))
    return found


def at(mapping: Any, keys: tuple) -> Any:
    for key in keys:
        mapping = mapping[key]
    return mapping


@settings(max_examples=60)
@given(name=st.sampled_from(CONFIGS), data=st.data())
def test_an_unknown_key_is_rejected_at_any_depth(name: str, data: st.DataObject):
    mapping = copy.deepcopy(dump(make(name)))
    keys = data.draw(st.sampled_from(maps_in(mapping)))
    target = at(mapping, keys)
    real = data.draw(st.sampled_from(sorted(set(target) - {"class", "preset"}) or ["x"]))
    wrong = data.draw(
        st.sampled_from([real + "_", real[:-1] + "q", real.upper(), "zzz"]).filter(lambda k: k not in target)
    )
    target[wrong] = 1
    with pytest.raises(InputError, match="unknown key"):
        load(mapping)


@settings(max_examples=40)
@given(name=st.sampled_from(CONFIGS), data=st.data())
def test_a_wrong_type_is_rejected_at_any_depth(name: str, data: st.DataObject):
    mapping = copy.deepcopy(dump(make(name)))
    keys = data.draw(st.sampled_from([keys for keys in maps_in(mapping) if "noise_model" not in keys]))
    target = at(mapping, keys)
    fields = {key: value for key, value in target.items() if key not in ("class", "preset", "calibration_info")}
    if not fields:
        return
    key = data.draw(st.sampled_from(sorted(fields)))
    wrong: list[Any] = [{"zzz": 1}, "zzz", [["zzz"]], 1.5 if isinstance(fields[key], bool) else True]
    target[key] = data.draw(st.sampled_from(wrong))
    with pytest.raises(InputError):
        load(mapping)


def test_the_check_for_unknown_keys_can_fail():
    """Were unknown keys dropped, the two tests above had to notice: here aihwkit itself drops one."""
    config = make("EcRamPreset")
    config.mapping.weight_scaling_omg = 0.4
    catalog.probe(config)  # accepted in silence
    with pytest.raises(InputError, match="weight_scaling_omg: unknown key"):
        from_yaml(ECRAM + "mapping: {weight_scaling_omg: 0.4}")


@pytest.mark.parametrize("name", CONFIGS)
def test_ranges_hold_for_every_default(name: str):
    """A range rule that a preset breaks would be wrong, or too narrow."""

    def check(value: Any) -> None:
        for field, hint in catalog.parameter_types(type(value)).items():
            inner = getattr(value, field, None)
            for part in inner if isinstance(inner, list) else [inner]:
                if isinstance(part, int | float) and not isinstance(part, bool) and hint in (int, float):
                    assert catalog.outside(field, part) is None, f"{field} {part}"
                elif dataclasses.is_dataclass(part):
                    check(part)

    check(make(name))


def test_what_a_file_cannot_say_is_not_dropped():
    config = make("InferenceRPUConfig")
    config.backward.out_noise = 0.3
    with pytest.raises(ValueError, match=r"InferenceRPUConfig\.backward was changed; a file cannot say that"):
        dump(config)
    config = make("EcRamPreset")
    config.tile_class = int
    with pytest.raises(ValueError, match="tile_class was changed"):
        dump(config)
