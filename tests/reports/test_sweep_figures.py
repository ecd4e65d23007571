"""The figures of curves: labels that can be read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hwsim.experiments.sweep.card import BlockConfig, StudyConfig
from hwsim.experiments.sweep.results import Place, Results
from hwsim.reports.plotting import STYLE
from hwsim.reports.sweep_figures import draw

STUDY = yaml.safe_load((Path(__file__).parents[2] / "benchmarks" / "tolerance" / "study.yaml").read_text())
RECORD = {"hits": {"accuracy_share": {"draws": 1, "hits": [1, 1, 0]}}}


def scans(quick: bool) -> dict[str, tuple[BlockConfig, list[Any]]]:
    """The study's blocks of one axis on a logarithmic scale, with their values."""
    found = {}
    for name, raw in STUDY["blocks"].items():
        block = BlockConfig.model_validate(raw)
        if block.figure is None or block.figure.scale not in ("log", "symlog") or len(block.axes) > 1:
            continue
        ((axis, values),) = block.axes.items()
        values = values.get("values") or list(values["cases"]) if isinstance(values, dict) else values
        values = (block.quick.axes or {}).get(axis, values) if quick else values
        found[name] = (block, values)
    return found


@pytest.mark.parametrize("quick", [False, True])
def test_labels_of_an_axis_do_not_overlap(quick: bool) -> None:
    """Every scan of the shipped study, in the panels that its page has; the ends are always labelled."""
    blocks = scans(quick)
    assert "granularity" in blocks
    places = {
        name: [Place({next(iter(block.axes)): value}, {0: RECORD}, 0) for value in values]
        for name, (block, values) in blocks.items()
    }
    config = StudyConfig(name="tolerance", measurement="in-situ-accuracy", blocks=STUDY["blocks"])
    results = Results(Path(), {}, config, {name: block for name, (block, _) in blocks.items()}, places, [])
    with matplotlib.rc_context(STYLE):
        (drawn,) = draw(results, [])
        canvas = FigureCanvasAgg(drawn.canvas)
        canvas.draw()
        for ax, (_, values) in zip(drawn.canvas.axes, blocks.values(), strict=True):
            labels = [label for label in ax.get_xticklabels() if label.get_text()]
            assert {f"{value:g}" for value in (values[0], values[-1])} <= {label.get_text() for label in labels}
            boxes = sorted((label.get_window_extent(canvas.get_renderer()) for label in labels), key=lambda box: box.x0)
            assert len(boxes) > 2
            for left, right in pairwise(boxes):
                assert left.x1 + 3 < right.x0, [label.get_text() for label in labels]
