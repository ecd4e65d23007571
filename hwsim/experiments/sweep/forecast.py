"""What a sweep takes, told before it starts: how many points, how long, and what lacks that would make them fail."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.experiments.sweep import measurements
from hwsim.experiments.sweep.work import Folder, Plan
from hwsim.jobs.durations import told_duration


def forecast(planned: Plan, folder: Folder, workers: int) -> str:
    """What is left to do and how long it takes: by the points that were measured, else by what the study says."""
    records = [record for key in planned.specs if (record := folder.record(key))]
    left = len(planned.specs) - len(records)
    text = f"{len(planned.specs)} points, {len(records)} of them finished, {workers} at once"
    if not left:
        return text
    times = {key: seconds_of(planned, key) for key in planned.specs}
    source = "by the study's own measure"
    if speed := planned.study.speed_gmac_per_s:
        source = f"as counted, at {speed:g}e9 multiply-accumulates a second"
    if records:
        # What the finished ones took, against what was told of them, holds for the others.
        done = [times[key] for key in planned.specs if folder.finished(key)]
        taken, known = sum(record["seconds"] for record in records), all(done)
        factor = taken / sum(each or 0.0 for each in done) if known else taken / len(done)
        times = {key: factor * (each or 0.0) if known else factor for key, each in times.items()}
        source = "by the finished ones"
    rest = [each for key, each in times.items() if not folder.finished(key)]
    if not all(rest):
        return f"{text}; how long it takes is told after the first ones"
    total = sum(each or 0.0 for each in rest)
    return f"{text}; about {told_duration(total / min(workers, left))} {source}, {told_duration(total)} of computing"


def lacking(planned: Plan) -> list[str]:
    """What points lack, with the commands that make it and their time: told before anything is computed."""
    commands: dict[str, dict[int | None, float]] = {}
    count = 0
    for spec in planned.specs.values():
        missing = measurements.measurement_of(spec).missing
        if missing and (lack := missing(spec)):
            commands.setdefault(lack.command, {})[lack.seed] = lack.work
            count += 1
    if not commands:
        return []
    speed = planned.study.speed_gmac_per_s

    def time_of(works: Iterable[float]) -> str:
        return f"about {told_duration(sum(works) / speed / 1e9)}" if speed else ""

    lines = [f"{count} points lack weights and will fail until these commands have made them:"]
    for command, works in commands.items():
        seeds = f"SEED {', '.join(map(str, works))}" if None not in works else ""
        details = ", ".join(part for part in (seeds, time_of(works.values())) if part)
        lines.append(f"  {command}{f'   # {details}' if details else ''}")
    if speed:
        total = time_of(work for works in commands.values() for work in works.values())
        lines.append(f"  together {total} at {speed:g}e9 multiply-accumulates a second, which is counted, not measured")
    return lines


def seconds_of(planned: Plan, key: str) -> float | None:
    """What a point takes, before any was measured: by its counted work, else what the study says of all."""
    spec, speed = planned.specs[key], planned.study.speed_gmac_per_s
    work = measurements.measurement_of(spec).work
    return work(spec) / speed / 1e9 if work and speed else planned.study.seconds_per_point
