"""``hwsim ablate``: variants, costs with intervals, the limiting property, resuming."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import jobfolders
import pytest
from cli_settings import small
from htmlpage import Page

from hwsim.cards.device import read_device
from hwsim.cards.listing import list_devices
from hwsim.cards.nonidealities import properties, switched_off
from hwsim.experiments.ablation.job import ALL_OFF, ALL_ON, Ablation, plan_ablation
from hwsim.experiments.ablation.results import Cost, Results, verdict
from hwsim.experiments.requests import AblationRequest
from hwsim.reports.ablation import conclusion
from hwsim.stats.interval import Interval

Cli = Callable[..., tuple[int, str, str]]

DEVICE = """\
cell: ideal
forward: {inp_bound: 1.0, out_bound: 100.0, out_noise: 0.001}
array: {stuck_low: 0.01, stuck_high: 0.6, offset_std: 0.001}
"""
TRAINED = small("network.layers=[64, 16, 10]", "in_situ.epochs=4", "inference.steps=40", "evaluation.examples=100")


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "broken" / "rpu-config.yaml"
    path.parent.mkdir()
    path.write_text(DEVICE)
    return str(path)


# --- what is switched ---


@pytest.mark.parametrize("name", [item.name for item in list_devices()])
def test_every_property_of_every_device_on_the_shelf_switches_off(name: str) -> None:
    card = read_device(name)
    found = properties(card)
    ranges = {"DAC range", "ADC range", "bounds", "granularity"}  # without a limit means: a thousand times as wide
    for item in found:
        changed = {other.name for other in properties(read_device(name, item.off))}
        assert changed - ranges == {other.name for other in found} - ranges - {item.name}
    everything = {other.name for other in properties(read_device(name, switched_off(found)))}
    assert everything <= ranges


EVERYTHING = """\
cell: linear-step
parameters: {dw_min: 0.01, dw_min_dtod: 0.1, dw_min_std: 0.3, up_down: 0.1, drift_nu: 0.05, read_noise: 0.01}
forward: {inp_bound: 1.0, inp_res: 7bit, inp_noise: 0.01, out_bound: 12.0, out_res: 9bit, out_noise: 0.1}
backward: {inp_bound: 1.0, inp_res: 7bit, out_bound: 12.0, out_res: 9bit, out_scale: 0.9}
array:
  {stuck_low: 0.1, stuck_high: 0.1, stuck_last: 0.1, wire_resistance_ohm: 2, transpose_mismatch: 0.1, offset_std: 0.1}
