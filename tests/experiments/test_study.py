"""Study files: how they expand, and that a mistake is told with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from hwsim.errors import InputError
from hwsim.experiments.sweep.measurements import key_of
from hwsim.experiments.sweep.study import Study, read_study
from hwsim.experiments.sweep.work import plan

STUDY = """
name: example
measurement: in-situ-accuracy
device: ./own/rpu-config.yaml
seeds: [3, 5]
set: {in_situ.beta: 1.0, in_situ.epochs: 8}
quick: {seeds: [3], set: {in_situ.epochs: 2}}
blocks:
  noise:
    set: {in_situ.beta: 0.5}
    axes:
      device.forward.out_noise: [0, 0.1, 0.2]
      reads: {keys: [in_situ.average_last, inference.average_last], values: [1, 5]}
    quick: {axes: {device.forward.out_noise: [0, 0.2], reads: [5]}}
  forms:
    axes:
      form:
        cases:
          plain: {}
          twin: {in_situ.phase_hardware: twin, in_situ.beta: 2.0}
          other: {device: ecram}
    quick: {axes: {form: [twin]}}
  dropped:
    quick: {skip: true}
"""


def study(tmp_path: Path, text: str = STUDY, **form: Any) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return read_study(path, **form)


def test_blocks_are_products_of_axes_and_seeds(tmp_path: Path) -> None:
    points = list(study(tmp_path).points())
    counts = {block: sum(point.block == block for point in points) for block in ("noise", "forms", "dropped")}
    assert counts == {"noise": 12, "forms": 6, "dropped": 2}
    first = points[0]
    assert (first.axes, first.seed) == ({"device.forward.out_noise": 0, "reads": 1}, 3)
    assert first.spec.device == str(tmp_path / "./own/rpu-config.yaml")
    assert first.spec.for_device() == [("forward.out_noise", 0)]
    wanted = {"in_situ.beta": 0.5, "in_situ.epochs": 8, "in_situ.average_last": 1, "inference.average_last": 1}
    assert dict(first.spec.for_model()) == wanted


def test_quick_is_coarser(tmp_path: Path) -> None:
    points = list(study(tmp_path, quick=True).points())
    assert [(p.block, *p.axes.values(), p.seed) for p in points] == [
        *(("noise", 0, 5, 3), ("noise", 0.2, 5, 3)),
        ("forms", "twin", 3),
    ]
    assert dict(points[0].spec.for_model())["in_situ.epochs"] == 2


def test_scales_are_further_forms(tmp_path: Path) -> None:
    text = STUDY.replace("blocks:\n", "scales: {large: {seeds: [7], set: {in_situ.epochs: 90}}}\nblocks:\n")
    text = text.replace("    quick: {axes: {form: [twin]}}", "    scales: {large: {axes: {form: [plain, other]}}}")
    points = list(study(tmp_path, text, scale="large").points())
    assert {point.seed for point in points} == {7}
    assert [p.axes["form"] for p in points if p.block == "forms"] == ["plain", "other"]
    assert sum(p.block == "noise" for p in points) == 6, "blocks that do not name the scale are as in the full form"
    assert dict(points[-1].spec.for_model())["in_situ.epochs"] == 90
    assert len(list(study(tmp_path, text, scale="full").points())) == len(list(study(tmp_path, text).points()))
    for form, told in (
        ({"scale": "huge"}, "--scale huge: expected one of full, quick, large"),
        ({"scale": "large", "quick": True}, "--scale large: is another form than --quick"),
    ):
        with pytest.raises(InputError, match=told):
            study(tmp_path, text, **form)
    with pytest.raises(InputError, match=r"blocks.forms.scales.large: 'large' is no scale of the study"):
        study(tmp_path, text.replace("scales: {large: {seeds: [7], set: {in_situ.epochs: 90}}}", "scales: {}"))


def test_cases_set_several_things(tmp_path: Path) -> None:
    found = {p.axes["form"]: p.spec for p in study(tmp_path).points() if p.block == "forms"}
    assert found["other"].device == "ecram"
    assert dict(found["twin"].for_model())["in_situ.beta"] == 2.0
    assert dict(found["plain"].for_model())["in_situ.beta"] == 1.0


def test_seeds_of_the_command_line_win(tmp_path: Path) -> None:
    assert {p.seed for p in study(tmp_path, quick=True, seeds=4).points()} == {0, 1, 2, 3}


def test_the_accelerator_of_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected cpu, cuda or cuda:N"):
        study(tmp_path, accelerator="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    placed = STUDY.replace("in_situ.epochs: 8}", "in_situ.epochs: 8, measurement.accelerator: cuda}")
    for text, given, used in (
        (STUDY, "cuda", "cuda"),
        (STUDY, "cpu", None),
        (placed, "cpu", "cpu"),
        (placed, None, "cuda"),
    ):
        specs = [point.spec for point in study(tmp_path, text, accelerator=given).points()]
        assert {spec.options().get("accelerator") for spec in specs} == {used}
    with pytest.raises(InputError, match="computes on the CPU alone"):
        key_of(next(study(tmp_path, accelerator="cuda").points()).spec)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: example", "", r"study.yaml: name: missing"),
        ("quick: {seeds", "quik: {seeds", r"study.yaml:7: quik: unknown key; did you mean 'quick'"),
        (
            "measurement: in-situ-accuracy",
            "cell: in-situ-accuracy",
            r"study.yaml:3: cell: is `measurement:` now; an",
        ),
        ("{in_situ.beta: 1.0,", "{cell.reads: 4,", r"study.yaml:6: set.cell.reads: is measurement.reads now"),
        ("seeds: [3, 5]", "seeds: []", r"study.yaml:5: seeds: .*at least 1 item"),
        ("seeds: [3, 5]", "seeds: [3, 3]", r"study.yaml:5: seeds: expected different numbers >= 0"),
        ("seeds: [3]", "seeds: [-1]", r"study.yaml:7: quick.seeds: expected different numbers"),
        ("axes: {form: [twin]}", "axes: {from: [twin]}", r"study.yaml:22: blocks.forms.quick.axes.from: 'from' is no"),
        ("[twin]", "[twim]", r"study.yaml:22: .*'twim' is no case of the axis; did you mean 'twin'"),
        ("values: [1, 5]", "value: [1, 5]", r"study.yaml:13: blocks.noise.axes.reads: expected a list of values"),
        ("values: [1, 5]", "values: []", r"study.yaml:13: blocks.noise.axes.reads.values: expected some values"),
        ("plain: {}", "plain: 3", r"study.yaml:19: .*cases.plain: expected a map of settings, got the number 3"),
        ("in_situ.beta: 0.5", "in_situ..beta: 0.5", r"study.yaml:10: blocks.noise.set.in_situ..beta: .*joined by dots"),
        ("quick: {skip: true}", "quick: {skipp: true}", r"study.yaml:24: blocks.dropped.quick.skipp: unknown key"),
        (
            "  dropped:",
            "  dropped:\n    figure: {x: beta}",
            r"study.yaml:24: .*figure.x: 'beta' is no axis",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in STUDY
    with pytest.raises(InputError) as error:
        study(tmp_path, STUDY.replace(old, new, 1))
    assert re.search(told, str(error.value)), str(error.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("in_situ.bta: [1.0]", r"study.yaml:\d+: blocks.one: at in_situ.bta = 1.0: .*unknown key.*'beta'"),
        ("in_situ.beta: [-1.0]", r"blocks.one: at in_situ.beta = -1.0: --set in_situ.beta: .*greater than 0"),
        ("device: [ecramm]", r"blocks.one: at device = ecramm: .*unknown name; did you mean 'ecram'"),
        ("device.forward.out_nois: [1]", r"blocks.one: at .*out_noise"),
        (
            "measurement.typ: [1]",
            r"blocks.one: at measurement.typ = 1: measurement.typ: unknown setting of in-situ",
        ),
    ],
)
def test_values_that_cannot_be_are_told_before_any_work(tmp_path: Path, line: str, told: str) -> None:
    text = f"name: x\nmeasurement: in-situ-accuracy\ndevice: soft-bounds-cell\nblocks:\n  one: {{axes: {{{line}}}}}\n"
    with pytest.raises(InputError) as error:
        plan(study(tmp_path, text))
    assert re.search(told, str(error.value)), str(error.value)


def test_an_unknown_measurement_is_told_with_its_place(tmp_path: Path) -> None:
    wanted = "study.yaml:2: measurement: 'in-situ-acuracy' is no measurement; did you mean 'in-situ-accuracy'"
    with pytest.raises(InputError, match=wanted):
        plan(study(tmp_path, "name: x\nmeasurement: in-situ-acuracy\nblocks: {one: {}}\n"))
