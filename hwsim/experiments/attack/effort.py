"""How much is done: what was requested, or the step below it that fits a budget of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hwsim.cards.yamlfile import read_yaml
from hwsim.errors import InputError
from hwsim.experiments.attack.forecast import probe, seconds_of, told
from hwsim.experiments.attack.job import AttackJob, Chosen
from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.requests import AttackRequest
from hwsim.jobs.durations import parse_duration, told_duration

ASKED_FROM_S = 3600.0
"""A job that takes longer begins where its time was allowed only."""

PRESETS = ("standard", "quick", "smoke")
"""The strongest first; another attack stays what it is."""


@dataclass(frozen=True)
class Effort:
    """A step of the ladder: ``attack`` at most, of ``PRESETS``, on so many ``images`` at most."""

    name: str
    attack: str
    images: int


EFFORTS = (
    Effort("long", "standard", 200),
    Effort("medium", "quick", 200),
    Effort("short", "quick", 100),
    Effort("brief", "smoke", 100),
    Effort("glance", "smoke", 20),
)
"""Below "full", which is what was requested. Fewer than 100 images are too few for the checks, which say so."""

FULL = "full"


def at_effort(job: AttackJob, name: str, budget_s: float) -> AttackJob:
    """The job at one step of the ladder, in the folder that it has in full."""
    chosen = Chosen(name=name, budget_s=budget_s, attack=job.attack, images=job.examples)
    full = replace(job, chosen=replace(chosen, name=FULL))
    attack, images = job.attack, job.examples
    for step in EFFORTS:
        if step.name == name:
            images = min(images, step.images)
            if attack in PRESETS:
                attack = max(attack, step.attack, key=PRESETS.index)
    return replace(full, chosen=chosen, attack=attack, examples=images, out=full.folder)


def plan_at_effort(request: AttackRequest, name: str, budget_s: float) -> AttackJob:
    """The same from the request, as a worker does it."""
    return at_effort(plan_attack(request), name, budget_s)


def plan_within(request: AttackRequest, workers: int, say: Callable[[str], None]) -> AttackJob:
    """Resolve an attack, forecast its time, say it, and choose the effort that fits ``request.budget``.

    A job that has begun goes on with the effort that it has. InputError for the first mistake, where nothing fits, and
    where no budget is given and the job would take more than an hour.
    """
    budget_s = math.inf if request.budget == "none" else None
    if request.budget is not None and budget_s is None:
        budget_s = parse_duration(request.budget, "--budget", else_=", or none")
    job = plan_attack(request)
    if budget_s is None or budget_s == math.inf:
        if (job.folder / "config.yaml").exists():
            return job
        probed = probe(job)
        seconds = seconds_of(job, probed, workers)
        say(f"forecast: {told(job, probed, seconds, workers)}")
        if budget_s is None and seconds > ASKED_FROM_S:
            raise InputError(
                f"attack: {told(job, probed, seconds, workers)}, more than {told_duration(ASKED_FROM_S)}; give "
                "--budget 20min for the effort that fits, fewer --examples, or --budget none to let it take its time"
            )
        return job
    full = at_effort(job, FULL, budget_s)
    name = _begun(full.folder, budget_s) or _fitting(job, budget_s, workers, say)
    return replace(at_effort(job, name, budget_s), again=partial(plan_at_effort, request, name, budget_s))


def _begun(folder: Path, budget_s: float) -> str | None:
    """The effort of a job of this budget that has begun in the folder."""
    path = folder / "config.yaml"
    kept = read_yaml(path).data.get("effort") if path.exists() else None
    return str(kept.get("name")) if isinstance(kept, dict) and kept.get("budget_s") == budget_s else None


def _fitting(job: AttackJob, budget_s: float, workers: int, say: Callable[[str], None]) -> str:
    """The first step of the ladder that fits; what it and the full effort take is said."""
    probed = probe(job)
    full = seconds_of(job, probed, workers)
    say(f"forecast: {told(job, probed, full, workers)}")
    least = job
    for name in (FULL, *(step.name for step in EFFORTS)):
        least = at_effort(job, name, budget_s)
        seconds = seconds_of(least, probed, workers)
        if seconds <= budget_s:
            if name != FULL:
                say(f"effort: {name}, {told(least, probed, seconds, workers)}; it is not the full effort")
            return name
    seconds = seconds_of(least, probed, workers)
    raise InputError(
        f"--budget {told_duration(budget_s)}: the least effort, {least.chosen and least.chosen.name}, takes "
        f"{told(least, probed, seconds, workers)}; give more, or fewer --examples, --draws, --instances or --eot"
    )
