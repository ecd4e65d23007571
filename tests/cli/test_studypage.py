"""The pages of studies: from tiny sweeps to pages that stand alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.study.studydevices import MATCHED, TRANSFER

SMALL = """
  network.layers: [64, 12, 10]
  learning.epochs: 2
  in_situ.epochs: 2
  inference.steps: 8
  inference.average_last: 2
  evaluation.draws: 2
  evaluation.examples: 60
  evaluation.input_noise.sigma: []
  evaluation.corruptions.types: []
  evaluation.pgd.epsilon: [0.1]
  evaluation.pgd.steps: 2
"""

TOLERANCE = """
  noise:
    axes:
      device.forward.out_noise: [0.0, 0.2, 3.0]
      reads: {keys: [cell.reads], values: [1, 4]}
    figure: {x: device.forward.out_noise, scale: symlog, collapse: reads}
  step:
    axes: {dw: {keys: [device.parameters.dw_min], values: [0.001, 0.5]}}
    figure: {x: dw, scale: log}
  form:
    axes: {form: {keys: [in_situ.update_form], values: [difference, two-phase]}}
    figure: {x: form, scale: categories}
"""

DEVICES = """
  float: {axes: {device: [ideal], case: {keys: [cell.case], values: [float]}}}
  analog: {axes: {device: [soft-bounds-cell], case: {keys: [cell.case], values: [programmed, in-situ]}}}
"""


@pytest.mark.parametrize(
    ("page", "cell", "blocks", "figures"),
    [
        ("tolerance", "in-situ-accuracy", TOLERANCE, {"scans", "noise", "form"}),
        ("devices", "robustness", DEVICES, {"attacks", "matched"}),
    ],
)
def test_pages_are_whole(
    hwsim_here: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    page: str,
    cell: str,
    blocks: str,
    figures: set[str],
) -> None:
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    head = f"name: small\nquestion: Is it good?\npage: {page}\ncell: {cell}\ndevice: soft-bounds-cell\n"
    study.write_text(f"{head}set:{SMALL}blocks:{blocks}")
    code, told, err = hwsim_here("sweep", str(study), "--jobs", "1", "--out", str(out))
    assert (code, err) == (0, ""), told
    text = (out / "report.html").read_text()
    assert "Is it good?" in text
    assert "finished, " in text
    assert set(re.findall(r'<figure id="figure-([\w-]+)"', text)) == figures
    assert not re.findall(r'(?:src|href)="(?!data:|#|figures/)[a-z]+:', text)
    assert all(f'href="{name}"' in text for name in ("results.csv", "study.yaml"))
    for name in figures:
        assert (out / "figures" / f"{name}.png").stat().st_size > 0
        assert (out / "figures" / f"{name}.svg").stat().st_size > 0
    if page == "devices":
        records = [json.loads(file.read_text()) for file in (out / "cells").glob("*.json")]
        attack = "accuracy_pgd-linf_epsilon0.1_share"
        assert all({attack, MATCHED + attack, TRANSFER + attack} <= set(record["hits"]) for record in records)
        assert any(record["columns"]["matched_noise_sigma"] == 0 for record in records), "float needs no noise"
