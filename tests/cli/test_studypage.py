"""The pages of studies: from tiny sweeps to pages that stand alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from studies import module_of

from hwsim.cards import shelf

PAGE = module_of("ideal-vs-analog", "page")
MATCHED, TRANSFER = PAGE.MATCHED, PAGE.TRANSFER

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

CURVES = """
  noise:
    axes:
      device.forward.out_noise: [0.0, 0.2, 3.0]
      reads: {keys: [measurement.reads], values: [1, 4]}
    figure: {x: device.forward.out_noise, scale: symlog}
  step:
    axes: {dw: {keys: [device.parameters.dw_min], values: [0.001, 0.5]}}
    figure: {x: dw, scale: log}
  form:
    axes: {form: {keys: [in_situ.update_form], values: [difference, two-phase]}}
    figure: {x: form, scale: categories}
"""

TOLERANCE = """
  averaging:
    axes:
      reads N: {keys: [measurement.reads], values: [1, 4]}
      read noise: {keys: [device.forward.out_noise], values: [0.2, 3.0]}
    figure: {x: read noise, scale: log, thresholds: false}
  step:
    axes: {dw: {keys: [device.parameters.dw_min], values: [0.001, 0.5]}}
    figure: {x: dw, scale: log}
"""

DEVICES = """
  float: {axes: {device: [ideal], case: {keys: [measurement.case], values: [float]}}}
  analog: {axes: {device: [soft-bounds-cell], case: {keys: [measurement.case], values: [programmed, in-situ]}}}
"""


@pytest.mark.parametrize(
    ("of", "measurement", "page", "blocks", "figures"),
    [
        (None, "in-situ-accuracy", "curves", CURVES, {"scans", "noise", "form"}),
        ("tolerance", "in-situ-accuracy", "./collapse.py:tolerance_page", TOLERANCE, {"scans", "averaging"}),
        (
            "ideal-vs-analog",
            "./measurement.py:ROBUSTNESS",
            "./page.py:devices_page",
            DEVICES,
            {"attacks", "matched"},
        ),
    ],
)
def test_pages_are_whole(
    hwsim_here: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    of: str | None,
    measurement: str,
    page: str,
    blocks: str,
    figures: set[str],
) -> None:
    """Those of hwsim, and those of the shelf's studies on smaller ones, in copies of their folders."""
    study, out = tmp_path / "mine" / "study.yaml", tmp_path / "out"
    shutil.copytree(shelf.shelf("studies") / of, study.parent) if of else study.parent.mkdir()
    head = "name: small\nquestion: Is it good?\ndevice: soft-bounds-cell\n"
    head += f"page: {page}\nmeasurement: {measurement}\n"
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
    if of == "ideal-vs-analog":
        records = [json.loads(file.read_text()) for file in (out / "points").glob("*.json")]
        attack = "accuracy_pgd-linf_epsilon0.1_share"
        assert all({attack, MATCHED + attack, TRANSFER + attack} <= set(record["hits"]) for record in records)
        assert any(record["columns"]["matched_noise_sigma"] == 0 for record in records), "float needs no noise"
