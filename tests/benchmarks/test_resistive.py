"""The studies of resistive networks: a page from records, and networks stopped at equal accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import module_of

from hwsim.cards.shelf import find
from hwsim.errors import InputError, WorkError
from hwsim.experiments.sweep.study import Spec, read_study

MEASUREMENT, PAGE = module_of("resistive-robustness", "measurement"), module_of("resistive-robustness", "page")


def spec(**settings: Any) -> Spec:
    folder = find("studies", "resistive-robustness").folder
    quick = {"budgets": [0.2], "steps": 2, "queries": 5, "examples": 20, **settings}
    given = tuple((f"measurement.{key}", value) for key, value in quick.items())
    return Spec("./measurement.py:ROBUSTNESS", str(folder / "feedforward"), "ideal", "digits", 0, given, str(folder))


def test_training_stops_at_the_accuracy_that_is_asked_for() -> None:
    record = MEASUREMENT.ROBUSTNESS.compute(spec(target=0.8))
    columns = record["columns"]
    assert columns["epochs"] < 5
    assert columns["validation_share"] >= 0.8
    kept = [np.array(record["hits"][f"accuracy_{name}share"]["hits"]) for name in ("", "attacks-linf_epsilon0.2_")]
    assert (kept[1] <= kept[0]).all()
    with pytest.raises(WorkError, match=r"never 99\.9%"):
        MEASUREMENT.ROBUSTNESS.compute(spec(target=0.999))
    with pytest.raises(InputError, match="expected a share"):
        MEASUREMENT.ROBUSTNESS.resolve(spec(target=2.0))


@pytest.mark.parametrize("name", ["resistive-robustness", "resistive-tolerance"])
def test_every_point_of_both_forms_resolves(name: str) -> None:
    from hwsim.experiments.sweep.measurements import key_of

    path = find("studies", name).path
    assert path is not None
    for quick in (True, False):
        points = list(read_study(Path(path), quick=quick).points())
        keys = [key_of(point.spec) for point in points[:: max(1, len(points) // 6)]]
        assert len(keys) >= 4


def test_the_verdict_is_what_the_intervals_say() -> None:
    from hwsim.stats.interval import Interval

    columns = ["accuracy_share", "accuracy_attacks-linf_epsilon0.1_share", "accuracy_attacks-linf_epsilon0.2_share"]

    def said(*means: float) -> str:
        apart = [Interval(mean, mean - 0.03, mean + 0.03, "repeats and images") for mean in means]
        return PAGE._verdict("resistive", columns, apart)

    assert "is more robust to attacks than" in said(0.0, 0.01, 0.1)
    assert "is less robust to attacks than" in said(0.0, -0.1, 0.0)
    assert "cannot be told apart under attack from" in said(0.0, 0.01, -0.01)
    assert "more robust at some budgets and less at others" in said(0.0, 0.1, -0.1)
