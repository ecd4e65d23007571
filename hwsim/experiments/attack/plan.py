"""From what a user requested to an attack job: resolved and validated before any work."""

from __future__ import annotations

import math
from functools import partial

from hwsim.errors import InputError
from hwsim.experiments.ageing import ages_of
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.requests import AttackRequest
from hwsim.experiments.subject import read_source, resolved_subject
from hwsim.learning.gradient_ways import way_named
from hwsim.robustness.stochastic import KNOWLEDGE
from hwsim.robustness.suite import attacks_named, check_attacks
from hwsim.robustness.threat import parse


def plan_attack(request: AttackRequest) -> AttackJob:
    """Resolve an attack. Raises InputError for the first mistake."""
    threats = tuple(parse(text) for text in request.threats or ["linf:8/255"])
    if len({str(threat) for threat in threats}) < len(threats):
        raise InputError(f"--threat: expected different threats, got {', '.join(map(str, threats))}")
    knows, gradient, attack = request.knows, request.gradient, request.attack
    if knows is not None and knows not in KNOWLEDGE:
        raise InputError(f"--knows: expected one of {', '.join(KNOWLEDGE)}, got {knows!r}")
    if request.device is None and knows in ("device", "conductances"):
        raise InputError(f"--knows {knows}: there is no device to know; give --device")
    if attack is None:
        sparse = all(threat.norm == "l0" for threat in threats)
        queries = "sparse-rs" if sparse else "square"
        attack = queries if knows == "nothing" else "sparse" if sparse else "standard"
    attacks_named(attack)
    way_named(gradient or "implicit")
    common = resolved_subject(request)
    subject, card = common["subject"], common["device"]
    if subject.net is None and gradient is not None:
        raise InputError(f"--gradient {gradient}: {subject.name} is a torch module, differentiated as it is")
    job = AttackJob(
        **common,
        threats=threats,
        attack=attack,
        gradient=gradient or "implicit",
        knows=knows or ("conductances" if card else "float-weights"),
        eot=request.eot,
        sources=tuple(
            read_source(text, common["data"].name, request.data_dir, request.accelerator)
            for text in request.transfer_from
        ),
        seeds=attack_seeds(request.seeds),
        ages=ages_of(request.age, card),
        checks=request.checks,
        checked=request.check_images,
        cascade=request.cascade,
        again=partial(plan_attack, request),
    )
    names = [each.name for each in job.attacks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--transfer-from: expected models of different names, got twice {', '.join(twice)}")
    check_attacks(
        job.attacks,
        job.threats,
        classes=len(job.data.classes),
        pixels=math.prod(job.data.shape[1:]),
        name=job.attack,
        queries_only=job.knows == "nothing",
        checks=job.checks,
    )
    if job.cascade and job.uncertain:
        raise InputError("--cascade: predictions are noisy, and an image that fell once may stand again; leave it off")
    return job


def attack_seeds(text: str) -> tuple[int, ...]:
    """``3`` is 0, 1 and 2; ``0,5`` or ``5,`` are those. Raises InputError that says what is wrong."""
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        seeds = []
    if "," not in text and seeds and seeds[0] > 0:
        seeds = list(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds) or ("," not in text and text.strip() == "0"):
        raise InputError(f"--seeds: expected how many attack seeds, or different ones such as 0,1,2, got {text!r}")
    return tuple(seeds)
