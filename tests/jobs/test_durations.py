"""Times as people write them."""

from __future__ import annotations

import pytest

from hwsim.errors import InputError
from hwsim.jobs.durations import parse_duration, told_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20min", 1200),
        ("1h30m", 5400),
        ("90s", 90),
        ("90", 90),
        (" 1 h 30 min 5 s ", 5405),
        ("2days", 172800),
        ("0.5h", 1800),
        ("1e3", 1000),
        ("1 month", 30 * 86400),
        ("1D", 86400),
        ("0", 0),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "-5min",
        "20 parsecs",
        "5min 5",
        "30m1h",
        "1h1h",
        "1.2.3h",
        "nan",
        "inf",
        "1e999h",
        "h",
        "1,5h",
        "1h;",
    ],
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"--budget: expected a time such as .*20min or 1h30m"):
        parse_duration(text, "--budget")


def test_times_are_told() -> None:
    assert [told_duration(s) for s in (40, 720, 12600, 518400)] == ["40 s", "12 min", "3.5 h", "6.0 days"]
