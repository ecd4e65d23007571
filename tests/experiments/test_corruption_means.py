"""Ratios of corruption errors whose interval has no upper end: in words, and in JSON that knows no infinity."""

from __future__ import annotations

import json
from dataclasses import asdict

from hwsim.experiments.corruption.records import Means
from hwsim.stats.interval import Interval


def test_an_end_at_infinity_is_unbounded_in_words_and_nothing_in_json() -> None:
    interval = Interval(0.5, 0.4, 0.6, "images only")
    ends = {"mce": 1.4, "mce_ends": (1.2, None), "relative_mce": "why there is none"}
    means = Means(over="common types", types=1, accuracy=0.5, interval=interval, baseline_accuracy=0.6, **ends)
    assert means.ratios == "mCE 1.400 (1.200 to unbounded); no relative mCE (why there is none)"
    assert json.loads(json.dumps(asdict(means), allow_nan=False))["mce_ends"] == [1.2, None]
