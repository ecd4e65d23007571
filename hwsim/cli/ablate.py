"""``hwsim ablate``: which property of a device limits it."""

from __future__ import annotations

from hwsim.cli.app import app, console, with_progress
from hwsim.cli.options import Jobs, Threads, options_of, use_processes
from hwsim.experiments.requests import AblationRequest


@app.command()
@options_of(AblationRequest)
def ablate(request: AblationRequest, jobs: Jobs = None, threads: Threads = 1) -> None:
    """Switch off every non-ideality but one, and all but one; train and measure each; name the one that limits.

    With --updates in place of that: exact, accumulated and per-sample updates, each by exact and by noisy reads.
    The same command goes on with an interrupted ablation where it was, and shows a finished one.
    """
    from hwsim.experiments.ablation.job import plan_ablation, run_ablation
    from hwsim.experiments.ablation.results import results, write_table
    from hwsim.experiments.ablation.updates import plan_updates, update_results, write_update_table
    from hwsim.reports.ablation import conclusion, table, write_ablation_page
    from hwsim.reports.ablation_updates import updates_conclusion, updates_table, write_updates_page

    ablation = plan_updates(request) if request.updates else plan_ablation(request)
    pool = use_processes(jobs, threads)
    names = "updates and reads" if request.updates else ", ".join(item.name for item in ablation.properties)
    print(f"{ablation.run.model.name} on {ablation.device.name}, {ablation.case}: {names}", flush=True)
    print(f"folder: {ablation.folder}", flush=True)
    with_progress(lambda progress: run_ablation(ablation, progress, pool))
    if request.updates:
        ways = update_results(ablation)
        console.print(updates_table(ways))
        print(updates_conclusion(ways))
        print(f"results: {write_update_table(ablation.folder, ways)}\npage: {write_updates_page(ablation, ways)}")
        return
    limits = results(ablation)
    console.print(table(limits))
    print(conclusion(limits))
    print(f"results: {write_table(ablation.folder, limits)}\npage: {write_ablation_page(ablation, limits)}")
