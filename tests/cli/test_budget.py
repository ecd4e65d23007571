"""`hwsim attack` says how long it takes, asks for hours, fits a budget of time, and says what that left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_bits import bits

from hwsim.errors import InputError
from hwsim.experiments.attack import effort
from hwsim.experiments.attack.effort import EFFORTS, FULL, at_effort, plan_within
from hwsim.experiments.attack.forecast import Pace, Probe, probe, seconds_of
from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.requests import AttackRequest

Call = Callable[..., tuple[int, str, str]]


def paced(each: float) -> Probe:
    """Every pass takes so long an image; half of the images stay."""
    return Probe(Pace(0.0, each), Pace(0.0, each), Pace(0.0, 0.0), right=1.0, left=0.5)


def request(folder: Path, **options: object) -> AttackRequest:
    return AttackRequest(**{"threats": ["linf:0.1"], "out": folder / "out", **options})  # pyright: ignore[reportArgumentType]


def test_a_forecast_is_the_passes_times_their_pace(tmp_path: Path) -> None:
    """PGD by three losses, 30 steps and a query: all 40 images take a third of that, half of them the rest."""
    options = {"attack": "pgd-30", "examples": 40}
    job, twice, checked = (
        plan_attack(request(tmp_path, **options, **more))
        for more in ({"checks": False}, {"checks": False, "seeds": "2"}, {})
    )
    whole = 3 * (30 + 1) * 0.01 * (40 / 3 + 20 * 2 / 3)
    assert seconds_of(job, paced(0.01), 1) == pytest.approx(whole)
    assert seconds_of(twice, paced(0.01), 1) == pytest.approx(2 * whole)
    assert seconds_of(twice, paced(0.01), 2) == pytest.approx(whole)
    assert seconds_of(checked, paced(0.01), 1) > 3 * whole


def test_a_pass_has_a_fixed_part_that_few_images_do_not_save() -> None:
    assert Pace(1.0, 0.1).of(20) == pytest.approx(3.0)
    assert Pace(1.0, 0.1).of(0.25) == pytest.approx(0.275), "three of four passes have no image left"


def test_the_ladder_goes_down(tmp_path: Path) -> None:
    job = plan_attack(request(tmp_path))
    steps = [at_effort(job, name, 60.0) for name in (FULL, *(step.name for step in EFFORTS))]
    times = [seconds_of(step, paced(1e-3), 1) for step in steps]
    assert times == sorted(times, reverse=True)
    assert [(step.attack, step.examples) for step in steps] == [
        *(("standard", 360), ("standard", 200), ("quick", 200), ("quick", 100), ("smoke", 100), ("smoke", 20))
    ]
    assert {step.folder for step in steps} == {steps[0].folder}
    assert len({step.config_hash for step in steps}) == 6
    assert at_effort(plan_attack(request(tmp_path, attack="pgd-7", examples=50)), "glance", 60.0).attack == "pgd-7"


@pytest.mark.parametrize(("budget_s", "name"), [(250, FULL), (150, "long"), (30, "medium"), (2, "glance")])
def test_the_first_step_that_fits_is_taken(
    budget_s: float, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "probe", lambda job: paced(1e-4))
    said: list[str] = []
    job = plan_within(request(tmp_path, budget=f"{budget_s}s"), 1, said.append)
    assert job.chosen is not None
    assert job.chosen.name == name
    assert said[0].startswith("forecast: about ")
    assert (len(said) > 1) == (name != FULL)
    assert seconds_of(job, paced(1e-4), 1) <= budget_s


def test_what_takes_hours_asks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "probe", lambda job: paced(0.1))
    with pytest.raises(InputError, match=r"about .* more than 60 min; give --budget 20min .* --budget none"):
        plan_within(request(tmp_path), 1, lambda line: None)
    assert not (tmp_path / "out").exists()
    assert plan_within(request(tmp_path, budget="none"), 1, lambda line: None).chosen is None
    with pytest.raises(InputError, match="--budget 60 s: the least effort, glance, takes about"):
        plan_within(request(tmp_path, budget="1min"), 1, lambda line: None)
    with pytest.raises(InputError, match=r"--budget: expected a time such as .*, or none, got 'soon'"):
        plan_within(request(tmp_path, budget="soon"), 1, lambda line: None)


def test_a_probe_times_all_passes(tmp_path: Path) -> None:
    for options in ({}, {"device": "soft-bounds-cell", "knows": "device", "eot": 2, "instances": 2, "draws": 2}):
        probed = probe(plan_attack(request(tmp_path, attack="pgd-3", **options)))
        for pace in (probed.gradient, probed.query, probed.verdict):
            assert pace.of(10) > 0
        assert 0 <= probed.left <= probed.right <= 1
    blind = probe(plan_attack(request(tmp_path, knows="nothing", attack="square-10")))
    assert blind.gradient.of(10) == 0 < blind.query.of(10)
    assert not (tmp_path / "out").exists()


def test_a_budget_is_in_the_record_and_goes_on(
    hwsim_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that is slower now, too: what was chosen stays."""
    command = ("attack", "--attack", "smoke", "--threat", "linf:0.1", "--budget", "1min", "--no-checks")
    monkeypatch.setattr(effort, "probe", lambda job: paced(5e-3))
    code, out, err = hwsim_here(*command, "--out", str(tmp_path / "a"))
    assert (code, err) == (0, "")
    assert "effort: glance" in out
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert results["effort"] == {"name": "glance", "budget_s": 60.0, "attack": "smoke", "images": 360}
    assert results["images"] == 20
    assert results["caveats"][0].startswith("Not the full effort: glance (--budget 60 s), smoke on 20 images.")
    assert "glance effort only" in (tmp_path / "a" / "report.html").read_text()
    before = bits(tmp_path / "a")
    monkeypatch.setattr(effort, "probe", lambda job: paced(1e9))
    assert hwsim_here(*command, "--out", str(tmp_path / "a"))[0] == 0
    assert bits(tmp_path / "a") == before
    code, _, err = hwsim_here(*command[:-2], "2min", "--out", str(tmp_path / "a"))
    assert code == 2
