"""From what a user typed to an attack or a corruption job: resolved and validated before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwsim.errors import InputError
from hwsim.experiments.ageing import ages_of
from hwsim.experiments.attack.job import AttackJob, check_attacks
from hwsim.experiments.subject import at_least_one, counted, read_judged, read_source, seeded
from hwsim.learning.gradient_ways import way_named
from hwsim.robustness.stochastic import KNOWLEDGE
from hwsim.robustness.suite import attacks_named
from hwsim.robustness.threat import parse


def plan_attack(
    *,
    model: str,
    weights: Path | None = None,
    device: str | None = None,
    threats: Sequence[str] = ("linf:8/255",),
    attack: str | None = None,
    gradient: str | None = None,
    knows: str | None = None,
    eot: int = 10,
    instances: int | None = None,
    draws: int = 20,
    transfer_from: Sequence[str] = (),
    examples: int | None = None,
    seed: int = 0,
    seeds: str = "1",
    age: str | None = None,
    checks: bool = True,
    checked: int = 100,
    cascade: bool = False,
    data_name: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    command: str = "",
) -> AttackJob:
    """Resolve an attack. Raises InputError for the first mistake."""
    parsed = tuple(parse(text) for text in threats)
    if len({str(threat) for threat in parsed}) < len(parsed):
        raise InputError(f"--threat: expected different threats, got {', '.join(map(str, parsed))}")
    if knows is not None and knows not in KNOWLEDGE:
        raise InputError(f"--knows: expected one of {', '.join(KNOWLEDGE)}, got {knows!r}")
    if device is None and knows in ("device", "conductances"):
        raise InputError(f"--knows {knows}: there is no device to know; give --device")
    sparse = all(threat.norm == "l0" for threat in parsed)
    query = "sparse-rs" if sparse else "square"
    name = attack or (query if knows == "nothing" else "sparse" if sparse else "standard")
    attacks_named(name)
    way_named(gradient or "implicit")
    for option, value in (("--eot", eot), ("--draws", draws), ("--check-images", checked)):
        at_least_one(option, value)
    subject, dataset, card, count = read_judged(model, weights, device, instances, data_name, data_dir)
    if subject.net is None and gradient is not None:
        raise InputError(f"--gradient {gradient}: {subject.name} is a torch module, differentiated as it is")
    job = AttackJob(
        subject=subject,
        device=card,
        data=dataset,
        threats=parsed,
        attack=name,
        gradient=gradient or "implicit",
        knows=knows or ("conductances" if card else "float-weights"),
        eot=eot,
        instances=count,
        draws=draws,
        sources=tuple(read_source(text, dataset.name, data_dir) for text in transfer_from),
        examples=counted(examples, dataset),
        seed=seeded(seed),
        seeds=attack_seeds(seeds),
        ages=ages_of(age, card),
        checks=checks,
        checked=checked,
        cascade=cascade,
        folder=Path("."),
        command=command,
    )
    names = [one.name for one in job.attacks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--transfer-from: expected models of different names, got twice {', '.join(twice)}")
    check_attacks(job)
    if cascade and job.uncertain:
        raise InputError("--cascade: verdicts are noisy, and an image that fell once may stand again; leave it off")
    where = card.name if card else "float"
    label = f"attack-{subject.name.replace(':', '-')}-{where}-{name}-seed{seed}-{job.config_hash[:8]}"
    return replace(job, folder=out or Path("runs") / label)


def attack_seeds(text: str) -> tuple[int, ...]:
    """``3`` is 0, 1 and 2; ``0,5`` or ``5,`` are those. Raises InputError that says what is wrong."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if "," not in text and found and found[0] > 0:
        found = list(range(found[0]))
    if not found or min(found) < 0 or len(set(found)) < len(found) or ("," not in text and text.strip() == "0"):
        raise InputError(f"--seeds: expected how many attack seeds, or different ones such as 0,1,2, got {text!r}")
    return tuple(found)
