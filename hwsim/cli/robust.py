"""``hwsim attack`` and ``hwsim corrupt``: is the model as robust as it looks?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from hwsim.cli.app import app, console, with_progress
from hwsim.cli.options import Jobs, Threads, options_of, use_processes
from hwsim.experiments.requests import AttackRequest, CorruptRequest

if TYPE_CHECKING:
    from hwsim.experiments.attack.records import AttackResults
    from hwsim.experiments.corruption.results import CorruptionResults


@app.command()
@options_of(AttackRequest)
def attack(request: AttackRequest, jobs: Jobs = None, threads: Threads = 1) -> None:
    """Attack a model and check that the attack works; worst case over attacks, image by image.

    AutoAttack's standard ensemble, unless you ask for less (pgd, smoke, quick, or one attack). Adversarial images are
    frozen and classified again on fresh read noise and on several programmed device instances. Where a check fails,
    the lowest accuracy of all stands in the result with the flag. How long it takes is said before it starts; --budget
    chooses the effort that fits a time, and what takes more than an hour asks for it.
    """
    from hwsim.experiments.attack.effort import plan_within
    from hwsim.experiments.attack.gallery import keep_gallery
    from hwsim.experiments.attack.results import write_results
    from hwsim.experiments.attack.work import run_attack
    from hwsim.reports.folder import current_page

    pool = use_processes(jobs, threads)
    job = plan_within(request, pool.workers, lambda line: print(line, flush=True))
    where = f"{job.device.name}, {job.instances} instances" if job.device else "float"
    print(f"{job.subject.name} on {job.data.name}, {where}: {job.examples} images\nfolder: {job.folder}", flush=True)
    records = with_progress(lambda progress: run_attack(job, progress, pool))
    _tell_attack(write_results(job, records))
    keep_gallery(job)
    print(f"report: {current_page(job.folder)}")
    print(f"results: {job.folder / 'results.json'}, by image: {job.folder / 'examples.csv'}")


def _tell_attack(results: AttackResults) -> None:
    several = len(results.seeds) > 1
    head = ("", "accuracy", "95 % interval", "spread", "majority", *(("by attack seed",) if several else ()))
    for threat in results.threats:
        table = Table(*head, box=None, pad_edge=False)
        rows = {"clean": threat.clean, **threat.attacks, "worst case per image": threat.worst}
        for name, row in {**rows, "to report": threat.reported}.items():
            noisy = row is threat.worst and threat.draws > 1
            spread = [f"{100 * threat.worst.spread:.1f}", f"{100 * threat.worst.majority:.1f}"] if noisy else ["", ""]
            seeds = " ".join(f"{100 * share:.1f}" for share in getattr(row, "by_seed", None) or [])
            table.add_row(name, row.percent, row.percent_range, *spread, *((seeds,) if several else ()))
        print(f"\n{threat.threat}" + (f", {threat.age} after programming" if threat.age else ""))
        console.print(table)
        bound = "an upper bound, " if threat.reported.upper_bound else ""
        print(f"to report: {bound}the lowest, by {threat.reported.of}")
        if threat.checks is not None:
            print(f"checks, on {threat.checks.images} images:")
            for check in threat.checks.checks:
                print(f"  {'ok  ' if check.passed else 'FLAG'} {check.told}")
    print()
    for caveat in results.caveats:
        print(f"note: {caveat}")


@app.command()
@options_of(CorruptRequest)
def corrupt(request: CorruptRequest, jobs: Jobs = None, threads: Threads = 1) -> None:
    """Accuracy under natural corruptions, by type and severity, with a heat map and a picture of the images."""
    from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt
    from hwsim.experiments.corruption.pictures import keep_pictures
    from hwsim.experiments.corruption.results import write_results
    from hwsim.reports.folder import current_page

    job = plan_corrupt(request)
    pool = use_processes(jobs, threads)
    print(f"{job.subject.name} on {job.data.name}: {job.examples} images\nfolder: {job.folder}", flush=True)
    records = with_progress(lambda progress: run_corrupt(job, progress, pool))
    _tell_corrupt(write_results(job, records))
    keep_pictures(job)
    print(f"report: {current_page(job.folder)}")
    print(f"results: {job.folder / 'results.json'}, figures: {job.folder / 'figures'}")


def _tell_corrupt(results: CorruptionResults) -> None:
    from hwsim.stats.interval import percent

    for case, model in (("model", results.model), ("baseline", results.baseline)):
        rows = [row for row in results.rows if row.case == case]
        if not rows:
            continue
        table = Table(model or case, *(str(severity) for severity in results.severities), box=None, pad_edge=False)
        for name in dict.fromkeys(row.name for row in rows if row.kind in ("clean", "corruption")):
            table.add_row(name, *(f"{100 * row.mean:.1f}" for row in rows if row.name == name))
        console.print(table)
        for row in rows:
            if row.kind not in ("clean", "corruption"):
                print(f"{row.name} {row.level:g}: {row.percent}")
    for means in results.means:
        text = f"mean over {means.types} {means.over}: {percent(means.accuracy)} ({means.interval.percent_range})"
        if means.baseline_accuracy is not None:
            text += f" ({results.baseline} {percent(means.baseline_accuracy)}); {means.ratios}"
        print(text)
    for caveat in results.caveats:
        print(f"note: {caveat}")
