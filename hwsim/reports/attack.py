"""The page of an attack: the accuracy to report, the attacks and checks behind it, and some attacked images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import yaml

from hwsim.errors import InputError
from hwsim.experiments.attack.records import AttackResults, CheckRecord, ThreatResult
from hwsim.experiments.gallery import FILE, read_gallery
from hwsim.experiments.kinds import JobFolder, read_folder
from hwsim.jobs.records import read_file
from hwsim.reports import gallery
from hwsim.reports.page import Caveat, Cell, Column, Page, Section, Status, Table, counted, reproduce, write_page
from hwsim.reports.plotting import STYLE
from hwsim.reports.security import WORST, Budget, security
from hwsim.robustness.threat import parse
from hwsim.stats.interval import Interval

KNOWN = {
    "nothing": "a black-box attack (queries only)",
    "conductances": "a white-box attack (programmed weights known)",
    "device": "a white-box attack (the device is read, gradients are averaged over its noise)",
    "float-weights": "a grey-box attack (weights known as they were before programming)",
}


def write_attack_page(folder: Path) -> Path:
    """Draw the figures of a folder of ``hwsim attack`` and write its ``report.html``.

    Raises InputError where the folder is of something else, or has no results yet; WorkError where the disk refuses.
    """
    job = read_folder(folder)
    results = read_file(folder / "results.json", AttackResults)
    if job.kind != "attack" or results is None:
        raise InputError(f"{folder}: holds no results of hwsim attack; its command goes on with it")
    with matplotlib.rc_context(STYLE):
        return write_page(_page(job, results), folder / "report.html")


def _page(job: JobFolder, results: AttackResults) -> Page:
    threats = results.threats
    details = [_detail(threat) for threat in threats]
    kept = read_gallery(job.path / FILE)
    exact = results.device == "float" and results.knows != "nothing"
    knows = "a white-box attack (weights known)" if exact else KNOWN[results.knows]
    checks = _checks(threats)
    config = yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True)
    return Page(
        title=f"{results.model} on {results.device}: attack{_effort(results)}",
        lead=f"hwsim attack on {results.data}",
        status=Status(len(threats), len(threats), "threat"),
        question=f"Accuracy of {results.model} on {results.device} under {knows}.",
        answer=_answer(results),
        details=details if len(details) > 1 else [],
        certainty="Intervals are at 95 %. An accuracy under attack is an upper bound: a stronger attack may go lower.",
        limits=results.caveats,
        caveats=[
            Caveat(f"{name}: a check failed, so the accuracy is an upper bound. {check.told}", "warning", "checks")
            for name, check in _of_checks(threats)
            if not check.passed
        ],
        sections=[
            Section("Accuracy", [_accuracies(threats), security([_budget(threat) for threat in threats])]),
            *([Section("Checks", checks)] if checks else []),
            *([Section("Images", [gallery.draw(kept)])] if kept else []),
            reproduce(job.path, job.receipt, config),
        ],
    )


def _effort(results: AttackResults) -> str:
    """Where a budget of time left less than was requested."""
    return "" if results.effort is None or results.effort.name == "full" else f", {results.effort.name} effort only"


def _answer(results: AttackResults) -> str:
    """The widest budget's accuracy, which is the last one in the order of the command."""
    last = results.threats[-1]
    return (
        f"Under {_named(last)} the accuracy is {_bound(last)}{last.reported.percent_with_range}, on clean images "
        f"{last.clean.percent_with_range}, over {counted(results.images, 'image')}."
    )


def _detail(threat: ThreatResult) -> str:
    reported = threat.reported
    return (
        f"{_named(threat)}: {_bound(threat)}{reported.percent_with_range}, {threat.clean.percent} when clean; "
        f"the lowest of {reported.of}."
    )


def _bound(threat: ThreatResult) -> str:
    return "at most " if threat.reported.upper_bound else ""


def _of_checks(threats: Sequence[ThreatResult]) -> list[tuple[str, CheckRecord]]:
    """Every check with the threat that it is of."""
    return [(_named(threat), check) for threat in threats if threat.checks for check in threat.checks.checks]


def _accuracies(threats: Sequence[ThreatResult]) -> Table:
    rows: list[list[Cell]] = []
    for threat in threats:
        name = _named(threat)
        rows += [[name, attack, interval] for attack, interval in _attacks(threat).items()]
        report = f"to report {_bound(threat)}".strip(), f"the lowest of {threat.reported.of}"
        rows.append([name, report, threat.reported])
    noisy = any(threat.draws > 1 for threat in threats)
    picked = (
        " It is picked under read noise and evaluated on fresh draws, so a single attack can come out lower; the "
        "lowest is the one to report."
    )
    caption = (
        "Accuracy over all images, with its 95 % interval below. Worst case: the strongest attack on each image."
        f"{picked if noisy else ''}"
    )
    return Table("accuracies", caption, ["threat", Column("attack", "words"), "accuracy"], rows)


def _attacks(threat: ThreatResult) -> dict[str, Interval]:
    """Clean, every attack, and the worst case over them."""
    return {"clean": threat.clean, **threat.attacks, WORST: threat.worst}


def _budget(threat: ThreatResult) -> Budget:
    return Budget(parse(threat.threat), _attacks(threat), threat.reported, threat.age)


def _checks(threats: Sequence[ThreatResult]) -> list[Table]:
    rows: list[list[Cell]] = [
        [name, check.name, *(("passed", check.found) if check.passed else ("FAILED", f"{check.found} {check.meaning}"))]
        for name, check in _of_checks(threats)
    ]
    images = {threat.checks.images for threat in threats if threat.checks}
    caption = (
        f"Signs that an attack failed rather than that the network is robust, on {max(images, default=0)} images. "
        "A difference that so few images cannot resolve passes."
    )
    columns: list[Column | str] = ["threat", *(Column(name, "words") for name in ("check", "result"))]
    return [Table("checks", caption, [*columns, Column("measured", "prose")], rows)] if rows else []


def _named(threat: ThreatResult) -> str:
    return threat.threat + (f", {threat.age} after programming" if threat.age else "")
