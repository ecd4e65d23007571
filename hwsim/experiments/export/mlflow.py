"""A finished job told to MLflow: its configuration, figures, curves and files. Needs the extra ``mlflow``."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, WorkError
from hwsim.experiments.kinds import JobFolder, curves_of, flat, results_of

EXPERIMENT = "hwsim"
LONGEST = 6000
"""Characters that MLflow keeps of a parameter's value."""
LEFT_OUT = ("states", ".lock", "claims", "tensorboard")
"""Not among the artifacts: what only serves to go on with a job."""


def export(folder: JobFolder, uri: str, experiment: str = EXPERIMENT) -> str:
    """Write a run of MLflow below ``uri``, a server's address or a folder (works offline); returns the run's id.

    Raises InputError where MLflow is not installed, WorkError where it refuses.
    """
    # Folders are MLflow's older kind of store, and from 3.12 on it wants to be told that they are meant.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        mlflow: Any = importlib.import_module("mlflow")
        entities: Any = importlib.import_module("mlflow.entities")
        failures: Any = importlib.import_module("mlflow.exceptions")
    except ImportError as error:
        raise InputError("--mlflow: MLflow is not installed; pip install 'hwsim[mlflow]'") from error
    place = uri if "://" in uri or uri.startswith("file:") else Path(uri).resolve().as_uri()
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        existing = client.get_experiment_by_name(experiment)
        within = existing.experiment_id if existing else client.create_experiment(experiment)
        tags = {"mlflow.runName": folder.name, "hwsim.kind": folder.kind}
        tags |= {f"hwsim.{key}": str(folder.receipt[key]) for key in ("command", "git") if folder.receipt.get(key)}
        run = client.create_run(within, run_name=folder.name, tags=tags).info.run_id
        parameters = [(_name(path), str(value)[:LONGEST]) for path, value in flat(folder.config)]
        metrics = [(name, 0, value) for name, value in results_of(folder).items()]
        metrics += list(curves_of(folder))
        for at in range(0, len(parameters), 100):  # MLflow's limits of one call: 100 parameters, 1000 metrics
            client.log_batch(run, params=[entities.Param(*pair) for pair in parameters[at : at + 100]])
        numbers = [(name, step, value) for name, step, value in metrics if math.isfinite(value)]
        for at in range(0, len(numbers), 1000):
            some = numbers[at : at + 1000]
            client.log_batch(run, metrics=[entities.Metric(_name(name), v, 0, step) for name, step, v in some])
        for path in sorted(folder.path.iterdir()):
            if path.name not in LEFT_OUT and not path.name.startswith("."):
                client.log_artifact(run, str(path)) if path.is_file() else client.log_artifacts(
                    run, str(path), path.name
                )
        client.set_terminated(run)
    except failures.MlflowException as error:
        raise WorkError(f"--mlflow {uri}: {str(error).splitlines()[0]}") from error
    return run


def _name(text: str) -> str:
    """A key as MLflow takes it: letters, digits and _-./ :, no more."""
    kept = "".join(c if c.isalnum() or c in "_-. /" else "_" for c in text)
    return kept[:250]
