"""``hwsim attack``: what is to be evaluated, resolved; ``attack.work`` does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from hwsim.experiments.subject import Subject, SubjectJob
from hwsim.robustness.attacker import effort, fitting
from hwsim.robustness.attacks import Attack
from hwsim.robustness.suite import Pgd, Transfer, attacks_named
from hwsim.robustness.threat import Threat


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """How much of what was requested is done, by a budget of time.

    Attributes:
        name: of the effort, see ``attack.effort``; "full" is what was requested.
        attack, images: what was requested.
    """

    name: str
    budget_s: float
    attack: str
    images: int


@dataclass(frozen=True, kw_only=True)
class AttackJob(SubjectJob):
    """A resolved evaluation; fields are those of ``AttackRequest``.

    Attributes:
        knows: what the attacker knows of the device, see ``hwsim.robustness.stochastic.KNOWLEDGE``. Who knows the
            device instance or may query it attacks every one apart; images made from the float weights are measured on
            all of them.
        eot: noise draws behind a gradient or a query, where the attacked copy is noisy.
        sources: other models, whose adversarial images are tried as well.
        seeds: of the attacks; ``seed`` is the root of everything else, device instances included.
        ages: seconds after programming at which drifting devices are attacked and measured; none: right after it.
        cascade: each attack sees only the images that the ones before left; see ``evaluate``.
        checked: images behind the checks that unmask, at most.
        slice_images: images attacked at once.
        chosen: by a budget of time; None where there is none.
    """

    kind = "attack"
    threats: tuple[Threat, ...]
    attack: str
    gradient: str
    knows: str
    eot: int
    sources: tuple[Subject, ...] = ()
    checks: bool
    seeds: tuple[int, ...] = (0,)
    ages: tuple[float, ...] = ()
    cascade: bool = False
    checked: int = 100
    slice_images: int = 100
    chosen: Chosen | None = None

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks requested, and PGD on every other model."""
        requested = fitting(attacks_named(self.attack), self.effort[0], self.uncertain, self.knows == "nothing")
        moved = [Transfer(s.surrogate("implicit"), Pgd(40), f"transfer from {s.name}") for s in self.sources]
        return (*requested, *moved)

    @property
    def uncertain(self) -> bool:
        """May a prediction differ from what the attacker saw?"""
        module = self.subject.module
        return module.noisy if module is not None else self.device is not None and not self.device.device.ideal

    @property
    def effort(self) -> tuple[int, int]:
        """PGD steps and Square queries beside the attacks requested."""
        return effort(self.attack)

    @property
    def white_box(self) -> bool:
        return self.knows != "nothing" and any(attack.white_box for attack in self.attacks)

    @property
    def targets(self) -> list[int | None]:
        """The device instances that are attacked apart; None for all at once."""
        return [None] if self.device is None or self.knows == "float-weights" else list(range(self.instances))

    @property
    def moments(self) -> tuple[float | None, ...]:
        """The ages, or None for devices as they were programmed."""
        return self.ages or (None,)

    @property
    def conditions(self) -> list[tuple[Threat, float | None]]:
        """Every threat at every age."""
        return [(threat, age) for age in self.moments for threat in self.threats]

    @property
    def resolved(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("gradient", "knows", "eot", "instances", "draws", "examples")}
        return {
            "model": self.subject.identity,
            "device": self.resolved_device,
            "data": {"name": self.data.name, "test": len(self.data.test)},
            "threats": [str(threat) for threat in self.threats],
            "attack": {
                "name": self.attack,
                "parts": [repr(attack) for attack in self.attacks if not isinstance(attack, Transfer)],
            },
            **plain,
            **({"effort": asdict(self.chosen)} if self.chosen else {}),
            "transfer_from": [source.identity for source in self.sources],
            "seed": self.seed,
            "seeds": list(self.seeds),
            "ages_s": list(self.ages),
            "cascade": self.cascade,
            "checked": self.checked,
            "slice_images": self.slice_images,
            "checks": self.checks,
        }
