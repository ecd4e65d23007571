"""How far a job is, in plain lines."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from hwsim.cli.app import Lines


def test_an_estimate_does_not_jump(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the units take 1 s, half 20 s: what is told of the whole moves little from line to line."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.total(100)
    for unit in range(100):
        now[0] += 20 if unit % 20 >= 10 else 1
        lines.done("unit")
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "100/100 unit"
    takes = []
    for line in told[:-1]:
        if match := re.fullmatch(r"(\d+)/100 unit, about (\d+) s left", line):
            done, left = map(int, match.groups())
            takes.append(left + sum(20 if unit % 20 >= 10 else 1 for unit in range(done)))
        else:
            assert int(line.partition("/")[0]) < 5, line
    assert takes[-1] == pytest.approx(now[0], rel=0.1)
    assert max(abs(b / a - 1) for a, b in itertools.pairwise(takes)) < 0.6  # and 1.7 by the mean so far
