"""The command line's jobs as functions: planned, done in their folder, their page written, their results read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from hwsim.cards.shelf import resolve
from hwsim.errors import WorkError
from hwsim.experiments.device_run import work as device_run
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.requests import RunRequest
from hwsim.experiments.results import JobResults, read_results
from hwsim.experiments.sweep import work as sweeps
from hwsim.experiments.sweep.results import Results as SweepResults
from hwsim.experiments.sweep.results import read_results as read_sweep
from hwsim.experiments.sweep.study import read_study
from hwsim.jobs.executors import Here, Pool, Processes
from hwsim.jobs.job import RUNS, Progress, Quiet
from hwsim.reports.device_run import write_report
from hwsim.reports.sweep import page_named, write_study_page


def run(
    device: str | None = None,
    *,
    model: str | None = None,
    data: str | None = None,
    settings: Mapping[str, Any] | None = None,
    repeats: int = 3,
    seed: int = 0,
    jobs: int = 1,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> JobResults:
    """``hwsim run``: train a model by EP in float and in situ on a device, measure both on the same images.

    The folder is the command's own, page and receipt included; the same call, or command, goes on with an interrupted
    one and reads a finished one.

    Args:
        device: shelf name, folder or rpu-config.yaml; "ideal" by default.
        model: shelf name, folder or model.yaml; "digits-mlp" by default.
        data: a data set in place of the card's; ``data_dir``: the folder that holds the data sets.
        settings: values over the model card by key path, ``device.KEY`` over the device's:
            ``{"in_situ.epochs": 40, "device.forward.out_noise": 0.2}``.
        repeats: trainings and device instances; ``seed``: root of all random streams.
        jobs: processes that compute at once; with more than this one a script needs ``if __name__ == "__main__":``.
        out: the folder, by default in ``runs/``, named by what it is of.
        progress: told how far the run is.

    Raises InputError for the first mistake, before any work; WorkError where work fails, what was finished is kept.

    >>> import hwsim as hw
    >>> try:
    ...     hw.run("ecram", settings={"in_situ.epoch": 1})
    ... except hw.InputError as error:
    ...     print(str(error).partition(";")[0])
    --set in_situ.epoch: unknown key
    """
    request = RunRequest(
        model=model,
        device=device,
        data=data,
        data_dir=Path(data_dir) if data_dir else None,
        seed=seed,
        repeats=repeats,
        settings=[f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()],
        out=Path(out) if out else None,
    )
    job = plan_run(_with_command(request, "run"))
    device_run.run(job, progress or Quiet(), _pool(jobs))
    write_report(job.folder)
    results = read_results(job.folder)
    assert isinstance(results, JobResults)
    return results


def sweep(
    study: str | Path,
    *,
    quick: bool = False,
    scale: str | None = None,
    seeds: int | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    plan_only: bool = False,
    progress: Progress | None = None,
) -> SweepResults:
    """``hwsim sweep``: measure a study's points in its folder and write its table and its page.

    The same call, or command, goes on with an interrupted sweep; points that failed are in ``failures`` of the results
    and are measured again by the next call.

    Args:
        study: shelf name, folder or study.yaml.
        quick: the study's coarse form; ``scale``: another form by its name.
        seeds: 0 to N-1 in place of the study's.
        jobs: points measured at once, see ``run``.
        out: the folder, by default ``runs/sweep-NAME``, with -FORM.
        data_dir: the folder that holds the data sets.
        plan_only: write the plan and measure nothing.
        progress: told how far the sweep is.

    Raises InputError for the first mistake in the study, before any point is measured.

    >>> import hwsim as hw
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hw.sweep("tolerance", quick=True, out=folder, plan_only=True).finished[0]
    0
    """
    found = read_study(
        resolve("studies", study), quick=quick, scale=scale, seeds=seeds, data_dir=Path(data_dir) if data_dir else None
    )
    page_named(found.config.page, found.folder, found.document)  # a mistake in it is told before anything is measured
    planned = sweeps.plan(found)
    name = f"sweep-{found.config.name}{'' if planned.form == 'full' else f'-{planned.form}'}"
    folder = sweeps.Folder(Path(out) if out else RUNS / name)
    words = ["hwsim", "sweep", str(study), *(["--scale", planned.form] if planned.form != "full" else [])]
    folder.write_plan(planned, shlex.join([*words, *(["--seeds", str(seeds)] if seeds else [])]))
    if not plan_only:
        failures = sweeps.sweep(planned, folder, _pool(jobs), progress or Quiet())
        sweeps.write_results(planned, folder)
        try:
            write_study_page(folder.path)
        except WorkError:  # a page of the study's own may not know what to do without the points that failed
            if not failures:
                raise
    return read_sweep(folder.path)


def _pool(jobs: int) -> Pool:
    return Here() if jobs == 1 else Processes(jobs)


def _with_command(request: RunRequest, name: str) -> RunRequest:
    """The request with the command line that asks for the same."""
    words = ["hwsim", name]
    for each in fields(request):
        value = getattr(request, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if each.metadata and value != default:
            option = next(iter(each.metadata["names"]), f"--{each.name.replace('_', '-')}")
            for word in value if isinstance(value, list) else [value]:
                words += [option, str(word)]
    return replace(request, command=shlex.join(words))
