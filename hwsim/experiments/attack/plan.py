"""From what a user typed to an attack or a corruption job: resolved and validated before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwsim.cards.device import DeviceCard, read_device
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError
from hwsim.experiments.ageing import parse_ages
from hwsim.experiments.attack.job import AttackJob, check_attacks
from hwsim.experiments.subject import Subject, read_source, read_subject
from hwsim.learning.gradient_ways import way_named
from hwsim.robustness.stochastic import KNOWLEDGE
from hwsim.robustness.suite import attacks_named
from hwsim.robustness.threat import parse

CHIPS = 5
"""Programmed chips of a device, where nothing else is said."""


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


def read_judged(
    model: str,
    weights: Path | None,
    device: str | None,
    instances: int | None,
    data_name: str | None,
    data_dir: Path | None,
) -> tuple[Subject, Dataset, DeviceCard | None, int]:
    """The model, its data, its device and the number of chips."""
    if instances is not None:
        at_least_one("--instances", instances)
        if device is None:
            raise InputError(f"--instances {instances}: there is no device to make instances of; give --device")
    card = read_device(device) if device else None
    subject, dataset = read_subject(model, weights, data_name, data_dir)
    if card is not None and subject.net is None:
        raise InputError(
            f"--device {device}: {subject.name} is a torch module; only models of the shelf run on devices"
        )
    count = instances or (1 if card is None or card.device.ideal else CHIPS)
    return subject, dataset, card, count


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


def ages_of(text: str | None, card: DeviceCard | None) -> tuple[float, ...]:
    """Ages to measure at; none where nothing is said. InputError where nothing drifts."""
    if text is None:
        return ()
    if card is None:
        raise InputError(f"--age {text}: weights in float do not age; give --device")
    if not card.device.drifts:
        raise InputError(f"--age {text}: device {card.name} does not drift")
    return parse_ages(text)


def at_least_one(option: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{option}: expected at least 1, got {value}")


def counted(examples: int | None, dataset: Dataset) -> int:
    """How many test images; 1,000 where nothing is said and there are as many."""
    total = len(dataset.x_test)
    if examples is None:
        return min(1000, total)
    if not 1 <= examples <= total:
        raise InputError(f"--examples: expected 1 to {total}, the test images of {dataset.name}, got {examples}")
    return examples


def seeded(seed: int) -> int:
    if seed < 0:
        raise InputError(f"--seed: expected a number >= 0, got {seed}")
    return seed
