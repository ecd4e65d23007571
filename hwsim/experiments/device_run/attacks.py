"""The ``attack`` section of a run: every case attacked as ``hwsim attack`` does it, in a folder of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from hwsim.cards.build import network
from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.network import Network
from hwsim.experiments.attack.forecast import probe, seconds_of
from hwsim.experiments.attack.gallery import keep_gallery
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.results import write_results
from hwsim.experiments.attack.work import attack_within
from hwsim.experiments.device_run.job import RunJob, attack_of
from hwsim.experiments.device_run.records import AttackRecord
from hwsim.experiments.gallery import file_stem
from hwsim.experiments.subject import Subject
from hwsim.experiments.trained import programmed
from hwsim.jobs.durations import told_duration
from hwsim.jobs.job import Quiet
from hwsim.rng import Streams
from hwsim.robustness.suite import check_attacks
from hwsim.robustness.threat import parse


def case_job(job: RunJob, case: str, repeat: int, net: Network, in_float: Network) -> AttackJob:
    """What attacks one case: in float, or one device instance ``net`` with the float network known beside it.

    Raises InputError where the section's attacks do not go with its threats.
    """
    config, evaluation = job.model.evaluation.attack, job.model.evaluation
    assert config is not None
    threats = tuple(parse(threat) for threat in config.threat)
    identity = {"run": job.config_hash, "case": case, "repeat": repeat}
    # Devices of a run are aged by the run itself, case by case.
    attacks = AttackJob(
        subject=Subject(job.model.name, identity, job.model, in_float),
        device=None if case == "float" else job.device,
        data=job.data,
        threats=threats,
        attack=attack_of(config, threats),
        gradient=config.gradient or "implicit",
        knows=config.knows or "conductances",
        eot=config.eot,
        instances=1,
        given=[] if case == "float" else [net],
        draws=config.draws,
        sources=(),
        examples=min(config.examples, len(job.data.test), evaluation.examples or len(job.data.test)),
        seed=job.seed + repeat,
        checks=config.checks,
        out=job.folder / "attacks" / f"{file_stem(case)}-{repeat}",
        command=job.command,
        seeds=tuple(range(config.seeds)),
        checked=config.check_images,
    )
    check_attacks(
        attacks.attacks,
        attacks.threats,
        classes=len(job.data.classes),
        pixels=math.prod(job.data.shape[1:]),
        checks=config.checks,
    )
    return attacks


def forecast(job: RunJob, workers: int) -> str:
    """How long the attacks on all cases of all repeats take at most, from passes through networks not yet trained.

    At most: as if no image fell before the end.
    """
    energy, streams = job.model.energy, Streams(job.seed).child("forecast")
    in_float = network(energy, FloatDevice(), streams)
    in_float.program(in_float.initial_weights(energy.init_gain, streams))
    on_device = programmed(energy, job.device.device, in_float, streams)
    total, cases = 0.0, job.cases()
    for case, net, count in (("float", in_float, 1), ("programmed", on_device, len(cases) - 1)):
        attacks = case_job(job, case, 0, net, in_float)
        total += count * seconds_of(attacks, replace(probe(attacks), right=1.0, left=1.0), 1)
    seconds = job.repeats * total / min(workers, 2 * job.repeats)
    return (
        f"attacks on {len(cases)} cases of {job.repeats} repeats: {told_duration(seconds)} at most, on top of the rest "
        "(evaluation.attack.examples, attack, draws and checks say how much is done)"
    )


def attack_case(job: RunJob, case: str, repeat: int, net: Network, in_float: Network) -> Iterator[AttackRecord]:
    """One record a threat: the figure to report with its interval and flags, and where the rest lies."""
    attacks = case_job(job, case, repeat, net, in_float)
    attacks.folder.mkdir(parents=True, exist_ok=True)
    records = attack_within(attacks, Quiet())
    results = write_results(attacks, records)
    if repeat == 0:  # the one whose images the page shows
        keep_gallery(attacks)
    for left in results.threats:
        yield AttackRecord(
            case=case,
            repeat=repeat,
            condition=left.threat,
            attack=attacks.attack,
            images=attacks.examples,
            clean=left.clean,
            worst=left.worst,
            reported=left.reported,
            flags=left.flags or [],
            checked=left.checks is not None,
            caveats=results.caveats,
            folder=str(attacks.folder.relative_to(job.folder)),
        )
