"""How long an attack takes, from a few passes that are timed before it starts.

What no few passes tell is how soon images fall. Climbs are counted for the images that a short one leaves, beside its
own length for the others; searches by queries for as many as lie half-way to those that are right untouched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.ebm.network import Network
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.work import attacker
from hwsim.experiments.trained import programmed
from hwsim.jobs.durations import told_duration
from hwsim.rng import Streams
from hwsim.robustness.attacks import input_gradient, margin
from hwsim.robustness.passes import Passes, passes_of, passes_of_checks
from hwsim.robustness.warm import warmed

FEW, MANY = 4, 32
"""Images of the two batches that are timed: what a pass takes whatever its images, and what each of them takes."""

CLIMB = 10
"""Steps of the climb that shows how soon images fall."""

VERDICTS = 25
"""Of the images that are checked, by the attacks that the checks make."""

MOVED = 0.05
"""Share of the pixels that a query changes, as those of Square do after its first ones."""

MOST_S = 5.0
"""After which no further step of a probe begins."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a pass: ``fixed``, and for ``each`` image."""

    fixed: float
    each: float

    def of(self, images: float) -> float:
        """Seconds of a pass over so many images, which are a mean over passes: below one, some have none."""
        return self.fixed * min(images, 1.0) + self.each * images


@dataclass(frozen=True)
class Probe:
    """What a few passes took.

    Attributes:
        gradient, query: of what is attacked, from a warm start where it has one.
        verdict: a classification by one device instance, all draws of it.
        right, left: shares of images that are right untouched, and after a short climb.
    """

    gradient: Pace
    query: Pace
    verdict: Pace
    right: float
    left: float


def probe(job: AttackJob) -> Probe:
    """Time a gradient, a query and a verdict on the first images. Nothing of the job is changed or kept."""
    streams = Streams(job.seed).child("forecast")
    nets = _instance(job, streams)
    threat, (x, y) = job.threats[0], job.images(slice(min(MANY, job.examples)))
    judge = job.subject.classifier(nets[0] if nets else None)
    draws = job.draws if judge.noisy else 1
    rng, attacked = streams.generator("attack"), warmed(attacker(job, nets, None if not nets else 0), x)
    right = float((judge.logits(x).argmax(1) == y).double().mean())

    def climbed(x: Tensor, y: Tensor, steps: int) -> tuple[float, Tensor]:
        """(seconds of a later step, the images)."""
        now, times, started = threat.random_start(x, rng), [], time.perf_counter()
        while len(times) < steps and (len(times) < 2 or time.perf_counter() - started < MOST_S):
            at = time.perf_counter()
            gradient, _ = input_gradient(attacked, now, y, "margin")
            times.append(time.perf_counter() - at)
            now = threat.project(now + threat.epsilon / 4 * threat.steepest(gradient), x)
        return _usual(times), now

    many, moved = climbed(x, y, CLIMB) if job.white_box else (0.0, x)
    few = climbed(x[:FEW], y[:FEW], 3)[0] if job.white_box else 0.0

    def query(n: int) -> float:
        # Each asks for other images: a warm start at the very same ones has nothing left to do.
        def near() -> Tensor:
            changed = torch.rand(x[:n].shape, generator=rng, dtype=x.dtype).to(x.device) < MOVED
            return torch.where(changed, threat.random_start(x[:n], rng), moved[:n])

        return _seconds(lambda: attacked.logits(near()), 4)

    def verdict(n: int) -> float:
        return draws * _seconds(lambda: judge.logits(x[:n]), 2)

    return Probe(
        gradient=_pace(few, many, len(x)),
        query=_pace(query(FEW), query(len(x)), len(x)),
        verdict=_pace(verdict(FEW), verdict(len(x)), len(x)),
        right=right,
        left=float((margin(judge.logits(moved), y) <= 0).double().mean()) if job.white_box else right,
    )


def _instance(job: AttackJob, streams: Streams) -> list[Network]:
    """As many entries as the job has instances, all the same one, which the job itself does not use."""
    if job.given is not None or job.device is None:
        return job.given or []
    assert job.subject.config is not None  # checked where the job was planned
    assert job.subject.net is not None
    net = programmed(job.subject.config.energy, job.device.device, job.subject.net, streams)
    if job.ages:
        net.age(job.ages[-1])
    return [net] * job.instances


def _seconds(work: Callable[[], object], times: int) -> float:
    measured, started = [], time.perf_counter()
    while len(measured) < times and (not measured or time.perf_counter() - started < MOST_S):
        at = time.perf_counter()
        work()
        measured.append(time.perf_counter() - at)
    return _usual(measured)


def _usual(times: list[float]) -> float:
    """The median, without the first where there are others: it begins cold."""
    return float(torch.tensor(times[1:] or times).median())


def _pace(few: float, many: float, images: int) -> Pace:
    if images <= FEW:
        return Pace(0.0, many / max(images, 1))
    each = max(0.0, (many - few) / (images - FEW))
    return Pace(max(0.0, many - each * images), each)


def seconds_of(job: AttackJob, probed: Probe, workers: int) -> float:
    """What the whole job takes."""
    classes, instances = len(job.data.classes), max(1, len(job.given or []) or (job.instances if job.device else 1))
    measured_on = instances if job.targets == [None] else 1
    slices = [min(job.slice_images, job.examples - first) for first in range(0, job.examples, job.slice_images)]

    def attacked(images: int) -> float:
        verdicts = (len(job.attacks) + 3) * measured_on * probed.verdict.of(images)
        return verdicts + sum(_seconds_of(passes_of(attack, classes), probed, images) for attack in job.attacks)

    units = [attacked(images) for images in slices] * (len(job.targets) * len(job.seeds) * len(job.conditions))
    total = sum(units) / min(workers, len(units))
    if job.checks and job.white_box:
        count = min(job.checked, job.examples)
        noisy = job.uncertain and (job.knows == "device" or job.subject.net is None)  # gradients are averages
        passes = passes_of_checks(job.attacks, classes, job.effort[1], noisy)
        verdicts = VERDICTS * probed.verdict.of(count) * min(job.draws, 10) / job.draws
        checks = _seconds_of(passes, probed, count) + verdicts
        total += checks * len(job.conditions) / min(workers, len(job.conditions))
    return total


def _seconds_of(passes: Passes, probed: Probe, images: int) -> float:
    """Of an attack of so many images, some of which leave."""
    stay = {"climb": probed.left, "search": (probed.left + probed.right) / 2}.get(passes.leaves, 1.0)

    def whole(count: float) -> float:
        return passes.gradients * probed.gradient.of(count) + passes.queries * probed.query.of(count)

    return passes.first_share * whole(images) + (1 - passes.first_share) * whole(images * stay)


def told(job: AttackJob, probed: Probe, seconds: float, workers: int) -> str:
    """A forecast in words."""
    paces = f"{_told_pace(probed.gradient)} a gradient and {_told_pace(probed.query)} a query of 100 images"
    at_once = f", {workers} at once" if workers > 1 else ""
    return f"about {told_duration(seconds)} for {job.attack} on {job.examples:,} images ({paces}{at_once})"


def _told_pace(pace: Pace) -> str:
    return f"{1000 * pace.of(100):.3g} ms"