"""
ASKED = {
    *("DAC range", "DAC steps", "ADC range", "ADC steps", "input noise", "output noise", "conductance read noise"),
    *("device-to-device variation", "cycle-to-cycle variation", "asymmetry", "granularity", "bounds"),
    *(
        "stuck low",
        "stuck high",
        "stuck last",
        "IR drop",
        "drift",
        "uncompensated drift",
        "transpose mismatch",
        "offset",
    ),
}


def test_every_non_ideality_that_there_is_switches_alone(tmp_path: Path) -> None:
    (tmp_path / "rpu-config.yaml").write_text(EVERYTHING)
    found = properties(read_device(tmp_path))
    assert {item.name for item in found} == ASKED | {"state-dependent steps"}
    for item in found:
        left = {other.name for other in properties(read_device(tmp_path, item.off))}
        gone = {item.name} | ({"uncompensated drift"} if item.name == "drift" else set())
        assert ASKED - left <= gone
        assert item.name not in left or item.name in {"DAC range", "ADC range", "bounds"}


def test_compensation_of_drift_is_a_property_of_inference_devices_too() -> None:
    bare = read_device("pcm-inference", [("drift_compensation", None)])
    off = next(item for item in properties(bare) if item.name == "uncompensated drift")
    again = read_device("pcm-inference", [("drift_compensation", None), *off.off])
    assert again.resolved == read_device("pcm-inference").resolved
    assert "uncompensated drift" not in {item.name for item in properties(again)}


def test_a_float_device_has_nothing_to_switch(hwsim_here: Cli) -> None:
    assert properties(read_device("ideal")) == []
    code, _, err = hwsim_here("ablate", "--device", "ideal")
    assert code == 2
    assert "ideal has nothing that could be switched off" in err


def test_a_range_is_widened_at_the_same_step() -> None:
    before = read_device("soft-bounds-cell")
    off = next(item for item in properties(before) if item.name == "ADC range")
    after = read_device("soft-bounds-cell", off.off)
    ours = [card.resolved["forward"] for card in (before, after)]
    assert ours[1]["out_bound"] == 1000 * ours[0]["out_bound"]
    assert math.isclose(ours[0]["out_bound"] * ours[0]["out_res"], ours[1]["out_bound"] * ours[1]["out_res"])


def test_finer_pulses_leave_noise_that_is_relative_to_a_pulse_as_it_was() -> None:
    before = read_device("reram-es")
    off = next(item for item in properties(before) if item.name == "granularity")
    old, new = before.resolved["device"], read_device("reram-es", off.off).resolved["device"]
    assert math.isclose(new["dw_min"] * 10, old["dw_min"])
    assert math.isclose(new["dw_min"] * new["write_noise_std"], old["dw_min"] * old["write_noise_std"])
    # Ten times as many pulses make the same change; their variances add up to the same.
    assert math.isclose(10 * (new["dw_min"] * new["dw_min_std"]) ** 2, (old["dw_min"] * old["dw_min_std"]) ** 2)


def test_what_is_set_twice_the_later_property_has() -> None:
    found = properties(read_device("reram-es"))
    settings = dict(switched_off(found))
    assert settings["device.write_noise_std"] == 0
    assert settings["device.dw_min"] < 0.001


def test_bounds_do_not_move_where_devices_are_stuck() -> None:
    settings = [("array.stuck_high", 0.1)]
    card = read_device("ecram", settings)
    off = next(item for item in properties(card) if item.name == "bounds")
    wide = read_device("ecram", [*settings, *off.off])
    assert wide.resolved["array"]["weight_range"] == card.resolved["array"]["weight_range"]


def test_a_cell_says_what_only_it_can_know(tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom hwsim.devices.cell import BaseCell\n\n"
        "@dataclass(frozen=True)\nclass Mine(BaseCell):\n    hysteresis: float = 0.3\n"
        "    nonidealities: ClassVar = {'hysteresis': {'hysteresis': 0.0}}\n"
        "    def pulse(self, g, up, rng):\n        return (g * 0 + self.dw_min) * (1 if up else -1)\n"
    )
    (tmp_path / "rpu-config.yaml").write_text("cell: ./cell.py:Mine\n")
    found = {item.name: item.off for item in properties(read_device(tmp_path))}
    assert found["hysteresis"] == (("parameters.hysteresis", 0.0),)


# --- the job ---


def test_variants_are_all_but_one_and_only_one(device: str, tmp_path: Path) -> None:
    planned = plan(device, tmp_path)
    names = ["DAC range", "offset", "output noise", "ADC range", "stuck low", "stuck high"]
    assert [item.name for item in planned.properties] == names
    assert len(planned.variants) == 2 + 2 * len(names)
    left = {name: {item.name for item in properties(variant.card)} for name, variant in planned.variants.items()}
    ranges = {"DAC range", "ADC range"}
    assert left[ALL_ON] == set(names)
    assert left[ALL_OFF] <= ranges
    assert left["all but offset"] == set(names) - {"offset"}
    assert left["only offset"] - ranges == {"offset"}


def test_equal_variants_are_trained_once(device: str, tmp_path: Path) -> None:
    planned = plan(device, tmp_path, names=["offset"])
    assert [name for name, _ in planned.work()] == [ALL_ON, ALL_OFF]


def test_settings_of_the_user_are_kept_in_every_variant(device: str, tmp_path: Path) -> None:
    planned = plan(device, tmp_path, settings=["device.array.g_max_uS=50"])
    assert {each.card.resolved["array"]["g_max_uS"] for each in planned.variants.values()} == {50}


def plan(device: str, tmp_path: Path, names: list[str] | None = None, settings: list[str] | None = None) -> Ablation:
    where = {"out": tmp_path / "out", "settings": settings or [], "properties": names or []}
    return plan_ablation(AblationRequest(device=device, seeds=1, command="hwsim ablate", **where))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--property", "stuck hihg"], "did you mean 'stuck high'?"),
        (["--case", "in situ"], "--case: expected one of in-situ, programmed"),
        (["--age", "60"], "does not drift"),
        (["--seeds", "0"], "expected at least 1"),
        (["--set", "device.array.stuck_hgh=1"], "did you mean 'stuck_high'?"),
    ],
)
def test_mistakes_are_the_users(device: str, hwsim_here: Cli, arguments: list[str], complaint: str) -> None:
    code, _, err = hwsim_here("ablate", "--device", device, *arguments)
    assert code == 2
    assert complaint in err


def test_a_page_is_written_anew_by_its_own_command(hwsim_here: Cli, tmp_path: Path) -> None:
    code, _, err = hwsim_here("report", str(jobfolders.write_ablation(tmp_path / "ablation", 0.5)))
    assert code == 2
    assert "of hwsim ablate, whose own command writes its page anew" in err


def test_the_planted_property_is_named_and_a_second_call_repeats_nothing(
    device: str, hwsim_here: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["ablate", "--device", device, "--seeds", "1", "--out", str(out)]
    arguments += ["--property", "offset", "--property", "stuck high", *TRAINED]
    code, text, err = hwsim_here(*arguments)
    assert code == 0, err
    assert "The limiting property is stuck high" in text
    lines = (out / "ablation.jsonl").read_text()
    assert len(lines.splitlines()) == 4
    assert (out / "figures" / "ablation.png").stat().st_size > 5000
    assert (out / "figures" / "ablation.svg").read_text().startswith("<?xml")
    page = Page((out / "report.html").read_text())
    assert "The limiting property is stuck high" in page.below["summary"]
    assert "Not switched in any variant" in page.below["summary"]
    assert "One training" in page.below["summary"]
    assert page.text.partition('id="table-costs"')[2].partition("</table>")[0].count("<tr>") == 3
    rows = {row["property"]: row for row in csv.DictReader((out / "ablation.csv").open())}
    assert float(rows["stuck high"]["gained_without_mean_share"]) > 0.1
    assert abs(float(rows["offset"]["gained_without_mean_share"])) < 0.2
    assert not list((out / "states").glob("*.safetensors"))
    receipt = (out / "receipt.json").read_text()
    assert json.loads(receipt)["seeds"] == {"root": 0, "repeats": [0]}
    assert hwsim_here(*arguments)[0] == 0
    assert (out / "receipt.json").read_text() == receipt, "nothing was measured again"

    # Stopped after the second training: the two that are left are done, to the same result.
    (out / "ablation.jsonl").write_text("".join(line + "\n" for line in lines.splitlines()[:2]) + '{"variant": "on')
    assert hwsim_here(*arguments)[0] == 0
    again = [json.loads(line) for line in (out / "ablation.jsonl").read_text().splitlines() if line.endswith("}")]
    before = [json.loads(line) for line in lines.splitlines()]
    assert [(r["variant"], r["hits"]) for r in again] == [(r["variant"], r["hits"]) for r in before]
    code, _, err = hwsim_here(*arguments, "--set", "in_situ.beta=0.7")
    assert code == 2
    assert "another configuration" in err


def test_programmed_devices_are_judged_without_training_them(device: str, hwsim_here: Cli, tmp_path: Path) -> None:
    arguments = ["ablate", "--device", device, "--case", "programmed", "--seeds", "1", "--out", str(tmp_path / "out")]
    code, text, _ = hwsim_here(*arguments, *small("learning.epochs=6"))
    assert code == 0
    assert "stuck high" in text
    assert (tmp_path / "out" / "states" / "float-0.safetensors").exists()


# --- the verdict ---


def interval(mean: float, half: float = 0.01) -> Interval:
    return Interval(mean, mean - half, mean + half, "repeats and images")


def results(costs: dict[str, tuple[float, float]], lost: float, repeats: int = 3) -> Results:
    """Costs alone and gained, with intervals of .01, and of .02 where they hold for all properties at once."""
    made = []
    for name, both in costs.items():
        alone, gained = map(interval, both)
        joint = [interval(mean, 0.02) for mean in both]
        made.append(Cost(name, alone, gained, *joint, interval(0.9 - both[0]), interval(0.5 + both[1]), 0))
    return Results(interval(0.9 - lost), interval(0.9), interval(lost), tuple(made), repeats, 360)


@pytest.mark.parametrize(
    ("costs", "lost", "kind", "name"),
    [
        ({"drift": (0.3, 0.02), "stuck": (0.1, 0.2)}, 0.4, "limits", "stuck"),
        ({"drift": (0.3, 0.005), "stuck": (0.1, 0.2)}, 0.005, "none", "stuck"),
        ({"drift": (0.05, 0.005), "stuck": (0.2, 0.001)}, 0.3, "several", "stuck"),
        ({"drift": (0.005, 0.005), "stuck": (0.001, 0.006)}, 0.3, "unresolved", "stuck"),
        ({"drift": (0.005, 0.005), "stuck": (0.001, 0.015)}, 0.3, "unresolved", "stuck"),  # apart alone, not among many
    ],
)
def test_a_property_is_named_only_where_it_can_be_resolved(
    costs: dict[str, tuple[float, float]], lost: float, kind: str, name: str
) -> None:
    found = verdict(results(costs, lost))
    assert (found.kind, found.cost.name) == (kind, name)
    sentence = conclusion(results(costs, lost))
    assert (name in sentence) is (kind != "none")
    assert ("limiting property is" in sentence) is (kind == "limits")
